"""The options of ``python -m experiments magnitude``."""

from ..common.options import table_command

command = table_command(
    __name__,
    "What changes where the squared batch gradient stands in for the per-sample Fisher diagonal (section 3 of Fisher SAM).",
    preset="digits",
    presets="digits, device; with the schedule of section 5.1: cifar10.",
)
