"""A table of images and their label maps."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import check_regular
from training.config.data import PairsSection
from training.data.base import DataSet, Description
from training.data.description import case_name, inside
from training.data.listing import CaseFiles, Listing


@dataclass(frozen=True)
class CaseTable:
    """A table of cases that was read.

    Parameters
    ----------
    path
        The file.
    image_columns
        Names of the columns of images.
    rows
        Cells of each row by the name of their column.
    """

    path: Path
    image_columns: tuple[str, ...]
    rows: Sequence[Mapping[str, str | None]]


def read_table(path: Path) -> CaseTable:
    """Read a CSV table of cases.

    Raises
    ------
    HyperspaceError
        If it cannot be read, is not a CSV table, or its columns are missing or not unique.
    """
    try:
        check_regular(path)
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            rows = list(reader)
            columns = [str(column) for column in reader.fieldnames or ()]
    except OSError as error:
        raise HyperspaceError(f"the table cannot be read: {error.strerror}", where=path) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise HyperspaceError("not a CSV table", where=path, found=error) from error
    images = tuple(column for column in columns if column.startswith("image"))
    if not images or "label" not in columns or len(set(columns)) < len(columns):
        raise HyperspaceError(
            "a column of the table is missing or occurs twice",
            where=path,
            found=", ".join(columns),
            expected="image (or several that start with image), label, optionally name, subject",
        )
    return CaseTable(path, images, rows)


class Pairs(DataSet):
    """A CSV file with the columns `image`, `label` and optionally `name` and `subject`.

    Several columns that start with `image` are channels, in their order: `image_t1`, `image_t2`.
    Paths are relative to the data set's folder. Without a column `name`, the name of a case is that
    of its first image.
    """

    section_type = PairsSection
    section: PairsSection

    @classmethod
    def recognizes(cls, folder: Path) -> bool:
        """Whether the folder contains the table `cases.csv`."""
        return (folder / PairsSection(folder="").table).is_file()

    @cached_property
    def _table(self) -> CaseTable:
        path = inside(self.folder, self.section.table, self.folder)
        return read_table(path)

    def describe(self) -> Description:
        """Return the channels of the table; the labels are those of the configuration."""
        if not self.section.names:
            raise HyperspaceError(
                "a table does not define the names of its labels",
                where=self._table.path,
                field="data.names",
                fix="Describe the data set in a YAML file, with a name for each label value, "
                "such as `data: {kind: pairs, folder: …, names: {1: liver}}`",
            )
        columns = self._table.image_columns
        channels = [column.removeprefix("image").strip(" _-:") or column for column in columns]
        return Description(tuple(channels), {})

    def find(self) -> Listing:
        """List the rows of the table."""
        listing, table = Listing(), self._table
        for number, row in enumerate(table.rows, start=2):  # the header is row 1
            keys = [*table.image_columns, "label"]
            cells = [(row.get(key) or "").strip() for key in keys]
            empty = [key for key, cell in zip(keys, cells, strict=True) if not cell]
            name = (row.get("name") or "").strip()
            if empty:
                text = f"row {number} has no {', '.join(empty)}"
                listing.error("missing", text, name, table.path)
                continue
            try:
                *images, label = (inside(self.folder, cell, table.path) for cell in cells)
            except HyperspaceError as error:
                text = f"row {number}: {error.problem}: {error.found}"
                listing.error("list", text, name, table.path)
                continue
            files = tuple((path, None) for path in images)
            subject = (row.get("subject") or "").strip()
            listing.add(CaseFiles(name or case_name(images[0]), files, label, subject))
        listing.find_duplicates()
        return listing
