"""Rows of another kind in place of the norm's own."""

import pytest
import torch

import geosam
from geosam import norms
from geosam.metrics import Fisher
from tests.fishers import bind, closeness, flat
from tests.laws import oracles


def test_a_rebased_norm_is_its_base_for_any_other_vector():
    bound = bind()
    metric = Fisher(0.1)
    seen = geosam.observe(bound, metric.needs)
    norm = metric.at(seen)
    assert isinstance(norm, norms.Rebased) and float(norm.logdet()) == pytest.approx(
        float(torch.logdet(oracles.fisher(0.1)(bound))), rel=1e-10
    )
    told, plain = norm.sharp(seen.gradient), norm.sharp(list(seen.gradient))
    assert closeness(flat(told), flat(plain)) < 1e-10
