"""All families of the zoo, and the lines that the suite runs without being asked."""

from __future__ import annotations

from tests.zoo import (
    adapters,
    attention,
    classification,
    convolutions,
    execution,
    experts,
    graphs,
    inputs,
    language,
    normalisations,
    recurrent,
    regression,
    structured,
)
from tests.zoo.line import Line

FAMILIES = (
    language,
    recurrent,
    attention,
    convolutions,
    normalisations,
    experts,
    graphs,
    adapters,
    inputs,
    execution,
    classification,
    regression,
    structured,
)
LINES: dict[str, Line] = {line.name: line for family in FAMILIES for line in family.LINES}

OFTEN = (
    "window, tied head and padding_idx, token mean with ignore_index",
    "GRU, packed, cross-entropy",
    "attention, key padding mask, cross-entropy",
    "Conv2d padded by 'same', cross-entropy",
    "BatchNorm in training mode, cross-entropy",
    "samples in interleaved halves, cross-entropy",
    "experts with a capacity that is full, cross-entropy",
    "graph network, nodes of one graph as samples, cross-entropy",
    "LoRA, cross-entropy",
    "a layer dropped by Python's numbers, cross-entropy",
    "perceptron, focal with a likelihood",
    "perceptron, a penalty on its parameters, with a likelihood",
)
QUICK = ("rows", "EmpiricalFisher", "KL", "Fisher by rows", "DiagonalFisher")
"""Quantities of these: what samples and the distribution give, each by its quickest way."""
