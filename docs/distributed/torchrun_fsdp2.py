"""
FSDP2 and checkpoints, by torchrun
==================================

Each process holds a part of every parameter. The step is as without sharding; a checkpoint is torch's own, and may be
resumed by another number of processes::

    torchrun --nproc-per-node 2 docs/distributed/torchrun_fsdp2.py /tmp/run
    torchrun --nproc-per-node 1 docs/distributed/torchrun_fsdp2.py /tmp/run

On GPUs: ``device = "cuda"``, and ``torch.cuda.set_device`` of the local rank.
"""

# %%
# A network that ``fully_shard`` divides, one call for each layer that is to be gathered by itself.
import pathlib
import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import state_dict as dsd
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import geosam

device = "cpu"
folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "checkpoint")
dist.init_process_group()
rank, size = dist.get_rank(), dist.get_world_size()
mesh = init_device_mesh(device, (size,))

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 5)).to(device)
for layer in (model[0], model[2], model):
    fully_shard(layer, mesh=mesh)

# %%
# The optimizer is made after sharding, of the sharded parameters. ε* is that of the joined batch of all processes.
base = torch.optim.AdamW(model.named_parameters(), lr=0.01)
opt = geosam.SAM(base, metric=geosam.metrics.ParameterScaled(), rho=0.5, objective=geosam.objectives.Smoothed())
problem = geosam.Problem(model, torch.nn.CrossEntropyLoss())

# %%
# Resume: torch fills the tensors that a fresh optimizer would have, memory of geosam's included.
if folder.exists():
    state = {"model": dsd.get_model_state_dict(model), "opt": dsd.get_optimizer_state_dict(model, opt)}
    dcp.load(state, checkpoint_id=folder)
    dsd.set_model_state_dict(model, state["model"])
    dsd.set_optimizer_state_dict(model, opt, state["opt"])

# %%
# Train on this process's part of each batch.
generator = torch.Generator().manual_seed(1)
x = torch.randn(256, 20, generator=generator)
y = (x @ torch.randn(20, 5, generator=generator)).argmax(1)
start = opt.steps
for step in range(start, start + 20):
    here = slice(64 * (step % 4), 64 * (step % 4) + 64)
    part = slice(rank, None, size)
    loss = opt.step(problem.on(x[here][part].to(device), y[here][part].to(device)))
    if rank == 0 and step % 5 == 0:
        print(f"step {step}: loss {loss.item():.4f}, radius {opt.last.radius.item():.3f}", flush=True)

# %%
opt.zero_grad()  # torch asks for no gradients where it looks at an optimizer
dcp.save({"model": dsd.get_model_state_dict(model), "opt": dsd.get_optimizer_state_dict(model, opt)}, checkpoint_id=folder)
dist.destroy_process_group()
