"""The base optimizer's groups as one step reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..core import check_radius
from ..metrics.blockwise import Part
from ..norms import Identity
from ..observation import Constant, Metric


class Groups:
    """Parameters that require gradients, their names and their radii, in the groups' order."""

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        self._members = [[p for p in group["params"] if p.requires_grad] for group in groups]
        self._named = [group.get("param_names") for group in groups]
        self._params = [group["params"] for group in groups]
        self.radii = [check_radius(group["rho"]) for group in groups]
        self.parameters: list[Tensor] = [p for members in self._members for p in members]

    @property
    def names(self) -> list[str] | None:
        """Names of the parameters; None unless every group has them."""
        names: list[str] = []
        for named, params in zip(self._named, self._params, strict=True):
            if named is None:
                return None
            names += [n for n, p in zip(named, params, strict=True) if p.requires_grad]
        return names

    @property
    def gradients(self) -> list[Tensor]:
        """Those that are not None; of sparse ones their values."""
        found = [p.grad for p in self.parameters if p.grad is not None]
        return [g._values() if g.is_sparse else g for g in found]

    @property
    def at_rest(self) -> bool:
        """Whether every radius is 0."""
        return not any(self.radii)

    @property
    def radius(self) -> float | None:
        """The radius that all groups share, or None."""
        return self.radii[0] if len(set(self.radii)) == 1 else None

    def parts(self, metric: Metric) -> list[Part]:
        """One joint ball of radius 1, in which a group's radius is its weight. A group of radius 0 needs no geometry."""
        parts: list[Part] = []
        start = 0
        for members, rho in zip(self._members, self.radii, strict=True):
            index = list(range(start, start + len(members)))
            parts.append((index, metric if rho else Constant(Identity()), rho))
            start += len(members)
        return parts
