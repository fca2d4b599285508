"""That the records of a folder are of one ablation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..records import Record

CURE = "keep a folder for each; geosam.ablate(...) itself finds those that it is called with"
OWN = ("match", "optimizer")
"""What a control of an ablation may have of its own, such as SAM at the radius that another method was tuned to."""


def check_alike(records: Sequence[Record[dict[str, Any]]]) -> None:
    """Raises: ValueError where settings differ, or a method has two records from a seed, or two settings."""
    first, of = records[0].config["setting"], dict[str, Any]()
    for record in records:
        mine, name = record.config["setting"], record.result["method"]
        whole, shared = of.setdefault(name, mine), {k: v for k, v in mine.items() if k not in OWN}
        differ = {k for k in {*whole, *mine} if whole.get(k) != mine.get(k)}
        differ |= {k for k in {*first, *shared} if k not in OWN and first.get(k) != shared.get(k)}
        if differ:
            raise ValueError(
                f"the folder has records of several ablations, which differ in {', '.join(sorted(differ))}: {CURE}"
            )
    (run, count), *_ = Counter((r.result["method"], r.seed) for r in records).most_common(1)
    if count > 1:
        raise ValueError(f"the folder has {count} records of {run[0]!r} from seed {run[1]}, with other settings: {CURE}")
