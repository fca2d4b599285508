"""Trainers that accumulate under DistributedDataParallel: the mean over processes and micro-batches, as two passes by hand."""

import os
import warnings
from contextlib import contextmanager

import pytest
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler

from tests.ranks import together
from tests.trainers import by_hand
from tests.trainers.routes import GEOMETRIES, alone, classifier, setting, shown, weights
from tests.trainers.test_trainers import fit, lightning_module, sam

SIZE, ACCUMULATE = 2, 2


@contextmanager
def launched():
    """The environment of torchrun."""
    rank = str(dist.get_rank())
    os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": str(SIZE), "LOCAL_WORLD_SIZE": str(SIZE), "GROUP_RANK": "0"}
    os.environ |= {"TORCHELASTIC_RUN_ID": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "ACCELERATE_USE_CPU": "true"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def with_lightning(metric, **options):
    """Samples are dealt out by turns: Lightning's own sampler shuffles them first."""
    from lightning.pytorch.strategies import DDPStrategy

    model = setting.network()
    batches = DataLoader(setting.data(), batch_size=8, sampler=DistributedSampler(setting.data(), shuffle=False))
    how = {"accumulate_grad_batches": ACCUMULATE, "gradient_clip_val": 1.0, "devices": SIZE, "use_distributed_sampler": False}
    with launched():
        strategy = DDPStrategy(process_group_backend="gloo", **options)
        fit(lightning_module(model, sam(metric)), batches=batches, strategy=strategy, **how)
    return model


def with_transformers(metric):
    model = classifier(torch.float64)
    samples = [{"x": x, "labels": y} for x, y in setting.data()]
    how = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no"}
    how |= {"num_train_epochs": 1, "per_device_train_batch_size": 8, "lr_scheduler_type": "constant", "weight_decay": 0.0}
    how |= {"output_dir": "/tmp", "train_sampling_strategy": "sequential", "optim": "sgd", "ddp_backend": "gloo"}
    with launched(), alone():
        shown("with_transformers").train(model, samples, metric, gradient_accumulation_steps=ACCUMULATE, **how)
    return model


def expected(name, base):
    """Of both processes' micro-batches together."""
    model = setting.network()
    by_hand.train(model, DataLoader(setting.data(), batch_size=8 * SIZE), GEOMETRIES[name][1], base=base, accumulate=ACCUMULATE)
    return weights(model)


def follow(run, name, wanted, options):
    found = weights(run(GEOMETRIES[name][0], **options))
    start = weights(setting.network())
    assert (error := float((found - wanted).norm() / (wanted - start).norm())) < 1e-9, error


RUNS = {
    "Lightning": (with_lightning, by_hand.sgd, {}),
    "Lightning, gradients in buckets": (with_lightning, by_hand.sgd, {"gradient_as_bucket_view": True}),
    "transformers": (with_transformers, lambda model: by_hand.sgd(model, 0.0), {}),
}


@pytest.mark.trainers
@pytest.mark.parametrize("name", ["Euclidean", "GradientMagnitude"])
@pytest.mark.parametrize("trainer", RUNS)
def test_accumulation_in_two_processes(tmp_path, trainer, name):
    run, base, options = RUNS[trainer]
    together(tmp_path, SIZE, follow, run, name, expected(name, base), options)
