"""Physical levels, whose pooling factors depend on the spacing."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.integrate import quad

from napari_hyperspace.nets.base.levels import (
    Average,
    averaging_matrix,
    coarser_size,
    interpolation_matrix,
)
from napari_hyperspace.nets.build import build_factory
from napari_hyperspace.nets.hypernetwork.config import HypernetworkConfig
from napari_hyperspace.nets.plain.config import ConstantConfig, UNetConfig
from napari_hyperspace.nets.plain.unet import UNet
from tests.nets.rounding import EPS, assert_equal_in_float64

LIKE = torch.zeros((), dtype=torch.float64)
sizes = st.integers(1, 40)
factors = st.floats(1, 9).map(lambda f: round(f, 3))


def physical(**changes) -> UNetConfig:
    values = {"channels": 3, "level_spacing_mm": (2.0, 4.0), "convs_per_level": (1, 2, 1)}
    return UNetConfig(**(values | changes))


@given(size=sizes, factor=factors)
def test_a_coarser_voxel_averages_what_it_covers(size, factor):
    matrix = averaging_matrix(size, factor, LIKE).numpy()
    assert matrix.shape == (coarser_size(size, factor), size)
    values = np.random.default_rng(size).normal(size=size)
    for row, mean in enumerate(matrix @ values):
        start, stop = row * factor, min((row + 1) * factor, size)
        edges = [e for e in range(int(start) + 1, int(np.ceil(stop)))]
        area, _ = quad(
            lambda x: values[min(int(x), size - 1)], start, stop, points=edges or None, limit=200
        )
        assert mean == pytest.approx(area / (stop - start), abs=1e-6)


@settings(deadline=None)
@given(
    size=st.integers(1, 512),
    spacing=st.integers(30, 450).map(lambda n: n / 100),
    level=st.sampled_from([1, 2, 4, 4.5, 9, 18]),
)
@example(size=150, spacing=1.2, level=2)
@example(size=165, spacing=1.6, level=18)
def test_a_spacing_in_single_precision_pools_as_the_exact_one(size, spacing, level):
    exact, stored = (max(level / step, 1) for step in (spacing, float(np.float32(spacing))))
    matrix = averaging_matrix(size, stored, LIKE)
    assert matrix.shape[0] == coarser_size(size, exact)
    expected = averaging_matrix(size, exact, LIKE)
    # The edges of the coarser voxels move by at most eps · size finer voxels.
    torch.testing.assert_close(matrix, expected, atol=2 * EPS * size, rtol=0)
    torch.testing.assert_close(matrix.sum(1), torch.ones(len(matrix)).double())


@given(size=sizes, factor=factors)
def test_upsampling_interpolates_linearly_between_the_coarser_centers(size, factor):
    coarser = coarser_size(size, factor)
    matrix = interpolation_matrix(size, coarser, factor, LIKE).numpy()
    centers = (np.arange(coarser) + 0.5) * factor  # in finer voxels, from the first one's edge
    values = np.random.default_rng(size).normal(size=coarser)
    expected = np.interp(np.arange(size) + 0.5, centers, values)
    # The positions are computed in float32.
    rounding = 4 * EPS * size * np.ptp(values)
    np.testing.assert_allclose(matrix @ values, expected, atol=rounding, rtol=1e-9)


def test_whole_factors_are_plain_average_pooling():
    image = torch.randn(2, 3, 8, 6, 9)
    average = Average()
    average.factors = (2.0, 1.0, 3.0)
    pooled = average(image)
    average.factors = (2.0000001, 1.0, 3.0000001)
    # Edges of voxels move by 1e-7 of at most 4 coarser voxels; sums have 6 terms.
    rounding = (4e-7 + 6 * EPS) * image.abs().max().item()
    torch.testing.assert_close(pooled, average(image), atol=2 * rounding, rtol=0)
    expected = image[1, 2, 6:8, 5, 6:9].mean()
    torch.testing.assert_close(pooled[1, 2, 3, 5, 2], expected, atol=rounding, rtol=0)


def test_factors_follow_the_spacing():
    config = UNetConfig(level_spacing_mm=(2, 4, 8))
    assert config.factors((1, 1, 1)) == ((2, 2, 2),) * 3
    assert config.factors((0.5, 1.6, 5)) == ((4, 1.25, 1), (2, 2, 1), (2, 2, 1.6))
    assert UNetConfig(strides=((2, 1, 4),)).factors((9, 9, 9)) == ((2, 1, 4),)


@given(
    spacing=st.tuples(*[st.floats(0.4, 7)] * 3),
    change=st.sampled_from([1e-5, -1e-5]),
)
def test_factors_are_continuous(spacing, change):
    config = UNetConfig(level_spacing_mm=(1, 2, 4))
    near = tuple(s * (1 + change) for s in spacing)
    np.testing.assert_allclose(config.factors(spacing), config.factors(near), rtol=1e-4)


def test_logits_are_continuous_where_an_axis_starts_to_pool():
    torch.manual_seed(0)
    network = UNet(physical()).double().eval()
    image = torch.randn(1, 1, 12, 11, 10, dtype=torch.float64)
    logits = []
    # 12 voxels of just below 2 mm are covered by 12 of 2 mm; at 2 mm nothing is pooled.
    for spacing in ((1.9999999, 2, 3), (2, 2, 3), (2.0000001, 2, 3)):
        network.adapt(spacing)
        logits.append(network(image))
    torch.testing.assert_close(logits[0], logits[1], atol=1e-4, rtol=0)
    torch.testing.assert_close(logits[2], logits[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("spacing", [(0.4, 0.7, 6.5), (1, 1, 1), (7, 7, 7), (2.3, 1.1, 3.9)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 9), (16, 3, 21)])
def test_any_size_at_any_spacing(spacing, shape):
    factory = build_factory(
        physical(), HypernetworkConfig(range_mm=((0.4, 7),) * 3, hidden=(4,), rank=2)
    )
    image = torch.randn(2, 1, *shape)
    assert factory.bake(spacing)(image).shape == (2, 2, *shape)
    factory.double().eval()
    assert_equal_in_float64(factory.bake(spacing)(image.double()), factory(image.double(), spacing))


def test_a_baked_network_keeps_its_own_spacing():
    factory = build_factory(physical(), ConstantConfig()).double().eval()
    image = torch.randn(1, 1, 8, 9, 10).double()
    fine, coarse = factory.bake((0.5, 0.5, 0.5)), factory.bake((4, 4, 4))
    before = fine(image)
    factory(image, (3, 3, 3))
    coarse(image)
    assert_equal_in_float64(fine(image), before)
    assert not torch.allclose(coarse(image), before)


def test_physical_levels_in_two_dimensions():
    config = physical(n_dim=2)
    network = UNet(config).eval()
    network.adapt((0.9, 3))
    assert network(torch.randn(1, 1, 7, 5)).shape == (1, 2, 7, 5)


def test_a_network_without_a_spacing_raises():
    with pytest.raises(RuntimeError, match="adapt"):
        UNet(physical())(torch.zeros(1, 1, 4, 4, 4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strides": ((2, 2, 2),)}, "not both"),
        ({"level_spacing_mm": (4.0, 2.0)}, "must grow"),
        ({"convs_per_level": (1, 1)}, "needs 3 numbers"),
        ({"level_spacing_mm": (0.0, 2.0)}, "greater than 0"),
    ],
)
def test_levels_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        physical(**changes)


def test_configurations_round_trip_through_json():
    for config in (physical(), UNetConfig()):
        assert UNetConfig.model_validate_json(config.model_dump_json()) == config


def test_logits_are_finite_at_a_spacing_in_single_precision():
    factory = build_factory(physical(), ConstantConfig())
    network = factory.bake((float(np.float32(1.2)), 5.0, 5.0))
    assert network(torch.randn(1, 1, 150, 5, 6)).isfinite().all()
