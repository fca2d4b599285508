"""Processes under gloo that answer as one test: forks of one server, which imports torch and geosam once for all of them."""

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

SHARED = ["torch._dynamo", "torch.nn.parallel", "torch.distributed.fsdp", "pytest", "geosam", "tests.networks"]


def together(folder: Path, size: int, act: Callable[..., None], *arguments: Any) -> None:
    """``act(*arguments)`` in each of so many processes of one group; AssertionError with what the first that failed said.

    folder: an empty one, of this call alone. act: a function of a module's, so that another process finds it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(SHARED)
    ranks = [context.Process(target=_member, args=(folder, rank, size, act, *arguments)) for rank in range(size)]
    for process in ranks:
        process.start()
    try:
        running = {process.sentinel: rank for rank, process in enumerate(ranks)}
        while running:
            ended = wait(list(running), timeout=300)
            assert ended, f"ranks {sorted(running.values())} have not ended after 300 s"
            for rank in sorted(running.pop(sentinel) for sentinel in ended):
                ranks[rank].join()
                said = folder / f"{rank}.txt"
                assert ranks[rank].exitcode == 0, said.read_text()[-3000:] if said.exists() else f"rank {rank} was killed"
    finally:
        for process in ranks:  # one that waits for another that failed
            process.kill()
            process.join()


def _member(folder: Path, rank: int, size: int, act: Callable[..., None], *arguments: Any) -> None:
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=size)
        act(*arguments)
        dist.destroy_process_group()
    except BaseException:
        (folder / f"{rank}.txt").write_text(f"rank {rank}\n{traceback.format_exc()}")
        raise SystemExit(1) from None
