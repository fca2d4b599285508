"""The options of ``python -m experiments budget``."""

from ..common.options import table_command

command = table_command(
    __name__,
    "The KL that a radius, fixed after the warm-up, spends over training in each geometry (section 1 of Fisher SAM).",
    preset="digits",
    presets="digits, device; with the published radii: cifar10.",
)
