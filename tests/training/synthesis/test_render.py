"""Rendering of synthetic pairs, compared with independent oracles."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from tests.training.heads import head_array, volume
from tests.training.rounding import rounding_bound
from training.config.synthesis import SynthesisSection
from training.seeding import generator
from training.synthesis import render as render_module
from training.synthesis.appearance import Appearance
from training.synthesis.heads import Head
from training.synthesis.parameters import (
    Acquisition,
    Corruption,
    HeadGeometry,
    PairParameters,
    Stripping,
)
from training.synthesis.render import _profile, covering_labels, render
from training.synthesis.sample import sample_pair
from training.synthesis.sampling_grid import fine_grid, scan_grid
from training.synthesis.tissues import IDS, MIRROR, TISSUE_OF_CLASS, TISSUES

HEAD = Head.from_volume("tiny", volume(head_array()))
CLASSES = torch.arange(len(IDS), dtype=torch.int16)
MEANS = tuple(np.linspace(0, 1, len(TISSUES)).tolist())
NONE = (0.0,) * len(TISSUES)


def _plain(
    spacing: tuple[float, float, float],
    shape: tuple[int, int, int],
    center_mm: tuple[float, float, float] | None = None,
    **changes: object,
) -> PairParameters:
    """Parameters of a pair that only samples the map."""
    if center_mm is None:
        z, y, x = ((np.array(HEAD.shape) - 1) / 2 * HEAD.spacing_mm).tolist()
        center_mm = (z, y, x)
    parameters = PairParameters(
        spacing,
        shape,
        HeadGeometry(center_mm),
        Acquisition(spacing),
        Appearance("t1", MEANS, NONE, NONE),
    )
    return dataclasses.replace(parameters, **changes)


def _paint(classes: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.array(MEANS)[np.array(TISSUE_OF_CLASS)[classes]]


def test_identity_returns_the_map() -> None:
    image, labels = render(HEAD, _plain(HEAD.spacing_mm, HEAD.shape), CLASSES)
    assert image.shape == (1, *HEAD.shape) and labels.dtype == torch.int16
    assert torch.equal(labels, HEAD.classes.to(torch.int16))


def test_outside_of_the_map_is_air() -> None:
    shape = tuple(n + 7 for n in HEAD.shape)
    z, y, x = ((np.array(shape) - 1) / 2 * HEAD.spacing_mm - 3 * np.array(HEAD.spacing_mm)).tolist()
    image, labels = render(HEAD, _plain(HEAD.spacing_mm, shape, (z, y, x)), CLASSES)
    inner = tuple(slice(3, 3 + n) for n in HEAD.shape)
    assert torch.equal(labels[inner], HEAD.classes.to(torch.int16))
    labels[inner], image[0][inner] = 0, 0
    assert not labels.any() and not image.any()


@given(
    st.tuples(*[st.floats(1.25, 4)] * 3),
    st.tuples(*[st.integers(1, 14)] * 3),
    st.tuples(*[st.floats(5, 25)] * 3),
    st.tuples(*[st.floats(-0.4, 0.4)] * 9),
)
@settings(max_examples=40, deadline=None)
def test_labels_are_the_nearest_voxels(
    spacing: tuple[float, float, float],
    shape: tuple[int, int, int],
    center: tuple[float, float, float],
    entries: tuple[float, ...],
) -> None:
    matrix = np.eye(3) + np.reshape(entries, (3, 3))
    rows = tuple(tuple(row) for row in matrix.tolist())
    _, labels = render(
        HEAD, _plain(spacing, shape, geometry=HeadGeometry(center, False, rows)), CLASSES
    )
    offset = np.stack(
        np.meshgrid(
            *((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)),
            indexing="ij",
        ),
        axis=-1,
    )
    place = (offset @ matrix.T + center) / HEAD.spacing_mm
    nearest = np.floor(place + 0.5).astype(int)
    padded = np.clip(nearest, 0, np.array(HEAD.shape) - 1)
    expected = HEAD.classes.numpy()[tuple(np.moveaxis(padded, -1, 0))]
    clear = (np.abs(place + 0.5 - np.round(place + 0.5)) > 1e-3).all(axis=-1)
    assert np.array_equal(labels.numpy()[clear], expected[clear])


def test_finer_spacings_use_the_upsampled_map() -> None:
    half = tuple(step / 2 for step in HEAD.spacing_mm)
    _, labels = render(HEAD, _plain(half, HEAD.fine.shape), CLASSES)
    assert torch.equal(labels, HEAD.fine.to(torch.int16))


@pytest.mark.parametrize("parts", [(2, 2, 2), (4, 4, 4), (6, 2, 4)])
def test_partial_volume_is_the_mean_over_the_voxel(parts: tuple[int, int, int]) -> None:
    """Painted on the grid of the fine map with a box profile, the oracle is scipy's filter."""
    fine = _paint(HEAD.fine.numpy())
    spacing = tuple(p * s / 2 for p, s in zip(parts, HEAD.spacing_mm, strict=True))
    shape = tuple(n // p for n, p in zip(fine.shape, parts, strict=True))
    used = fine[tuple(slice(0, n * p) for n, p in zip(shape, parts, strict=True))]
    start = -0.25 * np.array(HEAD.spacing_mm)  # of the fine map's first voxel
    size = np.array(used.shape)
    z, y, x = (start + (size - 1) / 2 * np.array(HEAD.spacing_mm) / 2).tolist()
    taken = Acquisition(spacing, width_mm=spacing, parts=parts)
    image, _ = render(HEAD, _plain(spacing, shape, (z, y, x), acquisition=taken), CLASSES)
    filtered = used
    for axis, p in enumerate(parts):
        origin = 0 if p % 2 else -1
        filtered = ndimage.uniform_filter1d(filtered, p, axis, origin=origin)
    offset = [(p - 1) // 2 for p in parts]
    expected = filtered[tuple(slice(o, None, p) for o, p in zip(offset, parts, strict=True))]
    blocks = used.reshape(shape[0], parts[0], shape[1], parts[1], shape[2], parts[2])
    bound = rounding_bound(used, 3 * max(parts) + 4)  # one sum of `parts` products per axis
    means = blocks.mean(axis=(1, 3, 5))
    assert np.allclose(means, image[0].numpy(), rtol=0, atol=bound)
    expected = expected[: shape[0], : shape[1], : shape[2]]
    assert np.allclose(expected, image[0].numpy(), rtol=0, atol=bound)


@pytest.mark.parametrize("parts", [(3, 3, 3), (1, 4, 2)])
def test_covering_labels_are_the_most_frequent_ones(parts: tuple[int, int, int]) -> None:
    """Compared with the mode of the map's voxels, for working voxels that consist of whole ones."""
    array = HEAD.classes.numpy()
    cube = Head.from_volume("cube", volume(np.array(IDS, np.int16)[array], (1.0, 1.0, 1.0)))
    shape = tuple(n // p for n, p in zip(cube.shape, parts, strict=True))
    z, y, x = ((np.multiply(shape, parts) - 1) / 2).tolist()
    spacing = tuple(float(part) for part in parts)
    parameters = _plain(spacing, shape, (z, y, x), cut=(1, 0, 0.25))
    found = covering_labels(cube, parameters, CLASSES).numpy()
    for index in np.ndindex(shape):
        block = cube.classes.numpy()[
            tuple(slice(i * p, i * p + p) for i, p in zip(index, parts, strict=True))
        ]
        counts = np.bincount(block.ravel())
        if index[1] < round(0.25 * shape[1]):
            assert found[index] == 0
        else:
            assert counts[found[index]] == counts.max()
    # At the spacing of the map they are equal to those of `render`.
    same = _plain((1.0, 1.0, 1.0), cube.shape, (z, y, x))
    assert torch.equal(covering_labels(cube, same, CLASSES), render(cube, same, CLASSES)[1])


@pytest.mark.parametrize("kind", ["box", "gauss", "triangle"])
def test_slice_profiles_have_their_width(kind: str) -> None:
    """The image of a step edge rises over the width, and keeps its intensity."""
    array = np.zeros((40, 6, 6), np.int16)
    array[20:] = 2
    array[0, 0, 0], array[-1, -1, -1] = 2, 2  # the crop keeps the whole array
    edge = Head.from_volume("edge", volume(array, (1.0, 1.0, 1.0)))
    mean = MEANS[TISSUES.index("white matter")]

    def profile(width: float) -> NDArray[np.float64]:
        spacing = (0.5, 1.0, 1.0)
        taken = Acquisition(spacing, (kind, "box", "box"), (width, 1.0, 1.0), (2, 1, 1))
        parameters = _plain(spacing, (49, 1, 1), (20.5, 3.5, 3.5), acquisition=taken)
        return render(edge, parameters, CLASSES)[0][0, :, 0, 0].numpy().astype(float) / mean

    sharp, wide = profile(0.5), profile(5.0)
    bound = rounding_bound(1, 64)  # profiles have up to 50 weights
    assert sharp[:20] == pytest.approx(0, abs=0.02) and sharp[-20:] == pytest.approx(1, abs=bound)
    assert (np.diff(wide) > -bound).all() and wide[24] == pytest.approx(0.5, abs=0.06)
    spread = ndimage.gaussian_filter1d(np.diff(wide), 0.01)
    position = np.arange(len(spread)) * 0.5
    middle = (spread * position).sum() / spread.sum()
    deviation = np.sqrt((spread * (position - middle) ** 2).sum() / spread.sum())
    unit = {"box": 1 / np.sqrt(12), "gauss": 1 / 2.3548, "triangle": 1 / np.sqrt(6)}[kind]
    assert deviation == pytest.approx(5 * unit, rel=0.08)


@pytest.mark.parametrize("kind", ["box", "gauss", "triangle"])
def test_profiles_are_computed_in_parts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows at once give the weights of all at once; the ends have fewer taps."""
    taken = Acquisition((0.5, 1.0, 1.0), (kind, "box", "box"), (5.0, 1.0, 1.0), (2, 1, 1))
    parameters = _plain((0.5, 1.0, 1.0), (49, 1, 1), acquisition=taken)
    scan = scan_grid(parameters.shape, parameters.spacing_mm, taken.spacing_mm)
    fine = fine_grid(scan, taken.parts, taken.width_mm)
    whole = _profile(parameters, fine, scan, 0)
    monkeypatch.setattr(render_module, "_WEIGHTS_AT_ONCE", 3 * fine.shape[0])
    parts = _profile(parameters, fine, scan, 0)
    assert whole is not None and parts is not None
    assert torch.equal(parts.dense(), whole.dense())


def test_profiles_of_many_voxels_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrix has 2000 × 2000 entries, of which less than 5 % are not zero."""
    monkeypatch.setattr(render_module, "_WEIGHTS_AT_ONCE", 1 << 16)
    spacing = (1.0, 1.0, 0.02)
    taken = Acquisition(spacing, ("box", "box", "gauss"), (1.0, 1.0, 0.5))
    parameters = _plain(spacing, (1, 1, 2000), acquisition=taken)
    scan = scan_grid(parameters.shape, spacing, spacing)
    fine = fine_grid(scan, taken.parts, taken.width_mm)
    tracemalloc.start()
    try:
        matrix = _profile(parameters, fine, scan, 2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert matrix is not None and matrix.indices.shape[1] < 100
    assert peak < 8 * 2000 * 2000 / 2


def test_a_flip_mirrors_and_swaps_the_sides() -> None:
    parameters = _plain((1.5, 1.25, 1.0), (21, 23, 30))
    image, labels = render(HEAD, parameters, CLASSES)
    flipped = dataclasses.replace(
        parameters, geometry=dataclasses.replace(parameters.geometry, flip=True)
    )
    mirrored_image, mirrored = render(HEAD, flipped, CLASSES)
    bound = rounding_bound(image, 24)
    assert torch.allclose(mirrored_image, image.flip(-1), rtol=0, atol=bound)
    swapped = torch.tensor(MIRROR, dtype=torch.int16)[labels.flip(-1).int()]
    ties = mirrored != swapped
    assert ties.float().mean() < 0.01  # centers half-way between two voxels
    left, right = IDS.index(3), IDS.index(42)
    assert (labels[..., :12] == right).sum() > 50 > (labels[..., :12] == left).sum()
    assert (mirrored[..., :12] == right).sum() > 50 > (mirrored[..., :12] == left).sum()


def test_a_pair_is_a_function_of_its_parameters() -> None:
    config = SynthesisSection(strip_probability=0.5, cut_probability=0.5)
    for seed in range(6):
        parameters = sample_pair(
            generator(seed, "sample"), config, HEAD, (1.1, 2.3, 0.7), (15, 9, 22)
        )
        again = PairParameters.from_dict(json.loads(json.dumps(parameters.to_dict())))
        for a, b in zip(
            render(HEAD, parameters, CLASSES), render(HEAD, again, CLASSES), strict=True
        ):
            assert torch.equal(a, b)
    other = dataclasses.replace(parameters.corruption, noise=0.05, noise_seed=7)
    noisy = dataclasses.replace(parameters, corruption=other)
    assert not torch.equal(render(HEAD, noisy, CLASSES)[0], render(HEAD, parameters, CLASSES)[0])


@given(st.integers(0, 100_000), st.tuples(*[st.floats(0.4, 7)] * 3))
@settings(max_examples=40, deadline=None)
def test_pairs_are_finite_and_have_known_labels(
    seed: int, spacing: tuple[float, float, float]
) -> None:
    shape = tuple(max(1, min(20, int(24 / s))) for s in spacing)
    parameters = sample_pair(generator(seed, "sample"), SynthesisSection(), HEAD, spacing, shape)
    targets = torch.zeros(len(IDS), dtype=torch.int16)
    targets[IDS.index(3)] = targets[IDS.index(42)] = 5
    image, labels = render(HEAD, parameters, targets)
    assert image.shape == (1, *shape) and labels.shape == shape
    assert torch.isfinite(image).all() and image.abs().max() < 200
    assert set(labels.unique().tolist()) <= {0, 5}


def test_a_coarser_scan_is_interpolated() -> None:
    spacing = (1.0, 1.25, 1.0)
    sharp, labels = render(HEAD, _plain(spacing, (30, 24, 28)), CLASSES)
    taken = Acquisition((3.0, 1.25, 1.0), width_mm=(3.0, 0, 0), parts=(4, 1, 1))
    coarse, same = render(HEAD, _plain(spacing, (30, 24, 28), acquisition=taken), CLASSES)
    assert torch.equal(labels, same)

    def roughness(image: torch.Tensor, axis: int) -> float:
        return float(image[0].diff(dim=axis).abs().mean())

    assert roughness(coarse, 0) < 0.75 * roughness(sharp, 0)
    assert roughness(coarse, 1) > 0.75 * roughness(sharp, 1)
    assert float(coarse.mean()) == pytest.approx(float(sharp.mean()), rel=0.03)


def test_stripping_keeps_the_inside_of_the_skull() -> None:
    parameters = _plain(HEAD.spacing_mm, HEAD.shape)
    inside = torch.tensor([0 < i < 500 for i in IDS])[HEAD.classes.int()]
    stripped = dataclasses.replace(parameters, stripping=Stripping(0.0))
    image, labels = render(HEAD, stripped, CLASSES)
    assert torch.equal(labels > 0, inside)
    assert ((image[0] > 0) == inside).float().mean() > 0.97  # painted from the upsampled map
    dry = dataclasses.replace(parameters, stripping=Stripping(0.0, keep_csf=False))
    assert not render(HEAD, dry, CLASSES)[0][0][HEAD.classes == IDS.index(24)].mean() > 0.05
    sizes = []
    for margin in (-2.0, 0.0, 2.0):
        changed = dataclasses.replace(parameters, stripping=Stripping(margin, 0.5, 3))
        image, labels = render(HEAD, changed, CLASSES)
        assert not labels[image[0] == 0].any() or (labels[image[0] == 0] > 0).float().mean() < 0.03
        sizes.append(int((image > 0).sum()))
    assert sizes == sorted(sizes) and len(set(sizes)) == 3


@pytest.mark.parametrize(("axis", "side"), [(0, 0), (1, 1), (2, 0)])
def test_a_cut_is_empty_outside_of_the_field_of_view(axis: int, side: int) -> None:
    parameters = _plain(HEAD.spacing_mm, HEAD.shape, mean=0.5, scale=2.0)
    whole, _ = render(HEAD, parameters, CLASSES)
    image, labels = render(HEAD, dataclasses.replace(parameters, cut=(axis, side, 0.4)), CLASSES)
    n = HEAD.shape[axis]
    gone = np.arange(n) < round(0.4 * n) if side == 0 else np.arange(n) >= n - round(0.4 * n)
    lost = np.moveaxis(labels.numpy(), axis, 0)[gone]
    assert not lost.any()
    assert np.allclose(np.moveaxis(image[0].numpy(), axis, 0)[gone], -0.25)
    kept = ~gone
    assert np.array_equal(
        np.moveaxis(image[0].numpy(), axis, 0)[kept], np.moveaxis(whole[0].numpy(), axis, 0)[kept]
    )


@pytest.mark.parametrize("cut", [None, (1, 0, 0.4), (2, 1, 0.3)])
def test_a_margin_surrounds_the_same_labels(cut: tuple[int, int, float] | None) -> None:
    shape, margin = (7, 9, 8), (2, 1, 3)
    rng = generator(0, "margin")
    parameters = sample_pair(rng, SynthesisSection(), HEAD, (1.4, 0.9, 1.1), shape)
    parameters = dataclasses.replace(parameters, cut=cut)
    image, labels = render(HEAD, parameters, CLASSES)
    same, around = render(HEAD, parameters, CLASSES, margin=margin)
    assert torch.equal(same, image)
    assert torch.equal(around[2:-2, 1:-1, 3:-3], labels)
    if cut is not None:
        beyond = around.movedim(cut[0], 0)
        beyond = beyond[: margin[cut[0]]] if cut[1] == 0 else beyond[-margin[cut[0]] :]
        assert (beyond == 0).all()


def test_gamma_bias_and_noise() -> None:
    parameters = _plain(HEAD.spacing_mm, HEAD.shape)
    plain = render(HEAD, parameters, CLASSES)[0]

    def with_(**changes: object) -> torch.Tensor:
        changed = dataclasses.replace(parameters, corruption=Corruption(**changes))
        return render(HEAD, changed, CLASSES)[0]

    assert torch.allclose(with_(gamma=2.0), plain**2, rtol=0, atol=rounding_bound(plain**2, 4))
    bias = with_(bias=0.4, bias_points=(3, 3, 3), bias_seed=1)
    field = bias[plain > 0] / plain[plain > 0]
    assert field.min() > 0 and 0.1 < field.log().std() < 0.6
    assert (with_(noise=0.1, noise_seed=2) - plain).std() == pytest.approx(0.1, rel=0.05)
    rician = with_(noise=0.1, noise_seed=2, rician=True)
    assert rician.min() >= 0
    assert rician[plain == 0].mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.05)


def test_texture_has_the_given_deviation() -> None:
    spacing, shape = (0.5, 0.5, 0.5), (40, 40, 40)
    block = Head.from_volume("block", volume(np.full((30, 30, 30), 2, np.int16), (1.0, 1.0, 1.0)))
    tissue = TISSUES.index("white matter")
    level = tuple(0.05 if i == tissue else 0.0 for i in range(len(TISSUES)))

    def deviation(**changes: object) -> tuple[float, float]:
        plain = Appearance("t1", (0.5,) * len(TISSUES), NONE, NONE)
        appearance = dataclasses.replace(plain, **changes)
        parameters = _plain(spacing, shape, (15.0, 15.0, 15.0), appearance=appearance)
        image = render(block, parameters, CLASSES)[0][0]
        neighbors = (image[1:] - image.mean()) * (image[:-1] - image.mean())
        return float(image.std()), float(neighbors.mean() / image.var())

    white, white_near = deviation(white=level)
    smooth, smooth_near = deviation(smooth=level, smooth_mm=3.0)
    assert white == pytest.approx(0.05, rel=0.05) and abs(white_near) < 0.05
    assert smooth == pytest.approx(0.05, rel=0.25) and smooth_near > 0.8
