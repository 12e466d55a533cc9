"""Label maps for the synthesis."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_hyperspace.core.errors import HyperspaceError
from tests.training.heads import SPACING, head_array, volume
from training.synthesis import heads
from training.synthesis.heads import MAX_DEPTH, Head, depth, upsample
from training.synthesis.tissues import (
    BRAIN,
    CONTRAST_PRIORS,
    IDS,
    INSIDE,
    MIRROR,
    TISSUE_OF_CLASS,
    TISSUES,
)


def test_tables_of_tissues_are_consistent() -> None:
    assert IDS[0] == 0 and TISSUES[0] == "air" and TISSUE_OF_CLASS[0] == 0
    assert [MIRROR[i] for i in MIRROR] == list(range(len(IDS)))
    assert all(TISSUE_OF_CLASS[i] == TISSUE_OF_CLASS[m] for i, m in enumerate(MIRROR))
    assert IDS[MIRROR[IDS.index(17)]] == 53 and IDS[MIRROR[IDS.index(16)]] == 16
    assert {IDS[i] for i in range(len(IDS)) if INSIDE[i] and not BRAIN[i]} == {24}
    assert all(set(prior.means) == set(TISSUES) - {"air"} for prior in CONTRAST_PRIORS.values())


def test_a_map_is_reoriented_and_cropped(labels: NDArray[np.int16]) -> None:
    stored = volume(labels)
    head = Head.from_volume("tiny", stored)
    ids = np.array(IDS)[head.classes.numpy()]
    assert head.spacing_mm == pytest.approx(SPACING)
    low = np.argwhere(labels > 0).min(axis=0)
    high = np.argwhere(labels > 0).max(axis=0) + 1
    inner = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    assert np.array_equal(ids[1:-1, 1:-1, 1:-1], inner)
    rim = ids.copy()
    rim[1:-1, 1:-1, 1:-1] = 0
    assert not rim.any()
    # A voxel keeps its position in mm.
    place = head.grid.index_to_mm((5, 6, 7))
    index = np.round(stored.grid.mm_to_index(place)).astype(int)
    assert stored.array[tuple(index)] == ids[5, 6, 7]


def test_counts_and_the_box_of_the_brain(head: Head) -> None:
    ids = np.array(IDS)[head.classes.numpy()]
    assert head.counts[0] == 0
    assert head.counts[IDS.index(42)] == (ids == 42).sum()
    brain = np.argwhere((ids > 0) & (ids < 100) & (ids != 24))
    low, high = head.brain_box
    assert np.array_equal(low, brain.min(axis=0)) and np.array_equal(high, brain.max(axis=0))


def test_an_empty_map_is_allowed() -> None:
    head = Head.from_volume("air", volume(np.zeros((5, 4, 6), np.int16)))
    assert head.counts.sum() == 0
    assert head.brain_box[1].tolist() == [n - 1 for n in head.shape]


@pytest.mark.parametrize("shape", [(37, 41, 9), (5, 33, 64)])
def test_the_upsampled_map_agrees_with_scipy(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(1)
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    classes = np.digitize(noise, np.quantile(noise, [0.3, 0.5, 0.9])).astype(np.uint8)
    fine = upsample(torch.from_numpy(classes)).numpy()
    padded = np.pad(classes, 2, mode="edge")
    positions = np.meshgrid(*((np.arange(2 * n) - 0.5) / 2 + 2 for n in shape), indexing="ij")
    shares = []
    for value in range(4):
        share = (padded == value).astype(float)
        for axis in range(3):
            share = ndimage.correlate1d(share, [0.1, 0.8, 0.1], axis, mode="nearest")
        shares.append(ndimage.map_coordinates(share, positions, order=1, mode="nearest"))
    ordered = np.sort(shares, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-5
    assert clear.mean() > 0.99
    assert np.array_equal(fine[clear], np.argmax(shares, axis=0)[clear])


def test_flat_borders_keep_their_position() -> None:
    classes = torch.zeros(8, 9, 10, dtype=torch.uint8)
    classes[:, 4:] = 3
    fine = upsample(classes)
    assert (fine[:, :8] == 0).all() and (fine[:, 8:] == 3).all()


def test_depth_approximates_the_distance() -> None:
    region = np.zeros((25, 27, 23), bool)
    region[8:17, 9:18, 7:15] = True
    region[12, 13, 7] = False
    found = depth(torch.from_numpy(region)).numpy().astype(float)
    assert (found[region] < 0).all() and (found[~region] > 0).all()
    truth = np.where(
        region, -ndimage.distance_transform_edt(region), ndimage.distance_transform_edt(~region)
    )
    near = np.abs(truth) < MAX_DEPTH * 0.8
    # Alternating cross and cube gives a distance between city-block and chessboard.
    assert np.abs(found - truth)[near].max() < 0.35 * MAX_DEPTH
    assert np.abs(found - truth)[near].mean() < 0.6
    assert found.min() >= -MAX_DEPTH and found.max() <= MAX_DEPTH


def test_the_cache_is_written_once(
    head: Head, labels: NDArray[np.int16], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HYPERSPACE_CACHE", str(tmp_path))
    first = head.prepare().fine
    files = sorted(tmp_path.rglob("*"))
    assert sum(file.is_file() for file in files) == 2

    def fail(*_: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(heads, "upsample", fail)
    again = Head.from_volume("other name", volume(labels))
    assert torch.equal(again.fine, first)
    # A different map has a different file.
    with pytest.raises(AssertionError, match="made again"):
        _ = Head.from_volume("tiny", volume(head_array(seed=5))).fine


def test_concurrent_writers_leave_one_complete_file(
    labels: NDArray[np.int16], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HYPERSPACE_CACHE", str(tmp_path))
    heads_ = [Head.from_volume(str(i), volume(labels)) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        maps = list(pool.map(lambda head: head.fine, heads_))
    assert all(torch.equal(fine, maps[0]) for fine in maps)
    assert [file.suffix for file in tmp_path.rglob("*") if file.is_file()] == [".npy"]


def test_a_failed_write_leaves_no_file(
    head: Head, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HYPERSPACE_CACHE", str(tmp_path))

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(HyperspaceError, match="disk full"):
        _ = head.fine
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
