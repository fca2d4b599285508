"""What would make an ablation's numbers wrong in silence: refused, told, or without effect."""

import random
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import geosam
from geosam import metrics
from geosam.ablation import Rule, Tuned, classified, read
from geosam.records import Watcher

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()
BOTH = {"SGD": None, "SAM": metrics.Euclidean()}


class Quiet(Watcher):
    def say(self, text):
        pass


def net(seed):
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))


def call(folder, model=net, data=(X, Y), methods=BOTH, **changes):
    settings = {"seeds": (0,), "epochs": 2, "batch": 20, "test": (X, Y), "folder": folder, "watcher": Quiet()}
    return geosam.ablate(model, data, methods, **{**settings, **changes})


def losses(results):
    return [[row["loss"] for row in record.result["epochs"]] for record in results.records]


def test_one_network_for_all_runs_is_refused(tmp_path):
    shared = net(0)
    with pytest.raises(RuntimeError, match=r"'0\.weight' of another run, which has trained it: make a new network each time"):
        call(tmp_path, lambda seed: shared)


def test_a_look_that_leaves_evaluation_mode_on_changes_no_number(tmp_path):
    looked = call(tmp_path / "a", look=lambda training: {"mean": training.model.eval()[0].weight.mean()})
    assert losses(looked) == losses(call(tmp_path / "b"))
    assert isinstance(looked.records[0].result["epochs"][0]["look"]["mean"], float)


class Noisy(Dataset):
    """Augmented from NumPy's and Python's streams."""

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return X[index] + float(np.random.randn()) + random.random(), Y[index]


def test_what_numpy_and_python_draw_comes_from_the_seed_too_and_a_run_goes_on_there(tmp_path, monkeypatch):
    before = np.random.get_state()[1].tolist()
    whole = call(tmp_path / "a", data=Noisy(), methods={"SAM": metrics.Euclidean()})
    assert np.random.get_state()[1].tolist() == before
    real = geosam.ablation.Training._epoch

    def stopped(self, step):
        if self.done:
            raise KeyboardInterrupt
        return real(self, step)

    monkeypatch.setattr(geosam.ablation.Training, "_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        call(tmp_path / "b", data=Noisy(), methods={"SAM": metrics.Euclidean()}, checkpoint=0.0)
    monkeypatch.undo()
    random.random()
    resumed = call(tmp_path / "b", data=Noisy(), methods={"SAM": metrics.Euclidean()}, checkpoint=0.0)
    assert losses(resumed) == losses(whole)


def test_a_folder_of_two_ablations_is_not_read_as_one(tmp_path):
    call(tmp_path)
    call(tmp_path, epochs=1)
    with pytest.raises(ValueError, match=r"several ablations, which differ in epochs: keep a folder for each"):
        read(tmp_path)
    call(tmp_path / "methods", methods={"SAM": metrics.Euclidean()})
    call(tmp_path / "methods", methods={"SAM": metrics.Monge()})
    with pytest.raises(ValueError, match=r"2 records of 'SAM' from seed 0"):
        read(tmp_path / "methods")


def test_a_method_that_fails_from_a_seed_is_not_decided(tmp_path):
    def step(optimizer, problem):
        if torch.initial_seed() == 1 and isinstance(optimizer, geosam.SAM):
            raise ZeroDivisionError
        return lambda x, y: optimizer.step(problem.on(x, y))

    verdict = call(tmp_path, step=step, seeds=(0, 1, 2), rule=Rule(against="SGD")).verdicts()["SAM"]
    assert verdict.outcome == "not decided" and "no record from seed 1" in verdict.why and verdict.interval.n == 2


@pytest.mark.parametrize("kind", [Rule, Tuned])
def test_a_larger_loss_is_not_better(kind):
    with pytest.raises(ValueError, match=rf"{kind.__name__}\(score='loss', larger=False\)"):
        kind(score="loss")
    assert not kind(score="loss", larger=False).larger


def test_a_score_without_what_decides_is_told_before_anything_is_trained(tmp_path):
    """One logit has no second class to be compared with: accuracy was the share of the class 0."""

    def loss(z, y):
        return nn.functional.binary_cross_entropy_with_logits(z.squeeze(1), y.float())

    with pytest.raises(ValueError, match=r"no 'accuracy' in the score, which has loss, samples: .*larger=False"):
        call(tmp_path, lambda seed: nn.Linear(3, 1), loss=loss)
    assert not list(tmp_path.rglob("*.json"))


def test_a_factory_that_counts_keeps_its_records(tmp_path):
    """What a run changes in what it was described by: a counter."""
    made = []

    def counting(seed):
        made.append(seed)
        return net(seed)

    assert len(call(tmp_path, counting).records) == 2


class Rows(Dataset):
    """Samples that are no pairs."""

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return {"x": X[index], "y": Y[index]}


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


@pytest.mark.parametrize(
    "data, error",
    [
        (Rows(), r"pair \(x, y\), where x may be a dict; Rows gives a dict of x, y"),
        (Stream(), r"Stream has no order from which the seed could draw"),
        (DataLoader(TensorDataset(X, Y)), r"loader\.dataset, with batch="),
        ((X, ["yes"] * len(X)), r"whole numbers for classes; got \(Tensor, list\)"),
    ],
)
def test_what_gives_no_batches_is_told_what_to_write(data, error, tmp_path):
    with pytest.raises((TypeError, RuntimeError), match=error):
        call(tmp_path, data=data)


def test_arrays_are_data_and_a_score_is_a_table(tmp_path):
    assert losses(call(tmp_path / "a", data=(X.numpy(), Y.numpy()))) == losses(call(tmp_path / "b"))
    with pytest.raises(TypeError, match=r"score gives \{name: number\}.*got 0\.5"):
        call(tmp_path / "c", score=lambda model, loss, batches: 0.5)


def test_the_loss_of_all_samples_does_not_depend_on_how_they_are_cut():
    """Class weights and labels that are ignored: a smaller last batch counts by what is in it."""
    labels = Y.clone()
    labels[5:20], model = -100, net(0).eval()
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0]))
    cut = classified(model, loss, zip(X.split(7), labels.split(7), strict=True))
    assert cut["loss"] == pytest.approx(loss(model(X), labels).item(), rel=1e-6) and cut["labels"] == 25


class Counts(nn.CrossEntropyLoss):
    """A loss with a memory in a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, outputs, y):
        if outputs.requires_grad:
            self.get_buffer("calls").add_(1)
        return super().forward(outputs, y) * (1 + 0.01 * self.calls)


@dataclass(frozen=True)
class Hoards(geosam.Metric):
    """Keeps what it saw in a list of its own."""

    seen: list = field(default_factory=list)

    def local(self, observation):
        self.seen.append(0)
        return geosam.norms.Diagonal.of([torch.full_like(p, 1.0 + len(self.seen)).detach() for p in observation.parameters])


def test_what_a_run_leaves_in_the_loss_or_in_a_metric_is_in_no_other_run(tmp_path):
    """As where every run has a process of its own."""
    hoards = Hoards()
    one, other = losses(call(tmp_path / "metric", methods={"a": hoards, "b": hoards}))
    assert one == other and not hoards.seen
    one, other = losses(call(tmp_path / "loss", methods={"a": None, "b": None}, loss=Counts()))
    assert one == other
