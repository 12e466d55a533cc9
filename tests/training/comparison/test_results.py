"""Measurements of the runs of a comparison."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import napari_hyperspace as hs
from training.evaluation.rows import NETWORK_SPACING, SPACING, read_rows


def test_every_run_is_done_and_its_card_has_its_dice(finished: Path) -> None:
    for label in ("HS-0", "HS-1", "AS-0", "AS-1", "FS-0"):
        folder = finished / "runs" / label
        assert json.loads((folder / "config.json").read_text())["name"] == f"tiny run-{label}"
        rows = read_rows(folder / "evaluation" / "rows.csv", 2)
        card = hs.load_model(folder / "model.safetensors").card
        assert card.tile_shape == (16, 12, 20)
        shown = {(1.5, 1.5, 1.5), (4, 4, 4), (3, 1.5, 1.5)}
        if label.startswith("FS"):  # elsewhere its network does not run
            shown = {(1.5, 1.5, 1.5)}
        assert {record.spacing_mm for record in card.dice} == shown
        for record in card.dice:
            own = rows[rows["model"] == label[:2]]
            found = own[(own[SPACING] == list(record.spacing_mm)).all(axis=1)]["dice_working"]
            assert record.mean == pytest.approx(found.mean()) and record.cases == 2


def test_methods_use_their_networks(finished: Path) -> None:
    rows = read_rows(finished / "runs" / "FS-0" / "evaluation" / "rows.csv", 2)
    assert (rows.loc[rows["model"] == "FS", NETWORK_SPACING] == 1.5).all(axis=None)
    fsnr = rows[rows["model"] == "FSNR"]
    np.testing.assert_array_equal(fsnr[NETWORK_SPACING], fsnr[SPACING])
    rows = read_rows(finished / "runs" / "HS-0" / "evaluation" / "rows.csv", 2)
    coarse = rows[(rows[SPACING] == 4).all(axis=1)].groupby("model")[NETWORK_SPACING].first()
    assert coarse.loc["HS"].to_list() == [4, 4, 4]
    assert coarse.loc["HS MaxRes"].to_list() == [2.5, 3.0, 2.0]
