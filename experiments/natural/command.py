"""The options of ``python -m experiments natural``."""

from ..common.options import table_command

command = table_command(
    __name__,
    "SGD, SAM and Fisher SAM with and without the natural gradient, m-sharpness, and the proximal ε = ρ♯g (footnote 3).",
    preset="digits",
    presets="digits, device; at the size of table 1: cifar10.",
)
