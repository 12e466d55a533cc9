"""The layout of the Medical Segmentation Decathlon: a folder with a `dataset.json`."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from napari_hyperspace.core.errors import HyperspaceError
from training.config.data import DecathlonSection
from training.data.base import DataSet, Description
from training.data.description import (
    FILE,
    case_name,
    has_key,
    inside,
    license_of,
    numbered,
    read_description,
)
from training.data.listing import CaseFiles, Listing


class Decathlon(DataSet):
    """A data set described by `dataset.json` (`modality`, `labels`, `training`).

    Several modalities are volumes of one 4-D file.
    """

    section_type = DecathlonSection

    @classmethod
    def recognizes(cls, folder: Path) -> bool:
        """Whether a `dataset.json` lists modalities."""
        return has_key(folder, "modality")

    @cached_property
    def _about(self) -> dict[str, Any]:
        return read_description(self.folder)

    @cached_property
    def _channels(self) -> tuple[str, ...]:
        return tuple(numbered(self._about, "modality", self.folder).values())

    @cached_property
    def _entries(self) -> list[Any]:
        entries = self._about.get("training")
        if not isinstance(entries, list) or not entries:
            raise HyperspaceError(
                "no training cases are listed", where=self.folder / FILE, field="training"
            )
        return entries

    def describe(self) -> Description:
        """Return the contents of `dataset.json`."""
        about = self._about
        labels = numbered(about, "labels", self.folder)
        labels.pop(0, None)
        if not labels:
            raise HyperspaceError(
                "the data set does not name any label", where=self.folder / FILE, field="labels"
            )
        return Description(
            self._channels, labels, name=str(about.get("name") or ""), license=license_of(about)
        )

    def find(self) -> Listing:
        """List the cases under `training`, in the order of `dataset.json`."""
        listing, list_file = Listing(), self.folder / FILE
        count = len(self._channels)
        indices = range(count) if count > 1 else [None]
        for entry in self._entries:
            try:
                image, label = (
                    inside(self.folder, entry[key], list_file) for key in ("image", "label")
                )
            except HyperspaceError as error:
                listing.error("list", f"{error.problem}: {error.found}", where=list_file)
            except (KeyError, TypeError):
                listing.error("list", f"not a pair of image and label: {entry}", where=list_file)
            else:
                images = tuple((image, index) for index in indices)
                listing.add(CaseFiles(case_name(image), images, label))
        listing.find_duplicates()
        return listing
