"""A preset: data, network, training and methods, with where its numbers come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

import geosam
from geosam.ablation import Ablation, Log, Method, Rule, Sgd, Tuned, classified
from geosam.ablation.ablate import planned

from .methods import CONTROL, users
from .named import own
from .options import Options
from .source import Network, Source


def frozen(model: nn.Module, loss: Any) -> geosam.Problem:
    """Where per-sample gradients are asked for, BatchNorm's statistics are held; other geometries do not notice."""
    return geosam.Problem(model, loss, frozen_statistics=True)


def tested(model: nn.Module, loss: Any, batches: Any) -> dict[str, Any]:
    """Accuracy, errors and cross-entropy without the smoothing of the training labels."""
    return classified(model, nn.CrossEntropyLoss(), batches)


def as_tested(source: Source) -> Any:
    """The score of a study that has no other."""
    return tested


@dataclass(frozen=True)
class Protocol:
    """source: of the settings, in words. rule: against which row, and how, differences are judged; fixed before a run.

    loss: by default cross-entropy. score: source ↦ what is read off the trained model. look: what is measured after every
    epoch. Both as in ``geosam.ablate``.
    """

    source: str
    data: Source
    model: str
    methods: Mapping[str, Method]
    epochs: int
    match: Any = 0.05
    optimizer: Any = Sgd()
    warmup: int = 0
    smoothing: float = 0.0
    norm: str = "batch"
    half: bool = False
    seeds: int = 5
    rule: Rule = Rule(against="SAM")
    step: Any = None
    score: Callable[[Source], Any] = as_tested
    look: Any = None
    loss: Any = None

    def asked(self, options: Options) -> Protocol:
        """The preset with what the options say instead. A data set of another size is taken whole."""
        name = options.data or self.data.data
        data = replace(self.data, data=name, device=options.device, own=own("data set", name))
        if name != self.data.data:
            data = replace(data, train=None, test=None)
        found = replace(
            self,
            data=data,
            model=options.model or self.model,
            methods={**self.methods, **users(options.metrics)},
            seeds=options.seeds or self.seeds,
        )
        if options.trials is not None:
            found = found.tuned(options.trials)
        return found.small() if options.quick else found

    def tuned(self, trials: int) -> Protocol:
        """Every method in so many runs, on a tenth of the training samples where none are held out."""
        match = replace(self.match, trials=trials) if isinstance(self.match, Tuned) else Tuned(trials, Log(0.01, 2.0))
        methods = {name: replace(m, rho=m.rho and None) for name, m in self.methods.items() if name != CONTROL}  # 0 stays
        return replace(self, match=match, methods=methods, data=replace(self.data, held_out=self.data.held_out or 0.1))

    def small(self) -> Protocol:
        """A minute at most: what is needed to see that all of it runs."""
        data = replace(self.data, train=120, test=60, batch=min(20, self.data.batch))
        return replace(self, data=data, epochs=2, warmup=min(1, self.warmup), match=0.05, seeds=min(2, self.seeds))

    def ablation(self, **changes: Any) -> Ablation:
        """What runs. changes: of the data, such as ``noise``."""
        data = replace(self.data, **changes)
        step = {} if self.step is None else {"step": self.step}
        return planned(
            Network(self.model, data, self.norm, self.half, own("network", self.model)),
            data,
            self.methods,
            seeds=range(self.seeds),
            epochs=self.epochs,
            warmup=self.warmup,
            loss=self.loss or nn.CrossEntropyLoss(label_smoothing=self.smoothing),
            problem=frozen,
            optimizer=self.optimizer,
            match=self.match,
            score=self.score(data),
            look=self.look,
            rule=self.rule,
            device=data.device,
            **step,
        )
