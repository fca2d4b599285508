"""What a package shows, and what is called here what papers and other libraries call otherwise."""

from __future__ import annotations

import sys
from types import ModuleType

_HERE = {
    "SAM": "geosam.SAM(base, rho=0.05)",
    "ASAM": "geosam.SAM(base, geosam.metrics.ParameterScaled(), rho=0.5)",
    "Adaptive": "geosam.metrics.ParameterScaled()",
    "AdaptiveSAM": "geosam.SAM(base, geosam.metrics.ParameterScaled(), rho=0.5)",
    "FSAM": "geosam.SAM(base, geosam.metrics.GradientMagnitude()), Fisher SAM as published; friendly SAM is "
    "objective=geosam.objectives.Residual()",
    "FisherSAM": "geosam.SAM(base, geosam.metrics.GradientMagnitude()) as published, geosam.metrics.EmpiricalFisher() in full",
    "FriendlySAM": "geosam.SAM(base, objective=geosam.objectives.Residual())",
    "MongeSAM": "geosam.SAM(base, geosam.metrics.Monge())",
    "GSAM": "geosam.SAM(base, update=geosam.updates.SurrogateGap(alpha=0.1))",
    "VaSSO": "geosam.SAM(base, objective=geosam.objectives.Smoothed())",
    "InfoSAM": "geosam.SAM(base, objective=geosam.objectives.NoiseWeighted())",
    "EigenSAM": "geosam.SAM(base, objective=geosam.objectives.Eigen())",
    "PreSAM": "geosam.SAM(base, objective=geosam.objectives.Preconditioned(metric))",
    "LookSAM": "geosam.SAM(base, passes=geosam.passes.Every(5, again=True))",
    "LESAM": "geosam.SAM(base, solver=geosam.solvers.LinearRise(rise), rho=rho_max)",
    "SAMON": "geosam.SAM(base, geosam.metrics.only(geosam.metrics.normalisation(model)))",
    "USAM": "geosam.SAM(base, solver=geosam.solvers.Unified(0.0))",
    "KFAC": "geosam.metrics.KroneckerFisher()",
    "KL": "geosam.metrics.KLExact(along=metric), or geosam.KL(0.01) to match radii",
    "L1": "a norm of your own; docs/own_metric.md writes this one",
    "L2": "geosam.norms.Identity(), which as a metric is geosam.metrics.Euclidean()",
    "Linf": "geosam.norms.Sup()",
    "NaturalGradient": "geosam.SAM(base, metric, update=geosam.updates.Natural())",
    "disable_running_stats": "geosam.SAM(base, batchnorm='first'), the default: only the pass at θ updates running statistics",
    "enable_running_stats": "geosam.SAM(base, batchnorm='first'), the default: only the pass at θ updates running statistics",
}


def _plain(name: str) -> str:
    return name.replace("_", "").casefold()


_BY_PLAIN_NAME = {_plain(name): here for name, here in _HERE.items()}


def unknown(package: str, name: str) -> AttributeError:
    """The error of a name that a package does not have; one of a paper's says what to write."""
    here = None if name.startswith("__") else _BY_PLAIN_NAME.get(_plain(name)) or _elsewhere(name)
    told = "" if here is None else f"; it is {here}"
    return AttributeError(f"module {package!r} has no attribute {name!r}{told}", name=name)


def _elsewhere(name: str) -> str | None:
    """Where the library has this name, or one that differs in case and underscores alone; None where it has none."""
    root = sys.modules[__name__.partition(".")[0]]
    rooms = {root.__name__: root} | {f"{root.__name__}.{k}": v for k, v in vars(root).items() if k in root.__all__}
    found = [f"{r}.{n}" for r, room in rooms.items() for n in getattr(room, "__all__", ()) if _plain(n) == _plain(name)]
    return " or ".join(found) or None


def show(package: ModuleType) -> None:
    """``dir`` of the package lists what is public, and a name that it does not have is an error with a cure."""

    def missing(name: str) -> object:
        raise unknown(package.__name__, name)

    vars(package).update(__dir__=lambda: list(package.__all__), __getattr__=missing)
