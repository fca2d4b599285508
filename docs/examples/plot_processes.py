"""
Whose ball? Several processes
=============================

Over several processes SAM is two algorithms. With one ball for all, ε* is the big batch's, whatever the number of processes.
With a ball a process, as most published codes have it without saying so, the perturbations differ and their radius means
another thing.
"""

# %%
# Two processes with gloo, each with its half of the batch. ``Problem`` takes the wrapper.
import socket

import matplotlib.pyplot as plt
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

import geosam

torch.manual_seed(0)
x, y = torch.randn(64, 20), torch.randint(5, (64,))


def network():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Tanh(), torch.nn.Linear(30, 5))


def train(model, ball, part):
    problem = geosam.Problem(model, torch.nn.CrossEntropyLoss())
    opt = geosam.SAM(
        torch.optim.SGD(model.named_parameters(), lr=0.1), metric=geosam.metrics.GradientMagnitude(), rho=0.5, ball=ball
    )
    for _ in range(10):
        opt.step(problem.on(x[part], y[part]))
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def worker(rank, port, found):
    dist.init_process_group("gloo", init_method=f"tcp://localhost:{port}", rank=rank, world_size=2)
    for ball in ("global", "rank"):
        weights = train(DistributedDataParallel(network()), ball, slice(32 * rank, 32 * rank + 32))
        if rank == 0:
            found[ball] = weights
    dist.destroy_process_group()


with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
with mp.get_context("fork").Manager() as manager:
    shared = manager.dict()
    mp.start_processes(worker, (port, shared), nprocs=2, start_method="fork")
    found = dict(shared)

# %%
# The weights after ten steps, against one process with the whole batch:
alone = train(network(), "global", slice(None))
moved = (alone - torch.cat([p.detach().flatten() for p in network().parameters()])).norm()
distances = {ball: ((weights - alone).norm() / moved).item() for ball, weights in found.items()}
for ball, distance in distances.items():
    print(f"ball={ball!r}: {distance:.1e} of the way that training went")

# %%
fig, ax = plt.subplots(figsize=(5, 2.5), layout="constrained")
ax.barh(list(distances), list(distances.values()))
ax.set_xscale("log")
ax.set_xlabel("distance to the weights of one process, relative")
plt.show()
