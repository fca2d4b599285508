"""Errors against float64, and what a refusal leaves."""

from dataclasses import replace

import pytest
import torch

from experiments.benchmarks import correct
from experiments.benchmarks.correct import EVERY, SMALL, errors, host_reads, parts
from experiments.benchmarks.graph import without_synchronising
from geosam.core import vectors

CPU = torch.device("cpu")


def test_an_error_is_measured_in_each_precision_and_a_refusal_is_a_result(turn):
    chosen = {"Euclidean": EVERY["Euclidean"], "refused": 1 / 2}
    found = errors(SMALL["MLP"], chosen, ("float32", "bf16"), False, CPU, replace(turn, stopped={"refused, bf16": "died"}))
    assert found["Euclidean, float32"] < 1e-5 < 1e-3 < found["Euclidean, bf16"] < 0.3
    assert found["refused, bf16"] == "died" and "Error" in found["refused, float32"]


def test_the_flag_is_back_as_it_was():
    before = torch.backends.cudnn.allow_tf32
    with pytest.raises(ValueError), correct.tf32(not before):
        assert torch.backends.cudnn.allow_tf32 is not before
        raise ValueError
    assert torch.backends.cudnn.allow_tf32 is before


def test_every_part_is_there_and_reads_are_for_a_device(turn):
    assert len(parts(quick=False)) == 7 and "not run" in host_reads(CPU, turn)


def test_a_wait_names_the_line_of_the_library(monkeypatch):
    for name in ("synchronize", "set_sync_debug_mode"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    assert without_synchronising(lambda: None, CPU) is True

    def wait():
        raise RuntimeError("called a synchronizing CUDA operation\nmore")

    assert without_synchronising(wait, CPU) == "called a synchronizing CUDA operation"
    assert ", at core/forms.py:" in without_synchronising(lambda: vectors.map(lambda t: wait(), [torch.ones(1)]), CPU)
