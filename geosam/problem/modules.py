"""What per-sample engines refuse: modules that couple the samples of a batch."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..core.sharded import is_sharded

_BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)


def modules(model: nn.Module) -> list[nn.Module]:
    """Every module, without its name, which takes longer: this runs in every step."""
    found, known = [model], {model, None}
    for module in found:
        for m in module._modules.values():
            if m not in known:
                known.add(m)
                found.append(m)  # type: ignore[arg-type]
    return found


def structure(model: nn.Module, parameters: Any) -> tuple[Any, ...]:
    """A key for facts about derivatives: the modes of all modules, and the parameters themselves, by identity."""
    return (*training_modes(model), *parameters)


def training_modes(model: nn.Module) -> tuple[bool, ...]:
    """``training`` of every module."""
    return tuple(m.training for m in modules(model))


def altered(model: nn.Module) -> tuple[tuple[int, ...], ...]:
    """What may give a layer another output than its class does: the forward hooks of every module, and a forward of its own.

    By their code: a hook that is put on anew in each step is the same one.
    """
    return tuple((*map(_code, m._forward_hooks.values()), _code(vars(m).get("forward"))) for m in modules(model))


def _code(function: Any) -> int:
    function = getattr(function, "func", function)  # of a partial
    return id(getattr(getattr(function, "__func__", function), "__code__", type(function)))


def gathers(module: nn.Module) -> bool:
    """Whether FSDP2 gathers the module's parameters for a pass (``fully_shard``)."""
    return hasattr(module, "unshard") and hasattr(module, "reshard")


def check_replicated(model: nn.Module) -> None:
    """Raises: NotImplementedError where processes hold parts of the parameters."""
    if any(gathers(m) or any(map(is_sharded, m._parameters.values())) for m in modules(model)):
        raise NotImplementedError(
            "the model's parameters are sharded over processes (FSDP2, tensor parallel), and rows, KL, curvature and L(θ + ε) "
            "apart from a step take it as a function of whole parameters: geosam gathers none. In steps use a metric of the "
            "gradient (Euclidean, ParameterScaled, GradientMagnitude, Monge, LayerWise, FilterWise, norms.Sup); for the others "
            "replicate the model (DistributedDataParallel with ball='rank'), or load its checkpoint in one process."
        )


def couples_samples(module: nn.Module) -> bool:
    """Whether this module normalises by statistics of the batch."""
    return isinstance(module, _BATCH_NORMS) and (module.training or module.running_mean is None)


def refuse_coupled_samples(model: nn.Module) -> None:
    """ValueError if BatchNorm uses the batch's own statistics, or an embedding counts words over the batch."""
    parts = modules(model)
    if any(getattr(m, "scale_grad_by_freq", False) for m in parts):
        raise ValueError(
            "an embedding with scale_grad_by_freq=True divides its gradient by how often a word comes in the batch: no "
            "per-sample gradients have that mean. Switch it off, or use a metric that needs none: GradientMagnitude."
        )
    if not any(map(couples_samples, parts)):
        return
    name, module = next((name, m) for name, m in model.named_modules() if couples_samples(m))
    raise ValueError(
        f"{name or 'the model'} ({type(module).__name__}) normalises by the batch's statistics, so a per-sample "
        "gradient does not exist. Pass Problem(model, loss, frozen_statistics=True) for gradients with the batch's "
        "statistics held constant, put it in eval mode, use GroupNorm, or choose a metric that needs no per-sample "
        "gradients: GradientMagnitude, Fisher, KLExact(along=GradientMagnitude())."
    )


def as_written(module: nn.Module) -> bool:
    """Whether a call computes what its class defines: no hook changes it, and no other ``forward`` was put in its place."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return "forward" not in vars(module) and not any(hooks)
