"""Oracles: scipy.ndimage for point sampling, direct sums for anti-aliasing, nibabel for labels.

Bounds are those of float32 arithmetic on any processor: see `rounding`.
"""

from __future__ import annotations

import itertools

import nibabel as nib
import nibabel.processing
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_hyperspace.core.errors import Cancelled, HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.resample import resample_labels, resample_to_grid, resample_to_spacing
from napari_hyperspace.core.separable import SNAP, axis_matrix, grid_matrices, resample_axes
from napari_hyperspace.core.volume import Volume

EPS = float(np.finfo(np.float32).eps)
OBLIQUE = nib.eulerangles.euler2mat(0.2, -0.3, 0.1)


def rounding(values, taps: int, axes: int = 3, order: str = "linear") -> float:
    """Return the largest error of float32 sums of ``taps`` products along each of some axes.

    Each axis rounds the weights, the products and the sums, in any order: (taps + 2) · eps of the
    sum of absolute values. The absolute weights of the cubic kernel sum to 1.25 at most.
    """
    gain = 1.25**axes if order == "cubic" else 1.0
    return axes * (taps + 2) * EPS * gain * float(np.abs(values).max())


def scan(rng, shape=(7, 9, 11), spacing=(1.1, 0.7, 2.0), rotation=None) -> Volume:
    affine = nib.affines.from_matvec(
        (np.eye(3) if rotation is None else rotation)[:, [2, 0, 1]] * spacing * [1, -1, 1],
        (5, 6, -7),
    )
    return Volume(rng.normal(size=shape).astype(np.float32), Grid(shape, affine), "scan")


def oracle(volume: Volume, grid: Grid, order: int, mode="nearest", cval=0.0) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    world = nib.affines.apply_affine(grid.affine, index)
    source = nib.affines.apply_affine(np.linalg.inv(volume.affine), world)
    return ndimage.map_coordinates(
        volume.array, np.moveaxis(source, -1, 0), order=order, mode=mode, cval=cval, prefilter=False
    )


@pytest.mark.parametrize("fill", [None, 3.0])
@pytest.mark.parametrize("rotation", [None, OBLIQUE], ids=["aligned", "oblique"])
def test_linear_equals_scipy(rng, rotation, fill):
    volume = scan(rng)
    target = scan(rng, (5, 13, 8), (0.9, 1.3, 1.7), rotation).grid.canonical()
    out = resample_to_grid(volume, target, antialias=False, fill=fill)
    mode = "nearest" if fill is None else "grid-constant"
    expected = oracle(volume, target, 1, mode, fill or 0.0)
    # The fill value is subtracted before and added afterwards; the oracle rounds once.
    most = np.abs(volume.array).max() + (fill or 0.0)
    bound = rounding(most, taps=2) + 3 * EPS * most
    np.testing.assert_allclose(out.array, expected, rtol=0, atol=bound)
    assert out.grid == target
    assert out.array.dtype == np.float32


@pytest.mark.parametrize("rotation", [None, OBLIQUE], ids=["aligned", "oblique"])
@pytest.mark.parametrize("order", ["linear", "cubic"])
def test_polynomials_are_reproduced(rng, order, rotation):
    """Linear interpolation reproduces linear functions of position, cubic quadratic ones."""
    volume = scan(rng, (17, 18, 19), (1.0, 1.5, 0.8))

    def function(grid: Grid) -> np.ndarray:
        index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
        x, y, z = np.moveaxis(nib.affines.apply_affine(grid.affine, index) / 10, -1, 0)
        return x - 2 * y + 3 * z + (0 if order == "linear" else x * y - z * z)

    smooth = volume.with_array(function(volume.grid).astype(np.float32))
    middle = volume.grid.crop((6, 6, 6), (5, 5, 5)).with_spacing((0.6, 0.7, 0.5))
    if rotation is not None:
        affine = middle.affine.copy()
        affine[:3, :3] = rotation @ affine[:3, :3]
        affine[:3, 3] += middle.center_mm - Grid(middle.shape, affine).center_mm
        middle = Grid(middle.shape, affine)
    out = resample_to_grid(smooth, middle, order=order)
    bound = rounding(smooth.array, taps=4, order="cubic") * 1.1  # the image itself is rounded
    np.testing.assert_allclose(out.array, function(middle), rtol=0, atol=bound)


def direct(signal, n_out, step, start, radius, kernel, stretch):
    """Sum over all samples of the edge-extended signal, one output at a time."""
    pad = 200
    extended = np.pad(signal, pad, mode="edge")
    out = []
    for o in range(n_out):
        center = start + o * step
        weights = np.array([kernel(abs(i - pad - center) / stretch) for i in range(len(extended))])
        out.append((weights * extended).sum() / weights.sum())
    return np.array(out)


def keys(x):
    """Keys 1981, a = -1/2, term by term."""
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


