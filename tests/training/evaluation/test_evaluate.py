"""Evaluation of tiny models on tiny data: spacings, rows, resuming, processes."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import napari_hyperspace as hs
from napari_hyperspace.core.resample import resample_labels, resample_to_spacing
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import save_model
from training.data.decathlon import Decathlon
from training.evaluation.evaluate import evaluate
from training.evaluation.measure import Measurer
from training.evaluation.methods import Method, name_methods
from training.evaluation.plan import (
    NATIVE,
    interval,
    listed,
    make_groups,
    parse_interval,
)
from training.evaluation.rows import (
    NETWORK_SPACING,
    SPACING,
    TIMES,
    Row,
    read_rows,
    to_csv,
    to_frame,
    write_rows,
)

NAMES = ("tiny_001", "tiny_004")
SPACINGS = ((2.0, 2.0, 2.0), (1.5, 2.5, 1.0))


def _timeless(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns=list(TIMES))


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_rows_by_hand(dataset: Path, model_file: Path) -> None:
    method = Method("m", str(model_file))
    found = evaluate([method], Decathlon(dataset), NAMES[:1], listed(SPACINGS))
    assert len(found.rows) == 2 * 2  # spacings × labels
    model = hs.load_model(model_file)
    scan = hs.read(dataset / "imagesTr" / f"{NAMES[0]}.nii.gz").canonical()
    truth = hs.read(dataset / "labelsTr" / f"{NAMES[0]}.nii.gz").canonical()
    for spacing in SPACINGS:
        image = resample_to_spacing(scan, spacing)
        coarse = resample_labels(truth, image.grid).array
        on_working = hs.segment(image, model, spacing, precision="fp32").array
        on_native = hs.segment(scan, model, spacing, precision="fp32").array
        for row in found.at(method, NAMES[0], spacing).itertuples():
            assert row.dice_working == _dice(on_working == row.label, coarse == row.label)
            assert row.dice_native == _dice(on_native == row.label, truth.array == row.label)
            voxel = math.prod(truth.spacing_mm) / 1000
            error = (on_native == row.label).sum() - float((truth.array == row.label).sum())
            assert row.volume_error_native_ml == pytest.approx(error * voxel)
            network_mm = (row.network_z_mm, row.network_y_mm, row.network_x_mm)
            assert network_mm == spacing and row.trained
            assert row.tolerance_mm == 1.5  # largest native step
            assert row.seconds_native > row.bake_seconds > 0


def test_rules_outside_the_trained_range(dataset: Path, narrow_file: Path) -> None:
    groups = listed([(3.0, 1.5, 1.0), (1.5, 1.5, 1.5)])
    data = Decathlon(dataset)
    with pytest.raises(hs.HyperspaceError, match="outside the range"):
        evaluate([Method("m", str(narrow_file))], data, NAMES[:1], groups)
    methods = name_methods([f"HS={narrow_file}"], "extrapolate", max_res=True)
    assert [(m.label, m.outside) for m in methods] == [
        ("HS", "extrapolate"),
        ("HS MaxRes", "clamp"),
    ]
    found = evaluate(methods, data, NAMES[:1], groups)
    plain, clamped = (
        found.rows[found.rows["model"] == m.label].reset_index(drop=True) for m in methods
    )
    assert (plain.loc[:1, NETWORK_SPACING] == [3.0, 1.5, 1.0]).all(axis=None)
    assert (clamped.loc[:1, NETWORK_SPACING] == [2.0, 1.5, 1.0]).all(axis=None)
    assert list(plain["trained"]) == [False, False, True, True]
    # Inside the range both use the same network and share one measurement.
    measures = ["seconds_working", "dice_working"]
    assert_frame_equal(plain.loc[2:, measures], clamped.loc[2:, measures])
    # MaxRes is scored on the working grid too, against the truth of that spacing.
    scan = hs.read(dataset / "imagesTr" / f"{NAMES[0]}.nii.gz").canonical()
    truth = hs.read(dataset / "labelsTr" / f"{NAMES[0]}.nii.gz").canonical()
    image = resample_to_spacing(scan, (3.0, 1.5, 1.0))
    labels = hs.segment(
        image, hs.load_model(narrow_file), (3.0, 1.5, 1.0), outside="clamp", precision="fp32"
    )
    true = resample_labels(truth, image.grid).array
    assert clamped.loc[0, "dice_working"] == _dice(labels.array == 1, true == 1)


def test_native_spacing_is_measured_once(dataset: Path, model_file: Path) -> None:
    found = evaluate([Method("m", str(model_file))], Decathlon(dataset), NAMES[:1], [NATIVE])
    row = found.rows.iloc[0]
    assert list(row[SPACING]) == pytest.approx([1.25, 1.5, 1.0])
    assert row["dice_working"] == row["dice_native"]
    assert row["seconds_working"] == row["seconds_native"]


def test_drawn_spacings() -> None:
    bounds = parse_interval("1:5,0.2:1.5,0.2:1.5")
    drawn = interval(bounds, 40, seed=7)
    assert drawn.name == "[1, 5] × [0.2, 1.5]²"
    assert drawn == interval(bounds, 40, seed=7)
    assert drawn.spacings_mm[:10] == interval(bounds, 10, seed=7).spacings_mm
    assert drawn.spacings_mm != interval(bounds, 40, seed=8).spacings_mm
    values = np.array(drawn.spacings_mm)
    for column, (low, high) in zip(values.T, bounds, strict=True):
        assert low <= column.min() < low + 0.2 * (high - low)
        assert high - 0.2 * (high - low) < column.max() <= high
    # Axes are independent, and another interval has the same places.
    assert len(np.unique(np.round((values[:, 1:] - 0.2) / 1.3, 3))) > 60
    unit = np.array(interval(parse_interval("1:2"), 40, seed=7).spacings_mm) - 1
    assert unit[:, 0] == pytest.approx((values[:, 0] - 1) / 4, abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"draws": 5},
        {"intervals": ["1:2"]},
        {"draws": 5, "intervals": ["2:1"]},
        {"draws": 5, "intervals": ["1:2,3:4"]},
        {"segments": ["1:2"]},
        {"segments": ["1:1:4"]},
        {"segments": ["1:2:1"]},
        {"segments": ["0:2:3"]},
    ],
)
def test_malformed_spacings_are_refused(options: dict[str, Any]) -> None:
    given = {"spacings_mm": None, "draws": None, "intervals": [], "segments": [], "native": False}
    with pytest.raises(hs.HyperspaceError):
        make_groups(**{**given, **options}, seed=0)


def test_resuming_gives_the_same_table(
    dataset: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods, data, groups = [Method("m", str(model_file))], Decathlon(dataset), listed(SPACINGS)
    whole = evaluate(methods, data, NAMES, groups, rows_file=tmp_path / "a" / "rows.csv")
    plain, calls = Measurer.measure, []

    def counted(self: Measurer, name: str, spacing: Any, wanted: Any) -> list[Row]:
        if len(calls) == stop:
            raise KeyboardInterrupt
        calls.append((name, spacing))
        return plain(self, name, spacing, wanted)

    monkeypatch.setattr(Measurer, "measure", counted)
    path, stop = tmp_path / "b" / "rows.csv", 3
    with pytest.raises(KeyboardInterrupt):
        evaluate(methods, data, NAMES, groups, rows_file=path)
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 1 + 3 * 2
    path.write_text("".join(lines)[:-9])  # cut short in the last row
    kept = read_rows(path, 2)
    assert len(kept) == 2 * 2
    calls, stop = [], 100
    resumed = evaluate(methods, data, NAMES, groups, rows_file=path)
    assert calls == [(NAMES[1], SPACINGS[0]), (NAMES[1], SPACINGS[1])]
    assert_frame_equal(_timeless(resumed.rows), _timeless(whole.rows))
    assert_frame_equal(resumed.rows.merge(kept), kept)  # times too
    assert_frame_equal(read_rows(path, 2), resumed.rows)
    assert path.read_text() == to_csv(resumed.rows)
    # More spacings complete the file; a part of it is a part of the table.
    calls = []
    more = evaluate(methods, data, NAMES, [*groups, NATIVE], rows_file=path)
    assert len(calls) == 2 and len(more.rows) == 12
    calls = []
    part = evaluate(methods, data, NAMES[:1], groups, rows_file=path)
    assert_frame_equal(part.rows, more.rows[:4])
    assert calls == [] and len(read_rows(path, 2)) == 12


def test_a_folder_of_a_former_version_is_resumed(
    dataset: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders written when ``precision`` was ``form``, and cards had British keys."""
    path, groups = tmp_path / "rows.csv", listed(SPACINGS)
    # Labels that are former keys stay what they are.
    methods, data = [Method("form", str(model_file))], Decathlon(dataset)
    before = evaluate(methods, data, NAMES, groups, rows_file=path)
    today = path.read_text(), (tmp_path / "evaluation.json").read_text()
    path.write_text(today[0].replace(",precision,", ",form,"))
    about = json.loads(today[1])
    about["settings"]["form"] = about["settings"].pop("precision")
    applied = about["models"]["form"]["applied"]
    applied["normalisation"] = applied.pop("normalization")
    applied["search"] = applied.pop("localization")
    (tmp_path / "evaluation.json").write_text(json.dumps(about))
    monkeypatch.setattr(Measurer, "measure", None)  # nothing is measured again
    resumed = evaluate(methods, data, NAMES, groups, rows_file=path)
    assert_frame_equal(resumed.rows, before.rows)
    assert (path.read_text(), (tmp_path / "evaluation.json").read_text()) == today


