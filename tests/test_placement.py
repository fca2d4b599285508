"""The mode that moves what tests make: the same numbers elsewhere, the library left alone. Torch's meta device stands in."""

import pytest
import torch
from torch import nn

from geosam.core import vectors as vec
from tests.placement import Moved, device, reads_switched_off

META = torch.device("meta")


def kinds(*tensors):
    return [t.device.type for t in tensors]


@pytest.mark.host("another device is stood in for")
class TestMoved:
    def test_what_a_test_makes_is_moved_and_stays_a_leaf(self):
        with Moved(META):
            drawn = torch.randn(2, generator=torch.Generator().manual_seed(0))
            leaf = torch.tensor([1.0], requires_grad=True)
            layer = nn.Linear(2, 3)
            assert kinds(drawn, leaf, torch.as_tensor([1.0]), layer.weight, torch.eye(2)) == ["meta"] * 5
            assert leaf.is_leaf and leaf.requires_grad and not drawn.requires_grad

    def test_it_has_the_numbers_of_the_cpu(self, monkeypatch):
        seen = []

        def to(t, where):
            seen.append((t.clone(), where))
            return t

        monkeypatch.setattr(torch.Tensor, "to", to)
        with Moved(META):
            torch.manual_seed(3)
            torch.randn(4)
        torch.manual_seed(3)
        assert torch.equal(seen[0][0], torch.randn(4)) and seen[0][1] == META

    def test_what_names_its_device_or_is_of_the_library_is_left(self):
        with Moved(META):
            named = torch.zeros(2, device="cpu")
            with torch.device("cpu"):
                inside = torch.zeros(2)
            assert kinds(named, inside, vec.dot([named], [named])) == ["cpu"] * 3
            assert named.numpy().shape == (2,)


def test_switched_off_reads_are_back_afterwards():
    x = [torch.ones(2, device="cpu")]
    before = vec.reads_are_free(x)
    with reads_switched_off():
        assert not vec.reads_are_free(x)
    assert vec.reads_are_free(x) == before


def test_models_and_batches_lie_on_the_device():
    from tests.networks import network

    model, x, y = network("mlp")
    assert {t.device.type for t in (*model.parameters(), x, y)} == {device().type}
