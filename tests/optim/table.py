"""What an optimizer may be made of, as one table: settings × base × type × groups × route; and a training from each row."""

from __future__ import annotations

import copy
import io
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam import metrics, norms, objectives, passes, schedules, solvers, updates
from tests.networks import build, draw, labels

X, Y = draw(6, 4), labels(6)


def drawn(seed: int = 5) -> metrics.MonteCarlo:
    return metrics.MonteCarlo(1, torch.Generator().manual_seed(seed))


SETTINGS: dict[str, Callable[[], dict[str, Any]]] = {
    "Euclidean": lambda: {},
    "ParameterScaled": lambda: {"metric": metrics.ParameterScaled()},
    "GradientMagnitude": lambda: {"metric": metrics.GradientMagnitude(), "objective": objectives.Smoothed(0.8)},
    "Monge": lambda: {"metric": metrics.Monge(), "update": updates.SurrogateGap(0.2)},
    "FilterWise": lambda: {"metric": metrics.FilterWise(), "rho": schedules.WarmUp(0.05, 3)},
    "LayerWise": lambda: {"metric": metrics.LayerWise(), "passes": passes.Every(2, again=True)},
    "Sup": lambda: {"metric": norms.Sup(), "solver": solvers.Unified(0.5)},
    "Spectral": lambda: {"metric": norms.Spectral(), "objective": objectives.Residual(), "move": geosam.Swap()},
    "MultiStep": lambda: {"solver": solvers.MultiStep(2), "passes": passes.Late(1)},
    "DiagonalEmpiricalFisher": lambda: {"metric": metrics.Averaged(metrics.DiagonalEmpiricalFisher(), 0.9)},
    "EmpiricalFisher": lambda: {"metric": metrics.EmpiricalFisher(), "rho": schedules.Cosine(0.05, 0.01, 4)},
    "Fisher": lambda: {"metric": metrics.Fisher()},
    "Fisher, drawn": lambda: {"metric": metrics.Fisher(sampling=drawn())},
    "DiagonalFisher": lambda: {"metric": metrics.DiagonalFisher(), "same_mask": True},
    "KroneckerFisher": lambda: {"metric": metrics.KroneckerFisher(0.1, rest=metrics.Euclidean())},
    "KL": lambda: {"metric": metrics.KLExact(along=metrics.GradientMagnitude()), "batchnorm": "both"},
    "Blockwise": lambda: {"metric": metrics.Blockwise({"head": (metrics.Monge(), 1.0), "*": (metrics.Euclidean(), 2.0)})},
}
ROWS = {"DiagonalEmpiricalFisher", "EmpiricalFisher", "Fisher", "Fisher, drawn", "DiagonalFisher", "KroneckerFisher", "KL"}
"""Those that need more than a gradient."""

BASES: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.2, momentum=0.9, weight_decay=1e-3),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.03),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.03, amsgrad=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "Adadelta": lambda p: torch.optim.Adadelta(p, lr=3.0),
    "LBFGS": lambda p: torch.optim.LBFGS(p, lr=0.3, max_iter=2),
}
if hasattr(torch.optim, "Muon"):
    BASES["Muon"] = lambda p: torch.optim.Muon(p, lr=0.05)
MATRICES = {"Muon"}
"""Those that take matrices alone."""

TYPES = ("float32", "float64", "bfloat16", "mixed")
GROUPS = ("one", "names", "radii", "one at rest", "one empty")
ROUTES = ("closure", "problem", "perturb", "list")


class Odd(nn.Module):
    """With a parameter of no dimension, one that is not contiguous, one without entries; types may differ by layer."""

    def __init__(self, base: str) -> None:
        super().__init__()
        matrices = base in MATRICES
        self.first = nn.Linear(4, 6, bias=not matrices)
        head = torch.randn(6, 3).div(3).t()
        self.head = nn.Parameter(head.contiguous() if base == "LBFGS" else head)  # which takes views of gradients
        if not matrices:
            self.gain, self.none = nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.empty(0, 2))

    def forward(self, x: Tensor) -> Tensor:
        at_forward()
        h = torch.tanh(self.first(x.to(self.first.weight.dtype)))
        if hasattr(self, "gain"):
            h = h * self.gain + self.none.sum()
        return F.linear(h.to(self.head.dtype), self.head) * Fault.factor


class Fault:
    """What happens in a forward pass: ``act`` is called with its number; ``factor`` multiplies the outputs."""

    act: Callable[[int], None] | None = None
    factor, count = 1.0, 0

    @classmethod
    def clear(cls) -> None:
        cls.act, cls.factor, cls.count = None, 1.0, 0


def at_forward() -> None:
    Fault.count += 1
    Fault.factor = 1.0
    if Fault.act is not None:
        Fault.act(Fault.count)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    settings: str
    base: str
    dtype: str
    groups: str
    route: str

    def __str__(self) -> str:
        return "-".join(getattr(self, field.name) for field in fields(self))

    @property
    def allowed(self) -> bool:
        """Whether the parts go together; what does not is refused by name, and tested where it is refused."""
        searches = self.base == "LBFGS"
        rules = [
            self.route == "closure" and self.settings in ROWS,
            searches and (self.groups not in ("one", "names") or self.route == "perturb"),
            searches and self.dtype == "mixed",  # torch's own steps there
            self.groups in ("radii", "one at rest") and self.settings in ("FilterWise", "EmpiricalFisher"),  # one schedule
            self.groups in ("radii", "one at rest") and self.settings == "KL",
            self.settings == "Blockwise" and self.route == "closure" and self.groups != "names",
        ]
        return not any(rules)


