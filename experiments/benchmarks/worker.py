"""One benchmark in a process whose allocator was set before it started: ``worker NAME ALLOCATOR QUICK PATH SECONDS``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import torch

from geosam.records import Provenance

from .ledger import Ledger, NotRun
from .machine import machine


def main(name: str, allocator: str, quick: str, path: str, seconds: str) -> None:
    """Write the numbers, with the machine as this process found it, to ``path``: at the end, or after every job (ledger.py)."""
    torch.set_num_threads(1)
    where = {"provenance": asdict(Provenance.here()), "machine": machine()}
    module = import_module(f"{__package__}.{name}")
    if hasattr(module, "parts"):
        ledger = Ledger(Path(path))
        ledger.write(**where, settings=module.settings())
        try:
            ledger.go_through(module.parts(quick == "quick"), float(seconds))
        except NotRun as why:
            ledger.write(**{"not run": str(why)})
    else:
        Path(path).write_text(json.dumps({**where, **module.run(quick == "quick", allocator)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
