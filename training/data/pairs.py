"""Plain pairs: a table of images and their label maps."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import cast

from napari_hyperspace.core.errors import HyperspaceError
from training.config.data import PairsSection
from training.data.base import DataSet, Description
from training.data.description import case_name, inside
from training.data.listing import CaseFiles, Listing


class Pairs(DataSet):
    """A CSV file with the columns `image`, `label` and perhaps `name` and `subject`.

    Several columns that begin with `image` are several channels, in their order: `image_t1`,
    `image_t2`. Paths are relative to the data set's folder. Without a column `name` a case is
    called as its first image.
    """

    section_type = PairsSection

    @classmethod
    def recognizes(cls, folder: Path) -> bool:
        """Whether the table `cases.csv` is there."""
        return (folder / PairsSection(folder="").table).is_file()

    def describe(self) -> Description:
        """Read the channels from the table's head; the labels are the configuration's."""
        self._table = inside(self.folder, cast(PairsSection, self.section).table, self.folder)
        try:
            with self._table.open(newline="", encoding="utf-8-sig") as stream:
                reader = csv.DictReader(stream, skipinitialspace=True)
                self._rows = list(reader)
                columns = [str(column) for column in reader.fieldnames or ()]
        except OSError as error:
            raise HyperspaceError(
                f"the table cannot be read: {error.strerror}", where=self._table
            ) from error
        except (csv.Error, UnicodeDecodeError) as error:
            raise HyperspaceError("not a CSV table", where=self._table, found=error) from error
        self._images = [column for column in columns if column.startswith("image")]
        if not self._images or "label" not in columns or len(set(columns)) < len(columns):
            raise HyperspaceError(
                "the table lacks a column, or has one twice",
                where=self._table,
                found=", ".join(columns),
                expected="image (or several that begin so), label, perhaps name, subject",
            )
        if not self.section.names:
            raise HyperspaceError(
                "a table does not tell what its labels are",
                where=self._table,
                field="data.names",
                fix="Describe the data set in a YAML file, with a name for each label value, "
                "such as `data: {kind: pairs, folder: …, names: {1: liver}}`",
            )
        channels = [column.removeprefix("image").strip(" _-:") or column for column in self._images]
        return Description(tuple(channels), {})

    def find(self) -> Listing:
        """List the rows of the table."""
        listing = Listing()
        for number, row in enumerate(self._rows, start=2):  # as spreadsheets count
            keys = [*self._images, "label"]
            cells = [(row.get(key) or "").strip() for key in keys]
            empty = [key for key, cell in zip(keys, cells, strict=True) if not cell]
            name = (row.get("name") or "").strip()
            if empty:
                text = f"row {number} has no {', '.join(empty)}"
                listing.error("missing", text, name, self._table)
                continue
            try:
                *images, label = (inside(self.folder, cell, self._table) for cell in cells)
            except HyperspaceError as error:
                text = f"row {number}: {error.problem}: {error.found}"
                listing.error("list", text, name, self._table)
                continue
            files = tuple((path, None) for path in images)
            subject = (row.get("subject") or "").strip()
            listing.add(CaseFiles(name or case_name(images[0]), files, label, subject))
        listing.find_duplicates()
        return listing
