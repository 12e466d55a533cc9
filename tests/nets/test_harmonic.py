"""Networks of physical kernels: symmetries, spacings, the factory and the model."""

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import napari_hyperspace as hs
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.cost.trace import trace
from napari_hyperspace.cost.trace_cache import trace_of
from napari_hyperspace.inference.execution import PRECISIONS, NetworkRunner
from napari_hyperspace.nets.base.modules import use_fast_mode
from napari_hyperspace.nets.build import build_factory
from napari_hyperspace.nets.card import LabelClass, ModelCard
from napari_hyperspace.nets.harmonic.config import HarmonicUNetConfig, PhysicalKernelsConfig
from napari_hyperspace.nets.harmonic.factory import HarmonicFactory
from napari_hyperspace.nets.harmonic.kernels import dimension, discretize_basis
from napari_hyperspace.nets.harmonic.steerable import CoupledBasis, n_path_weights, steerable_kernel
from napari_hyperspace.nets.hypernetwork.config import HypernetworkConfig
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.plain.config import ConstantConfig, UNetConfig
from tests.nets.rounding import (
    assert_as_accurate,
    assert_equal_in_float64,
    assert_within_rounding,
)
from tests.rates import CALIBRATION

LIKE = torch.zeros((), dtype=torch.float64)
SPACING = (1.0, 1.4, 2.2)
LEVELS = {"level_spacing_mm": (2.5, 5), "kernel_mm": (4, 8, 16), "radial_functions": 3}
CONFIGS = {
    "published": HarmonicUNetConfig(**LEVELS, multiplicities=(4, 2, 1)),
    "steerable": HarmonicUNetConfig(**LEVELS, multiplicities=(3, 1), pooling="average"),
    "free": HarmonicUNetConfig(**LEVELS, multiplicities=(4,), kernels="free", pooling="average"),
    "depthwise": HarmonicUNetConfig(
        **LEVELS, multiplicities=(4,), kernels="depthwise", pooling="average"
    ),
}


def make(name: str, voxels="integrated", seed=0) -> HarmonicFactory:
    torch.manual_seed(seed)
    return HarmonicFactory(CONFIGS[name], PhysicalKernelsConfig(voxels=voxels))


def quarter_turns():
    """The rotations of a cube: the order of the axes, and which of them are then flipped."""
    for order in itertools.permutations(range(3)):
        odd = np.linalg.det(np.eye(3)[list(order)]) < 0
        for flips in itertools.product((False, True), repeat=3):
            if (sum(flips) % 2 == 1) == odd:
                yield order, flips


def turned(image, order, flips):
    """Rotate the last three axes of an image."""
    first = image.ndim - 3
    axes = [*range(first), *(first + axis for axis in order)]
    return image.permute(axes).flip([first + i for i, flip in enumerate(flips) if flip])


def rotation(order, flips):
    """The same rotation as a matrix for vectors along the axes."""
    matrix = torch.eye(3, dtype=torch.float64)[list(order)]
    return matrix * torch.tensor([-1.0 if flip else 1.0 for flip in flips])[:, None]


