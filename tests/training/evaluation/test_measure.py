"""Measurements of tiny models on tiny data, against scores by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

import napari_hyperspace as hs
from napari_hyperspace.core.resample import resample_labels, resample_to_spacing
from training.data.decathlon import Decathlon
from training.evaluation.evaluate import evaluate
from training.evaluation.methods import Method, name_methods
from training.evaluation.plan import (
    NATIVE,
    listed,
)
from training.evaluation.rows import (
    NETWORK_SPACING,
    SPACING,
)

NAMES = ("tiny_001", "tiny_004")


SPACINGS = ((2.0, 2.0, 2.0), (1.5, 2.5, 1.0))


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