def test_rows_are_read_back_equal(tmp_path: Path) -> None:
    row = Row(
        "NA", "1e5", "refuse", "0012", 0.1, 1 / 3, 1e-7, 0.1, 0.7, 1e22, True, 1, "nan",
        math.nan, 0.5, math.inf, math.nan, 0.25, 2 / 3, -0.1, 1e-9, 5e-324, 1.0,
        0.1, 0.2, 0.3, None, 2**53 + 1, "fp32", "cpu",
    )  # fmt: skip
    rows = to_frame([row, dataclasses.replace(row, label=2, trained=False)])
    path = tmp_path / "rows.csv"
    write_rows(path, rows)
    assert_frame_equal(read_rows(path, 2), rows, check_exact=True)
    assert path.read_text().splitlines()[1] == (
        "NA,1e5,refuse,0012,0.1,0.3333333333333333,1e-07,0.1,0.7,1e+22,True,1,nan,nan,0.5,inf,nan,"
        "0.25,0.6666666666666666,-0.1,1e-09,5e-324,1.0,0.1,0.2,0.3,,9007199254740993,fp32,cpu"
    )
    assert read_rows(path, 3).empty and list(read_rows(path, 3).columns) == list(rows.columns)


def test_rows_of_another_evaluation_are_refused(
    dataset: Path,
    make_dataset: Callable[..., Path],
    model_file: Path,
    narrow_file: Path,
    tmp_path: Path,
) -> None:
    folder, groups = tmp_path / "out", listed(SPACINGS[:1])
    path, data = folder / "rows.csv", Decathlon(dataset)
    evaluate([Method("m", str(model_file))], data, NAMES[:1], groups, rows_file=path)
    before = path.read_text()
    with pytest.raises(hs.HyperspaceError, match=r"models\.m"):
        other = Method("m", str(narrow_file), "clamp")
        evaluate([other], data, NAMES[:1], groups, rows_file=path)
    model = hs.load_model(model_file)  # the same weights, run in other tiles
    card = model.card.model_copy(update={"tile_shape": (8, 8, 8)})
    tiled = save_model(Model(model.factory, card), tmp_path / "tiled.safetensors")
    with pytest.raises(hs.HyperspaceError, match=r"models\.m"):
        evaluate([Method("m", str(tiled))], data, NAMES[:1], groups, rows_file=path)
    image = dataset / "imagesTr" / f"{NAMES[0]}.nii.gz"
    image.write_bytes((dataset / "imagesTr" / "tiny_004.nii.gz").read_bytes())
    labels = dataset / "labelsTr" / f"{NAMES[0]}.nii.gz"
    labels.write_bytes((dataset / "labelsTr" / "tiny_004.nii.gz").read_bytes())
    with pytest.raises(hs.HyperspaceError, match=r"cases\.tiny_001"):
        evaluate([Method("m", str(model_file))], data, NAMES[:1], groups, rows_file=path)
    assert path.read_text() == before
    (folder / "evaluation.json").unlink()
    with pytest.raises(hs.HyperspaceError, match="no file that says"):
        evaluate([Method("m", str(model_file))], data, NAMES[:1], groups, rows_file=path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(hs.HyperspaceError, match="not the rows"):
        evaluate([Method("m", str(model_file))], data, NAMES[:1], groups, rows_file=path)


@pytest.mark.slow
def test_processes_do_not_change_the_rows(dataset: Path, model_file: Path, tmp_path: Path) -> None:
    methods, data, groups = [Method("m", str(model_file))], Decathlon(dataset), listed(SPACINGS)
    alone = evaluate(methods, data, NAMES, groups)
    path = tmp_path / "rows.csv"
    shared = evaluate(methods, data, NAMES, groups, rows_file=path, processes=2)
    assert_frame_equal(_timeless(shared.rows), _timeless(alone.rows))
    assert_frame_equal(read_rows(path, 2), shared.rows)
