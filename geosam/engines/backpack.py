"""Per-sample gradients by BackPACK: cheap sums of squares for networks of linear layers. The only importer of backpack."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from ..core import Vectors, limits
from ..core import vectors as vec
from ..core.undo import unless_raised
from ..problem import Bound
from ..problem.copies import Copy
from ..problem.gradient import filled, gradients
from ..problem.modules import refuse_coupled_samples
from ..problem.reading import walk
from ..rows import Materialised
from .abstract import Captured, Draw, Engine, Moments
from .func import Func

T = TypeVar("T")


@dataclass(frozen=True)
class BackPACK(Engine):
    """BackPACK's BatchGrad and SumGradSquared, on a private twin with leaves of its own that share the parameters' memory.

    The twin's loss is the sum Σ ℓᵢ, so that rows are gᵢ, not gᵢ/n. Covers Linear, Conv, ConvTranspose, RNN, LSTM, Embedding
    by exact class. Raises: ValueError for a parameter without a quantity, a parameter that the forward pass uses twice or
    outside its module, a layer that the forward pass itself differentiates, and BatchNorm in training mode: each would silently
    give wrong numbers. Not thread-safe.
    """

    by_layers: ClassVar[bool] = True

    def capture(self, bound: Bound, parameters: Vectors, draw: Draw | None = None) -> Captured:
        """Rows in memory. Raises: ValueError for ``draw``: BackPACK's quantities are those of the loss."""
        from backpack.extensions import BatchGrad

        if draw is not None:
            raise ValueError("BackPACK gives rows of the training loss only; for the model's own Fisher use engines.Auto()")
        losses, _, jacobian = self._backward(bound, parameters, BatchGrad(), "grad_batch")
        return Captured(losses, Materialised(jacobian))

    def moments(self, bound: Bound, parameters: Vectors, coefficients: Tensor | None = None) -> Moments:
        """(ℓ, g, (1/n) Σ gᵢ²). OverflowError where the float32 squares under- or overflow."""
        from backpack.extensions import BatchGrad, SumGradSquared

        losses, total, squares = self._backward(bound, parameters, SumGradSquared(), "sum_grad_squared")
        gradient = vec.scale(total, 1 / bound.n)
        largest = vec.sup(squares)
        if not limits.fits(largest) and vec.finite(gradient) and vec.sup(total) > 0:
            raise OverflowError("BackPACK's sum of squares left the range of the parameters' precision; use engines.Func()")
        weighted = None
        if coefficients is not None:
            weighted = Materialised(self._backward(bound, parameters, BatchGrad(), "grad_batch")[2]).vjp(coefficients)
        return Moments(losses, gradient, [s.double() / bound.n for s in squares], weighted=weighted)

    def instead(self) -> Engine | None:
        """``Func``."""
        return Func()

    def _backward(
        self, bound: Bound, parameters: Vectors, extension: Any, quantity: str
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        refuse_coupled_samples(bound.model)
        total, losses, leaves = _settings_kept(lambda: self._twin(bound, parameters, extension))
        found = [getattr(p, quantity, None) for p in leaves]
        _refuse_missing(bound, parameters, found)
        if quantity == "grad_batch":
            _refuse_other_rows(bound, parameters, found)
        return losses.detach(), filled(total, leaves), [f.detach() for f in found if f is not None]

    def _twin(
        self, bound: Bound, parameters: Vectors, extension: Any
    ) -> tuple[list[Tensor | None], Tensor, list[nn.Parameter]]:
        """(gradients, losses, the leaves of a twin, which hold BackPACK's quantities)."""
        from backpack import backpack, extend, memory_cleanup

        writes = bound.writes
        values = {id(p): p.detach().clone() if writes.parameters else p.detach() for p in bound.model.parameters()}
        _refuse_names(bound)
        own = {id(p): nn.Parameter(values[id(p)], p.requires_grad) for p in bound.model.parameters()}
        twin, leaves = Copy(own, clones=writes.attributes).of(bound.model), [own[id(p)] for p in parameters]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # missing quantities raise below
                ran = _watched(extend(twin))
                outputs = bound.call_copy(twin)
                _refuse_differentiated(twin, ran)
                losses = bound.sample.all(outputs, bound.y)
                _refuse_second_use(twin, losses, leaves)
                with backpack(extension):
                    return gradients(losses.sum(), outputs, leaves), losses, leaves
        finally:
            # a module whose backward pass did not run holds its output, whose graph holds it: a cycle that no collection sees
            for module in list(twin.modules()):
                memory_cleanup(module)


def _settings_kept(run: Callable[[], T]) -> T:
    """What it returns; BackPACK's settings, which are global, and its list of all hooks are then as before."""
    from backpack.context import CTX

    names = ("active_exts", "debug", "extension_hook", "retain_graph")
    before, hooks = {name: getattr(CTX, name) for name in names}, len(CTX.hook_handles)

    def undo() -> None:
        for name, value in before.items():
            setattr(CTX, name, value)
        del CTX.hook_handles[hooks:]

    def run_and_undo() -> T:
        found = run()
        undo()
        return found

    return unless_raised(run_and_undo, undo)


def _refuse_other_rows(bound: Bound, parameters: Vectors, found: list[Tensor | None]) -> None:
    """BackPACK takes the first dimension of a layer's input for the samples."""
    for name, rows in zip(bound.names(parameters), found, strict=True):
        if rows is not None and len(rows) != bound.n:
            raise ValueError(
                f"BackPACK gives {len(rows)} rows of {name} for {bound.n} samples: its layer gets them in another dimension, "
                "or together with another one. Use engines.Func()."
            )


def _refuse_missing(bound: Bound, parameters: Vectors, found: list[Tensor | None]) -> None:
    missing = [name for name, f in zip(bound.names(parameters), found, strict=True) if f is None]
    if missing:
        raise ValueError(
            f"BackPACK gives no per-sample quantity for {', '.join(missing)}: its layer is not one that BackPACK supports, "
            "or it is used outside its module. Use engines.Func()."
        )


def _refuse_names(bound: Bound) -> None:
    """BackPACK stores a module's input and output in attributes of it, whose names may be taken."""
    taken = [
        f"{name}.{k}".lstrip(".") for name, m in bound.model.named_modules() for k in ("output", "input0") if hasattr(m, k)
    ]
    if taken:
        raise ValueError(
            f"{', '.join(taken)}: BackPACK keeps what a module computes under this name. Rename it, or use engines.Func()."
        )


def _watched(model: nn.Module) -> set[nn.Module]:
    """The extended modules that give something to differentiate, from now on."""
    ran: set[nn.Module] = set()

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        kept = vars(module).get("output")
        if isinstance(kept, Tensor) and kept.requires_grad:
            ran.add(module)

    for module in model.modules():
        module.register_forward_hook(note)
    return ran


def _refuse_differentiated(model: nn.Module, ran: set[nn.Module]) -> None:
    """BackPACK drops what it has stored of a layer in the first backward pass through it, here the forward pass's own."""
    passed = [name for name, m in model.named_modules() if m in ran and not hasattr(m, "output")]
    if passed:
        raise ValueError(
            f"{', '.join(passed)}: the forward pass differentiates through this itself, and BackPACK has nothing left of it "
            "afterwards. Use engines.Func()."
        )


def _refuse_second_use(model: nn.Module, losses: Tensor, parameters: Vectors) -> None:
    """BackPACK covers a parameter's use in its own module only; any other use would be missing from the rows."""
    uses: Counter[int] = Counter()
    walk(losses.grad_fn, lambda variable: uses.update([id(variable)]))
    named = {id(p): name for name, p in model.named_parameters()}
    # a recurrence uses its weights at every time step, inside the one module that BackPACK supports
    recurrent = {id(p) for m in model.modules() if type(m) in (nn.RNN, nn.LSTM) for p in m.parameters()}
    twice = [named[id(p)] for p in parameters if uses[id(p)] > 1 and id(p) not in recurrent]
    if twice:
        raise ValueError(
            f"{', '.join(twice)}: tied, or used more than once in the forward pass; BackPACK would count one use only. "
            "Use engines.Func()."
        )
