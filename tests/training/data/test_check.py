"""`hyperspace check`: all problems of a data set at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

import training
from tests.training import layouts
from tests.training.conftest import AFFINE, case_arrays, config_values
from training.cli import app
from training.data.check import DataReport, check

LABEL = "labelsTr/tiny_{:03d}.nii.gz"


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def _found(report: DataReport, severity: str = "error") -> list[tuple[str, str, str]]:
    """(kind, case, text) of each problem."""
    return [(p.kind, p.case, p.text) for p in report.problems if p.severity == severity]


def _only(path: Path, severity: str = "error") -> tuple[str, str, str]:
    (problem,) = _found(check(path), severity)
    return problem


def test_a_valid_data_set_has_no_problems(dataset: Path) -> None:
    result = _run(dataset)
    assert result.exit_code == 0, result.output
    assert "Tiny: 7 cases, 0 errors, 0 warnings" in result.stdout
    counts = sum(np.bincount(case_arrays(i)[1].ravel()) for i in range(7))
    assert f"front {counts[1]}, back {counts[2]}" in result.stdout


@pytest.mark.parametrize("name", ["nnunet", "brats", "spider", "mmwhs", "lesions"])
def test_published_layouts_pass(tmp_path: Path, name: str) -> None:
    report = check(getattr(layouts, name)(tmp_path))
    assert not _found(report)
    assert report.cases >= 2
    assert all(report.voxels.values())


def test_fractional_ids_do_not_hide_unknown_ones(dataset: Path) -> None:
    """Fault 28 of the list of bad inputs."""
    labels = case_arrays(2)[1].astype(np.float32)
    labels[0, 0, 0], labels[0, 0, 1:3] = 0.5, 9
    layouts.nifti(dataset / LABEL.format(2), labels)
    (kind, case, text), second = _found(check(dataset))
    assert (kind, case) == ("labels", "tiny_002")
    assert "whole numbers" in text and "0.5 (1 voxels)" in text
    assert second[1] == "tiny_002"
    assert "9.0 (2 voxels)" in second[2] or "9 (2 voxels)" in second[2]
    assert "data.labels" in second[2]


def test_unknown_and_negative_ids_are_errors(dataset: Path) -> None:
    """Fault 29 of the list of bad inputs."""
    labels = case_arrays(2)[1].astype(np.int16)
    labels[0, 0, :2], labels[0, 0, 2:5] = 9, -1
    layouts.nifti(dataset / LABEL.format(2), labels)
    kind, case, text = _only(dataset)
    assert (kind, case) == ("labels", "tiny_002")
    assert "-1 (3 voxels)" in text and "9 (2 voxels)" in text


def test_known_ids_are_listed_as_spans(tmp_path: Path) -> None:
    layouts.spider(tmp_path, n_patients=1)
    layouts.metaimage(tmp_path / "masks/1_t2.mha", layouts.ids((1, 30)))
    kind, case, text = _only(tmp_path)
    assert (kind, case) == ("labels", "1_t2")
    assert "found 30 (4 voxels), expected 0–26, 100–125, 201–225" in text
    assert "data.labels" in text


def test_different_grids_are_errors(dataset: Path) -> None:
    """Fault 30 of the list of bad inputs."""
    moved = AFFINE.copy()
    moved[:3, 3] += (2, 0, 1.5)
    layouts.nifti(dataset / LABEL.format(1), case_arrays(1)[1], moved)
    layouts.nifti(dataset / LABEL.format(3), case_arrays(3)[1][1:])
    first, second = _found(check(dataset))
    assert first[:2] == ("grid", "tiny_001")
    assert "corners up to 2.5 mm apart" in first[2]
    assert second[:2] == ("grid", "tiny_003")
    assert "expected (15, 12, 12)" in second[2] and "found (14, 12, 12)" in second[2]


def test_only_background_is_a_warning(dataset: Path) -> None:
    """Fault 31 of the list of bad inputs."""
    layouts.nifti(dataset / LABEL.format(4), np.zeros_like(case_arrays(4)[1]))
    kind, case, text = _only(dataset, "warning")
    assert (kind, case, text) == ("labels", "tiny_004", "the label map is all background")
    assert _run(dataset).exit_code == 0


def test_label_values_above_255_are_a_warning(dataset: Path, tmp_path: Path) -> None:
    """Fault 32 of the list of bad inputs."""
    path = dataset / "dataset.json"
    about = json.loads(path.read_text())
    about["labels"] = {"0": "background", "1": "front", "2": "back", "700": "top"}
    path.write_text(json.dumps(about))
    labels = case_arrays(5)[1].astype(np.uint16)
    labels[0, 0, :3] = 700
    layouts.nifti(dataset / LABEL.format(5), labels)
    report = check(dataset)
    assert not _found(report)
    ((kind, case, text),) = _found(report, "warning")
    assert (kind, case) == ("labels", "")
    assert "16 bits: 700" in text
    assert report.voxels["top"] == 3


def test_missing_files_and_duplicates_are_errors(dataset: Path) -> None:
    """Fault 33 of the list of bad inputs."""
    entries = json.loads((dataset / "dataset.json").read_text())["training"]
    other = {"image": "./imagesTr/other.nii.gz", "label": entries[1]["label"]}
    layouts.nifti(dataset / "imagesTr/other.nii.gz", case_arrays(1)[0])
    (dataset / LABEL.format(3)).unlink()
    (dataset / "imagesTr/tiny_004.nii.gz").unlink()
    about = json.loads((dataset / "dataset.json").read_text())
    about["training"] = [*entries, entries[0], {"image": "./x.nii.gz"}, other]
    (dataset / "dataset.json").write_text(json.dumps(about))
    report = check(dataset)
    found = _found(report)
    assert ("missing", "tiny_003", "a file is missing") in found
    assert ("missing", "tiny_004", "a file is missing") in found
    assert ("duplicate", "tiny_000", "listed 2 times: tiny_000") in found
    assert ("duplicate", "tiny_001", "the file belongs to several cases: tiny_001, other") in found
    assert ("list", "", "not a pair of image and label: {'image': './x.nii.gz'}") in found
    assert len(found) == 5
    assert _found(report, "warning") == [
        ("duplicate", "other", "has the same voxels as tiny_001"),
    ]
    assert report.cases == 6


def test_missing_files_and_duplicates_in_a_table_are_errors(tmp_path: Path) -> None:
    """Fault 33 of the list of bad inputs."""
    text = """image_t1,image_flair,label,name
