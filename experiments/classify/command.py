"""The options of ``python -m experiments classify``."""

from ..common.options import table_command

command = table_command(
    __name__,
    "Test accuracy of SGD and of SAM in each geometry (table 1 of Fisher SAM), at equal tuning, with SGD at equal compute.",
    preset="digits",
    presets="digits, device; as published: cifar10, cifar100, pyramidnet-cifar10, pyramidnet-cifar100.",
)
