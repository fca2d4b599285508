"""Runs and their records: what a configuration means, files written whole, claims, jobs a few at a time.

Called by ablation and by studies. Knows no metric and no optimizer. joblib is imported where jobs are run.
"""

from .describe import LATER, Described, describe, fingerprint, spelled
from .files import Claimed, claim, write, write_json
from .jobs import Done, Finished, Watcher, run_all
from .provenance import Provenance, commit
from .store import Job, Record, Store

__all__ = [
    "LATER",
    "Claimed",
    "Described",
    "Done",
    "Finished",
    "Job",
    "Provenance",
    "Record",
    "Store",
    "Watcher",
    "claim",
    "commit",
    "describe",
    "fingerprint",
    "run_all",
    "spelled",
    "write",
    "write_json",
]
