"""The layout of the Medical Segmentation Decathlon: a folder with a `dataset.json`."""

from __future__ import annotations

from pathlib import Path

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

    Several modalities lie in one 4-D file, one after the other.
    """

    section_type = DecathlonSection

    @classmethod
    def recognizes(cls, folder: Path) -> bool:
        """Whether a `dataset.json` names modalities."""
        return has_key(folder, "modality")

    def describe(self) -> Description:
        """Read it all from `dataset.json`."""
        about = read_description(self.folder)
        labels = numbered(about, "labels", self.folder)
        labels.pop(0, None)
        entries = about.get("training")
        if not labels:
            raise HyperspaceError(
                "the data set names no label", where=self.folder / FILE, field="labels"
            )
        if not isinstance(entries, list) or not entries:
            raise HyperspaceError(
                "no training cases are listed", where=self.folder / FILE, field="training"
            )
        self._entries = entries
        channels = tuple(numbered(about, "modality", self.folder).values())
        return Description(
            channels, labels, name=str(about.get("name") or ""), license=license_of(about)
        )

    def find(self) -> Listing:
        """List the cases under `training`, in the order of `dataset.json`."""
        listing, list_file = Listing(), self.folder / FILE
        several = len(self.channel_names) > 1
        indices = range(len(self.channel_names)) if several else [None]
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
