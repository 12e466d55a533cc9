"""Real scans: labels are truth, a peer's labels of the same visit are a reference, ours never."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from napari_hyperspace import load_model, save_model
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.nets.card import LabelClass
from training.evaluation.real import measure
from training.evaluation.real.config import RealScans, load_real_scans
from training.evaluation.real.measure import measure_real
from training.evaluation.real.page import page
from training.evaluation.real.peer import Peer
from training.evaluation.real.record import card_records, to_dict, write_real_scores

SHAPE = (10, 9, 8)
AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])


def _blocks() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:5, 2:7, 2:6], labels[5:8, 2:7, 2:6] = 1, 2
    return labels


LIST = """
name: two heads
about: Made for this test.
labels_of: a friend
spacings_mm: [null, 3]
scans:
  - {name: labeled, image: a.nii.gz, labels: truth.nii.gz, contrast: t1, without: [front]}
  - {name: first t1, image: b.nii.gz, contrast: t1, visit: one, transform: shift.txt}
  - {name: first t2, image: c.nii.gz, contrast: t2, visit: one, spacings_mm: [null]}
  - {name: alone, image: c.nii.gz, contrast: flair}
"""
SHIFT = """Transform: AffineTransform_double_3_3
Parameters: 1 0 0 0 1 0 0 0 1 4 0 0
FixedParameters: 0 0 0
"""


@pytest.fixture
def listed(tmp_path: Path) -> RealScans:
    """Scans whose intensities are their labels; the T2 is the T1, shifted by two voxels."""
    labels = _blocks()
    truth = np.where(labels == 1, 0, labels)
    images = {"a": labels, "b": labels, "c": np.roll(labels, -2, axis=0)}
    for name, array in images.items():
        nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(truth, AFFINE), tmp_path / "truth.nii.gz")
    (tmp_path / "shift.txt").write_text(SHIFT)
    (tmp_path / "list.yaml").write_text(LIST)
    return load_real_scans(tmp_path / "list.yaml")


class _Peer(Peer):
    """Takes the intensities for labels."""

    def segment(self, image: Volume) -> Volume:
        return image.with_array(np.round(image.array).astype(np.uint8))

    def segment_finely(self, image: Volume) -> Volume:
        return self.segment(image)


@pytest.fixture
def segmented(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A model that takes the intensities for labels, and what it was called with."""
    calls: list[str] = []

    def segment(image: Volume, model: Any, spacing: Any, options: Any) -> Volume:
        calls.append(image.name)
        return image.with_array(image.array.astype(np.uint8))

    monkeypatch.setattr(measure, "segment", segment)
    return calls


def _scores(listed: RealScans, make_model: Any, tmp_path: Path, **more: Any) -> Any:
    script = tmp_path / "peer.py"
    script.touch()
    names = (LabelClass(value=1, name="front"), LabelClass(value=2, name="back"))
    model = make_model(labels=names)
    return measure_real(model, listed, _Peer("peer", script), **more), model


def test_each_scan_is_compared_with_what_is_known_of_it(
    listed: RealScans, segmented: list[str], make_model: Any, tmp_path: Path
) -> None:
    scores, model = _scores(listed, make_model, tmp_path)
    rows = scores.rows
    kinds = dict(zip(rows["scan"], rows["kind"], strict=True))
    assert list(kinds.items()) == [
        ("labeled", "accuracy"),
        ("first t1", "agreement"),
        ("first t2", "agreement"),
        ("alone", "neither"),
    ]
    labeled = rows[rows["scan"] == "labeled"]
    # The peer, and the model at two spacings; the label map has no "front".
    assert list(labeled["method"].unique()) == ["peer", model.name] and len(labeled) == 6
    assert (labeled[labeled["structure"] == "back"]["dice"] == 1).all()
    assert labeled[labeled["structure"] == "front"]["dice"].isna().all()
    # The transform moves the peer's labels onto the T2, where its voxels lie outside of the T1.
    assert (rows[rows["kind"] == "agreement"]["dice"] == 1).all()
    assert len(rows[rows["scan"] == "first t2"]) == 2
    alone = rows[rows["scan"] == "alone"]
    assert len(alone) == 2 and alone["dice"].isna().all()
    assert alone["volume_ml"].tolist() == pytest.approx([0.008 * 60, 0.008 * 60])


