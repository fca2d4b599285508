"""The algebra on lists of tensors, against exact sums."""

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from geosam.core import vectors as vec
from geosam.core.layout import shares_storage
from tests.placement import reads_switched_off

SHAPES = st.lists(st.sampled_from([(), (1,), (5,), (3, 4), (2, 3, 2, 2)]), min_size=1, max_size=4)
SCALES = [1e-25, 1e-12, 1e-3, 1.0, 1e6, 1e18]


def drawn(shapes: list[tuple[int, ...]], scale: float, seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(s, generator=generator, dtype=torch.float64) * scale).to(dtype) for s in shapes]


def exact_dot(u: list[Tensor], v: list[Tensor]) -> float:
    """A product of two float32 numbers is exact in float64, and fsum rounds once."""
    return math.fsum(
        a * b
        for s, t in zip(u, v, strict=True)
        for a, b in zip(s.double().reshape(-1).tolist(), t.double().reshape(-1).tolist(), strict=True)
    )


def exact_norm(v: list[Tensor]) -> float:
    return math.hypot(*(a for t in v for a in t.double().reshape(-1).tolist()))


def strided(t: Tensor) -> Tensor:
    """The same values, laid out so that nothing is contiguous."""
    if t.dim() == 4:
        return t.contiguous(memory_format=torch.channels_last)
    wide = torch.stack([t, torch.full_like(t, math.nan)], dim=-1)
    return wide[..., 0]


@given(SHAPES, st.sampled_from(SCALES), st.sampled_from(SCALES), st.integers(0, 2**32 - 1), st.booleans())
def test_dot_is_right_at_every_scale_of_float32(shapes, one, other, seed, scattered):
    u, v = drawn(shapes, one, seed), drawn(shapes, other, seed + 1)
    if scattered:
        u, v = [strided(t) for t in u], [strided(t) for t in v]
    magnitude = exact_dot([t.abs() for t in u], [t.abs() for t in v])
    value = vec.dot(u, v)
    assert value.dtype == torch.float64 and value.dim() == 0
    assert value.item() == pytest.approx(exact_dot(u, v), abs=1e-5 * magnitude, rel=0)


@given(SHAPES, st.sampled_from(SCALES), st.integers(0, 2**32 - 1), st.sampled_from(["float32", "float64", "bfloat16"]))
def test_norm_is_right_at_every_scale(shapes, scale, seed, kind):
    v = drawn(shapes, scale, seed, getattr(torch, kind))
    assert vec.norm(v).item() == pytest.approx(exact_norm(v), rel=1e-6, abs=0)
    assert vec.norm([strided(t) for t in v]).item() == pytest.approx(exact_norm(v), rel=1e-6, abs=0)


@given(st.integers(0, 2**32 - 1))
def test_one_huge_and_one_tiny_tensor_do_not_hide_each_other(seed):
    u = drawn([(4,), (3, 3)], 1.0, seed)
    v = [u[0] * 1e18, u[1] * 1e-25]
    w = [u[0] * 1e-18, u[1] * 1e25]
    expected = exact_dot(v, w)
    assert vec.dot(v, w).item() == pytest.approx(expected, rel=1e-5)


def test_dot_of_types_that_differ():
    u = [torch.tensor([1.0, 2.0], dtype=torch.bfloat16), torch.tensor(3.0, dtype=torch.float64)]
    v = [torch.tensor([4.0, 5.0]), torch.tensor(6.0)]
    assert vec.dot(u, v).item() == 32


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_not_finite_is_seen_wherever_it_stands(scale, bad, place):
    v = drawn([(), (7,), (2, 3)], scale, 0)
    assert vec.finite(v)
    v[place].reshape(-1)[-1] = bad
    assert not vec.finite(v)
    assert not math.isfinite(vec.norm(v).item())
    assert vec.sup(v).isnan() if math.isnan(bad) else vec.sup(v).isinf()


def test_opposite_infinities_do_not_cancel():
    assert not vec.finite([torch.tensor([math.inf]), torch.tensor([-math.inf])])


@pytest.mark.parametrize("scale", [1e-25, 1e18])
def test_finite_does_not_mistake_scale_for_overflow(scale):
    assert vec.finite(drawn([(1000,), (20, 20)], scale, 3))


def test_sup_and_absolute_sum():
    v = [torch.tensor(-7.0), torch.tensor([[1.0, -2.0]]), torch.tensor([3.0, float("nan")])[:1]]
    assert vec.sup(v).item() == 7 and vec.absolute_sum(v).item() == 13
    assert vec.sup([torch.empty(0)]) == 0


@given(SHAPES, st.integers(0, 2**32 - 1))
def test_flatten_and_unflatten_are_inverse(shapes, seed):
    v = drawn(shapes, 1.0, seed)
    flat = vec.flatten(v)
    assert flat.shape == (vec.count(v),)
    back = vec.unflatten(flat, v)
    assert all(torch.equal(a, b) and a.shape == b.shape for a, b in zip(v, back, strict=True))


@pytest.mark.parametrize("factor", [0.1, torch.tensor(0.1, dtype=torch.float64)], ids=["float", "tensor"])
def test_scale_does_not_round_its_factor_to_bfloat16(factor):
    v = [torch.linspace(1, 2, 64).bfloat16(), torch.tensor(3.0, dtype=torch.bfloat16)]
    scaled = vec.scale(v, factor)
    assert all(t.dtype == torch.bfloat16 for t in scaled)
    assert all(torch.equal(s, (t.float() * 0.1).bfloat16()) for s, t in zip(scaled, v, strict=True))


