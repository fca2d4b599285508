"""Loops of one's own: python docs/trainers/plain.py"""

import torch
from torch import nn

import geosam


def with_problem(model, batches, metric):
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), metric, rho=0.1, max_norm=1.0)
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    for x, y in batches:
        opt.step(problem.on(x, y))


def with_closure(model, batches, metric):
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), metric, rho=0.1, max_norm=1.0)
    for x, y in batches:

        def closure(x=x, y=y):
            opt.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            return loss

        opt.step(closure)


def with_perturb(model, batches, metric):
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), metric, rho=0.1)
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    for x, y in batches:
        opt.zero_grad()
        opt.perturb(problem.on(x, y))
        nn.functional.cross_entropy(model(x), y).backward()
        opt.restore()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()


def with_scaler(model, batches, metric):
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), metric, rho=0.1, max_norm=1.0)
    problem, scaler = geosam.Problem(model, nn.CrossEntropyLoss()), torch.amp.GradScaler("cpu")
    for x, y in batches:
        with torch.autocast("cpu", torch.float16):
            opt.step(problem.on(x, y), scaler=scaler)
        scaler.update()


if __name__ == "__main__":
    from setting import loader, network

    for train in (with_problem, with_closure, with_perturb):
        train(network(), loader(), geosam.metrics.ParameterScaled())
    with_scaler(network(torch.float32), loader(torch.float32), geosam.metrics.ParameterScaled())
