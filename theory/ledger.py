"""The ledger: every claim of every theorem file, decided by its check on as many instances as asked for."""

import math
import pkgutil
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from types import ModuleType

import theory
from theory.claim import Claim
from theory.verdict import Verdict, merge


@dataclass(frozen=True)
class Entry:
    """A claim where it stands: its id, its file, itself."""

    id: str
    theorem: ModuleType
    claim: Claim


@dataclass(frozen=True)
class Row:
    """What a run found out about an entry. instances: how many were drawn; seconds: for all of them."""

    id: str
    verdict: Verdict
    instances: int
    seconds: float

    def __add__(self, other: "Row") -> "Row":
        verdict = merge([self.verdict, other.verdict])
        return Row(self.id, verdict, self.instances + other.instances, self.seconds + other.seconds)


@cache
def theorems() -> dict[str, ModuleType]:
    """The files that decide a claim, by their name below ``theory``."""
    found = pkgutil.walk_packages(theory.__path__, "theory.")
    modules = [import_module(info.name) for info in found if not info.name.endswith("__main__")]
    return {module.__name__.removeprefix("theory."): module for module in modules if hasattr(module, "CLAIMS")}


def entries(ids: Iterable[str] = ()) -> list[Entry]:
    """The claims with these ids, or all. Raises: LookupError that names the nearest ids."""
    known = {key: Entry(key, module, claim) for module in theorems().values() for key, claim in module.CLAIMS.items()}
    for wanted in ids:
        if wanted not in known:
            near = get_close_matches(wanted.upper(), known, n=3, cutoff=0.0)
            raise LookupError(f"No claim '{wanted}' in the ledger; the nearest ids are {', '.join(near)}.")
    return [known[key] for key in ids] or sorted(known.values(), key=lambda entry: order(entry.id))


def order(key: str) -> list[tuple[int, str]]:
    """F2 before F10, and F6.9 before F6.32: numbers count as numbers."""
    parts = re.split(r"(\d+)", key)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts if part]


def decide(entry: Entry, seeds: Sequence[int], altered: bool = False) -> Row:
    """The entry's verdict on the instances of these seeds."""
    start = time.perf_counter()
    verdicts = [entry.claim.check(entry.theorem.instance(seed), altered=altered) for seed in seeds]
    return Row(entry.id, merge(verdicts), len(verdicts), time.perf_counter() - start)


def piece(module: str, key: str, seeds: Sequence[int], altered: bool) -> Row:
    """``decide`` for another process. A module cannot be sent there, so its name is; no other theorem is imported."""
    theorem = import_module(module)
    return decide(Entry(key, theorem, theorem.CLAIMS[key]), seeds, altered)


def identities(module: str) -> int:
    """How many identities the derivation of this module proves."""
    return len(import_module(module).derive())


def seeds(claim: Claim, instances: int) -> range:
    """As many as asked for, or as there are."""
    if instances < 1:
        raise ValueError(f"{instances} instances decide nothing; ask for at least one.")
    return range(min(instances, claim.cases or instances))


def chunks(entry: Entry, instances: int, size: int) -> Iterator[range]:
    """The entry's seeds in pieces, for several processes."""
    every = seeds(entry.claim, instances)
    for start in range(0, len(every), size):
        yield every[start : start + size]


def agrees(entry: Entry, row: Row, altered: bool = False) -> bool:
    """Whether the run found the verdict that the file states, or for an altered claim another one."""
    return (row.verdict.outcome is entry.claim.outcome) is not altered and not math.isnan(row.verdict.worst_error)
