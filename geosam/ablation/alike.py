"""That the records of a folder are of one ablation."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..records import Record

CURE = "keep a folder for each; geosam.ablate(...) itself finds those that it is called with"


def check_alike(records: Sequence[Record[dict[str, Any]]]) -> None:
    """Raises: ValueError where settings differ, or a method has two records from a seed."""
    settings = {json.dumps(r.config["setting"], sort_keys=True): r.config["setting"] for r in records}
    if len(settings) > 1:
        first, *others = settings.values()
        names = sorted({k for o in others for k in {*first, *o} if first.get(k) != o.get(k)})
        raise ValueError(f"the folder has records of {len(settings)} ablations, which differ in {', '.join(names)}: {CURE}")
    (run, count), *_ = Counter((r.result["method"], r.seed) for r in records).most_common(1)
    if count > 1:
        raise ValueError(f"the folder has {count} records of {run[0]!r} from seed {run[1]}, with other settings: {CURE}")
