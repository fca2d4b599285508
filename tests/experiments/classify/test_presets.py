"""Presets: those of the papers have the papers' numbers, and each is filed under a fingerprint of its own."""

import pytest

from experiments.classify import presets as classify
from experiments.common.methods import ASAM, CONTROL, CORE, EQUAL, FSAM, MONGE, NOISE, SAM
from experiments.common.options import Options
from experiments.common.parts import parts
from experiments.data.augment import Auto, Cutout
from experiments.noise import presets as noise
from geosam.metrics import GradientMagnitude, ParameterScaled
from geosam.records import fingerprint

ALL = list(parts("presets").values())


def radii(protocol):
    return {name: protocol.methods[name].rho for name in (SAM, ASAM, FSAM, CONTROL)}


@pytest.mark.parametrize(
    "preset, expected, eta, asam_eta",
    [
        (classify.cifar10, (0.05, 0.5, 0.1), 1.0, 0.01),
        (classify.cifar100, (0.1, 1.0, 0.1), 1.0, 0.1),
        (classify.pyramidnet_cifar100, (0.05, 1.0, 0.5), 0.1, 0.1),
        (noise.cifar10, (0.1, 0.5, 0.1), 0.001, 0.01),
    ],
)
def test_published_radii(preset, expected, eta, asam_eta):
    protocol = preset()
    sam, asam, fsam = expected
    assert radii(protocol) == {SAM: sam, ASAM: asam, FSAM: fsam, CONTROL: fsam}
    assert protocol.methods[FSAM].metric == GradientMagnitude(eta, 1.0)
    assert protocol.methods[ASAM].metric == ParameterScaled(asam_eta)


def test_published_training():
    table, pyramid, noisy = classify.cifar10(), classify.pyramidnet_cifar100(), noise.cifar10()
    assert (table.epochs, table.data.batch, table.optimizer.lr, table.smoothing) == (200, 128, 0.1, 0.1)
    assert (pyramid.epochs, pyramid.data.batch, pyramid.optimizer.lr, pyramid.model) == (900, 256, 0.05, "pyramidnet272")
    assert Auto() in table.data.pipeline.pixels and table.data.pipeline.standardised == (Cutout(16),)
    assert noisy.model == "resnet32" and set(noise.RATES.values()) == {0.2, 0.4, 0.6, 0.8}
    assert table.methods[EQUAL].stretch == 2 and table.optimizer.weight_decay == 5e-4 and table.optimizer.momentum == 0.9


def test_every_table_has_the_core_rows():
    for module in (classify, noise):
        for preset in module.PRESETS.values():
            assert {*CORE, MONGE, NOISE} <= set(preset().methods)


def test_no_two_configurations_share_a_folder():
    asked = (Options(), Options(seeds=7), Options(quick=True), Options(model="transformer"), Options(device="cuda"))
    keys = [
        fingerprint({name: protocol.ablation(noise=rate) for name, rate in getattr(module, "RATES", {"clean": 0.0}).items()})
        for module in ALL
        for preset in module.PRESETS.values()
        for protocol in map(preset().asked, asked)
    ]
    assert len(set(keys)) == len(keys)


def test_asked_to_tune_no_published_radius_is_left():
    protocol = classify.cifar10().asked(Options(trials=3))
    assert all(method.rho is None for method in protocol.methods.values()) and CONTROL not in protocol.methods
    assert protocol.match.trials == 3 and protocol.data.held_out == 0.1
