"""Rows drawn by Hypothesis beside the dense matrix J that they stand for."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from geosam.rows import Materialised, Stacked

SHAPES = ((2, 3), (4,), (1, 2))


@st.composite
def rows_and_dense(draw: st.DrawFn, dtype: torch.dtype = torch.float64) -> tuple[Materialised | Stacked, Tensor]:
    """Rows in memory, or in parts that hold the parameters in another order."""
    n, seed = draw(st.integers(1, 6)), draw(st.integers(0, 2**16))
    generator = torch.Generator().manual_seed(seed)
    jacobian = [torch.randn(n, *shape, generator=generator, dtype=torch.float64).to(dtype) for shape in SHAPES]
    dense = torch.cat([j.reshape(n, -1) for j in jacobian], dim=1).double()
    order = draw(st.permutations(range(len(SHAPES))))
    cut = draw(st.integers(0, 2))
    if not cut:
        return Materialised(jacobian), dense
    return Stacked([(index, Materialised([jacobian[i] for i in index])) for index in (order[:cut], order[cut:])]), dense
