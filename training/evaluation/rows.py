"""The table of measurements: one row per case, working spacing, model and label."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, fields
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import read_text, replacing, write_text
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.io.base.files import look_up

SPACING = ["z_mm", "y_mm", "x_mm"]
NETWORK_SPACING = ["network_z_mm", "network_y_mm", "network_x_mm"]
KEY = ["model", "case", *SPACING]
"""Columns that identify a measurement, which has one row per label."""


@dataclass(frozen=True)
class Row:
    """One label of a case at a working spacing, segmented by one model.

    ``working``: the scan is the image resampled to the spacing, scored on that grid, as in the
    paper. ``native``: the scan is as it is, segmented at the spacing, scored on its own grid, as
    users get it. Axes are (z, y, x). Distances are infinite where only one of truth and prediction
    has voxels of the label.

    Parameters
    ----------
    model, identity, outside
        Label of the model, digest of its weights, rule outside the trained range.
    case
        Name of the case.
    z_mm, y_mm, x_mm
        Working spacing.
    network_z_mm, network_y_mm, network_x_mm
        Spacing that the network ran at; differs from the working spacing if that was clamped.
    trained
        Whether the working spacing lies in the trained range.
    label, label_name
        Value and name.
    dice_working, dice_native
        Dice.
    hd95_working_mm, hd95_native_mm
        95th percentile of the surface distance.
    surface_dice_working, surface_dice_native
        Normalized surface Dice at the tolerance.
    volume_error_working_ml, volume_error_native_ml
        Predicted minus true volume.
    volume_native_ml
        True volume.
    tolerance_mm
        Tolerance of the surface Dice.
    seconds_working, seconds_native
        Time of the whole segmentation, making the network included; of all labels together.
    bake_seconds
        Time of making the network.
    peak_bytes_working, peak_bytes_native
        Peak growth of memory; `None` where the system does not report it.
    precision, device
        How and where the network ran.
    """

    model: str
    identity: str
    outside: str
    case: str
    z_mm: float
    y_mm: float
    x_mm: float
    network_z_mm: float
    network_y_mm: float
    network_x_mm: float
    trained: bool
    label: int
    label_name: str
    dice_working: float
    dice_native: float
    hd95_working_mm: float
    hd95_native_mm: float
    surface_dice_working: float
    surface_dice_native: float
    volume_error_working_ml: float
    volume_error_native_ml: float
    volume_native_ml: float
    tolerance_mm: float
    seconds_working: float
    seconds_native: float
    bake_seconds: float
    peak_bytes_working: int | None
    peak_bytes_native: int | None
    precision: str
    device: str

    @property
    def spacing_mm(self) -> Triple:
        """Working spacing (z, y, x)."""
        return self.z_mm, self.y_mm, self.x_mm


TIMES = (
    "seconds_working",
    "seconds_native",
    "bake_seconds",
    "peak_bytes_working",
    "peak_bytes_native",
)
"""Columns that differ from run to run."""

_DTYPES = {"str": "str", "int": "int64", "float": "float64", "bool": "bool", "int | None": "Int64"}
DTYPES = {field.name: _DTYPES[str(field.type)] for field in fields(Row)}
"""Column types of the table, by name and in order."""
# A case may be called "NA" or "007", and numbers are read back exactly.
_READERS: dict[str, Callable[[str], object]] = {
    "str": str,
    "int64": int,
    "float64": float,
    "bool": "True".__eq__,
    "Int64": lambda text: int(text) if text else None,
}
_FORMER_NAMES = {"form": "precision"}


def to_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Return rows as a table."""
    return pd.DataFrame([astuple(row) for row in rows], columns=list(DTYPES)).astype(DTYPES)


def to_csv(rows: pd.DataFrame, header: bool = True) -> str:
    """Return a table as CSV; numbers are written in full, so that they are read back equal."""
    # An unknown peak is an empty field, an undefined measure is "nan".
    peaks = {
        n: rows[n].astype("string").fillna("") for n, kind in DTYPES.items() if kind == "Int64"
    }
    text: str = rows.assign(**peaks).to_csv(
        index=False, header=header, na_rep="nan", lineterminator="\n"
    )
    return text


def read_rows(path: Path, n_labels: int) -> pd.DataFrame:
    """Read a table; measurements that an interruption left incomplete are dropped.

    Parameters
    ----------
    path
        CSV file; the table is empty where it does not exist.
    n_labels
        Number of rows of a complete measurement.

    Raises
    ------
    HyperspaceError
        If the file is not a table of measurements, or the path is not valid.
    """
    if look_up(path) is None:
        return to_frame([])
    try:
        text = read_text(path)
        end = text.rfind("\n") + 1
        # An interruption leaves part of a line, also of the first one: the header.
        if not end and to_csv(to_frame([])).startswith(text):
            return to_frame([])
        text = text[:end]
        rows = pd.read_csv(
            io.StringIO(text),
            converters={name: _READERS[kind] for name, kind in DTYPES.items()}
            | dict.fromkeys(_FORMER_NAMES, str),
            na_filter=False,
        ).rename(columns=_FORMER_NAMES)
    except OSError as error:
        raise HyperspaceError(
            "the rows cannot be read", where=path, found=error.strerror or str(error)
        ) from error
    except (ValueError, OverflowError):
        rows = pd.DataFrame()
    if list(rows.columns) != list(DTYPES):
        raise HyperspaceError(
            "not the rows of an evaluation by this version",
            where=path,
            fix="Choose another folder with --out",
        )
    complete = rows.groupby(KEY)["label"].transform("size") == n_labels
    try:
        return rows[complete].reset_index(drop=True).astype(DTYPES)
    except (ValueError, OverflowError) as error:  # a whole number of more than 64 bits
        raise HyperspaceError("a value is not valid", where=path, found=error) from error


def append_rows(path: Path, rows: pd.DataFrame) -> None:
    """Add rows to a file that has its header."""
    with open(path, "a", encoding="utf-8", newline="") as file:
        file.write(to_csv(rows, header=False))


def write_rows(path: Path, rows: pd.DataFrame) -> None:
    """Write a table as Parquet where the name ends in ``.parquet``, as CSV otherwise."""
    if path.suffix == ".parquet":
        with replacing(path) as temporary:
            rows.to_parquet(temporary, engine="pyarrow", index=False)
    else:
        write_text(path, to_csv(rows))


def check_format(path: Path) -> None:
    """Refuse a name whose format cannot be written."""
    if path.suffix == ".parquet":
        if find_spec("pyarrow") is None:
            raise HyperspaceError(
                "Parquet needs pyarrow, which is not installed",
                fix="Install pyarrow, or choose a name that ends in .csv",
            )
    elif path.suffix != ".csv":
        raise HyperspaceError("rows are CSV or Parquet", where=path, expected=".csv or .parquet")
