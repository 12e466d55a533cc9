"""Scans are paired with their targets, segmented and written; an error stops only its own scan."""

from __future__ import annotations

import csv
import struct
from pathlib import Path

import numpy as np
import pytest

import napari_hyperspace as hs
from napari_hyperspace.api import predict as module
from napari_hyperspace.api.predict import (
    Reading,
    ScanBudget,
    list_scans,
    predict,
    predict_all,
    predict_all_steps,
    table_of,
)
from napari_hyperspace.core.errors import Cancelled, HyperspaceError
from napari_hyperspace.core.volume import PostprocessingOptions
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.io.record import record_from_dict
from tests.models import FakeModel, local_network
from tests.scans import scan


@pytest.fixture
def model():
    return FakeModel(lambda spacing: local_network())


@pytest.fixture
def folder(tmp_path):
    """Two scans, a file that is no scan, and a hidden file."""
    source = tmp_path / "scans"
    source.mkdir()
    hs.write(scan(seed=1), source / "a.nii.gz")
    hs.write(scan(seed=2), source / "b.mha")
    (source / "notes.txt").write_text("x")
    (source / ".hidden.nii").write_text("x")
    return source


class TestListScans:
    def test_a_folder(self, folder, tmp_path):
        target = tmp_path / "new" / "labels"
        found = list_scans(folder, target)
        assert found == [(folder / name, target / name) for name in ("a.nii.gz", "b.mha")]
        assert target.is_dir()

    def test_a_file(self, folder, tmp_path):
        scan_path = folder / "a.nii.gz"
        assert list_scans(scan_path, tmp_path / "x.nrrd") == [(scan_path, tmp_path / "x.nrrd")]
        assert list_scans(scan_path, tmp_path) == [(scan_path, tmp_path / "a.nii.gz")]

    @pytest.mark.parametrize(
        ("name", "written"),
        [
            ("a.nhdr", "a.nrrd"),
            ("a.mhd", "a.mha"),
            ("a.NII.GZ", "a.nii.gz"),
            ("a.seg.nrrd", "a.seg.nrrd"),
        ],
    )
    def test_headers_with_data_files_are_written_as_one_file(self, tmp_path, name, written):
        source = tmp_path / "scans"
        source.mkdir()
        (source / name).write_text("")
        assert list_scans(source, tmp_path / "out") == [(source / name, tmp_path / "out" / written)]

    def test_a_folder_of_dicom_folders(self, tmp_path):
        (tmp_path / "scans" / "series 1").mkdir(parents=True)
        source, target = tmp_path / "scans", tmp_path / "out"
        assert list_scans(source, target) == [(source / "series 1", target / "series 1.nii.gz")]

    def test_a_folder_of_one_dicom_series(self, tmp_path):
        (tmp_path / "series").mkdir()
        (tmp_path / "series" / "IM0001").write_text("")
        source, target = tmp_path / "series", tmp_path / "labels.nii.gz"
        assert list_scans(source, target) == [(source, target)]

    def test_the_same_target_for_two_scans_is_refused(self, tmp_path):
        for name in ("a.mhd", "a.mha"):
            (tmp_path / name).write_text("")
        with pytest.raises(HyperspaceError, match="same file") as caught:
            list_scans(tmp_path, tmp_path / "out")
        assert caught.value.found == "a.mha"

    def test_nothing_to_read_is_refused(self, tmp_path):
        with pytest.raises(HyperspaceError, match="no such file"):
            list_scans(tmp_path / "missing", tmp_path)
        with pytest.raises(HyperspaceError, match="no scan"):
            list_scans(tmp_path, tmp_path / "out")


def test_labels_are_written_on_the_grid_of_the_scan(folder, tmp_path, model):
    target = tmp_path / "labels.nii.gz"
    options = InferenceOptions(precision="fp32")
    steps = []
    found = predict(
        folder / "a.nii.gz",
        target,
        model,
        spacing_mm=(2, 1, 1.3),
        options=options,
        postprocessing=PostprocessingOptions(largest_component=True),
        report=lambda fraction, message: steps.append(fraction),
    )
    written = hs.read(target)
    expected = hs.segment(hs.read(folder / "a.nii.gz"), model, (2, 1, 1.3), options)
    cleaned = hs.postprocess(expected, largest_component=True)
    np.testing.assert_array_equal(written.array, cleaned.array)
    assert written.grid.is_close(expected.grid)
    assert found.error == ""
    assert found.spacing_mm == pytest.approx((2, 1, 1.3))
    volume = written.grid.voxel_volume_ml
    assert found.volumes_ml["one"] == pytest.approx((written.array == 1).sum() * volume, abs=1e-4)
    assert steps == sorted(steps) and steps[0] == 0
    plain = found.to_dict()
    assert plain["target"] == str(target)
    assert len(plain["postprocessing"]) == 1
    assert record_from_dict(plain["record"]) == written.metadata["record"]


