"""What a claim is, and how it is decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from geosam.ablation.outcomes import Outcomes
from geosam.ablation.statistics import Verdict, together

Parts = dict[str, Verdict]
Found = Mapping[str, Outcomes]
"""By setting, the records of one preset of a study."""

CORRECTED = "holds with a correction"


@dataclass(frozen=True)
class Claim:
    """id: of the ledger. says: the source in our words. parts: what was found ↦ verdicts, which must all hold.

    correction: what is true instead, where the claim as it stands fails; corrected: its verdicts, from the same records.
    """

    id: str
    says: str
    parts: Callable[[Found], Parts]
    correction: str = ""
    corrected: Callable[[Found], Parts] | None = None

    def decide(self, found: Found) -> tuple[Verdict, Parts]:
        """Of all parts together, and each."""
        parts = self.parts(found)
        verdict = together(self.says, parts)
        if verdict.outcome == "fails" and self.corrected is not None:
            instead = self.corrected(found)
            parts = parts | instead
            if together(self.correction, instead).outcome == "holds":
                verdict = replace(verdict, outcome=CORRECTED, why=f"{self.correction}; as it stands: {verdict.why}")
        return verdict, parts
