"""What decides: intervals of paired differences, Holm's correction, equivalence, and what a decision would take.

Called by ablation and by studies with numbers alone. Knows no model and no record. Needs SciPy when it is used.
"""

from .interval import Interval, interval, p_value
from .power import detectable, equivalence_power, equivalence_seeds, power, seeds_needed
from .rule import Rule
from .verdict import Verdict, differs, equivalent, holm, together

__all__ = [
    "Interval",
    "Rule",
    "Verdict",
    "detectable",
    "differs",
    "equivalence_power",
    "equivalence_seeds",
    "equivalent",
    "holm",
    "interval",
    "p_value",
    "power",
    "seeds_needed",
    "together",
]
