"""The claims, and how records decide them. The rules stand here, before any run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from geosam.ablation.outcomes import Outcomes
from geosam.ablation.statistics import Rule, Verdict, equivalent, together

from ..common.methods import ASAM, CONTROL, EQUAL, FSAM, NOISE, PLAIN, SAM, SGD
from .compared import compared

BETTER = Rule(score="accuracy")
SAME = Rule(score="accuracy", margin=0.001)
COMPARABLE = Rule(score="accuracy", margin=0.005)  # the widest gap of FSAM and SAM in table 4 is 0.41 points

Parts = dict[str, Verdict]
Found = Mapping[str, Outcomes]


@dataclass(frozen=True)
class Claim:
    """id: of the ledger. says: the source in our words. study: whose records decide. parts: setting ↦ outcomes ↦ verdicts."""

    id: str
    says: str
    study: str
    parts: Callable[[Found], Parts]

    def decide(self, found: Found) -> tuple[Verdict, Parts]:
        """Of all parts together, and each."""
        parts = self.parts(found)
        return together(self.says, parts), parts


def same_as_sam(found: Found) -> Parts:
    """FSAM and Euclidean SAM at the same γ and rate."""
    return compared(found, [(FSAM, CONTROL)], SAME, equivalent)


def better_than_plain(found: Found) -> Parts:
    """η = 1 beside 1, against a small damping."""
    return compared(found, [(FSAM, PLAIN)], BETTER)


def table_1(found: Found) -> Parts:
    """SGD has twice the epochs there."""
    return compared(found, [(SAM, EQUAL), (ASAM, EQUAL), (FSAM, SAM), (FSAM, ASAM)], BETTER)


def table_4(found: Found) -> Parts:
    """Better than SGD and ASAM, and like SAM, at every rate."""
    better = compared(found, [(FSAM, EQUAL), (FSAM, ASAM)], BETTER)
    return {**better, **compared(found, [(FSAM, SAM)], COMPARABLE, equivalent)}


def clean_is_null(found: Found) -> Parts:
    """Every geometry within 0.1 points of SAM where labels are right."""
    clean = {name: outcomes for name, outcomes in found.items() if name == "clean"}
    return compared(clean, [(name, SAM) for name in _geometries(clean)], SAME, equivalent)


def noise_is_not(found: Found) -> Parts:
    """Some geometry differs from SAM where labels are wrong: one part, decided by Holm over all geometries."""
    noisy = {name: outcomes for name, outcomes in found.items() if name != "clean"}
    each = compared(noisy, [(name, SAM) for name in _geometries(noisy)], BETTER)
    apart = [v for v in each.values() if v.outcome != "not decided"]
    why = "; ".join(f"{v.claim}: {v.why}" for v in apart or each.values())
    words = "some geometry differs from SAM where labels are wrong"
    return {words: Verdict(words, "holds" if apart else "not decided", why)} if each else {}


def _geometries(found: Found) -> list[str]:
    names = dict.fromkeys(name for outcomes in found.values() for name in outcomes.methods)
    return [name for name in names if name not in (SGD, EQUAL, SAM)]


def noise_weighted(found: Found) -> Parts:
    """Against SAM, with an objective whose formula is that of a draft."""
    return compared(found, [(NOISE, SAM)], BETTER)


CLAIMS = (
    Claim("F10", "with η = 1 Fisher SAM is in effect SAM at the same γ (ours)", "classify", same_as_sam),
    Claim("F10", "1/(1 + ηf) works better than a plain regulariser", "classify", better_than_plain),
    Claim("F13", "SGD < SAM, ASAM < FSAM in accuracy, SGD with twice the epochs", "classify", table_1),
    Claim("F16", "with wrong labels FSAM is like SAM, and better than SGD and ASAM", "noise", table_4),
    Claim("F20", "no geometry differs from SAM on clean images, at equal compute and tuning (ours)", "fast", clean_is_null),
    Claim("F20", "with wrong labels some geometry differs from SAM (ours)", "fast", noise_is_not),
    Claim("P2", "infoSAM generalises better than SAM with wrong labels (a draft's formula)", "noise", noise_weighted),
)
