"""A model with its loss, and the same bound to a batch: what can be asked for evidence."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from . import _vectors as vec
from ._abstract import Metric, Needs
from ._linear import Recorder
from ._vectors import Vectors
from .engines.checks import couples_samples, structure, training_modes
from .engines.still import Still
from .evidence import Evidence
from .frozen import frozen
from .functional import Opened, called, refuse_plain_references
from .likelihoods import Likelihood, of_loss
from .losses import Loss, SampleLoss, canonical, one_number, sample_loss, widened
from .predictive import Predictive
from .randomness import Replay
from .rows import Engine
from .sampling import Draws, Sampled


class _NoRows(Exception):
    """Rows could not be had where they can be done without."""


class Structure(NamedTuple):
    """What does not depend on θ. entries: of a sample's outputs. random: whether the forward pass draws random numbers.
    coupled: whether samples meet in a normalisation.
    """

    entries: int
    random: bool
    coupled: bool


class Problem:
    """A model and its training loss; ``on(x, y)`` binds a batch.

    loss: (outputs, y) → batch mean loss, a torch loss module, its function, or any callable. likelihood: outputs →
    ``torch.distributions.Distribution``; by default the one whose negative log-likelihood the loss is (softmax for
    cross-entropy, N(f, ½) for squared error, Bernoulli for logits). frozen_statistics: where BatchNorm in training mode lets
    samples meet, evidence of single samples (rows, squares, drawn labels, Kronecker factors) is taken with the batch's mean and
    biased variance at θ held constant, and g with it; it lacks the terms through the statistics (see :mod:`geosam.frozen`). By
    default such evidence is refused. Raises: ValueError for reduction 'sum' or 'none'.
    """

    def __init__(
        self, model: nn.Module, loss: Loss, likelihood: Likelihood | None = None, *, frozen_statistics: bool = False
    ) -> None:
        if not isinstance(model, nn.Module) or not callable(loss):
            raise TypeError(f"Problem(model, loss) takes a module and a loss to call, got {type(model).__name__} and {loss!r}")
        self.model, self.loss = model, canonical(loss)
        self.likelihood = likelihood or of_loss(self.loss)
        self.sample = sample_loss(self.loss)
        self.frozen_statistics = bool(frozen_statistics)
        self._memory: dict[Any, Any] = {}

    def on(self, x: Any, y: Any) -> Bound:
        """The problem on one batch. x: a tensor, a tuple of arguments or a dict of keyword arguments, batch first."""
        sizes = {t.shape[0] if t.dim() else None for t in tree_leaves((x, y)) if isinstance(t, Tensor)}
        if len(sizes) != 1 or None in sizes:
            shapes = [tuple(t.shape) for t in tree_leaves((x, y)) if isinstance(t, Tensor)]
            raise ValueError(f"inputs and targets must share their first dimension, the batch; got shapes {shapes}")
        (n,) = sizes
        if not n:
            raise ValueError("the batch is empty: a mean over no samples is not defined")
        x = dict(x) if isinstance(x, Mapping) else x
        shared = (self.model, self.loss, self.sample, self.likelihood)
        return Bound(*shared, x, y, int(n), self._memory, frozen_statistics=self.frozen_statistics)


@dataclass(frozen=True, eq=False)
class Bound:
    """A problem on one batch. It is a closure too: calling it zeroes gradients, runs forward and backward, returns the loss.

    It caches nothing: every ``collect`` looks at the parameters as they are.
    """

    model: nn.Module
    loss: Loss
    sample: SampleLoss
    likelihood: Likelihood | None
    x: Any
    y: Any
    n: int
    memory: dict[Any, Any]
    chosen: Vectors | None = None
    frozen_statistics: bool = False

    def wrt(self, parameters: Vectors) -> Bound:
        """The same, differentiated with respect to these parameters (an optimizer's) in this order."""
        return replace(self, chosen=list(parameters))

    @property
    def parameters(self) -> Vectors:
        """Those chosen, or the model's that require gradients."""
        return self.chosen or [p for p in self.model.parameters() if p.requires_grad]

    def names(self, parameters: Vectors) -> list[str]:
        """Their names in the model; ValueError for a parameter that is not the model's."""
        known = {id(p): name for name, p in self.model.named_parameters()}
        if any(id(p) not in known for p in parameters):
            raise ValueError("the optimizer holds a parameter that is not the model's: they belong to different models")
        return [known[id(p)] for p in parameters]

    def remembered(self, key: Any, make: Callable[[], Any]) -> Any:
        """What was found out about the problem's structure, once for all its batches. Never a number that depends on θ."""
        if key not in self.memory:
            self.memory[key] = make()
        return self.memory[key]

    def call(self, model: Callable[..., Any], x: Any = None) -> Any:
        """The model's outputs on x, by default the bound inputs."""
        return called(model, self.x if x is None else x)

    def outputs(self) -> Tensor:
        """Outputs at the parameters as they are, without a graph and without a trace on buffers or random numbers."""
        with torch.no_grad(), Replay.now(self.parameters):
            return self.pure(self.parameters)(self.parameters, self.x)

    @property
    def recomputes(self) -> bool:
        """Whether a backward pass was seen to need the model again: activations are checkpointed."""
        return Opened.RECOMPUTES in self.memory

    def pure(self, parameters: Vectors) -> Callable[[Sequence[Tensor], Any], Any]:
        """(parameters, x) → outputs with the model's buffers left alone. They may be differentiated after the call has ended.

        Raises: RuntimeError where ``torch.func`` differentiates what recomputes activations in its backward pass.
        """
        opened = self._opened(parameters)
        return lambda values, x: opened(values, opened.rest, x)

    def _opened(self, parameters: Vectors) -> Opened:
        self.names(parameters)
        return Opened(self.model, parameters, self.memory)

    def structure(self, parameters: Vectors) -> Structure:
        """Found by one forward pass, once for each shape of input and mode of the model."""
        leaves = [tuple(t.shape[1:]) for t in tree_leaves(self.x) if isinstance(t, Tensor)]
        modes = training_modes(self.model)

        def probe() -> Structure:
            refuse_plain_references(self.model)
            replay = Replay.now(parameters)
            with torch.no_grad(), replay:
                outputs = self.pure(parameters)(parameters, self.x)
            if not isinstance(outputs, Tensor) or not outputs.dim() or outputs.shape[0] != self.n:
                raise TypeError(
                    "a predictive distribution is formed from one tensor of outputs, batch first; this model gives "
                    f"{tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__}. Wrap the model."
                )
            coupled = any(couples_samples(module) for module in self.model.modules())
            return Structure(outputs.numel() // self.n, replay.used, coupled)

        return self.remembered(("structure", modes, *leaves), probe)

    def batch_loss(self, outputs: Any) -> Tensor:
        """The training loss of these outputs."""
        self.sample.check(outputs, self.y)
        return one_number(self.loss(outputs, self.y))

    def __call__(self) -> Tensor:
        """Zero the gradients, forward, backward; the loss, detached."""
        for p in self.model.parameters():
            p.grad = None
        with torch.enable_grad():
            loss = self.batch_loss(self.call(self.model))
            loss.backward()
        return loss.detach()

    def rise(self, theta: Vectors, epsilon: Vectors) -> float:
        """L(θ + ε) − L(θ) on the batch, with one dropout mask; nothing is changed."""
        call = self.pure(self.parameters)
        # in float64 from the outputs on: a rise is a difference of nearly equal losses
        loss = copy.deepcopy(self.loss).double() if isinstance(self.loss, nn.Module) else self.loss
        y = widened(self.y)
        with torch.no_grad():
            losses = []
            for values in (theta, vec.add(theta, epsilon)):
                with Replay.now(theta):
                    losses.append(loss(widened(call(values, self.x)), y).double())
        return (losses[1] - losses[0]).item()

    def collect(self, needs: Needs, who: str, train: bool = False) -> Evidence:
        """One forward/backward that gathers all that is needed.

        train: the pass belongs to a training step: it updates buffers (BatchNorm's running statistics), draws random numbers
        from the global stream and drops old gradients. Otherwise it leaves no trace, and repeated looks see one dropout mask.
        """
        parameters = self.parameters
        names = self.names(parameters)
        if not parameters:
            raise ValueError("the model has no parameter that requires a gradient: there is nothing to perturb")
        if train:  # the last step's gradients would only take memory
            for p in parameters:
                p.grad = None
        if needs.predictive or needs.draws or needs.factors:
            self._check_likelihood(who)
        try:
            return self._look(needs, parameters, names, train)
        except _NoRows:  # remembered: products stand in for the rows from here on
            return self._look(needs, parameters, names, train)

    def _look(self, needs: Needs, parameters: Vectors, names: Sequence[str], train: bool) -> Evidence:
        replay = Replay.now(parameters)
        drawn: dict[Draws, Sampled] = {}
        rows = squares = outputs = None
        gradient: Vectors
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            if not train:
                stack.enter_context(Replay.now(parameters))
                for looking in [*(r.looking for r in needs.draws), *(r.looking for r in needs.factors)]:
                    stack.enter_context(looking())
            apart = stack.enter_context(self._apart(needs, parameters, train))
            refused = {request: self._refusal(request, apart, parameters) for request in needs.draws}
            first = next((r for r, why in refused.items() if why is None and r.whole(apart, parameters)), None)
            if first is not None:
                try:
                    (losses, rows, *_), outputs, drawn[first] = first.capture(apart, parameters)
                    gradient, loss = rows.pull(torch.full_like(losses, 1 / self.n)), losses.mean()
                    apart.verify(parameters, first.engine, gradient, replay)
                except (ValueError, RuntimeError) as error:
                    if first.limit is None or apart is not self or needs.rows is not None or needs.squares is not None:
                        raise  # only what has no other way is owed the reason
                    first.remember(self, error)
                    raise _NoRows from error
            elif needs.rows is not None:
                losses, rows, _, outputs = needs.rows.capture(apart, parameters)
                gradient, loss = rows.pull(torch.full_like(losses, 1 / self.n)), losses.mean()
            elif needs.squares is not None:
                losses, gradient, squares, outputs = needs.squares.moments(apart, parameters)
                loss = losses.mean()
            else:
                own = train and apart is self  # with frozen statistics the buffers have seen their pass already
                outputs = self.call(self.model) if own else apart.pure(parameters)(parameters, self.x)
                loss = self.batch_loss(outputs)
                gradient = self._gradient(loss, parameters)
            for request, why in refused.items():
                if request is not first and why is None:
                    with nullcontext() if request.sampling.random else replay:
                        whole = request.whole(apart, parameters)
                        drawn[request] = (
                            request.capture(apart, parameters)[2] if whole else request.in_chunks(apart, parameters)
                        )
            factors = {request: request.factors(apart, parameters, replay) for request in needs.factors}
            engine = needs.rows or needs.squares
            if first is None and engine is not None:
                apart.verify(parameters, engine, gradient, replay)
            # in a step the parameters stay where they are until the geometry has been used; one kept longer owns its point
            theta = parameters if train else vec.map(lambda p: p.detach().clone(), parameters)
            seen = outputs.detach() if apart is self and isinstance(outputs, Tensor) else None  # of training mode, as in KL
            predictive = self._predictive(parameters, theta, replay, seen, train) if needs.predictive else None
            for request, why in refused.items():
                if why is not None and predictive is not None:
                    drawn[request] = request.products(why, predictive, self, parameters)
        return Evidence(theta, gradient, loss.detach(), names, rows, squares, predictive, drawn, factors)

    def _apart(self, needs: Needs, parameters: Vectors, train: bool) -> AbstractContextManager[Bound]:
        """Where evidence of single samples is taken: here, or on a twin with frozen statistics."""
        single = needs.rows or needs.squares or needs.factors or any(not _in_products(request) for request in needs.draws)
        return frozen(self, parameters, train) if self.frozen_statistics and single else nullcontext(self)

    def _refusal(self, request: Draws, apart: Bound, parameters: Vectors) -> str | None:
        """Why no rows are formed, or None. ValueError where only the twin has samples and it gives no rows."""
        if apart is self or _in_products(request):
            return request.refusal(self, parameters)  # exact products need no samples and stay in training mode
        why = request.refusal(apart, parameters)
        if why is not None:
            raise ValueError(
                "labels are drawn for each sample alone, which with BatchNorm in training mode takes rows, and there are none: "
                f"{why}. Raise rows_limit, use a smaller batch, or use sampling=metrics.Exact()."
            )
        return None

    def explain(self, metric: Metric) -> str:
        """What the metric's engine would do for each parameter on this batch, and why, as a table to print."""
        needs, parameters = metric.needs, self.parameters
        engine = needs.rows or needs.squares or (needs.draws[0].engine if needs.draws else None)
        if engine is None:
            return f"{type(metric).__name__} needs no per-sample gradients: no engine is used."
        with self._apart(needs, parameters, False) as apart:
            if needs.rows is None and needs.squares is None:
                why = self._refusal(needs.draws[0], apart, parameters)
                if why is not None:
                    return f"{type(metric).__name__} takes matrix products in place of rows, and no engine is used: {why}."
            choices = engine.explain(apart, parameters)
        return "\n".join(f"{', '.join(choice.names)}: {choice.form} ({choice.why})" for choice in choices)

    def _gradient(self, loss: Tensor, parameters: Vectors) -> list[Tensor]:
        """∇loss by backward (hooks of wrappers run, checkpoints work); ``.grad`` of every parameter stays as it was."""
        kept = [(p, p.grad) for p in self.model.parameters()]
        for p, _ in kept:
            p.grad = None
        try:
            loss.backward()
            dense = [p.grad.to_dense() if p.grad is not None and p.grad.is_sparse else p.grad for p in parameters]
            return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, dense, strict=True)]
        finally:
            for p, grad in kept:
                p.grad = grad

    def verify(
        self, parameters: Vectors, engine: Engine, gradient: Vectors | None = None, replay: Replay | None = None
    ) -> None:
        """Once for these parameters and modes: the rows' mean must be the batch's own gradient, or samples meet somewhere.

        gradient: the mean, where it is known, of the pass at ``replay``. Where the pass draws random numbers both are taken
        again without. One sample meets nobody: it is no proof for several. Raises: ValueError.
        """
        key = ("verified", self.n == 1, *structure(self.model, parameters))
        if key in self.memory:
            return
        still, replay = Still(), replay or Replay.now(parameters)
        with torch.enable_grad(), replay, still:
            true = self._gradient(self.batch_loss(self.pure(parameters)(parameters, self.x)), parameters)
        if gradient is None or replay.used:
            with torch.enable_grad(), replay, still:
                gradient = engine.moments(self, parameters).gradient
        size, gap = vec.norm(true), vec.norm(vec.add(gradient, true, -1.0))
        if torch.isfinite(gap) and gap > still.tolerance * size:
            raise ValueError(
                f"the mean of the per-sample gradients is not the batch gradient (relative gap {(gap / size).item():.2g}): the "
                "model or the loss lets samples meet, or their dimension is not the first. Such a problem has no per-sample "
                "gradients; use a metric that needs none: GradientMagnitude, Fisher, KLExact(along=GradientMagnitude())."
            )
        if torch.isfinite(gap) and size > 0:
            self.memory[key] = True

    def _check_likelihood(self, who: str) -> None:
        if self.likelihood is None:
            raise TypeError(
                f"{who} needs the model's predictive distribution, and {type(self.loss).__name__} names none. "
                "Pass Problem(model, loss, likelihood=lambda outputs: torch.distributions....)."
            )

    def _predictive(self, parameters: Vectors, theta: Vectors, replay: Replay, seen: Tensor | None, train: bool) -> Predictive:
        """seen: the outputs of the pass at ``replay``, where they are known."""
        assert self.likelihood is not None
        opened, still = self._opened(parameters), self._stamp()
        rest = opened.rest if train else [t.clone() for t in opened.rest]  # as θ is

        def call(values: Sequence[Tensor], x: Any) -> Any:
            return opened(values, rest, x)

        def forward(values: Sequence[Tensor]) -> Tensor:
            if self._stamp() != still:
                raise RuntimeError("the inputs were overwritten or the model's mode was changed since this evidence was taken")
            with replay:
                return call(values, self.x)

        known = self.structure(parameters)
        with torch.no_grad():
            outputs = forward(theta) if seen is None or known.random else seen
        alone = None
        if not (known.random or known.coupled):
            alone = (lambda values, x: call(values, tree_map(lambda t: t.unsqueeze(0), x)).squeeze(0)), self.x
        recorder = self._recorder(parameters, rest, opened, replay)
        return Predictive(forward, self.likelihood, theta, outputs, alone, recorder)

    def _stamp(self) -> tuple[Any, ...]:
        """What evidence that is kept relies on beside tensors of its own."""
        versions = (t._version for t in tree_leaves(self.x) if isinstance(t, Tensor) and not t.is_inference())
        return (*versions, *training_modes(self.model))

    def _recorder(self, parameters: Vectors, rest: Vectors, opened: Callable[..., Any], replay: Replay) -> Recorder:
        leaves, tree = tree_flatten(self.x)
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

        def program(values: Vectors, given: Vectors) -> Tensor:
            inputs = dict(zip(places, given[len(rest) :], strict=True))
            x = tree_unflatten([inputs.get(i, leaf) for i, leaf in enumerate(leaves)], tree)
            return opened(values, given[: len(rest)], x)

        modes = training_modes(self.model)
        key = (*self.names(parameters), modes, repr(tree))
        return Recorder(program, [*rest, *(leaves[i] for i in places)], replay, self.memory, key)


def _in_products(request: Draws) -> bool:
    """Whether it can do without single samples, by products with the Fisher matrix."""
    return request.limit is not None and not request.sampling.random
