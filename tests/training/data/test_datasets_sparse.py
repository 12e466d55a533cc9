"""Data sets with partially known labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.intensity import Normalization
from tests.training import layouts
from tests.training.conftest import AFFINE, case_arrays, config_values
from tests.training.rounding import EPS, rounding_bound
from training.config.data import BratsSection, PairsSection
from training.config.fit import LossSection, parse_config
from training.data.base import Case
from training.data.labels import OUTSIDE
from training.data.pairs import Pairs
from training.data.published import Brats
from training.evaluation.scores import FixedSpacings, dice_per_label
from training.fit.losses import SegmentationLoss
from training.fit.trainer import fit

NONE = Normalization("none")
# Canonical axis (z, y, x) across the slices of a plane, and the array axis of AFFINE it comes from.
PLANES = {"axial": (0, 1), "coronal": (1, 2), "sagittal": (2, 0)}


@pytest.mark.parametrize("plane", PLANES)
def test_labels_of_slices_without_any_label_are_unknown(tmp_path: Path, plane: str) -> None:
    canonical, axis = PLANES[plane]
    truth = np.zeros((9, 8, 6), np.uint8)
    chosen = [2, 4]
    for place in chosen:
        cut = [slice(1, 4)] * 3
        cut[axis] = slice(place, place + 1)
        truth[tuple(cut)] = 3
    layouts.nifti(tmp_path / "image.nii.gz", np.ones(truth.shape, np.float32))
    layouts.nifti(tmp_path / "truth.nii.gz", truth)
    (tmp_path / "cases.csv").write_text("image,label\nimage.nii.gz,truth.nii.gz\n")
    section = PairsSection(folder="", names={3: "liver"}, sparse=plane)
    labels = Pairs(tmp_path, section).load(["image"], NONE)[0].labels.numpy()
    slices = np.moveaxis(labels, canonical, 0)
    known = [bool((one != OUTSIDE).all()) for one in slices]
    assert known == [bool((one != OUTSIDE).any()) for one in slices]
    # Of the array's axes, only the superior one runs against the canonical order.
    expected = [truth.shape[axis] - 1 - i for i in chosen] if plane != "sagittal" else chosen
    assert [i for i, one in enumerate(known) if one] == sorted(expected)
    assert (labels == 1).sum() == 2 * 3 * 3


def test_a_slice_with_ids_of_the_background_is_labeled(tmp_path: Path) -> None:
    layouts.brats(tmp_path, n_cases=1)
    truth = np.zeros(layouts.SHAPE, np.uint8)
    truth[:, 3, :2] = 2  # only edema: the slice was labeled, and has no tumor core
    layouts.nifti(tmp_path / "BraTS2021_00000/BraTS2021_00000_seg.nii.gz", truth)
    data = Brats(tmp_path, BratsSection(folder="", sparse="axial"))
    labels = data.load(["BraTS2021_00000"], NONE)[0].labels
    assert labels.unique().tolist() == [OUTSIDE, 0]
    assert (labels == 0).sum() == layouts.SHAPE[0] * layouts.SHAPE[2]


def test_ignored_ids_and_an_explicit_background(tmp_path: Path) -> None:
    """Scribbles: 0 is not labeled, 1 is background, 2 the structure."""
    layouts.brats(tmp_path, n_cases=1)
    section = BratsSection(folder="", labels={0: [1], 1: [2]}, ignore=[0, 4])
    labels = Brats(tmp_path, section).load(["BraTS2021_00000"], NONE)[0].labels
    counts = {value: int((labels == value).sum()) for value in (OUTSIDE, 0, 1)}
    assert counts == {OUTSIDE: np.prod(layouts.SHAPE) - 7, 0: 3, 1: 4}


def _one_slice(shape: tuple[int, int, int] = (8, 6, 10), place: int = 3) -> Case:
    """Slices 1 mm apart, pixels 2 × 0.5 mm; one slice is labeled, its left half a structure."""
    labels = torch.full(shape, OUTSIDE, dtype=torch.int16)
    labels[place] = 0
    labels[place, :, : shape[2] // 2] = 1
    return Case("one", torch.randn(1, *shape), labels, Grid.from_spacing(shape, (1, 2, 0.5)))


@pytest.mark.parametrize(
    ("spacing", "known"), [((2, 2, 0.5), [1]), ((4, 2, 0.5), [0]), ((0.5, 2, 0.5), [6, 7])]
)
def test_a_labeled_slice_stays_labeled_at_every_spacing(
    spacing: tuple[float, float, float], known: list[int]
) -> None:
    labels = _one_slice().at_spacing(spacing).labels
    assert [i for i, one in enumerate(labels) if (one != OUTSIDE).all()] == known
    others = [i for i in range(len(labels)) if i not in known]
    assert (labels[others] == OUTSIDE).all()
    for i in known:
        assert labels[i].tolist() == [[1] * 5 + [0] * 5] * 6


def test_a_labeled_slice_in_coarser_pixels_keeps_the_most_frequent_label() -> None:
    labels = _one_slice().at_spacing((1, 4, 1)).labels[3]
    # Pixels of two: the fifth old column is the structure's last, so the third new one is half.
    assert labels.tolist() == [[1, 1, 0, 0, 0]] * 3


def test_dice_counts_only_known_voxels() -> None:
    truth = torch.tensor([[1, 1, 0, 0], [-1, -1, -1, -1]])
    predicted = torch.tensor([[1, 0, 0, 0], [1, 1, 1, 1]])
    assert dice_per_label(predicted, truth, 2).tolist() == pytest.approx([2 / 3])


def test_scores_at_a_spacing_count_only_the_labeled_slice() -> None:
    case = _one_slice()

    class Everything(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.cat([torch.zeros_like(image), torch.ones_like(image)], dim=1)

    spacings = FixedSpacings([case], [(1, 2, 0.5), (2, 2, 0.5)], ["half"])
    totals = spacings.totals(lambda spacing: Everything(), torch.device("cpu"))
    # Everything is predicted as the structure, which is half of the slice: 2·30 / (60 + 30).
    assert totals[:, 0].tolist() == pytest.approx(np.array([[2 / 3, 1], [2 / 3, 1]]))


def test_a_crop_without_known_labels_has_no_gradient() -> None:
    loss = SegmentationLoss(LossSection())
    logits = torch.randn(2, 3, 4, 5, 3, requires_grad=True)
    labels = torch.full((2, 4, 5, 3), OUTSIDE, dtype=torch.int16)
    value = loss(logits, labels)
    value.backward()
    assert float(value.detach()) == pytest.approx(0, abs=8 * EPS)
    assert not logits.grad.any()
    labels[0, 1] = 2
    some = SegmentationLoss(LossSection(dice_weight=0))(logits.detach(), labels)
    known = logits.detach()[0, :, 1].reshape(3, -1).double()
    terms = known.log_softmax(0)[2]
    bound = rounding_bound(terms, len(terms) + 8)
    assert float(some) == pytest.approx(-float(terms.mean()), abs=bound)


def test_a_run_with_labeled_slices(make_dataset, tmp_path: Path) -> None:
    folder = make_dataset(n_cases=4)
    for i in range(4):
        truth = case_arrays(i)[1]
        truth[:, np.arange(truth.shape[1]) != 6] = 0
        layouts.nifti(folder / f"labelsTr/tiny_{i:03d}.nii.gz", truth, AFFINE)
    data = {"folder": "tiny", "validation_cases": 1, "sparse": "axial"}
    config = parse_config(
        config_values(data=data, training={"steps": 4, "batch_size": 1, "patch_shape": [4, 12, 12]})
    )
    report = fit(config, tmp_path, tmp_path / "run")
    assert report is not None
    assert 0 <= report["mean_dice"] <= 1
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    losses = [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]
    assert losses and np.isfinite(losses).all()
