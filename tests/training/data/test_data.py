"""Data sets in the Decathlon layout, and splits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.intensity import Normalization
from tests.training.conftest import AFFINE, N_CASES, case_arrays
from tests.training.rounding import rounding_bound
from training.data.base import digest
from training.data.decathlon import Decathlon
from training.data.splits import Split, random_split, read_split

NONE = Normalization("none")


def _describe(folder: Path, **changes: object) -> None:
    path = folder / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_cases_are_read_in_canonical_order(dataset: Path) -> None:
    data = Decathlon(dataset)
    assert [case.name for case in data.cases()] == [f"tiny_{i:03d}" for i in range(N_CASES)]
    assert data.label_names == {1: "front", 2: "back"}
    case = data.load(["tiny_004"], NONE)[0]
    # nibabel's own reorientation is the oracle: axes to Inferior, Posterior, Left.
    start = nib.orientations.io_orientation(AFFINE)
    turn = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt("IPL"))
    image, labels = case_arrays(4)
    assert np.array_equal(case.image[0], nib.orientations.apply_orientation(image, turn))
    assert np.array_equal(case.labels, nib.orientations.apply_orientation(labels, turn))
    assert case.spacing_mm == pytest.approx((1.25, 1.5, 1.0))
    assert case.grid.axcodes == "IPL"


def test_labels_and_modalities_become_channels(make_dataset: Callable[..., Path]) -> None:
    data = Decathlon(make_dataset(values=(7, 30), modalities=2))
    assert data.channel_names == ("channel 0", "channel 1")
    case = data.load(["tiny_000"], NONE)[0]
    assert case.image.shape[0] == 2
    assert np.array_equal(case.image[1], 2 * case.image[0])
    counts = np.bincount(case_arrays(0)[1].ravel())
    assert np.bincount(case.labels.numpy().ravel()).tolist() == counts.tolist()


def test_cases_are_normalized_on_the_native_grid(dataset: Path) -> None:
    case = Decathlon(dataset).load(["tiny_001"], Normalization("z-score"))[0]
    values = case.image.double()
    bound = rounding_bound(values, 8)
    assert float(values.mean()) == pytest.approx(0, abs=bound)
    assert float(values.std(unbiased=False)) == pytest.approx(1, abs=bound)


def test_the_working_grid_keeps_the_field_of_view(dataset: Path) -> None:
    case = Decathlon(dataset).load(["tiny_000"], NONE)[0]
    working = case.at_spacing((2.5, 2.0, 3.0))
    assert working.grid.spacing_mm == pytest.approx((2.5, 2.0, 3.0))
    assert working.labels.shape == working.image.shape[1:] == working.grid.shape
    assert working.grid.center_mm == pytest.approx(case.grid.center_mm)
    assert set(working.labels.unique().tolist()) == {0, 1, 2}


def test_working_labels_cover_most_of_their_voxel(dataset: Path) -> None:
    case = Decathlon(dataset).load(["tiny_000"], NONE)[0]
    z, y, x = case.spacing_mm
    working = case.at_spacing((2 * z, y, 3 * x))
    blocks = case.labels.numpy().reshape(6, 2, 13, 5, 3).transpose(0, 2, 3, 1, 4)
    counts = np.stack([(blocks == k).sum(axis=(3, 4)) for k in range(3)])
    assert np.array_equal(working.labels, counts.argmax(axis=0))


def test_the_digest_depends_on_every_voxel(dataset: Path) -> None:
    data = Decathlon(dataset)
    cases = data.load(["tiny_000", "tiny_001"], NONE)
    before = digest(cases)
    assert digest(data.load(["tiny_000", "tiny_001"], NONE)) == before
    cases[1].labels[3, 4, 5] += 1
    assert digest(cases) != before


def test_fractional_labels_are_refused(dataset: Path) -> None:
    """Fault 28 of the list of bad inputs."""
    path = dataset / "labelsTr" / "tiny_002.nii.gz"
    labels = case_arrays(2)[1].astype(np.float32)
    labels[0, 0, 0] = 0.5
    nib.save(nib.Nifti1Image(labels, AFFINE), path)
    with pytest.raises(HyperspaceError, match=r"tiny_002\.nii\.gz"):
        Decathlon(dataset).load(["tiny_002"], NONE)


def test_unknown_labels_are_refused(dataset: Path) -> None:
    """Fault 29 of the list of bad inputs."""
    labels = case_arrays(2)[1]
    labels[0, 0, :2] = 9
    nib.save(nib.Nifti1Image(labels, AFFINE), dataset / "labelsTr" / "tiny_002.nii.gz")
    with pytest.raises(HyperspaceError, match=r"9 \(2 voxels\)"):
        Decathlon(dataset).load(["tiny_002"], NONE)


def test_different_grids_are_refused(dataset: Path) -> None:
    """Fault 30 of the list of bad inputs."""
    moved = AFFINE.copy()
    moved[0, 3] += 2
    nib.save(nib.Nifti1Image(case_arrays(2)[1], moved), dataset / "labelsTr" / "tiny_002.nii.gz")
    with pytest.raises(HyperspaceError, match="2 mm"):
        Decathlon(dataset).load(["tiny_002"], NONE)


def test_only_background_is_a_warning(dataset: Path) -> None:
    """Fault 31 of the list of bad inputs."""
    empty = np.zeros_like(case_arrays(2)[1])
    nib.save(nib.Nifti1Image(empty, AFFINE), dataset / "labelsTr" / "tiny_002.nii.gz")
    with pytest.warns(HyperspaceWarning, match="background"):
        Decathlon(dataset).load(["tiny_002"], NONE)


def test_missing_and_duplicate_cases_are_all_listed(dataset: Path) -> None:
    """Fault 33 of the list of bad inputs."""
    entries = json.loads((dataset / "dataset.json").read_text())["training"]
    (dataset / "labelsTr" / "tiny_003.nii.gz").unlink()
    (dataset / "imagesTr" / "tiny_001.nii.gz").unlink()
    _describe(dataset, training=[*entries, entries[0], {"image": "./imagesTr/x.nii.gz"}])
    with pytest.raises(HyperspaceError) as error:
        Decathlon(dataset).cases()
    for part in ("labelsTr/tiny_003", "imagesTr/tiny_001", "2 times: tiny_000", "not a pair"):
        assert part in str(error.value)


def test_files_outside_of_the_data_set_are_refused(dataset: Path) -> None:
    """Fault 53 of the list of bad inputs."""
    _describe(dataset, training=[{"image": "../x.nii.gz", "label": "../y.nii.gz"}])
    with pytest.raises(HyperspaceError, match="outside"):
        Decathlon(dataset).cases()


@pytest.mark.parametrize(
    "changes", [{"labels": ["a"]}, {"labels": {"0": "background"}}, {"training": []}]
)
def test_invalid_descriptions_are_refused(dataset: Path, changes: dict[str, object]) -> None:
    _describe(dataset, **changes)
    with pytest.raises(HyperspaceError, match=r"dataset\.json"):
        Decathlon(dataset)


def test_a_missing_description_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HyperspaceError, match=r"dataset\.json"):
        Decathlon(tmp_path)


@pytest.mark.parametrize("key", ["license", "licence"])
def test_the_license_is_read_in_both_spellings(dataset: Path, key: str) -> None:
    path = dataset / "dataset.json"
    about = json.loads(path.read_text())
    del about["license"]
    path.write_text(json.dumps({**about, key: "CC-BY"}))
    assert Decathlon(dataset).license == "CC-BY"


def test_random_splits_depend_only_on_the_seed() -> None:
    names = [f"case {i}" for i in range(20)]
    split = random_split(names, 5, seed=1)
    assert len(split.validation) == 5
    assert sorted(split.training + split.validation) == sorted(names)
    assert random_split(names[::-1], 5, seed=1) == split
    assert random_split(names, 5, seed=2) != split
    with pytest.raises(HyperspaceError, match="validation_cases"):
        random_split(names, 20, seed=1)


def test_split_files(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    split = Split(("a", "b"), ("c",))
    path.write_text(split.to_json())
    assert read_split(path) == split
    for text in (
        *("[]", "{", '{"training": ["a"], "validation": ["a"]}', '{"training": ["a"]}'),
        *("[" * 100_000, '{"training": "ab", "validation": ["c"]}', "\0"),
    ):
        path.write_text(text)
        with pytest.raises(HyperspaceError, match=r"split\.json"):
            read_split(path)
