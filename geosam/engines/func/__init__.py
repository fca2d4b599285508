"""The engine ``Func``: torch.func's vmap over samples, and what is done where it has no rule."""

from .engine import Func

__all__ = ["Func"]
