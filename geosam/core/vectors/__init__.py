"""Algebra on lists of tensors: the only place that knows how a vector is stored.

A vector is a sequence of tensors with the parameters' shapes, in parameter order. Returned scalars are 0-dimensional
float64 tensors on the vector's device: a dual norm may lie between 1e-25 and 1e18, and its square leaves the range of float32.

On a CPU a tensor is taken at a time, so that it stays in the cache, and numbers are read. Elsewhere a read waits for the
device and a launch costs more than small arithmetic: all tensors of a type and device are taken by one multi-tensor operation.
Of sharded tensors each process takes its own parts, as on an accelerator, and sums are reduced over the mesh (``sharded``).
"""

from ..forms import Scalar, Vectors, as_given, assemble, cast, count, dense, flatten, gathered, map, on, unflatten
from .entries import absolute, add, add_, affine_, clone, copy_, div, div_, lerp, mul, mul_, sign, sqrt_, zeros_like
from .multiples import axpby_, axpy, axpy_, over, scale, scale_, stepped
from .place import kinds, reads_are_free
from .products import dot, finite, map_dot, norm
from .selection import keep, keep_, select
from .sizes import absolute_sum, norms, sup, within_range

__all__ = [
    "Scalar",
    "Vectors",
    "absolute",
    "absolute_sum",
    "add",
    "add_",
    "affine_",
    "as_given",
    "assemble",
    "axpby_",
    "axpy",
    "axpy_",
    "cast",
    "clone",
    "copy_",
    "count",
    "dense",
    "div",
    "div_",
    "dot",
    "finite",
    "flatten",
    "gathered",
    "keep",
    "keep_",
    "kinds",
    "lerp",
    "map",
    "map_dot",
    "mul",
    "mul_",
    "norm",
    "norms",
    "on",
    "over",
    "reads_are_free",
    "scale",
    "scale_",
    "select",
    "sign",
    "sqrt_",
    "stepped",
    "sup",
    "unflatten",
    "within_range",
    "zeros_like",
]
