"""Accelerate: python docs/trainers/with_accelerate.py"""

import torch
from accelerate import Accelerator
from torch import nn

import geosam


def train(model, batches, metric, **options):
    accelerator = Accelerator(**options)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), metric, rho=0.1, max_norm=1.0)
    model, base, batches = accelerator.prepare(model, opt.base, batches)
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    for x, y in batches:
        with accelerator.accumulate(model):
            opt.perturb(problem.on(x, y), until="backward")
            accelerator.backward(nn.functional.cross_entropy(model(x), y))
            base.step()
            base.zero_grad()


if __name__ == "__main__":
    from setting import loader, network

    train(network(), loader(), geosam.metrics.EmpiricalFisher(), gradient_accumulation_steps=2)
