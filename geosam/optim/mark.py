"""Whether others have written to the parameters while they were displaced."""

from __future__ import annotations

from torch import Tensor, nn

from ..core import Vectors


class Mark:
    """One parameter's version and some of its entries, as they are at θ + ε*.

    A forward pass may write to parameters too (an embedding that renormalises its rows), and means to be undone: so the last
    one of at most one dimension is taken, a bias. Of sharded parameters nothing is known.
    """

    def __init__(self, parameters: Vectors) -> None:
        p = next((p for p in reversed(parameters) if p.dim() < 2), parameters[-1])
        self._parameter = p if type(p) is nn.Parameter or type(p) is Tensor else None
        if self._parameter is not None:
            self._version, self._entries = p._version, _some(p).clone()

    @property
    def overwritten(self) -> bool:
        """Whether they have, where it is certain. One host read where the version says that there was a write."""
        p = self._parameter
        return p is not None and p._version != self._version and not _some(p).equal(self._entries)


def _some(p: Tensor) -> Tensor:
    some = p.detach()
    while some.dim() > 1 and len(some):
        some = some[0]
    return some[:8] if some.dim() else some