@given(SHAPES, st.floats(-3, 3), st.integers(0, 2**32 - 1))
def test_linear_combinations(shapes, factor, seed):
    u, v = drawn(shapes, 1.0, seed, torch.float64), drawn(shapes, 1.0, seed + 1, torch.float64)
    kept = [t.clone() for t in u]
    for i, (a, b) in enumerate(zip(u, v, strict=True)):
        torch.testing.assert_close(vec.add(u, v, factor)[i], a + factor * b)
        torch.testing.assert_close(vec.axpy(u, torch.tensor(factor, dtype=torch.float64), v)[i], a + factor * b)
        torch.testing.assert_close(vec.lerp(u, v, 0.25)[i], 0.75 * a + 0.25 * b)
    assert all(torch.equal(a, b) for a, b in zip(u, kept, strict=True))


@pytest.mark.host("a read chooses without copying")
def test_select_chooses_and_does_not_multiply():
    poison, clean = [torch.tensor([math.nan, math.inf])], [torch.tensor([1.0, 2.0])]
    assert torch.equal(vec.select(torch.tensor(False), poison, clean)[0], clean[0])
    assert vec.select(torch.tensor(True), poison, clean)[0] is poison[0]


def test_in_place_operations_write_where_they_are_told():
    target, source = [torch.zeros(2), torch.zeros(())], [torch.ones(2), torch.tensor(2.0)]
    addresses = [t.data_ptr() for t in target]
    vec.copy_(target, source)
    vec.add_(target, source)
    assert [t.tolist() for t in target] == [[2.0, 2.0], 4.0]
    assert [t.data_ptr() for t in target] == addresses
    assert [t.tolist() for t in source] == [[1.0, 1.0], 2.0]


def test_who_shares_a_storage():
    t = torch.zeros(4)
    assert not shares_storage(t)
    view = t[:2]
    assert shares_storage(t) and shares_storage(view)
    del t
    assert shares_storage(view)  # part of a larger storage
    for whole in (torch.zeros(()), torch.zeros(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)):
        assert not shares_storage(whole)


@pytest.mark.parametrize("value", [None, 0.3])
def test_long_sums_keep_their_digits(value):
    long = torch.randn(8_000_000, generator=torch.manual_seed(0)) if value is None else torch.full((8_000_000,), value)
    assert vec.norm([long]).item() == pytest.approx(long.double().norm().item(), rel=5e-5)


def test_a_factor_beyond_the_range_of_float32_is_a_factor_all_the_same():
    """1/‖v‖ of denormal numbers."""
    tiny = [torch.tensor([1e-45, 0.0, -3e-45])]
    size = vec.norm(tiny)
    unit = vec.scale(tiny, 1 / size)[0]
    assert torch.isfinite(unit).all() and unit.norm().item() == pytest.approx(1.0, rel=1e-6)


@pytest.fixture
def no_reads() -> Iterator[None]:
    """The branch for accelerators, with numbers."""
    with reads_switched_off():
        yield


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def same(u: list[Tensor], v: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(u, v, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_selection_takes_nothing_of_what_it_leaves_out(dtype, bad, no_reads):
    clean = [normal(3, 4).to(dtype), normal(2).to(torch.float32)]
    poison = [t.clone() for t in clean]
    poison[0][1, 2] = bad
    assert vec.finite(clean) and not vec.finite(poison)
    yes, no = torch.tensor(True), torch.tensor(False)
    assert same(vec.select(yes, clean, poison), clean) and same(vec.select(no, poison, clean), clean)
    assert same(vec.keep(yes, clean), clean) and not any(t.any() for t in vec.keep(no, poison))
    kept = [t.clone() for t in clean]
    vec.axpy_(kept, torch.tensor(math.nan), poison, no)
    assert same(kept, clean)
    vec.keep_(yes, kept)
    assert same(kept, clean)
    vec.keep_(no, poison)
    assert not any(t.any() for t in poison)


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "transposed", "strided"])
def test_the_sum_in_place_follows_the_layout_of_both(layout, no_reads):
    change = {
        "contiguous": lambda t: t,
        "channels last": lambda t: t.contiguous(memory_format=torch.channels_last),
        "transposed": lambda t: t.mT.contiguous().mT,
        "strided": lambda t: torch.stack([t, t], -1)[..., 0],
    }[layout]
    u, v, half = normal(2, 3, 4, 5, seed=1), normal(2, 3, 4, 5, seed=2), torch.tensor(0.5, dtype=torch.float64)
    for one, other in ((change(u.clone()), v), (u.clone(), change(v.clone())), (change(u.clone()), change(v.clone()))):
        vec.axpy_([one], half, [other], torch.tensor(True))
        torch.testing.assert_close(one, u + 0.5 * v)


@pytest.mark.parametrize("block", [3, 25, 100])
def test_products_of_two_vectors_are_summed_block_by_block(block, no_reads, monkeypatch):
    monkeypatch.setattr(vec.products, "_BLOCK", block)
    u = [normal(7, seed=1) * 1e-25, normal(4, 5, seed=2), normal(3, seed=3).double()]
    v = [normal(7, seed=4) * 1e18, normal(4, 5, seed=5), normal(3, seed=6).double()]
    assert vec.dot(u, v).item() == pytest.approx(exact_dot(u, v), rel=1e-6)
    assert vec.norm(u).item() == pytest.approx(exact_norm(u), rel=1e-7)
