"""The options of ``python -m experiments twotower``."""

from ..common.options import table_command

command = table_command(
    __name__,
    "SAM, ASAM and Monge SAM over a grid of radii on a contrastive alignment of two towers.",
    preset="digits",
    presets="digits, mnist.",
)
