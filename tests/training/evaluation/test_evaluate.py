"""Evaluations that are resumed, refused, or run in several processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import napari_hyperspace as hs
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import save_model
from training.data.decathlon import Decathlon
from training.evaluation.evaluate import evaluate
from training.evaluation.measure import Measurer
from training.evaluation.methods import Method
from training.evaluation.plan import (
    NATIVE,
    listed,
)
from training.evaluation.rows import (
    TIMES,
    Row,
    read_rows,
    to_csv,
)

NAMES = ("tiny_001", "tiny_004")


SPACINGS = ((2.0, 2.0, 2.0), (1.5, 2.5, 1.0))


def _timeless(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns=list(TIMES))


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
    for damaged in ("{", "3", '{"models": 3}', '{"models": {"m": {}}}', '{"cases": []}'):
        (folder / "evaluation.json").write_text(damaged)
        with pytest.raises(hs.HyperspaceError, match=r"valid JSON|does not describe"):
            evaluate([Method("m", str(model_file))], data, NAMES[:1], groups, rows_file=path)
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
