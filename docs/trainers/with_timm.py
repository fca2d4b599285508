"""The loop of timm's train.py: python docs/trainers/with_timm.py"""

import timm.optim
import timm.utils
import torch
from torch import nn

import geosam


def train(model, batches, metric, dtype=torch.float16):
    optimizer = timm.optim.create_optimizer_v2(model, opt="momentum", lr=0.1, momentum=0.9, weight_decay=0.01)
    scaler = timm.utils.NativeScaler("cpu")
    opt, problem = geosam.SAM(optimizer, metric, rho=0.1), geosam.Problem(model, nn.CrossEntropyLoss())
    for x, y in batches:
        with torch.autocast("cpu", dtype):
            opt.perturb(problem.on(x, y), until="backward")
            loss = nn.functional.cross_entropy(model(x), y)
        scaler(loss, optimizer, clip_grad=1.0, parameters=model.parameters())
        optimizer.zero_grad()


if __name__ == "__main__":
    from setting import loader, network

    train(network(torch.float32), loader(torch.float32), geosam.metrics.EmpiricalFisher())
