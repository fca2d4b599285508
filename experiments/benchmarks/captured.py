"""Jobs as CUDA graphs: by hand, and through ``SAM.captured``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import geosam

from ..common.timing import Job
from .move import RHO
from .step import Training


def graphed(run: Callable[[], Any]) -> Callable[[], None]:
    """The replay of one run, recorded after three on a stream beside. It keeps the run, whose tensors the graph reads."""
    if not torch.cuda.is_available():
        raise RuntimeError("graphs need a CUDA device")
    here, beside = torch.cuda.current_stream(), torch.cuda.Stream()
    beside.wait_stream(here)
    with torch.cuda.stream(beside):
        for _ in range(3):
            run()
    here.wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()

    def replay(kept: Callable[[], Any] = run) -> None:
        graph.replay()

    return replay


def fused(training: Training) -> torch.optim.SGD:
    """SGD whose learning rate is a number on the device, which a graph reads at every replay."""
    rate = torch.tensor(1e-6, device=training.x.device)
    return torch.optim.SGD(training.parameters, lr=rate, momentum=0.9, fused=True)


def captured_passes(training: Training, name: str) -> Job:
    """The floor of a captured step: two forward/backward passes and one base step, by hand."""
    base = fused(training)

    def go() -> None:
        training.closure()
        training.closure()
        base.step()

    return Job(name, graphed(go))


def captures() -> Any:
    """``SAM.captured``. Raises: NotImplementedError where this version cannot capture: a failed capture spoils the process."""
    make = getattr(geosam.SAM, "captured", None)
    if make is None:
        raise NotImplementedError("this version has no SAM.captured")
    return make


def captured(training: Training, name: str, metric: geosam.Metric) -> Job:
    """A whole captured step with the batch copied into it."""
    step = captures()(geosam.SAM(fused(training), metric, RHO), training.problem, training.x, training.y)
    return Job(name, lambda: step(training.x, training.y))
