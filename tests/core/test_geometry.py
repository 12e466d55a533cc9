from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid, Orientation, check_spacing

ORIENTATIONS = [
    (axes, flips)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]
spacings = st.tuples(*[st.floats(0.2, 8.0)] * 3)
shapes = st.tuples(*[st.integers(1, 9)] * 3)
angles = st.tuples(*[st.floats(-0.4, 0.4)] * 3)


def rotation(angles_rad) -> np.ndarray:
    return nib.eulerangles.euler2mat(*angles_rad)


def random_affine(axes, flips, spacing, angles_rad, origin) -> np.ndarray:
    """A rotated, permuted, flipped and scaled affine, without the code under test."""
    permutation = np.eye(3)[:, list(axes)] * np.where(flips, -1.0, 1.0)
    return nib.affines.from_matvec(rotation(angles_rad) @ permutation * spacing, origin)


affines = st.builds(
    lambda orientation, spacing, turn, origin: random_affine(*orientation, spacing, turn, origin),
    st.sampled_from(ORIENTATIONS),
    spacings,
    angles,
    st.tuples(*[st.floats(-200, 200)] * 3),
)


@given(shapes, affines)
def test_canonical_agrees_with_nibabel(shape, affine):
    grid = Grid(shape, affine)
    ornt = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt("IPL")
    )
    array = np.arange(np.prod(shape)).reshape(shape)
    expected = nib.orientations.apply_orientation(array, ornt)
    expected_affine = affine @ nib.orientations.inv_ornt_aff(ornt, shape)

    np.testing.assert_array_equal(grid.orientation.to_canonical(array), expected)
    np.testing.assert_allclose(grid.canonical().affine, expected_affine, atol=1e-9)
    assert grid.canonical().shape == expected.shape
    assert grid.canonical().axcodes == "IPL"
    assert grid.axcodes == "".join(nib.aff2axcodes(affine))


@given(shapes, affines)
def test_every_voxel_keeps_its_place_in_canonical_order(shape, affine):
    grid = Grid(shape, affine)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))  # (3, *shape)
    turned = grid.orientation.to_canonical(index)
    places = grid.index_to_mm(np.moveaxis(turned, 0, -1))
    canonical = grid.canonical()
    own = np.stack(np.meshgrid(*map(np.arange, canonical.shape), indexing="ij"), axis=-1)
    np.testing.assert_allclose(canonical.index_to_mm(own), places, atol=1e-9)
    np.testing.assert_allclose(grid.mm_to_index(grid.index_to_mm((1, 2, 3))), (1, 2, 3), atol=1e-6)


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS)
def test_orientation_round_trip(axes, flips):
    orientation = Orientation(axes, flips)
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    there = orientation.to_canonical(array)
    assert there.shape == (2, *orientation.values_to_canonical((3, 4, 5)))
    assert np.shares_memory(there, array)
    np.testing.assert_array_equal(orientation.from_canonical(there), array)
    same = orientation.to_canonical(torch.from_numpy(array))
    np.testing.assert_array_equal(same.numpy(), there)
    np.testing.assert_array_equal(orientation.from_canonical(same).numpy(), array)
    values = orientation.values_to_canonical("abc")
    assert orientation.values_from_canonical(values) == ("a", "b", "c")


def test_spacing_is_in_array_order():
    # Array axes: first down the body by 5 mm, then to the right by 0.7, then forwards by 1.1.
    affine = np.array([[0, 0.7, 0, 10], [0, 0, 1.1, -20], [-5.0, 0, 0, 30], [0, 0, 0, 1]])
    grid = Grid((4, 6, 8), affine)
    assert grid.spacing_mm == pytest.approx((5.0, 0.7, 1.1))
    assert grid.axcodes == "IRA"
    assert grid.canonical().spacing_mm == pytest.approx((5.0, 1.1, 0.7))
    assert grid.field_of_view_mm == pytest.approx((20.0, 4.2, 8.8))
    assert grid.voxel_volume_ml == pytest.approx(5 * 0.7 * 1.1 / 1000)
    assert grid.obliqueness_deg == pytest.approx(0, abs=1e-5)  # arccos near 1: √eps


