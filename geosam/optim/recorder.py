"""Recording a run as a CUDA graph, and leaving torch as it was where that fails."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

Run = Callable[[], None]

_UNSEEN = "torch/cuda", "torch/utils", "torch/_C", __file__


class Recorder(Protocol):
    """Makes a run into something that can be replayed on the same tensors without Python."""

    def rehearse(self, run: Run) -> None:
        """Run it, as often as it takes until it allocates and asks nothing new."""

    def record(self, run: Run) -> Run:
        """The replay. Python's part of the run is over after this call."""


class CudaGraph:
    """A CUDA graph on a device. Raises: RuntimeError, naming the line, where the run reads the device."""

    def __init__(self, device: torch.device) -> None:
        if device.type != "cuda":
            raise RuntimeError(
                f"a captured step is a CUDA graph, and the parameters are on {device}. Move the model to a CUDA device before "
                "the optimizer is built, or use opt.step(problem.on(x, y))."
            )
        self.device = device

    def rehearse(self, run: Run) -> None:
        """Three times on a stream beside; the last time no host read is allowed."""
        here, beside = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)
        beside.wait_stream(here)
        with torch.cuda.stream(beside):
            run()
            run()
            self._rehearse_strictly(run)
        here.wait_stream(beside)

    def _rehearse_strictly(self, run: Run) -> None:
        torch.cuda.synchronize(self.device)
        mode = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            run()
        except RuntimeError as error:
            raise refusal(f"it reads a number on the host at {_where(error)} ({_first_line(error)})") from error
        finally:
            torch.cuda.set_sync_debug_mode(mode)

    def record(self, run: Run) -> Run:
        """The graph's replay."""
        with torch.cuda.device(self.device):
            generator = torch.cuda.default_generators[torch.cuda.current_device()]
            # A failed capture leaves the generator's state in capture mode: it gets a copy, and then the original again.
            before = generator.graphsafe_get_state()
            generator.graphsafe_set_state(generator.clone_state())
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph):
                    run()
            except BaseException as error:
                generator.graphsafe_set_state(before)
                if isinstance(error, Exception):
                    first = error.__context__ if isinstance(error.__context__, Exception) else error
                    raise refusal(f"the capture failed at {_where(first)} ({_first_line(first)})") from error
                raise
        return graph.replay


def refusal(reason: str) -> RuntimeError:
    """The error for a step that cannot be a graph."""
    return RuntimeError(f"this step cannot be one CUDA graph: {reason}. opt.step(problem.on(x, y)) takes it as it is.")


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _where(error: BaseException) -> str:
    """The innermost line that is not torch's machinery."""
    frames: list[Any] = traceback.extract_tb(error.__traceback__)
    seen = [f for f in frames if not any(part in f.filename for part in _UNSEEN)] or frames
    return f"{Path(seen[-1].filename).name}:{seen[-1].lineno}, {seen[-1].line}" if seen else "an unknown line"
