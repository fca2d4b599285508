"""All claims that records decide: each study has its own in its ``claims.py``, with rules that stood there before any run."""

from __future__ import annotations

from ..common.parts import parts
from .claim import Claim


def ledger() -> list[tuple[str, Claim]]:
    """(study, claim), by the id: letter, then number."""
    found = [(study, claim) for study, module in parts("claims").items() for claim in module.CLAIMS]
    return sorted(found, key=lambda row: (row[1].id[0], int(row[1].id[1:])))
