"""Membership by two fronts: against Euclidean distances, at edges, at several spacings."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_hyperspace.core.geodesic import geodesic_membership, membership_of_strokes

Mask = NDArray[np.bool_]


def ball(shape: tuple[int, ...], center_mm: object, radius_mm: float, spacing: object) -> Mask:
    places = np.moveaxis(np.indices(shape), 0, -1) * np.array(spacing)
    inside: Mask = np.linalg.norm(places - np.array(center_mm), axis=-1) <= radius_mm
    return inside


@pytest.mark.parametrize("spacing", [(1, 1, 1), (1.4, 1, 2.2), (3, 1.2, 1)])
def test_in_a_uniform_image_the_nearest_stroke_wins(spacing: tuple[float, ...]) -> None:
    shape = (15, 23, 19)
    extent = np.multiply(shape, spacing)
    inside = ball(shape, extent * (0.4, 0.3, 0.5), 2.5, spacing)
    outside = ball(shape, extent * (0.6, 0.7, 0.5), 2.5, spacing)
    found = geodesic_membership(np.full(shape, 7.0), inside, outside, spacing)

    border = np.ones(shape, bool)
    border[1:-1, 1:-1, 1:-1] = False
    own = ndimage.distance_transform_edt(~inside, sampling=spacing)
    other = ndimage.distance_transform_edt(~((outside | border) & ~inside), sampling=spacing)
    # Fronts on a grid are late by up to a voxel, more so off the axes.
    sure = np.abs(own - other) > 0.3 * np.maximum(own, other) + max(spacing)
    assert sure.mean() > 0.3
    assert ((found > 0.5) == (own < other))[sure].all()
    assert found.min() >= 0 and found.max() <= 1
    assert (found[inside] == 1).all() and (found[outside] == 0).all()


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 0.5, 0.5), (0.45, 1, 3)])
def test_a_short_stroke_fills_what_has_its_intensity(spacing: tuple[float, ...]) -> None:
    shape = tuple(round(48 / step) for step in spacing)
    center = np.array(shape) * spacing / 2
    structure = ball(shape, center, 9, spacing)
    rng = np.random.default_rng(3)
    image = np.where(structure, 3.0, 1.0) + rng.normal(0, 0.3, shape)
    inside = ball(shape, np.add(center, (0, 0, 3)), 3, spacing) & structure
    nothing = np.zeros(shape, bool)
    found = geodesic_membership(image, inside, nothing, spacing) > 0.5
    overlap = 2 * (found & structure).sum() / (found.sum() + structure.sum())
    assert overlap > 0.85
    plain = geodesic_membership(np.zeros(shape), inside, nothing, spacing) > 0.5
    assert overlap > 2 * (plain & structure).sum() / (plain.sum() + structure.sum()) + 0.1


def test_offset_and_scale_make_no_difference() -> None:
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.normal(size=(17, 21, 19)), 2)
    inside = ball(image.shape, (8, 9, 9), 2, (1, 1, 1))
    nothing = np.zeros(image.shape, bool)
    once = geodesic_membership(image, inside, nothing, (1, 1.2, 1))
    again = geodesic_membership(-300 * image + 1000, inside, nothing, (1, 1.2, 1))
    np.testing.assert_allclose(once, again, atol=1e-4)


def test_without_strokes_nothing_is_inside() -> None:
    nothing = np.zeros((5, 6, 7), bool)
    found = geodesic_membership(np.ones((5, 6, 7)), nothing, ~nothing, (1, 1, 1))
    assert found.dtype == np.float32 and not found.any()


def test_a_thick_mask_is_kept_and_slices_are_strokes() -> None:
    shape = (20, 22, 24)
    structure = ball(shape, (10, 11, 12), 6, (1, 1, 1))
    image = structure.astype(np.float64)
    stroke = ball(shape, (10, 11, 12), 2, (1, 1, 1))
    nothing = np.zeros(shape, bool)
    thick = ball(shape, (8, 11, 12), 5, (1, 1, 1)).astype(np.float32)
    assert membership_of_strokes(image, thick, stroke, nothing, (1, 1, 1)) is None

    painted = structure.copy()
    painted[:9] = painted[12:] = False
    flat = painted.astype(np.float32)
    grown = membership_of_strokes(image, flat, nothing, nothing, (1, 1, 1))
    assert grown is not None and (grown[painted] == 1).all()
    assert ((grown > 0.5) == structure).mean() > 0.99
    wrong = np.zeros(shape, bool)
    wrong[10, 11, 12] = True
    erased = membership_of_strokes(image, flat, nothing, wrong, (1, 1, 1))
    assert erased is not None and erased[wrong] == 0

    strokes_only = membership_of_strokes(
        image, stroke.astype(np.float32), stroke, nothing, (1, 1, 1)
    )
    assert strokes_only is not None
    assert ((strokes_only > 0.5) == structure).mean() > 0.99
