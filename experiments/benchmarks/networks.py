"""The shared networks that are timed, under the names that scripts for other machines import."""

from ..networks.group_resnet import group_resnet
from ..networks.mlp import mlp
from ..networks.resnet import resnet20
from ..networks.vision_transformer import VisionTransformer, vision_transformer
from ..networks.wide_resnet import wide_resnet

__all__ = ["VisionTransformer", "group_resnet", "mlp", "resnet20", "vision_transformer", "wide_resnet"]
