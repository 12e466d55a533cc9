"""Guidance of training samples, and the coarse grids of the consistency loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.inference.guidance import guidance_channels
from tests.training.conftest import config_values
from training.config.fit import parse_config
from training.config.guidance import GuidanceSection
from training.data.decathlon import Decathlon
from training.data.labels import OUTSIDE
from training.fit.validation import validation_cases
from training.sampling.batches import TrainingBatches
from training.sampling.guidance import CoarseGrid, guided_sample, sample_guidance

SPACING = (1.3, 0.8, 1.1)
EXACT = GuidanceSection(
    spacing_mm=(3.0, 3.0),
    anisotropic_probability=0,
    shift_mm=0,
    surface_mm=0,
    drop_probability=0,
    part_probability=0,
    none_probability=0,
)


def changed(**changes: object) -> GuidanceSection:
    return EXACT.model_copy(update=changes)


@pytest.fixture
def labels() -> torch.Tensor:
    """Two boxes with a common face, and a slab of unknown labels."""
    array = np.zeros((27, 40, 31), np.int16)
    array[5:21, 8:30, 6:15] = 1
    array[5:21, 8:30, 15:24] = 2
    array[-3:] = OUTSIDE
    return torch.from_numpy(array)


def channels_of(labels: torch.Tensor, config: GuidanceSection, seed: int = 0) -> torch.Tensor:
    image = torch.zeros(1, *labels.shape)
    rng = np.random.default_rng(seed)
    return guided_sample(rng, image, labels, SPACING, 3, config)[0][1:]


def volumes(channels: torch.Tensor) -> np.ndarray:
    return channels.sum(dim=(1, 2, 3)).double().numpy()


def test_guidance_lies_on_the_labels_for_all_positions_of_its_grid(labels: torch.Tensor) -> None:
    """Its grid is coarse and lies anywhere, so single samples are wrong; their mean is not."""
    known = labels != OUTSIDE
    mean = torch.stack([channels_of(labels, EXACT, seed) for seed in range(40)]).mean(dim=0)
    for index in range(3):
        mask = (labels == index).float()
        z, y, x = (torch.arange(n).float() for n in labels.shape)
        if index:
            for axis, along in enumerate((z, y, x)):
                shape = [-1 if i == axis else 1 for i in range(3)]
                at = [float((m * along.view(shape)).sum() / m.sum()) for m in (mask, mean[index])]
                assert abs(at[0] - at[1]) * SPACING[axis] < 0.15 * 3.0
            assert float(mean[index].sum() / mask.sum()) == pytest.approx(1, abs=0.1)
    inner = mean[:, 3:-6, 4:-4, 3:-3].sum(dim=0)
    torch.testing.assert_close(inner, torch.ones_like(inner))
    assert not mean[:, -1].any() and not known[-1].any()  # unknown is not background


def test_it_has_the_errors_of_a_coarse_segmentation(labels: torch.Tensor) -> None:
    exact = [channels_of(labels, EXACT, seed) for seed in range(12)]
    for name, config in (
        ("moved", changed(shift_mm=2.0)),
        ("surfaces", changed(surface_mm=1.5)),
        ("kind", changed(kind="distances", clip_mm=5.0)),
    ):
        other = [channels_of(labels, config, seed) for seed in range(12)]
        assert sum(not torch.equal(a, b) for a, b in zip(exact, other, strict=True)) > 8, name
        assert all(((c >= 0) & (c <= 1)).all() for c in other), name
    sizes = np.array([volumes(channels_of(labels, changed(surface_mm=1.5), s)) for s in range(30)])
    plain = np.array([volumes(channels_of(labels, EXACT, s)) for s in range(30)])
    growth = sizes[:, 1:] / plain[:, 1:]
    assert (growth < 0.92).any() and (growth > 1.08).any()
    dropped = channels_of(labels, changed(drop_probability=1.0))
    assert not dropped[1:].any() and dropped[0, :-6].any()
    assert not channels_of(labels, changed(none_probability=1.0)).any()
    parts = [channels_of(labels, changed(part_probability=1.0), s).sum(dim=0) for s in range(8)]
    assert all(0 < float((p[:-6] > 0.5).float().mean()) < 0.9 for p in parts)


def test_a_surface_moves_by_about_the_distance_in_mm() -> None:
    """A plane between two classes, one of which is dilated by 1 mm: it moves by half of that."""
    array = torch.zeros(40, 9, 9, dtype=torch.int16)
    array[20:] = 1
    grid = Grid.from_spacing(array.shape, (1.0, 1.0, 1.0))
    moved = []
    for seed in range(300):
        config = changed(surface_mm=1.0, spacing_mm=(2.0, 2.0))
        given, coarse = sample_guidance(np.random.default_rng(seed), array, grid, 2, config)
        assert coarse.spacing_mm == (2.0, 2.0, 2.0)
        rng = np.random.default_rng(seed)
        rng.uniform(size=3), rng.random(), rng.uniform(0, 1, 3), rng.normal(size=3)
        offsets = rng.uniform(-1, 1, 2)
        channel = guidance_channels(given, config.channels.build(), 2, grid)[1]
        moved.append((float(channel[:, 4, 4].sum()) - 20, (offsets[1] - offsets[0]) / 2))
    found, expected = np.array(moved).T
    slope = np.polyfit(expected, found, 1)[0]
    assert 0.7 < slope < 1.3
    assert abs(found.mean() - expected.mean()) < 0.7  # it ends within half a coarse voxel


def test_the_margin_is_used_up_to_the_border(labels: torch.Tensor) -> None:
    """With a margin, guidance at the border of the image is that of its inside."""
    margin = (4, 6, 5)
    z, y, x = (slice(m, n - m) for m, n in zip(margin, labels.shape, strict=True))
    image = torch.zeros(1, *labels[z, y, x].shape)
    rng = np.random.default_rng(3)
    found, grid = guided_sample(rng, image, labels, SPACING, 3, EXACT, margin)
    known = found[1:, :-6]
    torch.testing.assert_close(known.sum(dim=0), torch.ones(known.shape[1:]))
    assert all(c == 3.0 for c in grid.spacing_mm)


def test_guidance_is_never_finer_than_the_sample() -> None:
    array = torch.zeros(9, 9, 9, dtype=torch.int16)
    grid = Grid.from_spacing(array.shape, (5.0, 1.0, 2.0))
    _, coarse = sample_guidance(np.random.default_rng(0), array, grid, 2, EXACT)
    assert coarse.spacing_mm == (5.0, 3.0, 3.0)


@pytest.mark.parametrize("spacing", [(2.6, 1.6, 3.3), (3.1, 2.7, 1.1)])
def test_a_coarse_grid_divides_a_sample_into_parts(spacing: tuple[float, float, float]) -> None:
    shape = (11, 7, 9)
    grid = CoarseGrid(spacing, (0.7, -3.1, 40.0))
    for n, step, coarse, matrix in zip(
        shape, SPACING, spacing, grid.matrices(shape, SPACING), strict=True
    ):
        dense = matrix.dense().double().numpy() * coarse / step
        np.testing.assert_allclose(dense.sum(axis=0), np.ones(n), atol=1e-5)
        assert (dense.sum(axis=1) > 0).all()


@pytest.mark.parametrize("head", [{"kind": "labels"}, {"kind": "signed-distance", "clip_mm": 3}])
def test_batches_have_guidance_and_the_image_and_labels_of_before(dataset: Path, head) -> None:
    data = Decathlon(dataset)
    names = [case.name for case in data.cases()]
    values = config_values(head=head, augmentation={"deform_probability": 0.0})
    plain = parse_config(values)
    values["guidance"] = {"spacing_mm": [2.0, 3.0], "kind": "one-hot"}
    values["network"] = {**values["network"], "in_channels": 4}
    guided = parse_config(values)
    sources = data.sources(names, plain.data.normalization.build())
    for step in range(3):
        before, after = (TrainingBatches(config, sources)[step] for config in (plain, guided))
        # The margin moves the origin of the interpolated coordinates: the last digits differ.
        torch.testing.assert_close(after.image[:, :1], before.image, rtol=0, atol=1e-4)
        assert torch.equal(after.labels.nan_to_num(99), before.labels.nan_to_num(99))
        assert after.image.shape[1] == 4 and len(after.grids) == 2 and not before.grids
        again = TrainingBatches(guided, sources)[step]
        assert torch.equal(again.image, after.image) and again.grids == after.grids


def test_validation_has_the_same_guidance_every_time(dataset: Path) -> None:
    data = Decathlon(dataset)
    values = config_values(guidance={"spacing_mm": [2.0, 3.0], "none_probability": 1.0})
    values["network"] = {**values["network"], "in_channels": 4}
    config = parse_config(values)
    sources = data.sources([data.cases()[0].name], config.data.normalization.build())
    first, again = (
        validation_cases(config, sources)[0][0].scans_at((1.5, 1.5, 1.5))[0] for _ in range(2)
    )
    assert torch.equal(first.image, again.image)
    assert first.image.shape[0] == 4 and first.image[1:].any()
