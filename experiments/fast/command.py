"""The options of ``python -m experiments fast``."""

from ..common.options import table_command

command = table_command(
    __name__,
    "The fast CIFAR-10 recipe with SAM: do geometries differ at equal compute and tuning, with clean and with wrong labels?",
    preset="small",
    presets="small: 2,500 images for two cores; tiny: 800 for one; cifar10: the recipe, for a device.",
)
