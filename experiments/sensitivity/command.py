"""The options of ``python -m experiments sensitivity``."""

from ..common.options import table_command

command = table_command(
    __name__,
    "Accuracy of Fisher SAM over γ and η (figure 5 of its paper), and how far its ε* is from SAM's.",
    preset="digits",
    presets="digits, device; as published: cifar100.",
)