AXES = (list(SETTINGS), list(BASES), TYPES, GROUPS, ROUTES)


def every() -> Iterator[Row]:
    """All rows that are allowed."""
    return (row for row in itertools.starmap(Row, itertools.product(*AXES)) if row.allowed)


def pairs(row: Row) -> set[tuple[tuple[str, str], ...]]:
    """The pairs of values that a row shows together; a base optimizer sees gradients, and no geometry."""
    found = itertools.combinations(((f.name, getattr(row, f.name)) for f in fields(row)), 2)
    return {pair for pair in found if {name for name, _ in pair} != {"settings", "base"}}


def covering(seed: int = 0) -> list[Row]:
    """Rows in which every pair of values occurs that occurs in the table, chosen one by one for the most new pairs."""
    table = list(every())
    random.Random(seed).shuffle(table)
    shown = {row: pairs(row) for row in table}
    left, chosen = set().union(*shown.values()), []
    while left:
        best = max(table, key=lambda row: len(shown[row] & left))
        chosen.append(best)
        left -= shown[best]
    return chosen


class Training:
    """A model and an optimizer from a row, on one batch."""

    def __init__(self, row: Row, seed: int = 0, settings: dict[str, Any] | None = None) -> None:
        self.row = row
        dtype = torch.float32 if row.dtype == "mixed" else getattr(torch, row.dtype)
        self.model = build(lambda: Odd(row.base), seed, dtype)
        if row.dtype == "mixed":
            self.model.first.double()
        self.opt = self._optimizer({**SETTINGS[row.settings](), **(settings or {})})
        self.problem = self.unknown()

    def unknown(self) -> geosam.Problem:
        """The problem, of which nothing is known yet; steps that are verified and others may differ in their last bit."""
        return geosam.Problem(self.model, nn.CrossEntropyLoss(), check="always")

    def _optimizer(self, settings: dict[str, Any]) -> geosam.SAM:
        named, rho = list(self.model.named_parameters()), settings.pop("rho", 0.05)
        key = "sam_rho" if self.row.base == "Adadelta" else "rho"
        groups: Any = [p for _, p in named]
        if self.row.groups == "names":
            groups = named
        elif self.row.groups != "one":
            groups = [{"params": [p for _, p in named[:1]]}, {"params": [p for _, p in named[1:]]}]
            if self.row.groups == "one empty":
                groups.append({"params": []})
            else:
                groups[0][key], groups[1][key] = 0.05, 0.0 if self.row.groups == "one at rest" else 0.1
        return geosam.SAM(BASES[self.row.base](groups), rho=rho, **settings)

    def loss(self, part: slice = slice(None)) -> Tensor:
        return F.cross_entropy(self.model(X[part]), Y[part])

    def closure(self) -> Tensor:
        self.opt.zero_grad()
        loss = self.loss()
        loss.backward()
        return loss

    def step(self) -> Tensor:
        """One update by the row's route; the loss at θ."""
        on = self.problem.on
        if self.row.route == "closure":
            found = self.opt.step(self.closure)
        elif self.row.route == "problem":
            found = self.opt.step(on(X, Y))
        elif self.row.route == "list":
            found = self.opt.step([on(X[:2], Y[:2]), on(X[2:], Y[2:])])
        else:
            self.opt.zero_grad()
            found = self.opt.perturb(on(X, Y)).loss
            there = self.loss()
            there.backward()
            self.opt.base.step()
            found = there.detach() if found.isnan() and self.opt.last.finite else found  # of a step without a pass at θ
        assert found is not None
        return found

    def state(self) -> dict[str, Any]:
        """Weights and optimizer, as they come back from a file."""
        buffer = io.BytesIO()
        torch.save({"model": self.model.state_dict(), "opt": self.opt.state_dict()}, buffer)
        buffer.seek(0)
        return torch.load(buffer, weights_only=True)

    def load(self, state: dict[str, Any]) -> None:
        state = copy.deepcopy(state)  # torch's optimizers go on with the tensors that they are given
        self.model.load_state_dict(state["model"])
        self.opt.load_state_dict(state["opt"])

    def restarted(self, state: dict[str, Any]) -> Training:
        """Another optimizer, and the model at other weights, before a checkpoint is loaded into both."""
        other = copy.copy(self)
        with torch.no_grad():
            for p in self.model.parameters():
                p.add_(1.0)
        other.opt = other._optimizer(SETTINGS[self.row.settings]())
        other.load(state)
        return other

    def twin(self) -> Training:
        """A copy that shares nothing."""
        other = copy.copy(self)
        other.model, other.opt = copy.deepcopy((self.model, self.opt))
        other.problem = other.unknown()
        return other

    def weights(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.model.parameters()]
