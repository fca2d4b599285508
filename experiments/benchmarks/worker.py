"""One benchmark in a process of its own, whose allocator was set before it started: ``worker NAME ALLOCATOR QUICK PATH``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import torch

from ..common.provenance import Provenance
from .machine import machine


def main(name: str, allocator: str, quick: str, path: str) -> None:
    """Write the numbers, with the machine as this process found it, to ``path``."""
    torch.set_num_threads(1)
    before = machine()
    result = import_module(f"{__package__}.{name}").run(quick == "quick", allocator)
    Path(path).write_text(json.dumps({"provenance": asdict(Provenance.here()), "machine": before, **result}))


if __name__ == "__main__":
    main(*sys.argv[1:])