class TestSymmetry:
    @pytest.mark.parametrize("integrated", [False, True])
    def test_a_layer_commutes_with_quarter_turns_of_grid_and_spacing(self, integrated):
        """Scalars and vectors in, scalars and vectors out; vectors turn with the image."""
        torch.manual_seed(0)
        incoming, outgoing = ((2, 0), (1, 1)), ((1, 0), (2, 1))
        weight = torch.randn(3, n_path_weights(incoming, 2, outgoing), dtype=torch.float64)
        own = torch.randn(n_path_weights(incoming, 0, outgoing), dtype=torch.float64)
        image = torch.randn(1, dimension(incoming), 9, 8, 7, dtype=torch.float64)

        def response(features, spacing):
            basis = discretize_basis(5.0, spacing, 3, 2, LIKE, integrated=integrated)
            kernel = steerable_kernel(weight, own, incoming, outgoing, CoupledBasis(basis))
            padding = [n // 2 for n in kernel.shape[2:]]
            return torch.nn.functional.conv3d(features, kernel, padding=padding)

        def turned_fields(features, fields, order, flips):
            matrix, parts, start = rotation(order, flips), [], 0
            for multiplicity, degree in fields:
                size = multiplicity * (2 * degree + 1)
                part = turned(features[:, start : start + size], order, flips)
                if degree == 1:
                    vectors = part.unflatten(1, (multiplicity, 3))
                    part = torch.einsum("ij,bmjzyx->bmizyx", matrix, vectors).flatten(1, 2)
                parts.append(part)
                start += size
            return torch.cat(parts, dim=1)

        before = response(image, SPACING)
        for order, flips in quarter_turns():
            spacing = tuple(SPACING[axis] for axis in order)
            after = response(turned_fields(image, incoming, order, flips), spacing)
            expected = turned_fields(before, outgoing, order, flips)
            assert_equal_in_float64(after, expected)

    @pytest.mark.parametrize("name", ["published", "steerable"])
    def test_a_network_commutes_with_quarter_turns(self, name):
        """For sizes that pooling divides, so that it groups the same voxels from all sides."""
        factory = make(name).double()
        spacing = (0.625, 1.25, 2.5)
        image = torch.randn(1, 1, 16, 8, 4, dtype=torch.float64)
        logits = factory.bake(spacing)(image)
        for order, flips in quarter_turns():
            network = factory.bake(tuple(spacing[axis] for axis in order))
            expected = turned(logits, order, flips)
            assert_equal_in_float64(network(turned(image, order, flips)), expected)

    def test_free_kernels_do_not_commute_with_rotations(self):
        factory, image = make("free").double(), torch.randn(1, 1, 8, 8, 8, dtype=torch.float64)
        network = factory.bake((1.25,) * 3)
        difference = network(image.flip(2).flip(3)) - network(image).flip(2).flip(3)
        assert difference.abs().max() > 1e-3

    @pytest.mark.parametrize("name", CONFIGS)
    def test_a_first_layer_commutes_with_shifts_by_whole_voxels(self, name):
        conv = make(name).double().bake(SPACING).encoder[0][0].conv
        image = torch.zeros(1, 1, 20, 20, 20, dtype=torch.float64)
        image[..., 7:11, 7:12, 8:12] = torch.randn(4, 5, 4)
        moved = conv(image.roll((2, -1, 1), dims=(2, 3, 4)))
        assert_equal_in_float64(moved, conv(image).roll((2, -1, 1), dims=(2, 3, 4)))

    @pytest.mark.parametrize("name", ["steerable", "free", "depthwise"])
    def test_a_network_commutes_with_shifts_by_what_its_levels_pool(self, name):
        """Far from the borders, without normalization by the whole image.

        Published networks do not: their upsampling depends on the distance to the borders.
        """
        network = make(name).double().bake((1.25,) * 3)
        for module in network.modules():
            if hasattr(module, "norm"):
                module.norm = torch.nn.Identity()
        image = torch.zeros(1, 1, 64, 8, 8, dtype=torch.float64)
        image[..., 28:33, 2:6, 2:6] = torch.randn(5, 4, 4)
        moved, still = network(image.roll(4, dims=2)), network(image).roll(4, dims=2)
        inside = slice(20, 44)
        assert_equal_in_float64(moved[:, :, inside], still[:, :, inside])


class TestSpacing:
    @pytest.mark.parametrize(("coarse", "tolerance"), [((2, 1, 1), 0.02), ((2, 2, 2), 0.03)])
    def test_a_kernel_has_similar_responses_on_two_grids(self, coarse, tolerance):
        """To a band-limited image, at the points that the grids share."""
        torch.manual_seed(1)
        waves = [np.array(k) for k in itertools.product((0, 1), repeat=3)]
        phases = np.random.default_rng(0).uniform(0, 2 * np.pi, len(waves))
        length = 24.0  # mm, periodic; the length of the shortest wave

        def image(spacing):
            axes = [np.arange(round(length / s)) * s for s in spacing]
            places = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
            waved = (
                np.cos(2 * np.pi / length * (places @ k) + p)
                for k, p in zip(waves, phases, strict=True)
            )
            return torch.from_numpy(sum(waved))[None, None]

        def response(spacing, weight):
            basis = discretize_basis(12.0, spacing, 3, 2, LIKE, integrated=True)
            kernels = torch.einsum("nm,nmt->mt", weight, basis.values).view(-1, 1, *basis.taps)
            padding = [n // 2 for n in basis.taps[::-1] for _ in range(2)]
            padded = torch.nn.functional.pad(image(spacing), padding, mode="circular")
            return torch.nn.functional.conv3d(padded, kernels)

        weight = torch.randn(3, 9, dtype=torch.float64)
        fine, other = response((1, 1, 1), weight), response(coarse, weight)
        shared = fine[:, :, :: coarse[0], :: coarse[1], :: coarse[2]]
        assert (shared - other).abs().max() < tolerance * fine.abs().max()

    def test_responses_of_sampled_kernels_jump_and_of_integrated_ones_do_not(self):
        """At the spacing where sampled kernels lose a tap."""

        def to_a_constant(step, integrated):
            basis = discretize_basis(5.0, (step,) * 3, 3, 0, LIKE, integrated=integrated)
            return basis.values.sum(-1)[:, 0]

        sampled = [to_a_constant(step, False) for step in (1.24, 1.26)]
        integrated = [to_a_constant(step, True) for step in (1.24, 1.26)]
        assert ((sampled[0] - sampled[1]).abs() / sampled[0]).max() > 0.3
        assert ((integrated[0] - integrated[1]).abs() / integrated[0]).max() < 0.02

    @settings(max_examples=20, deadline=None)
    @given(spacing=st.tuples(*[st.floats(0.4, 6)] * 3))
    def test_factors_of_averaging_levels_are_continuous(self, spacing):
        near = tuple(step * (1 + 1e-6) for step in spacing)
        averaged = CONFIGS["free"]
        here, there = averaged.level_spacings_mm(spacing), averaged.level_spacings_mm(near)
        np.testing.assert_allclose(here, there, rtol=1e-5)

    def test_factors_of_max_norm_pooling_are_whole_numbers(self):
        published = HarmonicUNetConfig()
        assert published.factors((1, 1, 1))[0] == (2, 2, 2)
        assert published.factors((1.01, 1, 1))[0] == (1, 2, 2)
        assert published.factors((0.66667, 0.5, 1))[0] == (3, 4, 2)  # rounded in a file

    def test_logits_are_continuous_with_averages_and_integrals(self):
        """Around the spacing where two voxels no longer fit into one of the next level."""
        image = torch.randn(1, 1, 15, 15, 15, dtype=torch.float64)

        def change(name, voxels):
            factory = make(name, voxels).double()
            one, other = (factory.bake((step, 1.1, 1.1))(image) for step in (1.249, 1.251))
            return float((one - other).square().mean().sqrt() / one.std())

        assert change("free", "integrated") < 0.02
        assert change("depthwise", "integrated") < 0.02
        assert change("published", "sampled") > 0.1

    @pytest.mark.parametrize("name", CONFIGS)
    @pytest.mark.parametrize("spacing", [(1, 1, 1), SPACING, (9, 0.7, 3)])
    def test_any_size_at_any_spacing(self, name, spacing):
        network = make(name, "sampled").bake(spacing)
        for shape in ((1, 1, 1), (7, 5, 3), (4, 8, 16)):
            logits = network(torch.randn(2, 1, *shape))
            assert logits.shape == (2, 2, *shape)
            assert torch.isfinite(logits).all()

    def test_early_pooling_costs_as_much_per_voxel_at_any_spacing(self):
        """From 1 to 0.5 mm a network costs at most 8 times as much; with kernels of 5 mm, more."""
        early = HarmonicUNetConfig(
            multiplicities=(8,),
            kernels="depthwise",
            pooling="average",
            level_spacing_mm=(1, 2, 4),
            kernel_mm=(1.4, 3, 6, 12),
        )

        def growth(config):
            factory = HarmonicFactory(config, PhysicalKernelsConfig(voxels="integrated"))
            macs = [
                trace(factory.skeleton((step,) * 3), 1, 3).macs((round(64 / step),) * 3)
                for step in (1.0, 0.5)
            ]
            return macs[1] / macs[0]

        assert growth(early) < 8
        assert growth(CONFIGS["published"].model_copy(update={"kernel_mm": (5, 10, 20)})) > 25


class TestFactory:
    @pytest.mark.parametrize("name", CONFIGS)
    def test_baking_gives_the_network_of_training(self, name):
        factory, image = make(name).double().eval(), torch.randn(3, 1, 9, 7, 6).double()
        network = factory.bake(SPACING)
        with torch.no_grad():
            assert_equal_in_float64(network(image), factory(image, SPACING))
        assert_equal_in_float64(network(image), torch.cat([network(one[None]) for one in image]))

    @pytest.mark.parametrize("name", CONFIGS)
    def test_a_baked_network_is_as_accurate_as_that_of_training(self, name):
        factory, image = make(name).eval(), torch.randn(3, 1, 9, 7, 6)
        exact = copy.deepcopy(factory).double().bake(SPACING)(image.double())
        with torch.no_grad():
            assert_as_accurate(factory.bake(SPACING)(image), factory(image, SPACING), exact)

    @pytest.mark.parametrize("name", CONFIGS)
    def test_precisions_of_float32_compute_the_same(self, name):
        factory, image = make(name), torch.randn(1, 9, 7, 6)
        network = factory.bake(SPACING)
        exact = factory.double().bake(SPACING)
        for precision in ("fp32", "fp32-channels-last"):
            runner = NetworkRunner(network, PRECISIONS[precision], torch.device("cpu"), 3)
            assert_within_rounding(runner(image)[None], exact, image[None])

    @pytest.mark.parametrize("name", CONFIGS)
    def test_gradients_are_those_of_finite_differences(self, name):
        factory = make(name).double().train()
        image = torch.randn(2, 1, 5, 6, 4, dtype=torch.float64)
        target = torch.randn(2, 2, 5, 6, 4, dtype=torch.float64)

        def loss():
            return (factory(image, SPACING) * target).sum()

        loss().backward()
        rng = np.random.default_rng(0)
        for key, parameter in factory.weights.items():
            assert parameter.grad is not None, key
        for key in ("encoder/0/0/radial", "encoder/1/0/self", "head/self", "encoder/1/1/scale"):
            parameter = factory.weights[key]
            place = tuple(int(rng.integers(n)) for n in parameter.shape)
            with torch.no_grad():
                values = []
                for step in (1e-6, -1e-6):
                    parameter[place] += step
                    values.append(float(loss()))
                    parameter[place] -= step
            numeric = (values[0] - values[1]) / 2e-6
            assert float(parameter.grad[place]) == pytest.approx(numeric, rel=1e-3, abs=1e-5)

    def test_a_baked_network_has_plain_convolutions_only(self):
        network = make("published").bake(SPACING)
        kinds = {type(m).__name__ for m in network.modules() if list(m.parameters(recurse=False))}
        assert kinds <= {"Convolution", "Conv3d", "InstanceNorm", "SteerableNorm"}
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert use_fast_mode(network) is network

    def test_weights_that_are_not_finite_are_refused(self):
        factory = make("free")
        factory.weights["encoder/0/0/self"].data[0] = torch.nan
        with pytest.raises(HyperspaceError, match="not finite"):
            factory.bake((1, 1, 1))
        with pytest.raises(HyperspaceError):
            factory.bake((1, -1, 1))


class TestConfiguration:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"multiplicities": (0, 2)}, "degree 0"),
            ({"kernel_mm": (5,)}, "one per level"),
            ({"level_spacing_mm": (4, 2, 8)}, "must grow"),
            ({"kernels": "free"}, "degree 0 only"),
        ],
    )
    def test_levels_and_features_fit_together(self, changes, words):
        with pytest.raises(ValidationError, match=words):
            HarmonicUNetConfig(**changes)

    @pytest.mark.parametrize(
        ("network", "factory"),
        [
            (HarmonicUNetConfig(), ConstantConfig()),
            (HarmonicUNetConfig(), HypernetworkConfig(range_mm=((1, 2),) * 3)),
            (UNetConfig(), PhysicalKernelsConfig()),
        ],
    )
    def test_networks_and_factories_fit_together(self, network, factory):
        with pytest.raises(ValueError, match="go together"):
            build_factory(network, factory)


