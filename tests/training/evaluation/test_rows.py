"""The table of measurements as CSV."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal

from napari_hyperspace.core.errors import HyperspaceError
from training.evaluation.rows import (
    Row,
    read_rows,
    to_csv,
    to_frame,
    write_rows,
)


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


def test_a_header_that_was_cut_off_is_an_empty_table(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    for text in ("", "model,identity,outs", to_csv(to_frame([]))):
        path.write_text(text)
        assert read_rows(path, 2).empty


@pytest.mark.parametrize(
    "content", [b"a note of somebody", b"\xff\xfe", b"a,b\n1,2\n", b'"\n', b"\0\n"]
)
def test_another_file_is_not_taken_for_an_empty_table(tmp_path: Path, content: bytes) -> None:
    """It would be replaced by the rows of the evaluation."""
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(HyperspaceError, match="not the rows"):
        read_rows(path, 2)


def test_a_name_that_is_too_long_is_not_an_empty_table(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "missing.csv", 2).empty
    with pytest.raises(HyperspaceError, match="path is not valid"):
        read_rows(tmp_path / ("x" * 300), 2)


def test_numbers_of_more_than_64_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    row = {name: "x" for name in Row.__annotations__}
    row |= {name: "1" for name, kind in Row.__annotations__.items() if kind != "str"}
    path.write_text(to_csv(to_frame([])) + ",".join({**row, "label": "9" * 30}.values()) + "\n")
    with pytest.raises(HyperspaceError, match="not valid"):
        read_rows(path, 1)
