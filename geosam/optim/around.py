"""An optimizer around another one, whose groups, state and attributes are its own."""

from __future__ import annotations

from typing import Any

import torch

from .groups import Groups, radius_key
from .habits import METHODS, check_base
from .layers import layers
from .schedules import Schedule, check_rho


class Around(torch.optim.Optimizer):
    """base: the optimizer inside. Each of its groups has a radius, by default rho. steps: how many were taken."""

    base: torch.optim.Optimizer

    def __init__(self, base: torch.optim.Optimizer, rho: float | Schedule) -> None:
        check_base(base, Around)
        if not hasattr(base, "defaults"):  # a wrapper that leaves out torch's constructor (PostLocalSGDOptimizer)
            base.defaults = getattr(layers(base)[-1], "defaults", {})
        self._key = radius_key(base)
        super().__init__(base.param_groups, {**base.defaults, self._key: check_rho(rho)})
        self.base, self.steps = base, 0

    @property
    def rho(self) -> float:
        """The radius of all groups. Raises: ValueError, also where it is assigned, if they have radii of their own."""
        radii = set(self._groups().radii)
        if len(radii) > 1:
            raise ValueError(
                f"the groups have radii of their own, {sorted(radii)}: use group[{self._key!r}] of opt.param_groups"
            )
        return radii.pop()

    @rho.setter
    def rho(self, rho: float | Schedule) -> None:
        _ = self.rho
        self.defaults[self._key] = check_rho(rho)
        for group in self.param_groups:
            group[self._key] = self.defaults[self._key]

    def _groups(self) -> Groups:
        """The base optimizer's groups; a group that was added to it directly, or loaded, gets the constructor's radius."""
        for group in self.param_groups:
            group.setdefault(self._key, self.defaults[self._key])
        return Groups(self.param_groups, self._key, self.steps)

    # The groups and the state are the base optimizer's, also after it has loaded a checkpoint and replaced them. torch's
    # constructor, which assigns both and adds the groups, runs before there is a base.
    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The base optimizer's groups, each with its radius."""
        return self.base.param_groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        if "base" in vars(self):
            self.base.param_groups = groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The base optimizer's state."""
        return self.base.state

    @state.setter
    def state(self, state: Any) -> None:
        if "base" in vars(self):
            self.base.state = state

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the base optimizer; its radius is the constructor's unless the group has its own."""
        if "base" in vars(self):
            if not isinstance(param_group, dict):
                raise TypeError(f"a group is a dict, {{'params': [...]}}; got {type(param_group).__name__}")
            check_rho(param_group.setdefault(self._key, self.defaults[self._key]))
            self.base.add_param_group(param_group)

    def __getattr__(self, name: str) -> Any:
        """What only the base optimizer has, such as ``train``."""
        if name.startswith("_") or "base" not in vars(self):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        try:
            return getattr(self.base, name)
        except AttributeError:
            told = f"; {METHODS[name]}" if name in METHODS else ""
            raise AttributeError(
                f"neither {type(self).__name__} nor {type(self.base).__name__} has an attribute {name!r}{told}"
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        """For copies: all but hooks, as in torch, and ``step``, which may be a scheduler's wrapper."""
        return {k: v for k, v in vars(self).items() if k != "step" and not k.startswith("_optimizer_")}