@given(shapes, affines, spacings)
@settings(max_examples=50)
def test_working_grid_covers_the_same_field_of_view(shape, affine, spacing):
    grid = Grid(shape, affine)
    working = grid.with_spacing(spacing)
    np.testing.assert_allclose(working.spacing_mm, spacing, rtol=1e-9)
    np.testing.assert_allclose(working.center_mm, grid.center_mm, atol=1e-8)
    np.testing.assert_allclose(working.directions, grid.directions, atol=1e-9)
    extra = np.array(working.field_of_view_mm) - grid.field_of_view_mm
    assert (extra >= -2e-4 * np.array(spacing)).all()
    assert (extra < np.array(spacing)).all()


def test_the_own_spacing_gives_the_same_grid_despite_rounding():
    for size in range(1, 200):
        grid = Grid.from_spacing((size, 1, size), (1.1, 0.3, 0.7))
        assert grid.with_spacing(grid.spacing_mm).shape == grid.shape


def test_crop_keeps_voxels_in_place():
    grid = Grid((7, 8, 9), random_affine((2, 0, 1), (True, False, True), (1, 2, 3), (0.1,) * 3, 0))
    part = grid.crop((1, 2, 3), (4, 5, 6))
    np.testing.assert_allclose(part.index_to_mm((1, 1, 1)), grid.index_to_mm((2, 3, 4)))
    assert part.shape == (4, 5, 6)


def test_closeness_is_measured_at_the_corners():
    grid = Grid.from_spacing((10, 20, 30), (1, 1, 1))
    affine = grid.affine.copy()
    affine[0, 2] *= 1.001  # 29 voxels × 0.001 mm at the far corner
    other = Grid(grid.shape, affine)
    assert grid.corner_distance_mm(other) == pytest.approx(0.029)
    assert not grid.is_close(other)
    assert grid.is_close(other, tolerance_mm=0.03)
    assert grid != other
    assert grid == Grid(grid.shape, grid.affine)
    assert hash(grid) == hash(Grid(grid.shape, grid.affine))
    negative = np.where(grid.affine == 0, -0.0, grid.affine)
    negative[3] = grid.affine[3]
    assert grid == Grid(grid.shape, negative)
    assert hash(grid) == hash(Grid(grid.shape, negative))


def test_grids_are_read_only():
    grid = Grid.from_spacing((2, 3, 4), (1, 2, 3))
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 2


def test_shear_is_seen():
    affine = np.eye(4)
    affine[0, 1] = 0.1
    assert Grid((2, 2, 2), affine).is_sheared
    assert not Grid(
        (2, 2, 2), random_affine((0, 1, 2), (0,) * 3, (1, 2, 3), (0.3,) * 3, 0)
    ).is_sheared


@pytest.mark.parametrize(
    ("shape", "change", "field"),
    [
        ((0, 2, 2), {}, "shape"),
        ((2, 2), {}, "shape"),
        ((2, 2, 2), {(0, 0): np.nan}, "affine"),
        ((2, 2, 2), {(0, 0): 0.0}, "affine"),
        ((2, 2, 2), {(3, 0): 1.0}, "affine"),
    ],
)
def test_invalid_grids_are_refused(shape, change, field):
    affine = np.eye(4)
    for place, value in change.items():
        affine[place] = value
    with pytest.raises(HyperspaceError) as caught:
        Grid(shape, affine)
    assert caught.value.field == field


@pytest.mark.parametrize("spacing", [(1, 1), (1, 0, 1), (1, np.nan, 1), (1, 1, -1), "abc", None])
def test_invalid_spacings_are_refused(spacing):
    with pytest.raises(HyperspaceError, match="positive finite"):
        check_spacing(spacing)


@pytest.mark.parametrize("step", [1e-20, 1e-150, 5e-324])
def test_a_grid_whose_number_of_voxels_overflows_is_refused(step):
    with pytest.raises(HyperspaceError, match="more voxels than can be counted"):
        Grid.from_spacing((3, 4, 5), (1, 1, 1)).with_spacing((step, step, step))
    with pytest.raises(HyperspaceError, match="more voxels than can be counted"):
        Grid.from_spacing((3, 4, 5), (1e20, 1, 1)).with_spacing((1, 1, 1))


@pytest.mark.parametrize("step", [1e-300, 1e200, 1e300])
def test_a_spacing_whose_square_is_not_a_number_is_refused(step):
    with pytest.raises(HyperspaceError, match=r"singular|too large"):
        Grid.from_spacing((3, 4, 5), (1, step, 1))
