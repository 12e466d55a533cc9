"""The published resolution-adaptive U-Net: the recorded kernels and logits."""

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.base.modules import use_fast_mode
from napari_hyperspace.nets.harmonic.config import HarmonicUNetConfig
from napari_hyperspace.nets.harmonic.network import level_taps, plan_layers
from napari_hyperspace.nets.harmonic.reference import factory_from_reference
from tests.nets.rounding import EPS, assert_as_accurate, assert_within_rounding

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
    """Except for the self-connection, which is at the middle tap here."""
    published = golden[0][f"first_kernel.{place}"]
    middle = tuple(n // 2 for n in published.shape[2:])
    assert not published[(..., *middle)].any()

    def kernel(made):
        weights = made.network_weights(spacing(golden, place))
        found = weights["encoder.0.0.conv.weight"].detach().clone()
        assert found[(..., *middle)].any()
        found[(..., *middle)] = 0
        return found

    exact = kernel(copy.deepcopy(factory).double())
    assert (published - exact).abs().max() <= 4 * EPS * exact.abs().max()
    assert_as_accurate(kernel(factory), published, exact)


@pytest.mark.parametrize("place", [0, 1])
def test_logits_are_the_published_ones(golden, factory, place):
    image, published = (golden[0][f"{name}.{place}"] for name in ("input", "logits"))
    double = copy.deepcopy(factory).double().bake(spacing(golden, place))
    assert_within_rounding(published, double, image)
    network = factory.bake(spacing(golden, place))
    assert_as_accurate(network(image), published, double(image.double()))
    assert_within_rounding(use_fast_mode(network)(image), double, image)


def test_the_configuration_is_inferred_from_the_shapes(golden, factory):
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
        (lambda state: state.update(extra=torch.zeros(2)), "does not have"),
        (lambda state: state.update({"out.weight": torch.zeros(16)}), "are not those of features"),
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
    # Its fourth pooling, to 16 mm, requires a fifth level, which the published network lacks.
    deeper = HarmonicUNetConfig(level_spacing_mm=(2, 4, 8, 16), kernel_mm=(5, 10, 20, 40, 80))
    assert deeper.factors(fine)[3] == (2, 2, 2)


def test_features_double_from_level_to_level():
    dimensions = [
        sum(m * (2 * d + 1) for m, d in layer.outgoing)
        for layer in plan_layers(HarmonicUNetConfig())
    ]
    gates = [6 * 2**level for level in (0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 1, 1, 0, 0)]
    levels = (0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 1, 1, 0, 0)
    assert dimensions[:-1] == [
        30 * 2**level + gate for level, gate in zip(levels, gates, strict=True)
    ]
