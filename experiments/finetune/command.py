"""The options of ``python -m experiments finetune``."""

from ..common.options import table_command

command = table_command(
    __name__,
    "Top-1 and top-5 accuracy after more training of a trained network (tables 2 and 3 of Fisher SAM).",
    preset="digits",
    presets="digits; as published, with weights and data of yours: imagenet, cifar100, cars, flowers.",
)
