"""The recipe's optimizer, by its definition."""

import pytest
import torch
from torch import nn

from experiments.fast.recipe import Recipe


def built(steps, batch=1024):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    sgd, schedule = Recipe(batch)(model.named_parameters(), steps)
    return model, sgd, schedule


def test_rates_are_those_of_1024_samples_without_momentum():
    _, sgd, _ = built(100, batch=512)
    (group,) = sgd.param_groups
    each = 512 / (1024 * (1 + 1 / 0.15))
    assert group["initial_lr"] == pytest.approx(11.5 * each) and len(group["params"]) == 1 and group["nesterov"]
    assert group["initial_lr"] * group["weight_decay"] == pytest.approx(0.0153 * each)


def test_the_rate_goes_up_and_down():
    _, sgd, schedule = built(100)
    seen = []
    for _ in range(100):
        seen.append(sgd.param_groups[0]["lr"] / sgd.param_groups[0]["initial_lr"])
        sgd.step()
        schedule.step()
    assert seen[0] == pytest.approx(0.2) and max(seen) == pytest.approx(1.0) and seen.index(max(seen)) == 23
    assert sgd.param_groups[0]["lr"] / sgd.param_groups[0]["initial_lr"] == pytest.approx(0.07)


def walk(steps, model, sgd, schedule):
    for _ in range(steps):
        with torch.no_grad():
            model.weight += 1.0
        sgd.step()
        schedule.step()


def test_every_fifth_step_weights_and_slow_weights_meet():
    model, sgd, schedule = built(12)
    start = model.weight.detach().clone()
    walk(5, model, sgd, schedule)
    kept = 0.95**5 * (5 / 12) ** 3
    torch.testing.assert_close(model.weight, start + 5 * (1 - kept))
    walk(5, model, sgd, schedule)
    slow = model.weight.detach().clone()
    walk(2, model, sgd, schedule)
    torch.testing.assert_close(model.weight.detach(), slow)  # at the end the weights are the slow ones


def test_it_goes_on_from_a_checkpoint():
    whole, parted = built(12), built(12)
    walk(11, *whole)
    walk(7, *parted)
    model, sgd, schedule = built(12)
    model.load_state_dict(parted[0].state_dict())
    sgd.load_state_dict(parted[1].state_dict())
    schedule.load_state_dict(parted[2].state_dict())
    walk(4, model, sgd, schedule)
    torch.testing.assert_close(model.weight, whole[0].weight)
    assert sgd.param_groups[0]["lr"] == whole[1].param_groups[0]["lr"]