class TestModel:
    @pytest.fixture
    def model(self):
        card = ModelCard(
            name="physical",
            labels=(LabelClass(value=3, name="three"),),
            trained_range_mm=((0.5, 5),) * 3,
            tile_shape=(24, 24, 24),
            tile_mm=(20, 30, 30),
        )
        return Model(make("depthwise"), card)

    def test_it_is_stored_in_a_model_file(self, model, tmp_path):
        path = hs.save_model(model, tmp_path / "physical.safetensors")
        found = hs.load_model(path)
        assert found.identity == model.identity
        assert found.factory.network_config == model.factory.network_config
        assert found.tile_mm == (20, 30, 30)
        image = torch.randn(1, 1, 6, 7, 8).double()
        networks = (each.factory.double().bake(SPACING) for each in (found, model))
        assert_equal_in_float64(*(network(image) for network in networks))

    def test_models_of_different_weights_have_different_identities(self, model):
        assert Model(make("depthwise", seed=1), model.card).identity != model.identity

    def test_it_segments_and_is_estimated_at_any_spacing(
        self, model, volume_of_blocks, monkeypatch
    ):
        monkeypatch.setattr("napari_hyperspace.api.estimate.calibrate", lambda device: CALIBRATION)
        for spacing in ((1, 1, 1), (2.2, 1.3, 0.9), (5, 5, 5)):
            cost = hs.estimate(volume_of_blocks, model, spacing)
            assert cost.seconds > 0
            assert cost.peak_bytes > 0
            labels = hs.segment(volume_of_blocks, model, spacing)
            assert labels.grid == volume_of_blocks.grid
            assert set(np.unique(labels.array)) <= {0, 3}

    def test_its_cost_grows_faster_than_the_number_of_voxels(self, model):
        """Kernels in mm have more voxels at a finer spacing; those of a plain U-Net do not."""
        plain = build_factory(UNetConfig(channels=4, level_spacing_mm=(2.5, 5)), ConstantConfig())
        unet = Model(plain, model.card)
        steerable = Model(make("steerable"), model.card)

        def growth(which):
            operations = [
                trace_of(which, (step,) * 3).trace.macs([round(n / step) for n in (28, 30, 32)])
                for step in (0.5, 2)
            ]
            return operations[0] / operations[1]

        assert growth(steerable) > growth(unet)


@pytest.fixture
def volume_of_blocks():
    rng = np.random.default_rng(0)
    array = np.kron(rng.normal(size=(4, 5, 4)), np.ones((7, 6, 8))).astype(np.float32)
    return hs.Volume(array, hs.Grid.from_spacing(array.shape, (1.1, 0.9, 1.0)))
