"""Norms at a point: each knows its duality map ♯, and nothing of radii, models or gradients."""

from .diagonal import Diagonal
from .identity import Identity
from .low_rank import LowRank
from .matrix_free import MatrixFree
from .product import BallEach, Block, JointBall, JointInnerProduct, joint
from .rank_one import RankOne
from .spectral import Spectral
from .sup import Sup

__all__ = [
    "BallEach",
    "Block",
    "Diagonal",
    "Identity",
    "JointBall",
    "JointInnerProduct",
    "LowRank",
    "MatrixFree",
    "RankOne",
    "Spectral",
    "Sup",
    "joint",
]