def test_without_a_peer_nothing_is_compared_with_the_models_own_labels(
    listed: RealScans, segmented: list[str], make_model: Any
) -> None:
    model = make_model(labels=(LabelClass(value=1, name="front"), LabelClass(value=2, name="back")))
    rows = measure_real(model, listed).rows
    assert set(rows[rows["scan"] != "labeled"]["kind"]) == {"neither"}
    assert set(rows["method"]) == {model.name}


def test_rows_are_kept_until_something_changes(
    listed: RealScans, segmented: list[str], make_model: Any, tmp_path: Path
) -> None:
    first, _ = _scores(listed, make_model, tmp_path, kept=tmp_path / "rows")
    done = len(segmented)
    again, _ = _scores(listed, make_model, tmp_path, kept=tmp_path / "rows")
    assert len(segmented) == done
    assert to_dict(first) == to_dict(again)
    changed = listed.model_copy(update={"spacings_mm": (2.0, 4.0)})
    _scores(changed, make_model, tmp_path, kept=tmp_path / "rows")
    assert len(segmented) == done + 5  # not the scan that has spacings of its own


def test_what_is_wrong_with_a_list_is_said(
    listed: RealScans, segmented: list[str], make_model: Any, tmp_path: Path
) -> None:
    for old, new, problem in (
        ("name: alone", "name: labeled", "names must differ"),
        ("contrast: t2", "contrast: t1", "more than one t1"),
        ("image: c.nii.gz, contrast: flair", "image: d.nii.gz, contrast: flair", "no such file"),
        ("contrast: flair", "contrast: flair, without: [back]", "there are none"),
        ("contrast: flair", "contrast: bright", "contrast"),
        ("name: two heads", "named: two heads", "did you mean name"),
    ):
        (tmp_path / "list.yaml").write_text(LIST.replace(old, new))
        with pytest.raises(HyperspaceError, match=problem):
            load_real_scans(tmp_path / "list.yaml")
    (tmp_path / "list.yaml").write_text(LIST.replace("[front]", "[back]"))
    with pytest.raises(HyperspaceError, match="said not to have"):
        _scores(load_real_scans(tmp_path / "list.yaml"), make_model, tmp_path)


def test_the_card_says_by_contrast_what_was_measured(
    listed: RealScans, segmented: list[str], make_model: Any, tmp_path: Path
) -> None:
    scores, model = _scores(listed, make_model, tmp_path)
    own, fixed, agreed_t1, *_ = records = card_records(scores)
    assert (own.contrast, own.spacing_mm, own.agreement) == ("t1", (2, 2, 2), False)
    assert (own.dice, own.mean, own.native_mean, own.cases) == ({"back": 1}, 1, 1, 1)
    assert own.compared_with == "a friend" and fixed.spacing_mm == (3, 3, 3)
    assert agreed_t1.agreement and agreed_t1.compared_with == "peer on T1 of the same visit"
    assert [record.contrast for record in records] == ["t1", "t1", "t1", "t1", "t2"]
    path = save_model(model, tmp_path / "model.safetensors", dtype="float16")
    stored = load_model(path)
    with pytest.raises(HyperspaceError, match="changed since"):
        write_real_scores(scores, tmp_path / "out", model=str(path))
    measured = measure_real(stored, listed, _Peer("peer", tmp_path / "peer.py"))
    files = write_real_scores(measured, tmp_path / "out", tmp_path / "page.md", str(path))
    assert all(file.is_file() for file in files)
    card = load_model(path).card
    assert card.real == records and load_model(path).digest == stored.digest
    assert card.dice == stored.card.dice


def test_the_page_shows_every_scan(
    listed: RealScans, segmented: list[str], make_model: Any, tmp_path: Path
) -> None:
    scores, _ = _scores(listed, make_model, tmp_path)
    text = page(scores)
    assert "Against labels: a friend." in text
    assert "| labeled (2) | 1.000 | 1.000 | 1.000 |" in text
    assert "| first t2 (2) | 1.000 | – |" in text and "| T2 (1) | 1.000 | – |" in text
    assert "| front | – | – | – |" in text and "| back | 1.00 / 0.0 |" in text
    assert "alone" in text and "nan" not in text
