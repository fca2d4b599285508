"""Every law, on every norm, in float64 and float32."""

import pytest
import torch
from hypothesis import settings

from geosam import norms
from geosam.testing import check_norm, laws, strategies
from geosam.testing.check import examine
from tests.laws.norm_cases import ANYWHERE, CASES, FLOAT32, FLOAT64, diagonal

DTYPES = pytest.mark.parametrize("dtype", [FLOAT64, FLOAT32], ids=["float64", "float32"])


@DTYPES
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_laws_hold(case, dtype):
    examples = max(2, settings().max_examples // 2)  # the profile's are shared out between the two types
    check_norm(case.norms(dtype), examples=examples, tolerance=case.tolerance(dtype), covector=case.covector, laws=case.laws)


@pytest.mark.parametrize("norm", ANYWHERE, ids=lambda norm: type(norm).__name__)
def test_a_norm_without_a_space_is_tried_on_drawn_ones(norm):
    check_norm(norm, tolerance=1e-5)


@DTYPES
@pytest.mark.parametrize("stop", [dict(iterations=1), dict(iterations=3), dict(tolerance=0.5)], ids=str)
def test_conjugate_gradients_stopped_early_still_reach_the_radius(dtype, stop):
    def stopped(rows):
        def product(v):
            return [t.to(u.dtype) for t, u in zip(rows.vjp(rows.apply(v)), v, strict=True)]

        return norms.MatrixFree(product, rows.like, 1e-3, **stop)

    found = strategies.spaces([dtype]).flatmap(strategies.rows).map(stopped)
    # an early iterate has a length of its own, but is neither linear in c nor the steepest direction
    kept = (laws.reaches_the_radius, laws.sharp_keeps_the_length)
    check_norm(found, laws=kept, tolerance=1e-10 if dtype == FLOAT64 else 1e-3)


@DTYPES
@pytest.mark.parametrize("kind", ["Identity", "Sup", "Diagonal"])
def test_entry_by_entry_a_list_of_tensors_is_one_flat_tensor(kind, dtype):
    def flattened(norm):
        if kind != "Diagonal":
            return getattr(norms, kind)()
        return norms.Diagonal.of([torch.cat([norm.entries(i).reshape(-1) for i in range(len(norm.like))])])

    def pair(like):
        build = diagonal(like) if kind == "Diagonal" else strategies.vectors(like).map(getattr(norms, kind))
        return build.flatmap(lambda norm: strategies.draws(like).map(lambda drawn: (norm, drawn)))

    def trial(case):
        norm, drawn = case
        laws.list_is_one_flat_tensor(norm, drawn, 1e-12 if dtype == FLOAT64 else 1e-5, flattened(norm))

    examine(strategies.spaces([dtype]).flatmap(pair), trial)


@pytest.mark.parametrize(
    "norm",
    [
        norms.Identity(),
        norms.Sup(),
        norms.Diagonal.of([torch.tensor([1e-4, 1.0, 1e4]), torch.tensor([[2.0, 0.5]])]),
        norms.RankOne([torch.tensor([0.5, -2.0, 1.0]), torch.tensor([[3.0, 0.0]])]),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_a_step_compiles_into_one_graph(norm):
    torch._dynamo.reset()
    for c in ([torch.tensor([1.0, -2.0, 3.0]), torch.tensor([[0.5, -1.0]])], [torch.zeros(3), torch.zeros(1, 2)]):
        laws.compiled_is_eager(norm, c, 0.05, 1e-6, "aot_eager")
