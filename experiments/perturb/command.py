"""The options of ``python -m experiments perturb``."""

from ..common.options import table_command

command = table_command(
    __name__,
    "Test accuracy of trained networks with weights moved by α, along the gradient and at random (figure 4 of Fisher SAM).",
    preset="digits",
    presets="digits, device; as published: cifar10.",
)
