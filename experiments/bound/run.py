"""One run: a model trained under SAM, and every quantity of the bounds at the parameters it ends at."""

from __future__ import annotations

import torch
from torch import nn

import geosam
from geosam.metrics import Euclidean
from theory.pac_bayes import bound
from theory.pac_bayes.tail import radius

from ..data.batches import batches
from ..data.digit_components import digit_components
from ..data.split import Split
from ..networks.initial import drawn_from
from ..networks.logistic import PinnedLogistic
from ..networks.mlp import mlp
from .config import Run, Training
from .curvature import dense, fisher
from .losses import LOSS, flat, zero_one
from .result import Outcome
from .theorem import added
from .worst import worst


def features(training: Training) -> Split:
    """What the models see."""
    return digit_components(training.train_size, training.aside, training.components, training.split_seed)


def network(run: Run) -> nn.Module:
    """Logistic regression, or one hidden ReLU layer; float64."""
    inputs, hidden = run.training.components, run.training.hidden
    with drawn_from(run.seed):
        return (PinnedLogistic(inputs, 10) if run.model == "logistic" else mlp(inputs, hidden, 10)).double()


def trained(run: Run, split: Split) -> nn.Module:
    """SGD under SAM in the run's geometry, whole batches in an order that only the seed decides."""
    training, model = run.training, network(run)
    base = torch.optim.SGD(model.named_parameters(), training.lr, training.momentum)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(base, training.epochs)
    optimizer = geosam.SAM(base, metric=run.method.metric, rho=run.method.gamma)
    problem = geosam.Problem(model, LOSS)
    for chosen in batches(split, training.batch, training.epochs, run.seed):
        for batch in chosen:
            optimizer.step(problem.on(*batch))
        schedule.step()
    return model


def measure(run: Run) -> Outcome:
    """Train, then evaluate."""
    split = features(run.training)
    model, n, gamma = trained(run, split), run.training.train_size, run.method.gamma
    theta, start = flat(model), flat(network(run))
    F = fisher(model, theta, split.x)
    G = dense(run.method.metric, model, split, F)
    generator = torch.Generator().manual_seed(run.seed)
    raw = torch.randn(run.draws, len(theta), generator=generator, dtype=theta.dtype)
    noise = torch.linalg.solve_triangular(torch.linalg.cholesky(G).T, raw.T, upper=True).T  # N(0, G⁻¹)
    rho = gamma / radius(len(theta), n)
    travelled = float((theta - start).norm())
    largest, proved, floor = added(run, G, travelled)
    with torch.no_grad():
        tested = nn.functional.cross_entropy(model(split.test_x), split.test_y, reduction="none")
    eigenvalues = torch.linalg.eigvalsh(F)
    euclidean = isinstance(run.method.metric, Euclidean)
    return Outcome(
        model=run.model,
        method=run.method.name,
        parameters=len(theta),
        samples=n,
        null_directions=int((eigenvalues <= 1e-12 * eigenvalues[-1]).sum()),
        train=float(zero_one(model, theta[None], split.x, split.y)[0]),
        test=float(zero_one(model, theta[None], split.test_x, split.test_y)[0]),
        average=float(zero_one(model, theta + rho * noise, split.test_x, split.test_y).mean()),
        worst=worst(gamma, model, split, G, noise),
        cross_entropy=float(tested.mean()),
        largest_cross_entropy=float(tested.max()),
        norm=float(theta.norm()),
        travelled=travelled,
        largest_eigenvalue=largest,
        proved=proved,
        floor=floor,
        sam=bound.sam(len(theta), n, run.delta, gamma, float(theta.norm())).total if euclidean else None,
    )