def test_the_uncertainty_is_written_beside_the_labels(folder, tmp_path, model):
    options = InferenceOptions(precision="fp32", best=True, uncertainty=True)
    for name, beside in (
        ("labels.nii.gz", "labels_uncertainty.nii.gz"),
        ("labels.seg.nrrd", "labels_uncertainty.nrrd"),
    ):
        target = tmp_path / "out" / name
        target.parent.mkdir(exist_ok=True)
        found = predict(folder / "a.nii.gz", target, model, options=options)
        assert found.record is not None and found.record.best
        doubt = hs.read(target.with_name(beside))
        assert doubt.grid.is_close(hs.read(folder / "a.nii.gz").grid)
        assert 0 <= doubt.array.min() < doubt.array.max() < 1


def test_an_error_stops_only_its_own_scan(folder, tmp_path, model):
    (folder / "aa.nii.gz").write_bytes(b"damaged")
    reported = set()
    found = predict_all(
        list_scans(folder, tmp_path / "out"),
        model,
        report=lambda path, fraction, message: reported.add(path.name),
    )
    assert [bool(each.error) for each in found] == [False, True, False]
    assert "aa.nii.gz" in found[1].error
    assert reported == {"a.nii.gz", "aa.nii.gz", "b.mha"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.nii.gz", "b.mha"]


def test_errors_of_the_network_are_reported_too(folder, tmp_path):
    def broken(spacing):
        raise RuntimeError("a bug")

    (found,) = predict_all([(folder / "b.mha", tmp_path / "b.mha")], FakeModel(broken))
    assert "RuntimeError: a bug" in found.error


def flip_a_bit_of_the_affine(path: Path) -> None:
    """Make srow_x[0] of a NIfTI header huge: 0.9 mm becomes 3e38 mm by one bit of byte 283."""
    data = bytearray(path.read_bytes())
    data[283] ^= 0x40
    path.write_bytes(data)
    assert abs(struct.unpack("<f", data[280:284])[0]) > 1e30


def test_a_scan_with_a_huge_value_in_its_affine_stops_only_itself(tmp_path, model):
    source = tmp_path / "scans"
    source.mkdir()
    for name, seed in (("a.nii", 1), ("b.nii", 2)):
        volume = scan(seed=seed, order=(0, 1, 2), spacing_mm=(0.9, 1.1, 2.3), angle=0)
        hs.write(volume, source / name)
    flip_a_bit_of_the_affine(source / "a.nii")
    found = predict_all(list_scans(source, tmp_path / "out"), model, spacing_mm=(2, 2, 2))
    assert [bool(each.error) for each in found] == [True, False]
    assert "a.nii" in found[0].error
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.nii"]


@pytest.mark.parametrize("error", [ValueError("too large"), KeyError("x"), ZeroDivisionError("y")])
def test_any_exception_of_one_scan_is_its_row(folder, tmp_path, model, monkeypatch, error):
    real = Reading.read

    def read(self, source, model):
        if source.name == "a.nii.gz":
            raise error
        return real(self, source, model)

    monkeypatch.setattr(Reading, "read", read)
    found = predict_all(list_scans(folder, tmp_path / "out"), model)
    assert [bool(each.error) for each in found] == [True, False]
    assert f"a.nii.gz: {type(error).__name__}" in found[0].error
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.mha"]


def test_an_interruption_stops_all_scans(folder, tmp_path, model, monkeypatch):
    def interrupt(self, source, model):
        raise KeyboardInterrupt

    monkeypatch.setattr(Reading, "read", interrupt)
    with pytest.raises(KeyboardInterrupt):
        predict_all(list_scans(folder, tmp_path / "out"), model)


def test_a_model_of_several_channels_reads_the_volumes_of_a_file(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        "napari_hyperspace.api.predict.read",
        lambda source, **options: asked.append(options["volume"]),
    )
    Reading().read(tmp_path, FakeModel(None, in_channels=2))
    Reading(volume=3).read(tmp_path, FakeModel(None))
    assert asked == [0, 1, 3]


def test_steps_tell_the_scan_and_its_result(folder, tmp_path, model):
    (folder / "aa.nii.gz").write_bytes(b"damaged")
    steps = list(predict_all_steps(list_scans(folder, tmp_path / "out"), model))
    names = ["a.nii.gz", "aa.nii.gz", "b.mha"]
    assert list(dict.fromkeys(step.source.name for step in steps)) == names
    finished = [step.finished for step in steps if step.finished is not None]
    assert [each.source.name for each in finished] == names
    assert [bool(each.error) for each in finished] == [False, True, False]


def test_stopping_keeps_what_was_written(folder, tmp_path, model):
    written = []
    steps = predict_all_steps(
        list_scans(folder, tmp_path / "out"), model, should_stop=lambda: bool(written)
    )
    with pytest.raises(Cancelled):
        for step in steps:
            if step.finished is not None:
                written.append(step.finished.target.name)
    assert written == ["a.nii.gz"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == written


def test_stopping_within_a_scan_is_no_failure_of_it(folder, tmp_path, model):
    wanted = []
    steps = predict_all_steps(
        list_scans(folder, tmp_path / "out"), model, should_stop=lambda: bool(wanted)
    )
    with pytest.raises(Cancelled):
        for step in steps:
            assert step.finished is None
            if step.message == "preparing the image":
                wanted.append(True)
    assert list((tmp_path / "out").iterdir()) == []


def test_each_scan_gets_the_finest_spacing_within_a_budget(folder, tmp_path, model, monkeypatch):
    asked = []

    def spacing_for(volumes, model, **limits):
        asked.append((volumes[0].shape, limits))
        return (2.0, 2.0, 2.0)

    monkeypatch.setattr(module, "spacing_for", spacing_for)
    found = predict_all(
        list_scans(folder, tmp_path / "out"),
        model,
        budget=ScanBudget(seconds=3.0, memory_bytes=10**9),
        options=InferenceOptions(device="cpu"),
    )
    for each in found:
        assert each.spacing_mm == pytest.approx((2.0, 2.0, 2.0))
    limits = {
        "seconds": 3.0,
        "memory_bytes": 10**9,
        "device": "cpu",
        "first_run": False,
        "guidance": None,
        "best": False,
    }
    assert [each for _, each in asked] == [limits] * 2


def test_a_scan_without_a_spacing_in_the_budget_is_its_row(folder, tmp_path, model, monkeypatch):
    def spacing_for(volumes, model, **limits):
        raise HyperspaceError("no trained spacing is within the budget")

    monkeypatch.setattr(module, "spacing_for", spacing_for)
    found = predict_all([(folder / "b.mha", tmp_path / "b.mha")], model, budget=ScanBudget(1.0))
    assert "within the budget" in found[0].error


def test_results_as_a_table(folder, tmp_path, model):
    (folder / "aa, b.nii.gz").write_bytes(b"damaged")
    found = predict_all(list_scans(folder, tmp_path / "out"), model, spacing_mm=(2, 1, 1.3))
    rows = list(csv.DictReader(table_of(found).splitlines()))
    assert [row["scan"] for row in rows] == ["a.nii.gz", "aa, b.nii.gz", "b.mha"]
    good, bad = rows[:2]
    assert float(good["spacing x (mm)"]) == pytest.approx(1.3) and not good["error"]
    assert float(good["one (ml)"]) == found[0].volumes_ml["one"]
    assert found[1].error.endswith(bad["error"]) and str(folder) not in bad["error"]
    assert bad["error"] and not bad["seconds"] and not bad["one (ml)"]
    assert table_of([]).count("\n") == 1


def test_results_are_assessed_on_request(folder, tmp_path, model):
    (folder / "damaged.nii.gz").write_bytes(b"damaged")
    options = InferenceOptions(precision="fp32", device="cpu", outside="clamp")
    steps = []
    found = predict_all(
        list_scans(folder, tmp_path / "out"),
        model,
        options=options,
        postprocessing=PostprocessingOptions(largest_component=True),
        assess=hs.assess_steps,
        report=lambda path, fraction, message: steps.append((path.name, fraction)),
    )
    assert [each.quality is None for each in found] == [False, False, True]
    one = found[0]
    again = hs.assess(hs.read(one.source), hs.read(one.target), model, options)
    plain = one.to_dict()["quality"]
    assert {**plain, "seconds": 0} == {**again.to_dict(), "seconds": 0}
    rows = list(csv.DictReader(table_of(found).splitlines()))
    assert rows[0]["quality"] == plain["level"] and rows[0]["estimated Dice"] == ""
    assert rows[0]["warnings"] == "; ".join(plain["warnings"])
    assert rows[2]["quality"] == ""
    fractions = [fraction for name, fraction in steps if name == "a.nii.gz"]
    assert fractions == sorted(fractions) and fractions[0] == 0


def test_names_that_are_too_long_are_declared_errors(tmp_path):
    scan = tmp_path / "scan.nii.gz"
    scan.write_bytes(b"")
    for source, target in ((tmp_path / ("x" * 300), tmp_path), (scan, tmp_path / ("x" * 300))):
        with pytest.raises(HyperspaceError, match="not valid or not accessible"):
            list_scans(source, target)
