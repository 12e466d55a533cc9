"""Random parameters of samples, and samples made from them; scipy is the oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.resample import resample_to_grid
from napari_hyperspace.core.volume import Volume
from tests.training.rounding import EPS, rounding_bound
from training.config.fit import AugmentationSection
from training.config.spacing import SpacingSection
from training.data.base import Case
from training.data.labels import OUTSIDE
from training.sampling.augment import apply_sample, change_intensities, working_shape
from training.sampling.parameters import (
    Deformation,
    Intensities,
    SampleParameters,
    sample_parameters,
    sample_spacing,
)
from training.seeding import generator

SPACING = (1.25, 1.5, 1.0)
RANGES = SpacingSection(range_mm=((0.8, 4), (0.5, 2), (1, 1)))
PLAIN = SampleParameters(
    flips=(False, False, False),
    position=(0.5, 0.5, 0.5),
    deformation=None,
    order="linear",
    antialias=True,
    intensities=Intensities(),
)


@pytest.fixture
def case(rng: np.random.Generator) -> Case:
    shape = (13, 17, 11)
    image = ndimage.gaussian_filter(rng.normal(size=shape), 1).astype(np.float32)
    labels = (np.indices(shape).sum(axis=0) // 7 % 4).astype(np.int16)
    return Case(
        "case",
        torch.from_numpy(image)[None],
        torch.from_numpy(labels),
        Grid.from_spacing(shape, SPACING),
    )


@pytest.mark.parametrize("spacing", [SPACING, (2.1, 1.9, 3.3), (0.9, 1.5, 1.7)])
def test_an_unchanged_sample_is_the_input_of_inference(
    case: Case, spacing: tuple[float, ...]
) -> None:
    image, labels = apply_sample(case, spacing, working_shape(case, spacing), PLAIN)
    expected = case.at_spacing(spacing)
    # Sums of up to eight products along each of three axes.
    assert torch.allclose(image, expected.image, rtol=0, atol=rounding_bound(case.image, 24))
    known = labels != OUTSIDE  # a working grid may exceed the scan by part of a voxel
    native = Volume(case.labels.numpy(), case.grid)
    nearest = resample_to_grid(native, expected.grid, order="nearest").array
    assert np.array_equal(labels[known], nearest[known])
    assert known.float().mean() > 0.7


def test_mirroring_mirrors(case: Case) -> None:
    spacing = (2.1, 1.9, 1.3)
    shape = working_shape(case, spacing)
    image, labels = apply_sample(case, spacing, shape, PLAIN)
    mirrored = apply_sample(case, spacing, shape, replace(PLAIN, flips=(True, False, True)))
    bound = rounding_bound(case.image, 24)
    assert torch.allclose(mirrored[0], image.flip(1, 3), rtol=0, atol=bound)
    assert (mirrored[1] == labels.flip(0, 2)).float().mean() > 0.99


def _covered(one_hot: np.ndarray, axis: int, spacing: float, n: int) -> np.ndarray:
    """Return the mean of piecewise constant voxels over new ones with the same center; oracle."""
    size = one_hot.shape[axis]
    centers = (size - 1) / 2 + (np.arange(n) - (n - 1) / 2) * spacing / SPACING[axis]
    width = max(spacing / SPACING[axis], 1.0)  # at least a native voxel: linear interpolation
    edges = np.arange(-3, size + 4) - 0.5

    def mean(row: np.ndarray) -> np.ndarray:
        padded = np.pad(row, 3, mode="edge")
        integral = np.concatenate([[0.0], np.cumsum(padded)])
        low, high = (np.interp(centers + s * width / 2, edges, integral) for s in (-1, 1))
        return (high - low) / width

    return np.apply_along_axis(mean, axis, one_hot)


@pytest.mark.parametrize("spacing", [(2.1, 1.9, 1.3), (3.0, 1.0, 2.5), (0.7, 0.9, 0.8), SPACING])
def test_soft_labels_are_the_fractions_of_each_voxel(
    case: Case, spacing: tuple[float, ...]
) -> None:
    case.labels[4:7, :5] = OUTSIDE
    shape = working_shape(case, spacing)
    _, hard = apply_sample(case, spacing, shape, PLAIN)
    _, soft = apply_sample(case, spacing, shape, PLAIN, classes=4)
    expected = np.stack([(case.labels == k).numpy().astype(float) for k in range(4)])
    for axis in range(3):
        expected = np.stack([_covered(e, axis, spacing[axis], shape[axis]) for e in expected])
    known = (hard != OUTSIDE).numpy()
    total = expected.sum(axis=0)
    expected = np.where(known, expected / np.where(total > 0, total, 1), 0)
    sure = total > 0.05  # a small remainder beside unknown labels magnifies rounding
    assert np.allclose(soft.numpy()[:, sure], expected[:, sure], rtol=0, atol=20 * 64 * EPS)
    assert (soft.sum(dim=0)[~known] == 0).all()
    assert np.allclose(soft.sum(dim=0)[known], 1, rtol=0, atol=8 * EPS)


def test_soft_labels_of_an_unchanged_grid_are_the_labels(case: Case) -> None:
    _, soft = apply_sample(case, SPACING, (13, 17, 11), PLAIN, classes=4)
    assert torch.equal(soft.argmax(dim=0).to(torch.int16), case.labels)
    assert torch.equal(soft.max(dim=0).values, torch.ones(13, 17, 11))


def test_soft_labels_follow_deformations(case: Case) -> None:
    matrix = np.array([[1.0, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
    change = replace(PLAIN, deformation=Deformation(matrix, None), flips=(True, False, False))
    _, hard = apply_sample(case, (1.0, 0.7, 0.8), (11, 13, 9), change)
    _, soft = apply_sample(case, (1.0, 0.7, 0.8), (11, 13, 9), change, classes=4)
    known = hard != OUTSIDE
    assert (soft.sum(dim=0)[~known] == 0).all()
    assert np.allclose(soft.sum(dim=0)[known], 1, rtol=0, atol=8 * EPS)
    # Thick bands of labels: the nearest voxel's label covers most of nearly every voxel.
    assert (soft.argmax(dim=0) == hard)[known].float().mean() > 0.9
    assert (soft.max(dim=0).values[known] < 0.999).float().mean() > 0.1


@pytest.mark.parametrize("turned", [False, True])
def test_a_margin_surrounds_the_same_sample(case: Case, turned: bool) -> None:
    matrix = np.array([[1.0, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
    changes = replace(
        PLAIN, position=(0.2, 0.9, 0.4), deformation=Deformation(matrix, None) if turned else None
    )
    spacing, shape, margin = (1.5, 1.2, 0.9), (5, 9, 6), (2, 3, 1)
    image, labels = apply_sample(case, spacing, shape, changes)
    same, around = apply_sample(case, spacing, shape, changes, margin=margin)
    assert around.shape == (9, 15, 8) and torch.equal(around[2:-2, 3:-3, 1:-1], labels)
    assert torch.allclose(same, image, rtol=0, atol=_deformation_bound(case))


def test_padding_extends_the_image_and_has_unknown_labels(case: Case) -> None:
    image, labels = apply_sample(case, SPACING, (17, 17, 15), PLAIN)
    assert torch.equal(labels[2:15, :, 2:13], case.labels)
    assert torch.equal(image[:, 2:15, :, 2:13], case.image)
    outside = torch.ones(17, 17, 15, dtype=torch.bool)
    outside[2:15, :, 2:13] = False
    assert (labels[outside] == OUTSIDE).all()
    assert torch.equal(image[0, 0, :, 2:13], case.image[0, 0])


def test_crops_have_the_given_position(case: Case) -> None:
    for position, start in (((0.0, 0.5, 1.0), (0, 4, 6)), ((1.0, 1.0, 0.0), (8, 8, 0))):
        parameters = replace(PLAIN, position=position)
        image, labels = apply_sample(case, SPACING, (5, 9, 5), parameters)
        z, y, x = (slice(a, a + n) for a, n in zip(start, (5, 9, 5), strict=True))
        bound = rounding_bound(case.image, 24)
        assert torch.allclose(image, case.image[:, z, y, x], rtol=0, atol=bound)
        assert torch.equal(labels, case.labels[z, y, x])


def _deformation_bound(case: Case) -> float:
    """Bound of the error of a linear interpolation at coordinates in float32.

    Coordinates of up to 2 are sums of four terms, and are scaled to half the number of voxels: an
    error of up to 8 EPS times that number, which changes the image by its steepest differences.
    """
    steepest = sum(float(case.image.diff(dim=i).abs().max()) for i in (1, 2, 3))
    voxels = max(case.image.shape[1:])
    return 8 * EPS * voxels * steepest + rounding_bound(case.image, 16)


@pytest.mark.parametrize("flips", [(False, False, False), (False, True, False)])
def test_deformed_samples_agree_with_scipy(
    case: Case, rng: np.random.Generator, flips: tuple[bool, bool, bool]
) -> None:
    angle = np.deg2rad(20)
    matrix = np.eye(3)
    matrix[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix = matrix @ np.diag([1.1, 0.9, 1.05])
    spacing, shape = (1.5, 1.2, 0.9), (9, 11, 10)
    parameters = replace(PLAIN, deformation=Deformation(matrix, None), antialias=False, flips=flips)
    image, labels = apply_sample(case, spacing, shape, parameters)
    # Index → mm relative to the center, mirrored → rotated → native index.
    index = np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2
    position = (index * spacing * np.where(flips, -1, 1)) @ matrix.T
    native = np.moveaxis(position / SPACING + (np.array(case.grid.shape) - 1) / 2, -1, 0)
    expected = ndimage.map_coordinates(case.image[0].numpy(), native, order=1, mode="nearest")
    assert np.allclose(image[0], expected, rtol=0, atol=_deformation_bound(case))
    nearest = np.round(native).astype(int)
    size = np.array(case.grid.shape)[:, None, None, None]
    outside = ((native < -0.5) | (native > size - 0.5)).any(axis=0)
    clipped = tuple(np.clip(nearest, 0, size - 1))
    truth = np.where(outside, OUTSIDE, case.labels.numpy()[clipped])
    assert (labels.numpy() == truth).mean() > 0.999


def test_displacement_is_in_millimeters(case: Case) -> None:
    shift = np.zeros((3, 3, 3, 3), np.float32)
    shift[1] = 3.0  # two native voxels along y everywhere
    parameters = replace(PLAIN, deformation=Deformation(np.eye(3), shift))
    image, labels = apply_sample(case, SPACING, case.grid.shape, parameters)
    bound = _deformation_bound(case)
    assert torch.allclose(image[:, :, :-2], case.image[:, :, 2:], rtol=0, atol=bound)
    assert torch.equal(labels[:, :-2], case.labels[:, 2:])
    assert (labels[:, -2:] == OUTSIDE).all()


def test_intensity_changes(case: Case) -> None:
    image = case.image
    assert change_intensities(image, SPACING, Intensities()) is image
    changed = change_intensities(image, SPACING, Intensities(contrast=2, brightness=0.5))
    assert torch.allclose(changed, 2 * image + 0.5)
    noisy = change_intensities(image, SPACING, Intensities(noise=0.3, noise_seed=5)) - image
    assert float(noisy.std()) == pytest.approx(0.3, rel=0.05)
    bent = change_intensities(image, SPACING, Intensities(gamma=1.7))
    assert torch.allclose(
        torch.stack(bent.aminmax()),
        torch.stack(image.aminmax()),
        rtol=0,
        atol=rounding_bound(image, 8),
    )
    bias = np.full((4, 4, 4), np.log(1.5), np.float32)
    biased = change_intensities(image, SPACING, Intensities(log_bias=bias))
    # A sum of four products along each of three axes, the exponential and a product.
    assert torch.allclose(biased, 1.5 * image, rtol=16 * EPS, atol=0)
    blurred = change_intensities(image, SPACING, Intensities(blur_mm=2.0))
    assert float(blurred.std()) < 0.7 * float(image.std())


def test_spacings_are_log_uniform_over_their_range() -> None:
    samples = np.log([sample_spacing(generator(0, "step", i), RANGES) for i in range(4000)])
    low, high = np.log(RANGES.range_mm).T
    assert (samples >= low - 1e-9).all() and (samples <= high + 1e-9).all()
    shares = (samples[:, :2] - low[:2]) / (high - low)[:2]
    assert np.allclose(
        np.quantile(shares, [0.25, 0.5, 0.75], axis=0).T, [0.25, 0.5, 0.75], atol=0.03
    )
    assert abs(np.corrcoef(shares.T)[0, 1]) < 0.05
    jointly = RANGES.model_copy(update={"isotropic_probability": 1.0})
    shares = (np.log(sample_spacing(generator(0, "step", 1), jointly))[:2] - low[:2]) / (
        high - low
    )[:2]
    assert shares[0] == pytest.approx(shares[1])


def test_parameters_depend_only_on_seed_step_and_sample() -> None:
    config = AugmentationSection()

    def sampled(seed: int, *place: int) -> str:
        rng = generator(seed, "sample", *place)
        return repr(sample_parameters(rng, RANGES, config, (40, 50, 30)))

    assert sampled(0, 5, 1) == sampled(0, 5, 1)
    assert len({sampled(*place) for place in ((0, 5, 1), (1, 5, 1), (0, 6, 1), (0, 5, 2))}) == 4
    assert generator(0, "step", 1).random() != generator(0, "sample", 1).random()


def test_thick_slices_lie_in_the_range() -> None:
    config = SpacingSection(
        range_mm=((0.5, 5.0), (0.4, 7.0), (0.4, 7.0)), thick_slice_probability=1
    )
    spacings = np.array([sample_spacing(generator(0, "step", i), config) for i in range(400)])
    thick = spacings >= 3 - 1e-9
    assert (thick.sum(axis=1) == 1).all() and thick.any(axis=0).all()
    assert spacings[:, 0].max() <= 5 + 1e-9 and spacings[:, 0].min() >= 0.5 - 1e-9
    assert spacings[~thick].max() <= 1.3 + 1e-9
    inplane = spacings[thick[:, 0]][:, 1:]
    assert np.allclose(inplane[:, 0], inplane[:, 1])
    never = config.model_copy(update={"thick_slice_probability": 0.0})
    assert sample_spacing(generator(0, "step", 1), never) != tuple(spacings[1])
