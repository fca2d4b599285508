"""The options of ``python -m experiments noise``."""

from ..common.options import table_command

command = table_command(
    __name__,
    "Test accuracy where 20 to 80 % of the training labels are wrong (table 4 of Fisher SAM), tuned at every rate.",
    preset="digits",
    presets="digits, device; as published: cifar10.",
)
