"""The layouts of published data sets."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.intensity import Normalization
from tests.training import layouts
from tests.training.conftest import AFFINE
from training.config.data import (
    LesionSection,
    MMWHSSection,
    NNUNetSection,
    PairsSection,
    SpiderSection,
)
from training.data import dataset_at
from training.data.base import Case, DataSet
from training.data.decathlon import Decathlon
from training.data.lesions import Lesions
from training.data.nnunet import NNUNet
from training.data.pairs import Pairs
from training.data.published import MMWHS, Brats, Spider
from training.data.splits import random_split

NONE = Normalization("none")


def _names(data: DataSet) -> list[str]:
    return [case.name for case in data.cases()]


def _counts(case: Case) -> list[int]:
    return np.bincount(case.labels.numpy().ravel()).tolist()


def _turned(array: np.ndarray, affine: np.ndarray = AFFINE) -> np.ndarray:
    """Bring an array to Inferior, Posterior, Left with nibabel alone."""
    start = nib.orientations.io_orientation(affine)
    turn = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt("IPL"))
    return nib.orientations.apply_orientation(array, turn)


@pytest.mark.parametrize("layout", ["nnunet", "brats", "spider", "mmwhs", "lesions", "table"])
def test_cases_are_found_without_a_description(tmp_path: Path, layout: str) -> None:
    """`find` does not depend on attributes that `describe` or the constructor set."""
    folder = getattr(layouts, layout)(tmp_path)
    section = PairsSection(folder="", names={1: "liver", 3: "spleen"})
    opened = Pairs(folder, section) if layout == "table" else dataset_at(folder)
    blank = object.__new__(type(opened))
    blank.folder, blank.section = opened.folder, opened.section
    assert blank.find() == opened.listing
    assert blank.describe() == opened.describe()


def test_nnunet(tmp_path: Path) -> None:
    data = dataset_at(layouts.nnunet(tmp_path))
    assert isinstance(data, NNUNet)
    assert _names(data) == ["la_000", "la_001", "la_002"]
    assert data.label_names == {1: "left atrium", 2: "aorta"}
    assert data.channel_names == ("T1", "CT")
    assert (data.name, data.license) == ("Atria", "CC0")
    case = data.load(["la_001"], NONE)[0]
    expected = _turned(layouts.image(1))
    assert np.array_equal(case.image, [expected, 2 * expected])
    assert np.array_equal(case.labels, _turned(layouts.ids((1, 2), 1)))
    assert case.spacing_mm == pytest.approx((1.25, 1.5, 1.0))


def test_nnunet_with_another_file_ending_and_an_ignored_label(tmp_path: Path) -> None:
    labels = {"background": 0, "left atrium": 1, "ignore": 2}
    data = NNUNet(layouts.nnunet(tmp_path, ending=".nii", labels=labels))
    assert data.label_names == {1: "left atrium"}
    case = data.load(["la_000"], NONE)[0]
    truth = _turned(layouts.ids((1, 2), 0))
    assert np.array_equal(case.labels, np.where(truth == 2, -1, truth))


def test_nnunet_regions_need_labels_that_do_not_overlap(tmp_path: Path) -> None:
    regions = {"background": 0, "whole": [1, 2], "core": [2]}
    folder = layouts.nnunet(tmp_path, labels=regions, regions_class_order=[1, 2])
    with pytest.raises(HyperspaceError, match=r"whole, core.*data\.labels"):
        NNUNet(folder)
    section = NNUNetSection(folder="", labels={1: [1], 2: [2]}, names={1: "rim", 2: "core"})
    assert NNUNet(folder, section).label_names == {1: "rim", 2: "core"}


@pytest.mark.parametrize(
    "changes",
    [
        {"channel_names": {"1": "T1"}},
        {"channel_names": {}},
        {"file_ending": 3},
        {"labels": ["a"]},
        {"labels": {"background": 0}},
    ],
)
def test_invalid_descriptions_of_nnunet_are_refused(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(HyperspaceError) as error:
        NNUNet(layouts.nnunet(tmp_path, **changes))
    assert str(tmp_path) in str(error.value)


def test_pairs_with_several_channels(tmp_path: Path) -> None:
    section = PairsSection(folder="", names={1: "liver", 3: "spleen"})
    data = Pairs(layouts.table(tmp_path), section)
    assert data.channel_names == ("t1", "flair")
    assert _names(data) == ["case 0", "case 1"]
    case = data.load(["case 1"], NONE)[0]
    expected = _turned(layouts.image(1))
    assert np.array_equal(case.image, [expected, 2 * expected])
    assert _counts(case)[1:] == [3, 4]


def test_cases_of_a_table_without_names(tmp_path: Path) -> None:
    text = "label, image\ntruth/0.nii.gz, scans/0_t1.nii.gz\n"
    data = Pairs(layouts.table(tmp_path, text), PairsSection(folder="", names={1: "a", 3: "b"}))
    assert data.channel_names == ("image",)
    assert _names(data) == ["0_t1"]


@pytest.mark.parametrize("head", ["image,truth", "label", "image,image,label", ""])
def test_tables_without_the_columns_are_refused(tmp_path: Path, head: str) -> None:
    folder = layouts.table(tmp_path, head + "\n")
    with pytest.raises(HyperspaceError, match=r"cases\.csv"):
        Pairs(folder, PairsSection(folder="", names={1: "liver"}))


def test_a_table_without_names_of_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HyperspaceError, match=r"data\.names"):
        dataset_at(layouts.table(tmp_path))


def test_paths_of_a_table_outside_of_the_data_set_are_refused(tmp_path: Path) -> None:
    """Fault 53 of the list of bad inputs."""
    folder = layouts.table(tmp_path / "data", "image,label\n../x.nii.gz,truth/0.nii.gz\n")
    section = PairsSection(folder="", names={1: "liver"})
    with pytest.raises(HyperspaceError, match=r"row 2.*outside"):
        Pairs(folder, section).cases()
    with pytest.raises(HyperspaceError, match="outside"):
        Pairs(folder, section.model_copy(update={"table": "../cases.csv"}))


def test_brats_is_the_tumor_core_in_the_enhanced_image(tmp_path: Path) -> None:
    data = dataset_at(layouts.brats(tmp_path))
    assert isinstance(data, Brats)
    assert _names(data) == ["BraTS2021_00000", "BraTS2021_00001", "BraTS2021_00002"]
    assert (data.label_names, data.channel_names) == ({1: "tumour core"}, ("T1c",))
    case = data.load(["BraTS2021_00002"], NONE)[0]
    assert np.array_equal(case.image[0], _turned(layouts.image(21)))
    raw = _turned(layouts.ids((1, 2, 4), 2))
    assert np.array_equal(case.labels, np.isin(raw, (1, 4)))


def test_spider(tmp_path: Path) -> None:
    data = dataset_at(layouts.spider(tmp_path))
    assert isinstance(data, Spider)
    assert _names(data) == ["1_t1", "1_t2", "2_t1", "2_t2", "3_t1", "3_t2"]
    assert data.label_names == {1: "vertebrae", 2: "spinal canal"}
    case = data.load(["2_t1"], NONE)[0]
    # Ids 1 and 7 have 3 and 4 voxels, the canal has 5.
    assert _counts(case)[1:] == [7, 5]
    # SimpleITK's own reorientation is the oracle; its axes are named by where they run to.
    image, truth = (
        SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(tmp_path / part / "2_t1.mha")), "LPI")
        for part in ("images", "masks")
    )
    assert case.spacing_mm == pytest.approx(image.GetSpacing()[::-1])
    assert case.spacing_mm == pytest.approx((0.7, 0.5, 3.3))
    assert np.array_equal(case.image[0], SimpleITK.GetArrayFromImage(image))
    raw = SimpleITK.GetArrayFromImage(truth)
    assert np.array_equal(case.labels == 1, np.isin(raw, (1, 7)))
    assert np.array_equal(case.labels == 2, raw == 100)


def test_spider_with_one_contrast_and_consecutive_ids(tmp_path: Path) -> None:
    layouts.spider(tmp_path)
    layouts.metaimage(tmp_path / "masks/2_t1.mha", layouts.ids((1, 25, 26)))
    data = Spider(tmp_path, SpiderSection(folder="", contrasts=["t1"]))
    assert _names(data) == ["1_t1", "2_t1", "3_t1"]
    assert data.channel_names == ("T1",)
    assert _counts(data.load(["2_t1"], NONE)[0])[1:] == [7, 5]
    space = Spider(tmp_path, SpiderSection(folder="", contrasts=["t2_SPACE"]))
    assert _names(space) == ["1_t2_SPACE", "2_t2_SPACE", "3_t2_SPACE"]


def test_splits_keep_the_cases_of_a_patient_together(tmp_path: Path) -> None:
    data = dataset_at(layouts.spider(tmp_path, n_patients=6))
    subjects = {case.name: case.subject for case in data.cases()}
    for seed in range(10):
        split = random_split([*subjects], 3, seed, subjects)
        assert len(split.validation) == 4
        parts = [{subjects[name] for name in part} for part in (split.training, split.validation)]
        assert not parts[0] & parts[1]
    with pytest.raises(HyperspaceError, match="no case is left"):
        random_split(["a", "b"], 1, 0, {"a": "x", "b": "x"})


def test_mmwhs_has_seven_structures(tmp_path: Path) -> None:
    data = dataset_at(layouts.mmwhs(tmp_path))
    assert isinstance(data, MMWHS)
    assert _names(data) == ["mr_train_1001", "mr_train_1002"]
    assert data.label_names == {
        1: "myocardium of the left ventricle",
        2: "left atrium",
        3: "left ventricle",
        4: "right atrium",
        5: "right ventricle",
        6: "ascending aorta",
        7: "pulmonary artery",
    }
    case = data.load(["mr_train_1002"], NONE)[0]
    raw = _turned(layouts.ids(layouts.STRUCTURES, 1002))
    for value, structure in enumerate(layouts.STRUCTURES, start=1):
        assert np.array_equal(case.labels == value, raw == structure)
    other = MMWHS(tmp_path, MMWHSSection(folder="", modality="ct"))
    assert _names(other) == ["ct_train_1001", "ct_train_1002"]
    assert other.channel_names == ("CT",)


def test_mmwhs_in_one_folder(tmp_path: Path) -> None:
    data = dataset_at(layouts.mmwhs(tmp_path) / "mr_train")
    assert isinstance(data, MMWHS)
    assert len(data.cases()) == 2


def test_ids_above_255_and_a_scaled_header(tmp_path: Path) -> None:
    """Fault 32 of the list of bad inputs."""
    layouts.mmwhs(tmp_path)
    path = tmp_path / "mr_train/mr_train_1001_label.nii.gz"
    truth = layouts.ids(layouts.STRUCTURES, 1001)
    scaled = nib.Nifti1Image((truth // 5).astype(np.uint8), AFFINE)
    scaled.header.set_slope_inter(5, 0)
    nib.save(scaled, path)
    case = dataset_at(tmp_path).load(["mr_train_1001"], NONE)[0]
    assert _counts(case)[1:] == [3, 4, 5, 6, 7, 8, 9]


def test_lesion_masks_in_all_supported_places(tmp_path: Path) -> None:
    data = dataset_at(layouts.lesions(tmp_path))
    assert isinstance(data, Lesions)
    assert data.label_names == {1: "lesion"}
    found = {
        case.name: (case.images[0][0].name, str(case.label.relative_to(tmp_path)))
        for case in data.cases()
    }
    run = "sub-03/anat/sub-03_run-"
    session = "sub-02/ses-0{0}/anat/sub-02_ses-0{0}_label-Lesion_mask.nii.gz"
    assert found == {
        "sub-01": ("sub-01_FLAIR.nii.gz", "sub-01/anat/sub-01_desc-lesion_mask.nii.gz"),
        **{
            f"sub-02_ses-0{i}": (
                f"sub-02_ses-0{i}_FLAIR.nii.gz",
                "derivatives/lst/" + session.format(i),
            )
            for i in (1, 2)
        },
        **{
            f"sub-03_run-{i}": (
                f"sub-03_run-{i}_FLAIR.nii.gz",
                f"derivatives/masks/{run}{i}_space-FLAIR_lesion.nii.gz",
            )
            for i in (1, 2)
        },
    }
    assert [case.subject for case in data.cases()][1:3] == ["sub-02", "sub-02"]
    assert _counts(data.load(["sub-03_run-2"], NONE)[0])[1:] == [3]


def test_lesion_masks_of_one_of_several_raters(tmp_path: Path) -> None:
    layouts.lesions(tmp_path)
    for rater in "12":
        layouts.nifti(
            tmp_path / f"derivatives/raters/sub-04/anat/sub-04_desc-lesionRater{rater}_mask.nii",
            layouts.ids((1,), int(rater)),
        )
    layouts.nifti(tmp_path / "sub-04/anat/sub-04_FLAIR.nii", layouts.image(8))
    with pytest.raises(HyperspaceError, match="sub-04: 2 files instead of one label map"):
        dataset_at(tmp_path).cases()
    section = LesionSection(folder="", mask="*rater2*", exclude=["sub-0[123]*"])
    data = Lesions(tmp_path, section)
    assert [case.label.name for case in data.cases()] == ["sub-04_desc-lesionRater2_mask.nii"]


def test_masks_with_fewer_entities_than_their_image(tmp_path: Path) -> None:
    layouts.nifti(tmp_path / "sub-1/ses-a/anat/sub-1_ses-a_run-1_FLAIR.nii.gz", layouts.image())
    layouts.nifti(tmp_path / "derivatives/sub-1_lesion.nii.gz", layouts.ids((1,)))
    layouts.nifti(tmp_path / "derivatives/lesion_atlas.nii.gz", layouts.ids((1,)))
    assert _names(dataset_at(tmp_path)) == ["sub-1_ses-a_run-1"]


def test_a_mask_that_matches_several_images_is_refused(tmp_path: Path) -> None:
    layouts.lesions(tmp_path)
    layouts.nifti(tmp_path / "sub-03/anat/sub-03_lesion.nii.gz", layouts.ids((1,)))
    with pytest.raises(HyperspaceError, match="sub-03_run-1, sub-03_run-2"):
        dataset_at(tmp_path).cases()


def test_cases_with_missing_files_are_all_listed(tmp_path: Path) -> None:
    """Fault 33 of the list of bad inputs."""
    layouts.nnunet(tmp_path)
    (tmp_path / "labelsTr/la_000.nii.gz").unlink()
    (tmp_path / "imagesTr/la_001_0001.nii.gz").unlink()
    layouts.nifti(tmp_path / "labelsTr/la_077.nii.gz", layouts.ids((1,)))
    layouts.nifti(tmp_path / "imagesTr/la_002.nii.gz", layouts.image())
    with pytest.raises(HyperspaceError) as error:
        dataset_at(tmp_path).cases()
    for part in (
        "la_000: no label map",
        "la_001: no image (CT)",
        "la_077: no image (T1)",
        "la_077: no image (CT)",
        "imagesTr/la_002.nii.gz",
    ):
        assert part in str(error.value)


def test_names_that_are_too_long_for_a_file_are_declared_errors(dataset: Path) -> None:
    long = "x" * 300
    with pytest.raises(HyperspaceError, match="does not exist"):
        Decathlon(dataset / long)
    description = dataset / "dataset.json"
    content = json.loads(description.read_text())
    content["training"][0]["image"] = f"./imagesTr/{long}.nii.gz"
    description.write_text(json.dumps(content))
    problems = Decathlon(dataset).listing.problems
    assert [problem.kind for problem in problems] == ["missing"]
