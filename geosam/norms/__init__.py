"""Norms at a point, one file each: every norm knows its duality map ♯.

Called by metrics, engines, observation, optim, measure and testing.
Never imports solvers or problem: radii, models and gradients are unknown here.
"""

from .diagonal import Diagonal
from .identity import Identity
from .kronecker import Factor, Factors, Kronecker
from .low_rank import LowRank
from .matrix_free import MatrixFree
from .product import BallEach, Block, JointBall, JointInnerProduct, joint
from .rank_one import RankOne
from .rebased import Rebased
from .spectral import Spectral
from .sup import Sup

__all__ = [
    "BallEach",
    "Block",
    "Diagonal",
    "Factor",
    "Factors",
    "Identity",
    "JointBall",
    "JointInnerProduct",
    "Kronecker",
    "LowRank",
    "MatrixFree",
    "RankOne",
    "Rebased",
    "Spectral",
    "Sup",
    "joint",
]