scans/0_t1.nii.gz,scans/0_flair.nii.gz,truth/0.nii.gz,a
scans/1_t1.nii.gz,,truth/1.nii.gz,b
scans/1_t1.nii.gz,scans/9_flair.nii.gz,truth/1.nii.gz,c
scans/1_t1.nii.gz,scans/1_flair.nii.gz,truth/1.nii.gz,a
"""
    layouts.table(tmp_path / "table", text)
    path = tmp_path / "data.yaml"
    data = {"kind": "pairs", "folder": "table", "names": {1: "liver", 3: "spleen"}}
    path.write_text(yaml.safe_dump({"data": data}))
    report = check(path)
    assert _found(report) == [
        ("missing", "b", "row 3 has no image_flair"),
        ("missing", "c", "a file is missing"),
        ("duplicate", "a", "listed 2 times: a"),
    ]
    assert [Path(p.where).name for p in report.problems] == ["cases.csv", "9_flair.nii.gz", ""]


def test_all_problems_are_reported_at_once(dataset: Path) -> None:
    """One broken file per kind of problem: text and JSON list them all, the exit code is 1."""
    labels = [case_arrays(i)[1].astype(np.float32) for i in range(7)]
    labels[0][0, 0, 0] = 0.25
    labels[1][0, 0, 0] = 7
    moved = AFFINE.copy()
    moved[0, 3] += 3
    for i in (0, 1):
        layouts.nifti(dataset / LABEL.format(i), labels[i])
    layouts.nifti(dataset / LABEL.format(2), labels[2], moved)
    layouts.nifti(dataset / LABEL.format(3), 0 * labels[3])
    (dataset / LABEL.format(4)).unlink()
    scan = dataset / "imagesTr/tiny_005.nii.gz"
    scan.write_bytes(scan.read_bytes()[:200])
    image = case_arrays(6)[0]
    layouts.nifti(dataset / "imagesTr/tiny_006.nii.gz", np.full_like(image, 3))
    result = _run(dataset, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["data"], report["cases"]) == ("Tiny", 6)
    assert (report["errors"], report["warnings"]) == (5, 2)
    kinds = {p["case"][-1]: (p["severity"], p["kind"]) for p in report["problems"]}
    assert kinds == {
        "0": ("error", "labels"),
        "1": ("error", "labels"),
        "2": ("error", "grid"),
        "3": ("warning", "labels"),
        "4": ("error", "missing"),
        "5": ("error", "image"),
        "6": ("warning", "image"),
    }
    plain = _run(dataset)
    assert plain.exit_code == 1
    words = " ".join(plain.stdout.split())
    assert "6 cases, 5 errors, 2 warnings" in words
    for i in range(7):
        assert f"tiny_{i:03d}" in words
    assert "labelsTr/tiny_002.nii.gz" in words and str(dataset) not in words


def _run_file(base: Path, split: dict[str, list[str]], **data: Any) -> Path:
    (base / "split.json").write_text(json.dumps(split))
    path = base / "run.yaml"
    data = {"folder": "tiny", "split": "split.json", **data}
    path.write_text(yaml.safe_dump(config_values(data=data)))
    return path


def test_problems_of_the_split_of_a_run(dataset: Path, tmp_path: Path) -> None:
    split = {"training": ["tiny_000", "tiny_009"], "validation": ["tiny_001", "tiny_001"]}
    report = check(_run_file(tmp_path, split))
    assert _found(report) == [
        ("split", "tiny_009", "the split lists a case that does not exist"),
        ("split", "tiny_001", "the split lists a case twice"),
    ]
    left = ", ".join(f"tiny_00{i}" for i in range(2, 7))
    assert _found(report, "warning") == [("split", "", f"cases that are not in the split: {left}")]
    same = {"training": ["tiny_000"], "validation": ["tiny_000"]}
    ((kind, _, text),) = _found(check(_run_file(tmp_path, same)))
    assert kind == "split" and "disjoint" in text


def test_a_patient_in_both_parts_of_a_split_is_a_warning(tmp_path: Path) -> None:
    layouts.spider(tmp_path / "spines", n_patients=2)
    split = {"training": ["1_t1", "2_t1"], "validation": ["1_t2"]}
    path = _run_file(tmp_path, split, kind="spider", folder="spines", exclude=["2_t2"])
    assert _only(path, "warning") == (
        "split",
        "1_t2",
        "its subject 1 is in both parts of the split",
    )


def test_names_colors_and_exclusions_without_a_match(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    data = {
        "folder": "tiny",
        "names": {5: "x"},
        "colors": {6: "#ffffff"},
        "paired": [7],
        "exclude": ["huge*"],
    }
    path.write_text(yaml.safe_dump({"data": data}))
    report = check(path)
    assert [text for _, _, text in _found(report)] == [
        "data.names: the label value 5 does not exist",
        "data.colors: the label value 6 does not exist",
        "data.paired: the label value 7 does not exist",
    ]
    assert _only(path, "warning")[2] == "data.exclude: no case matches huge*"


def test_a_sparse_case_without_any_label_is_an_error(dataset: Path, tmp_path: Path) -> None:
    layouts.nifti(dataset / LABEL.format(4), np.zeros_like(case_arrays(4)[1]))
    path = tmp_path / "data.yaml"
    path.write_text(yaml.safe_dump({"data": {"folder": "tiny", "sparse": "coronal"}}))
    assert _only(path) == ("labels", "tiny_004", "all labels are unknown")


def test_channels_on_different_grids_are_an_error(tmp_path: Path) -> None:
    layouts.nnunet(tmp_path)
    moved = AFFINE.copy()
    moved[1, 3] -= 4
    layouts.nifti(tmp_path / "imagesTr/la_001_0001.nii.gz", layouts.image(1), moved)
    kind, case, text = _only(tmp_path)
    assert (kind, case) == ("grid", "la_001")
    assert "la_001_0001" in text and "4 mm" in text


def test_a_wrong_count_and_a_label_that_does_not_occur_are_warnings(tmp_path: Path) -> None:
    labels = {"background": 0, "left atrium": 1, "aorta": 2, "vein": 3}
    layouts.nnunet(tmp_path, labels=labels, numTraining=30)
    texts = [text for _, _, text in _found(check(tmp_path), "warning")]
    assert texts == [
        "numTraining is 30, there are 3 label maps",
        "the label 'vein' does not occur in any case",
    ]


def test_a_data_set_without_cases_is_an_error(tmp_path: Path) -> None:
    layouts.nnunet(tmp_path, n_cases=0)
    assert _only(tmp_path)[2] == "no labeled case was found"


@pytest.mark.parametrize("name", ["missing.yaml", "empty"])
def test_paths_that_are_not_a_data_set_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    result = _run(tmp_path / name)
    assert result.exit_code == 1
    assert name in result.stderr and not result.stdout


def test_help_has_an_example() -> None:
    assert "Example: hyperspace check" in " ".join(_run("--help").stdout.split())


def test_the_command_in_a_process_of_its_own(dataset: Path) -> None:
    (dataset / LABEL.format(4)).unlink()
    done = subprocess.run(
        [sys.executable, "-m", "training", "check", str(dataset)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(training.__file__).parents[1])},
    )
    assert done.returncode == 1
    assert "tiny_004" in done.stdout and "1 error" in done.stdout
    assert "Traceback" not in done.stderr
