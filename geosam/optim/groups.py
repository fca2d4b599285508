"""The base optimizer's groups as one step reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..core import Vectors, check_radius
from ..core import vectors as vec
from ..metrics.blockwise import Part
from ..norms import Identity
from ..observation import Constant, Metric
from ..problem.devices import is_about_devices
from ..rows import Pulled
from .schedules import Schedule


def radius_key(base: torch.optim.Optimizer) -> str:
    """The key of a group's radius: ``rho``, or ``sam_rho`` where the base optimizer has a ``rho`` of its own (Adadelta)."""
    if "rho" not in base.defaults:
        return "rho"
    if "sam_rho" in base.defaults:
        raise ValueError(
            f"the groups of {type(base).__name__} have both a rho and a sam_rho of their own, which leaves no name for the "
            "radius. Rename one of them in its defaults."
        )
    return "sam_rho"


def radius(group: Mapping[str, Any], key: str, step: int) -> float:
    """The group's radius in this step. Raises: as :func:`geosam.core.check_radius`."""
    rho = group[key]
    return check_radius(rho.radius(step, group) if isinstance(rho, Schedule) else rho)


class Groups:
    """Parameters that require gradients, their names and their radii (under ``key``), in the groups' order.

    step: how many the optimizer has taken, for schedules.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]], key: str = "rho", step: int = 0) -> None:
        self._members = [[p for p in group["params"] if p.requires_grad] for group in groups]
        self._named = [group.get("param_names") for group in groups]
        self._params = [group["params"] for group in groups]
        self._maximised = [bool(group.get("maximize", False)) for group in groups]
        self.key, self.radii = key, [radius(group, key, step) for group in groups]
        self.stretch: Tensor | None = None
        """A factor on ε*, on the device: a captured step's way to follow a schedule of radii."""
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
    def everyone(self) -> list[Tensor]:
        """The frozen ones among them."""
        return [p for params in self._params for p in params]

    @property
    def has_thawed(self) -> bool:
        """Whether one that was frozen when the step began is not now."""
        if len(self.parameters) == sum(map(len, self._params)):
            return False
        mine = {id(p) for p in self.parameters}
        return any(p.requires_grad and id(p) not in mine for p in self.everyone)

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

    def worse(self, g: Vectors) -> Vectors:
        """g turned towards what is worse for the base optimizer: −g in the groups whose objective it maximises."""
        if not any(self._maximised):
            return g
        if all(self._maximised):
            return g.rows.pull(-g.coordinates) if isinstance(g, Pulled) else vec.scale(g, -1.0)
        signs = [sign for sign, members in zip(self._maximised, self._members, strict=True) for _ in members]
        return [-t if sign else t for sign, t in zip(signs, g, strict=True)]

    def parts(self, metric: Metric) -> list[Part]:
        """One joint ball of radius 1, in which a group's radius is its weight. A group of radius 0 needs no geometry."""
        parts: list[Part] = []
        start = 0
        for members, rho in zip(self._members, self.radii, strict=True):
            index = list(range(start, start + len(members)))
            parts.append((index, metric if rho else Constant(Identity()), rho))
            start += len(members)
        return parts


@contextmanager
def explained(base: torch.optim.Optimizer) -> Iterator[None]:
    """Inside, errors that come of state on another device than its parameter's, or of a gradient's graph, name the cure."""
    try:
        yield
    except RuntimeError as error:
        if "modified by an inplace operation" in str(error):
            raise RuntimeError(
                f"{type(base).__name__} differentiates the gradient that it is given (loss.backward(create_graph=True)), whose "
                "graph is that of θ + ε*, and the parameters are θ again. SAM takes base optimizers that read gradients alone; "
                "updates.Natural(metric) steps with curvature."
            ) from error
        places = ((p, t) for p, state in base.state.items() for t in state.values() if isinstance(t, Tensor) and t.dim())
        apart = next(((p.device, t.device) for p, t in places if p.device != t.device), None)
        if apart is None or not is_about_devices(error):
            raise
        raise RuntimeError(
            f"{type(base).__name__} keeps state on {apart[1]} for a parameter on {apart[0]}: the model was moved after its "
            "first step. Move it before the optimizer is built, or load the state again: opt.load_state_dict(opt.state_dict())."
        ) from error
