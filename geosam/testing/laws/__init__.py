"""The laws. Each is one function that raises an AssertionError with the numbers; here they are chosen by a geometry's type.

Called by ``check_norm`` and its like, with a tolerance.
Never imports norms or metrics: no law depends on the class of what it checks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...core import Divergence, InnerProduct, Norm
from .divergence import (
    is_flat_at_zero,
    is_nowhere_negative,
    its_hessian_is_the_local_norm,
    matches_the_divergence_by_definition,
    meets_its_budget,
    vanishes_at_zero,
)
from .elementwise import compiled_is_eager, list_is_one_flat_tensor
from .field import (
    at_is_deterministic,
    first_step_has_no_memory,
    its_covector_fits_the_space,
    its_memory_is_explicit,
    leaves_the_problem_alone,
    sees_only_what_it_needs,
)
from .inner_product import (
    flat_inverts_sharp,
    flat_is_linear,
    inner_is_positive,
    inner_is_symmetric,
    matches_its_definition,
    matches_its_own_matrix,
    sharp_is_linear,
)
from .norm import (
    ascend_is_sharp_and_dual_norm,
    norm_is_homogeneous,
    norm_obeys_the_triangle,
    sharp_is_homogeneous,
    sharp_keeps_the_length,
)
from .optimum import (
    attains_the_dual_norm,
    ignores_the_scale_of_the_covector,
    is_deterministic,
    keeps_type_shape_and_device,
    leaves_its_arguments_alone,
    no_neighbour_does_better,
    obeys_hoelder,
    reaches_the_radius,
    selects_away_what_is_not_finite,
    sends_zero_to_zero,
)

Law = Callable[..., None]

NORM: tuple[Law, ...] = (
    keeps_type_shape_and_device,
    leaves_its_arguments_alone,
    is_deterministic,
    sends_zero_to_zero,
    norm_is_homogeneous,
    norm_obeys_the_triangle,
    reaches_the_radius,
    attains_the_dual_norm,
    sharp_keeps_the_length,
    ascend_is_sharp_and_dual_norm,
    sharp_is_homogeneous,
    obeys_hoelder,
    no_neighbour_does_better,
    ignores_the_scale_of_the_covector,
    selects_away_what_is_not_finite,
)
INNER_PRODUCT: tuple[Law, ...] = (
    inner_is_symmetric,
    inner_is_positive,
    flat_is_linear,
    sharp_is_linear,
    flat_inverts_sharp,
    matches_its_own_matrix,
)
DIVERGENCE: tuple[Law, ...] = (
    vanishes_at_zero,
    is_nowhere_negative,
    is_flat_at_zero,
    its_hessian_is_the_local_norm,
    meets_its_budget,
)
FIELD: tuple[Law, ...] = (
    at_is_deterministic,
    sees_only_what_it_needs,
    first_step_has_no_memory,
    its_memory_is_explicit,
    leaves_the_problem_alone,
)
OBJECTIVE: tuple[Law, ...] = (*FIELD, its_covector_fits_the_space)
WITH_AN_ORACLE: tuple[Law, ...] = (
    matches_its_definition,
    matches_the_divergence_by_definition,
    list_is_one_flat_tensor,
    compiled_is_eager,
)
"""Laws that need more than the geometry: its definition, its flattened twin, or a compiler."""


def fitting(geometry: Any) -> tuple[Law, ...]:
    """The laws of a norm, an inner product or a divergence. Raises: TypeError for anything else."""
    if isinstance(geometry, Divergence):
        return DIVERGENCE
    if isinstance(geometry, InnerProduct):
        return NORM + INNER_PRODUCT
    if isinstance(geometry, Norm):
        return NORM
    raise TypeError(f"laws are known for a Norm, an InnerProduct or a Divergence, and {geometry!r} is none of them")


__all__ = [
    "DIVERGENCE",
    "FIELD",
    "INNER_PRODUCT",
    "NORM",
    "OBJECTIVE",
    "WITH_AN_ORACLE",
    "Law",
    "ascend_is_sharp_and_dual_norm",
    "at_is_deterministic",
    "attains_the_dual_norm",
    "compiled_is_eager",
    "first_step_has_no_memory",
    "fitting",
    "flat_inverts_sharp",
    "flat_is_linear",
    "ignores_the_scale_of_the_covector",
    "inner_is_positive",
    "inner_is_symmetric",
    "is_deterministic",
    "is_flat_at_zero",
    "is_nowhere_negative",
    "its_covector_fits_the_space",
    "its_hessian_is_the_local_norm",
    "its_memory_is_explicit",
    "keeps_type_shape_and_device",
    "leaves_its_arguments_alone",
    "leaves_the_problem_alone",
    "list_is_one_flat_tensor",
    "matches_its_definition",
    "matches_its_own_matrix",
    "matches_the_divergence_by_definition",
    "meets_its_budget",
    "no_neighbour_does_better",
    "norm_is_homogeneous",
    "norm_obeys_the_triangle",
    "obeys_hoelder",
    "reaches_the_radius",
    "sees_only_what_it_needs",
    "selects_away_what_is_not_finite",
    "sends_zero_to_zero",
    "sharp_is_homogeneous",
    "sharp_is_linear",
    "sharp_keeps_the_length",
    "vanishes_at_zero",
]
