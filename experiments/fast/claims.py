"""What the records of ``fast`` decide."""

from __future__ import annotations

from geosam.ablation.statistics import Rule, Verdict, equivalent

from ..claims.claim import Claim, Found, Parts
from ..claims.compared import compared
from ..common.methods import EQUAL, SAM, SGD

BETTER = Rule(score="accuracy")
SAME = Rule(score="accuracy", margin=0.001)


def clean_is_null(found: Found) -> Parts:
    """Every geometry within 0.1 points of SAM where labels are right."""
    clean = {name: outcomes for name, outcomes in found.items() if name == "clean"}
    return compared(clean, [(name, SAM) for name in _geometries(clean)], SAME, equivalent)


def noise_is_not(found: Found) -> Parts:
    """Some geometry differs from SAM where labels are wrong: one part, decided by Holm over all geometries."""
    noisy = {name: outcomes for name, outcomes in found.items() if name != "clean"}
    each = compared(noisy, [(name, SAM) for name in _geometries(noisy)], BETTER)
    apart = [v for v in each.values() if v.outcome != "not decided"]
    why = "; ".join(f"{v.claim}: {v.outcome}, {v.why}" for v in apart or each.values())
    words = "some geometry differs from SAM where labels are wrong"
    return {words: Verdict(words, "holds" if apart else "not decided", why)} if each else {}


def _geometries(found: Found) -> list[str]:
    names = dict.fromkeys(name for outcomes in found.values() for name in outcomes.methods)
    return [name for name in names if name not in (SGD, EQUAL, SAM)]


CLAIMS = (
    Claim("F20", "no geometry differs from SAM on clean images, at equal compute and tuning (ours)", clean_is_null),
    Claim("F20", "with wrong labels some geometry differs from SAM (ours)", noise_is_not),
)
