"""torch.distributed.checkpoint of sharded parameters, geosam's memory included, also on another number of processes."""

from __future__ import annotations

import copy
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

import geosam
from geosam import metrics, objectives
from tests.optim.sharded import X, Y, by_layers, closure, full, network, share
from tests.ranks import together


def remembering(model: nn.Module) -> geosam.SAM:
    base = torch.optim.AdamW(model.named_parameters(), lr=0.05)
    return geosam.SAM(base, metrics.Averaged(metrics.GradientMagnitude(), 0.5), 0.1, objectives.Smoothed(0.8))


def goes_on(model: nn.Module, opt: geosam.SAM, x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    for _ in range(2):
        opt.step(closure(opt, model, x, y))
    opt.zero_grad()
    return full(model.parameters())


def resumed(model: nn.Module, folder: Path) -> geosam.SAM:
    """From the checkpoint, by torch's own functions."""
    from torch.distributed import checkpoint as dcp
    from torch.distributed.checkpoint import state_dict as dsd

    opt = remembering(model)
    found = {"model": dsd.get_model_state_dict(model), "opt": dsd.get_optimizer_state_dict(model, opt)}
    with warnings.catch_warnings():  # in one process torch says that it is one
        warnings.simplefilter("ignore")
        dcp.load(found, checkpoint_id=folder)
    dsd.set_model_state_dict(model, found["model"])
    dsd.set_optimizer_state_dict(model, opt, found["opt"])
    return opt


def a_checkpoint_goes_on(folder: Path, size: int) -> None:
    from torch.distributed import checkpoint as dcp
    from torch.distributed.checkpoint import state_dict as dsd

    x, y = share(X), share(Y)
    model = by_layers(network(), size)
    opt = remembering(model)
    goes_on(model, opt, x, y)
    whole = {"full_state_dict": True}
    saved = {"model": dsd.get_model_state_dict(model), "opt": dsd.get_optimizer_state_dict(model, opt)}
    dcp.save(saved, checkpoint_id=folder / "saved")
    gathered = copy.deepcopy(dsd.get_optimizer_state_dict(model, opt, options=dsd.StateDictOptions(**whole)))
    weights = dsd.get_model_state_dict(model, options=dsd.StateDictOptions(**whole))
    end = goes_on(model, opt, x, y)
    other = by_layers(network(), size)
    again = resumed(other, folder / "saved")
    assert again.steps == 2 and all(map(torch.equal, end, goes_on(other, again, x, y)))
    third = by_layers(network(), size)
    last = remembering(third)
    dsd.set_model_state_dict(third, weights, options=dsd.StateDictOptions(**whole))
    dsd.set_optimizer_state_dict(third, last, gathered, options=dsd.StateDictOptions(**whole))
    assert all(map(torch.equal, end, goes_on(third, last, x, y)))
    if dist.get_rank() == 0:
        torch.save(end, folder / "end.pt")


def goes_on_alone(folder: Path) -> None:
    """In one process, on the big batch."""
    model = network()
    opt = resumed(model, folder / "saved")
    torch.testing.assert_close(goes_on(model, opt, X, Y), torch.load(folder / "end.pt"), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_a_checkpoint_is_of_any_number_of_processes(tmp_path, size):
    together(tmp_path, size, a_checkpoint_goes_on, tmp_path, size)
    goes_on_alone(tmp_path)


@pytest.mark.slow
def test_the_example_trains_and_resumes_on_another_number_of_processes(tmp_path):
    root = Path(__file__).parents[2]
    said = []
    for size in (2, 1):
        with socket.socket() as free:  # --standalone looks the machine's name up, which not every machine has
            free.bind(("127.0.0.1", 0))
            place = ["--master-addr=127.0.0.1", f"--master-port={free.getsockname()[1]}"]
        command = [sys.executable, "-m", "torch.distributed.run", *place, f"--nproc-per-node={size}"]
        command += [str(root / "docs/distributed/torchrun_fsdp2.py"), str(tmp_path / "saved")]
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        said.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300).stdout)
    losses = [[float(line.split()[3].rstrip(",")) for line in text.splitlines() if line.startswith("step")] for text in said]
    assert "step 20:" in said[1] and losses[0][0] > losses[0][-1] > losses[1][-1]
