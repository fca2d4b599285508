"""A geometry on some of the parameters, with ε = 0 on the others, as in SAM-ON."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ..observation import Metric
from .blockwise import Blockwise, Selector
from .euclidean import Euclidean

_NORMALISATIONS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def only(selector: Selector, metric: Metric | None = None) -> Blockwise:
    """ε* = argmax ⟨c, ε⟩ over ‖ε‖ ≤ ρ with ε = 0 outside the selected parameters: Blockwise, with weight 0 for the rest.

    selector: as in :class:`Blockwise`. metric: of the selected parameters, by default Euclidean; it gets only these.
    ``only(normalisation(model))`` perturbs scales and shifts of normalisation layers and nothing else.
    Source: Mueller et al. 2023 (SAM-ON); with ParameterScaled its ASAM form. Raises: ValueError if nothing is selected.
    """
    return Blockwise({selector: (Euclidean() if metric is None else metric, 1.0), _everything: (Euclidean(), 0.0)})


def normalisation(model: nn.Module, *kinds: type[nn.Module]) -> Selector:
    """Selects the parameters that belong to the model's normalisation layers: by the kind of module, not by its name.

    kinds: more layer classes, besides batch, instance, layer, group and RMS normalisation.
    Raises: ValueError if the model has none.
    """
    layers = [m for m in model.modules() if isinstance(m, (*_NORMALISATIONS, *kinds))]
    chosen = {id(p) for layer in layers for p in layer.parameters(recurse=False)}
    names = {name for name, p in model.named_parameters() if id(p) in chosen}
    if not names:
        raise ValueError(f"{type(model).__name__} has no normalisation layer with parameters; name the kinds of your own")

    def selects(name: str | None, parameter: Tensor) -> bool:
        # a kept observation holds copies of the parameters, which only their names identify
        return name in names if name is not None else id(parameter) in chosen

    return selects


def _everything(name: str | None, parameter: Tensor) -> bool:
    return True
