"""The rows of an evaluation: what was measured, for each case, spacing and label."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import write_text
from napari_hyperspace.core.geometry import Triple

Key = tuple[str, str, Triple]
"""Model's label, case, working spacing: what is measured in one go."""


@dataclass(frozen=True)
class Row:
    """A label of a case at a working spacing, by one model.

    ``working``: the scan is the image resampled to the spacing, scored on that grid, as in the
    paper. ``native``: the scan is as it is, segmented at the spacing, scored on its own grid, as
    users get it. Axes are (z, y, x); infinite distances: one of the two has no voxel of the label.

    Parameters
    ----------
    model, identity, outside
        Label of the model, digest of its weights, rule outside of its trained range.
    case
        Name of the case.
    z_mm, y_mm, x_mm
        Working spacing.
    network_z_mm, network_y_mm, network_x_mm
        Spacing that the network ran at: another one if clamped.
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
        Of the surface Dice.
    seconds_working, seconds_native
        Time of the whole segmentation, making the network included; of all labels together.
    bake_seconds
        Part of it that making the network took.
    peak_bytes_working, peak_bytes_native
        Growth of memory at its highest point; absent where the system does not tell.
    form, device
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
    form: str
    device: str

    @property
    def spacing_mm(self) -> Triple:
        """Working spacing (z, y, x)."""
        return self.z_mm, self.y_mm, self.x_mm

    @property
    def network_mm(self) -> Triple:
        """Spacing that the network ran at (z, y, x)."""
        return self.network_z_mm, self.network_y_mm, self.network_x_mm

    @property
    def key(self) -> Key:
        """What it was measured with."""
        return self.model, self.case, self.spacing_mm


TIMES = (
    "seconds_working",
    "seconds_native",
    "bake_seconds",
    "peak_bytes_working",
    "peak_bytes_native",
)
"""Columns that differ from run to run."""

COLUMNS = tuple(field.name for field in fields(Row))
_READERS: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": lambda text: text == "True",
    "int | None": lambda text: int(text) if text else None,
}


def to_csv(rows: Iterable[Row], header: bool = True) -> str:
    """Write rows as CSV; numbers are written in full, and read back equal."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def read_rows(path: Path, n_labels: int) -> list[Row]:
    """Read the rows of a file; what an interruption cut short is left out.

    Parameters
    ----------
    path
        CSV file; no rows where it does not exist.
    n_labels
        Rows that make a measurement whole.

    Raises
    ------
    HyperspaceError
        If it is not a file of rows.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
    if tuple(reader.fieldnames or ()) not in ((), COLUMNS):
        raise HyperspaceError(
            "not the rows of an evaluation by this version",
            where=path,
            fix="Choose another folder with --out",
        )
    whole: dict[Key, list[Row]] = defaultdict(list)
    for record in reader:
        try:
            row = Row(**{f.name: _READERS[str(f.type)](record[f.name]) for f in fields(Row)})
        except (TypeError, ValueError):
            continue
        whole[row.key].append(row)
    return [row for rows in whole.values() if len(rows) == n_labels for row in rows]


def append_rows(path: Path, rows: Sequence[Row]) -> None:
    """Add rows to a file that has its header."""
    with open(path, "a", encoding="utf-8", newline="") as file:
        file.write(to_csv(rows, header=False))


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows to a file, whole or not at all: Parquet if its name ends so, else CSV."""
    if path.suffix == ".parquet":
        _write_parquet(path, rows)
    else:
        write_text(path, to_csv(rows))


def check_format(path: Path) -> None:
    """Refuse a name whose format cannot be written here."""
    if path.suffix == ".parquet":
        _pyarrow()
    elif path.suffix != ".csv":
        raise HyperspaceError("rows are CSV or Parquet", where=path, expected=".csv or .parquet")


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    pyarrow = _pyarrow()
    from pyarrow import parquet

    kinds = {"str": "string", "int": "int64", "float": "float64", "bool": "bool"}
    schema = [(f.name, kinds[str(f.type).removesuffix(" | None")]) for f in fields(Row)]
    columns = pyarrow.schema([(n, pyarrow.type_for_alias(kind)) for n, kind in schema])
    table = pyarrow.Table.from_pylist([asdict(row) for row in rows], schema=columns)
    temporary = path.with_name(f".{path.name}.part")
    parquet.write_table(table, temporary)
    temporary.replace(path)


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise HyperspaceError(
            "Parquet needs pyarrow, which is not installed",
            fix="Install pyarrow, or choose a name that ends in .csv",
        ) from error
    return pyarrow
