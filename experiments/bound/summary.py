"""The records as rows of a table, with a verdict in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from geosam.records import Record

from .config import METHODS, Config
from .result import Outcome

HEAD = (
    "model, method",
    "k",
    "test",
    "E test under noise",
    "worst training",
    "+ Fisher SAM's theorem, least",
    "proved",
    "+ SAM's theorem",
    "verdict",
)
NOTES = (
    "All losses are zero-one, means over seeds; `worst training` is the largest found in the ellipsoid, and its maximum may be "
    "larger. Each theorem bounds `E test under noise` by `worst training` + what it adds.",
    "The constants are set in the bounds' favour: ε_min = 0, Θ just reaches the solution, the best r, the eigenvalues of this "
    "solution for all of Θ. `proved` takes the cover that is proved to exist; `least` as few ellipsoids as the volumes of "
    "this Θ and F allow. For SAM's own ball Fisher SAM's theorem is taken with F = I. SAM's "
    "theorem is taken from the last lines of its proof; its statement allows twice as much.",
)


@dataclass(frozen=True)
class Summary:
    """groups: outcomes by model and method. rows: one a group, cells as text under ``HEAD``. notes: on how to read them."""

    config: Config
    groups: Mapping[tuple[str, str], Sequence[Outcome]]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]


def summarise(config: Config, records: Sequence[Record[Outcome]]) -> Summary:
    """In the order of the records."""
    outcomes = [record.result for record in records]
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for out in outcomes:
        groups.setdefault((out.model, out.method), []).append(out)
    rows = [_row(model, method, found) for (model, method), found in groups.items()]
    return Summary(config, groups, rows, [*NOTES, _of_cross_entropy(outcomes)])


def verdict(method: str, outcomes: Sequence[Outcome]) -> str:
    """What the row's bounds are worth, in words."""
    mine = next((m for m in METHODS if m.name == method), None)
    proved, least = (mean(o.worst + getattr(o, name) for o in outcomes) for name in ("proved", "floor"))
    if proved < 1:
        words = [f"{proved:.2f}, with every constant in its favour"]
    elif least < 1:
        words = [f"vacuous as proved; no cover gets it below {least:.2f}"]
    else:
        words = ["vacuous, whatever the cover"]
    sams = [o.worst + o.sam for o in outcomes if o.sam is not None]
    if sams:
        words.append("SAM's own is vacuous" if mean(sams) >= 1 else f"SAM's own says {mean(sams):.2f}")
    if outcomes[0].sam is None and mine is not None and not mine.covered:
        words.append(f"not covered: {mine.why}")
    nulls = max(o.null_directions for o in outcomes)
    if nulls and outcomes[0].sam is None:
        words.append(f"F singular, {nulls} null directions: damped")
    return "; ".join(words)


def _row(model: str, method: str, outcomes: Sequence[Outcome]) -> list[str]:
    cells = [f"{mean(getattr(o, name) for o in outcomes):.3f}" for name in ("test", "average", "worst", "floor", "proved")]
    sams = [o.sam for o in outcomes if o.sam is not None]
    own = f"{mean(sams):.3f}" if sams else "–"
    return [f"{model}, {method}", str(outcomes[0].parameters), *cells, own, verdict(method, outcomes)]


def _of_cross_entropy(outcomes: Sequence[Outcome]) -> str:
    largest, average = max(o.largest_cross_entropy for o in outcomes), mean(o.cross_entropy for o in outcomes)
    return (
        f"Cross-entropy, on which these models are trained, has no bounded range: {average:.2f} nats on average over test "
        f"images, {largest:.1f} on one of them. Neither theorem says anything about it; clipped at {largest:.1f}, what they "
        "add would have to be multiplied by that."
    )