@given(
    n_in=st.integers(1, 40),
    n_out=st.integers(1, 12),
    step=st.floats(0.1, 6).flatmap(lambda s: st.sampled_from([s, -s])),
    start=st.floats(-3, 20),
    order=st.sampled_from(["linear", "cubic"]),
    antialias=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_one_axis_equals_the_direct_sum(n_in, n_out, step, start, order, antialias):
    signal = np.random.default_rng(n_in).normal(size=n_in)
    matrix = axis_matrix(n_in, n_out, step, start, order=order, antialias=antialias)
    kernel = keys if order == "cubic" else (lambda x: max(0.0, 1 - x))
    stretch = max(1.0, abs(step)) if antialias else 1.0
    expected = direct(signal, n_out, step, start, 2, kernel, stretch)
    found = matrix.dense().double().numpy() @ signal
    # Coordinates may be moved by SNAP: the slopes of the kernels are below 2, over 4 samples.
    bound = rounding(signal, matrix.indices.shape[1], axes=1, order="cubic")
    bound += 8 * SNAP * np.abs(signal).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


def test_halving_averages_with_a_triangle():
    signal = torch.tensor([0.0, 0.0, 0.0, 8.0, 0.0, 0.0, 0.0, 0.0])
    matrix = axis_matrix(8, 4, 2.0, 0.5)
    # Centers 0.5, 2.5, 4.5, 6.5; triangle of half-width 2: the peak is 0.5 and 1.5 samples away.
    assert matrix.apply(signal, 0).tolist() == pytest.approx([0, 3.0, 1.0, 0])


@given(st.tuples(*[st.integers(1, 5)] * 3), st.data())
@settings(max_examples=30, deadline=None)
def test_dense_and_tapwise_products_agree(shape, data):
    """Long axes are gathered tap by tap, short ones multiplied by a matrix."""
    axis = data.draw(st.integers(0, 2))
    step = data.draw(st.floats(0.3, 3.0))
    long = list(shape)
    long[axis] = 400
    tensor = torch.randn(2, *long, generator=torch.Generator().manual_seed(1))
    n_out = data.draw(st.integers(1, 50))
    matrix = axis_matrix(400, n_out, step, 1.25)
    expected = torch.tensordot(matrix.dense().double(), tensor.double(), ([1], [axis + 1]))
    expected = expected.movedim(0, axis + 1)
    bound = rounding(tensor.numpy(), matrix.indices.shape[1], axes=1)
    found = matrix.apply(tensor, axis + 1).double()
    torch.testing.assert_close(found, expected, atol=bound, rtol=0)
    rows = matrix.rows(n_out // 2, n_out)
    part = rows.apply(tensor, axis + 1).double()
    last = expected.narrow(axis + 1, n_out // 2, n_out - n_out // 2)
    torch.testing.assert_close(part, last, atol=bound, rtol=0)


@pytest.mark.parametrize("rotation", [None, OBLIQUE], ids=["aligned", "oblique"])
def test_labels_equal_nibabel_and_keep_their_type(rng, rotation):
    volume = scan(rng, (9, 8, 7))
    labels = volume.with_array(rng.integers(0, 60000, volume.shape).astype(np.uint16))
    target = scan(rng, (11, 6, 9), (0.83, 1.31, 0.77), rotation).grid
    out = resample_to_grid(labels, target, order="nearest", fill=9)
    image = nib.Nifti1Image(labels.array.astype(np.int32), labels.affine)
    expected = nibabel.processing.resample_from_to(
        image, (target.shape, target.affine), order=0, mode="grid-constant", cval=9
    )
    np.testing.assert_array_equal(out.array, np.asarray(expected.dataobj))
    assert out.array.dtype == np.uint16
    inside = resample_to_grid(labels, target, order="nearest")
    assert set(np.unique(inside.array)) <= set(np.unique(labels.array))


@pytest.mark.parametrize("order", ["nearest", "linear"])
def test_resampling_to_an_oblique_grid_can_be_stopped(rng, order):
    """It is asked every few planes, so that few of the fifty planes are done."""
    volume = scan(rng)
    grid = scan(rng, (50, 160, 80), (0.2, 0.1, 0.3), OBLIQUE).grid
    answers = iter([False, False, True])
    with pytest.raises(Cancelled):
        resample_to_grid(volume, grid, order=order, should_stop=lambda: next(answers))
    assert next(answers, None) is None


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_permuting_axes_moves_no_voxel(rng, axes):
    volume = scan(rng)
    affine = volume.affine[:, [*axes, 3]]
    target = Grid(tuple(volume.shape[a] for a in axes), affine)
    for order in ("nearest", "linear", "cubic"):
        out = resample_to_grid(volume, target, order=order)
        np.testing.assert_array_equal(out.array, volume.array.transpose(axes))


def test_a_constant_image_stays_constant(rng):
    volume = scan(rng)
    flat = volume.with_array(np.full(volume.shape, 3.25, np.float32))
    for order in ("linear", "cubic"):
        out = resample_to_spacing(flat, (2.9, 3.1, 4.7), order=order)
        bound = rounding(3.25, taps=20, order="cubic")
        np.testing.assert_allclose(out.array, 3.25, rtol=0, atol=bound)
        assert out.spacing_mm == pytest.approx((2.9, 3.1, 4.7))


def test_antialiasing_removes_what_the_coarse_grid_cannot_represent():
    """A checkerboard along z at 1 mm is gray at 4 mm; point sampling would alias it."""
    grid = Grid.from_spacing((64, 3, 3), (1, 1, 1))
    board = np.where(np.arange(64) % 2, 1.0, -1.0)[:, None, None] * np.ones((1, 3, 3))
    volume = Volume(board.astype(np.float32), grid)
    smooth = resample_to_spacing(volume, (4, 1, 1)).array
    assert np.abs(smooth[2:-2]).max() <= rounding(board, taps=8, axes=1)
    # For an oblique target the image is smoothed first, then interpolated point by point.
    affine = grid.with_spacing((4, 1, 1)).affine.copy()
    affine[:3, :3] = nib.eulerangles.euler2mat(0.05, 0, 0) @ affine[:3, :3]
    affine[2, 3] += 0.5  # onto voxel centers, where point sampling is at its worst
    turned = resample_to_grid(volume, Grid((16, 3, 3), affine)).array
    assert np.abs(turned[2:-2]).max() < 0.1
    aliased = resample_to_grid(volume, Grid((16, 3, 3), affine), antialias=False).array
    assert np.abs(aliased[2:-2]).max() > 0.2


def test_grid_matrices_leave_unchanged_axes_alone(rng):
    grid = scan(rng, (6, 20, 7)).grid.canonical()
    target = grid.with_spacing((grid.spacing_mm[0], 2.5, grid.spacing_mm[2]))
    matrices = grid_matrices(grid, target)
    assert [matrix is None for matrix in matrices] == [True, False, True]
    tensor = torch.from_numpy(rng.normal(size=(2, *grid.shape)).astype(np.float32))
    out = resample_axes(tensor, matrices)
    assert out.shape == (2, *target.shape)
    whole = resample_to_grid(Volume(tensor[1].numpy(), grid), target)
    bound = 2 * rounding(tensor.numpy(), matrices[1].indices.shape[1], axes=1)
    np.testing.assert_allclose(out[1].numpy(), whole.array, rtol=0, atol=bound)


def test_the_label_that_covers_most_of_a_voxel_wins():
    grid = Grid.from_spacing((1, 1, 9), (1, 1, 1))
    row = np.array([[[0, 5, 5, 0, 0, 700, 700, 700, 2]]], dtype=np.uint16)
    labels = Volume(row, grid)
    thirds = resample_labels(labels, grid.with_spacing((1, 1, 3)))
    assert thirds.array.tolist() == [[[5, 0, 700]]]
    assert thirds.array.dtype == np.uint16
    # 1.5 voxels each: 0 and a half 5; half a 5, 5, …; of a tie, the smaller value.
    finer = resample_labels(labels, grid.with_spacing((1, 1, 1.5)))
    assert finer.array.tolist() == [[[0, 5, 0, 700, 700, 2]]]


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_labels_equal_a_count_on_a_fine_grid(rng, axes):
    """Oracle: split each old voxel into 6³ and count the values in each new one."""
    labels = scan(rng, (8, 9, 10)).with_array(rng.integers(0, 3, (8, 9, 10)).astype(np.uint8))
    z, y, x = (np.array(labels.spacing_mm) * (2, 1.5, 5 / 3)).tolist()
    grid = labels.grid.with_spacing((z, y, x))
    fine = labels.array.repeat(6, 0).repeat(6, 1).repeat(6, 2).reshape(4, 12, 6, 9, 6, 10)
    counts = np.stack([(fine == value).sum(axis=(1, 3, 5)) for value in range(3)])
    turned = Grid(tuple(grid.shape[a] for a in axes), grid.affine[:, [*axes, 3]])
    out = resample_labels(labels, turned)
    np.testing.assert_array_equal(out.array, counts.argmax(axis=0).transpose(axes))


def test_halving_labels_moves_nothing():
    """A ball is not shifted; the nearest voxel would shift it by half a voxel."""
    z, y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (30, 24, 28)), indexing="ij")
    grid = Grid.from_spacing((30, 24, 28), (1, 1, 1))
    ball = Volume((z**2 + y**2 + x**2 < 64).astype(np.uint8), grid)
    half = resample_labels(ball, grid.with_spacing((2, 2, 2)))
    assert ndimage.center_of_mass(half.array) == pytest.approx((7, 5.5, 6.5), abs=1e-6)
    assert half.array.sum() * 8 == pytest.approx(ball.array.sum(), rel=0.1)


def test_overlap_needs_shared_axes(rng):
    labels = scan(rng)
    with pytest.raises(HyperspaceError, match="share their axes"):
        resample_labels(labels, scan(rng, rotation=OBLIQUE).grid)
