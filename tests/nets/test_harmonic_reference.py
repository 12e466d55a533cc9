"""The published resolution-adaptive U-Net: the same kernels, the same logits."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.base.modules import prepared
from napari_hyperspace.nets.harmonic.config import HarmonicUNetConfig
from napari_hyperspace.nets.harmonic.network import level_taps, plan
from napari_hyperspace.nets.harmonic.reference import factory_from_reference

GOLDEN = Path(__file__).parents[1] / "golden" / "e3nn-unet-reference.safetensors"


@pytest.fixture(scope="module")
def golden():
    with safe_open(GOLDEN, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config = json.loads(file.metadata()["config"])
    return tensors, config


def state_of(golden):
    tensors, _ = golden
    return {n.removeprefix("state."): t for n, t in tensors.items() if n.startswith("state.")}


@pytest.fixture(scope="module")
def factory(golden):
    config = golden[1]
    return factory_from_reference(
        state_of(golden), diameter_mm=config["diameter_mm"], pool_mm=config["pool_scale_mm"]
    )


def spacing(golden, place):
    return tuple(golden[0][f"spacing.{place}"][0].tolist())


@pytest.mark.parametrize("place", [0, 1])
def test_first_kernels_are_the_published_ones(golden, factory, place):
    """Those without the self-connection, at the middle tap here."""
    kernel = factory.realize(spacing(golden, place))["encoder.0.0.conv.weight"]
    published = golden[0][f"first_kernel.{place}"]
    assert kernel.shape == published.shape
    middle = tuple(n // 2 for n in kernel.shape[2:])
    difference = (kernel - published).detach()
    difference[(..., *middle)] = 0
    assert difference.abs().max() <= 1e-6
    assert published[(..., *middle)].abs().max() == 0
    assert kernel[(..., *middle)].abs().max() > 0


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("exact", [True, False])
def test_logits_are_the_published_ones(golden, factory, place, exact):
    network = factory.bake(spacing(golden, place))
    if not exact:
        prepared(network)
    logits = network(golden[0][f"input.{place}"])
    difference = (logits - golden[0][f"logits.{place}"]).abs().max()
    assert difference <= (1e-4 if exact else 1e-3)


def test_the_configuration_is_read_from_the_shapes(golden, factory):
    config = factory.network_config
    assert config.multiplicities == (4, 2, 1)
    assert config.kernel_mm == (5, 10, 20)
    assert config.level_spacing_mm == (2, 4)
    assert config.radial_functions == golden[1]["num_radial_basis"]
    assert (config.in_channels, config.out_channels) == (1, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("out.weight"), "not a checkpoint"),
        (lambda state: state.pop("up.up_blocks.1.conv2.weight"), "does not fit"),
        (lambda state: state.update(extra=torch.zeros(2)), "no place for"),
        (lambda state: state.update({"out.weight": torch.zeros(16)}), "do not make a network"),
        (lambda state: state["up.up_blocks.0.conv1.weight"].fill_(torch.nan), "not finite"),
        (lambda state: state.clear(), "not a checkpoint"),
    ],
)
def test_other_checkpoints_are_refused(golden, change, words):
    state = {name: tensor.clone() for name, tensor in state_of(golden).items()}
    change(state)
    with pytest.raises(HyperspaceError, match=words):
        factory_from_reference(state)


def test_table_1_of_the_paper():
    config = HarmonicUNetConfig()
    assert level_taps(config, (1, 1, 1), integrated=False) == ((5, 5, 5),) * 4
    assert config.factors((1, 1, 1)) == ((2, 2, 2),) * 3
    fine = (0.5, 0.5, 3)
    assert level_taps(config, fine, integrated=False) == (
        (11, 11, 1),
        (5, 5, 3),
        (5, 5, 7),
        (5, 5, 7),
    )
    assert config.factors(fine) == ((4, 4, 1), (2, 2, 1), (2, 2, 2))
    assert config.level_spacings_mm(fine) == ((0.5, 0.5, 3), (2, 2, 3), (4, 4, 3), (8, 8, 6))
    # Its fourth pooling, 16 mm, would be that of a fifth level, which no network here has.
    deeper = HarmonicUNetConfig(level_spacing_mm=(2, 4, 8, 16), kernel_mm=(5, 10, 20, 40, 80))
    assert deeper.factors(fine)[3] == (2, 2, 2)


def test_features_double_a_level():
    dimensions = [
        sum(m * (2 * d + 1) for m, d in layer.outgoing) for layer in plan(HarmonicUNetConfig())
    ]
    gates = [6 * 2**level for level in (0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 1, 1, 0, 0)]
    levels = (0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 1, 1, 0, 0)
    assert dimensions[:-1] == [
        30 * 2**level + gate for level, gate in zip(levels, gates, strict=True)
    ]
