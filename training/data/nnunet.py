"""The raw layout of nnU-Net v2: `dataset.json`, `imagesTr/CASE_0000.nii.gz`, `labelsTr`."""

from __future__ import annotations

import re
from pathlib import Path

from napari_hyperspace.core.errors import HyperspaceError
from training.config.data import NNUNetSection
from training.data.base import DataSet, Description
from training.data.description import FILE, has_key, license_of, numbered, read_description
from training.data.listing import Listing, pair

_IMAGE = re.compile(r"(.+)_(\d{4})")


class NNUNet(DataSet):
    """A data set described by `dataset.json` (`channel_names`, `labels`, `file_ending`).

    The label `ignore` marks voxels whose label is not known. Regions, which overlap, need
    `data.labels` and `data.names` that say which ids make up which label.
    """

    section_type = NNUNetSection

    @classmethod
    def recognizes(cls, folder: Path) -> bool:
        """Whether a `dataset.json` names channels."""
        return has_key(folder, "channel_names")

    def describe(self) -> Description:
        """Read it all from `dataset.json`."""
        about, where = read_description(self.folder), self.folder / FILE
        channels = numbered(about, "channel_names", self.folder)
        ending, listed = about.get("file_ending"), about.get("labels")
        if list(channels) != list(range(len(channels))):
            raise HyperspaceError(
                "the channels are not numbered 0, 1, …", where=where, field="channel_names"
            )
        if not isinstance(ending, str) or not ending.startswith("."):
            raise HyperspaceError(
                "a text such as .nii.gz is expected", where=where, field="file_ending", found=ending
            )
        if not isinstance(listed, dict):
            raise HyperspaceError(
                "a mapping of names to ids is expected", where=where, field="labels", found=listed
            )
        self._ending, self._count = ending, about.get("numTraining")
        ids = {str(name): i for name, i in listed.items() if isinstance(i, int)}
        if len(ids) < len(listed) and not (self.section.labels and self.section.names):
            raise HyperspaceError(
                "regions may overlap, the labels of a network may not",
                where=where,
                field="labels",
                found=", ".join(str(name) for name in listed if name not in ids),
                fix="Say in data.labels and data.names which ids make up which label",
            )
        return Description(
            channel_names=tuple(channels.values()),
            label_names={i: name for name, i in ids.items() if i != 0 and name != "ignore"},
            ignore=(ids["ignore"],) if "ignore" in ids else (),
            name=str(about.get("name") or ""),
            license=license_of(about),
        )

    def find(self) -> Listing:
        """Pair the files of `imagesTr` and `labelsTr`, by name."""
        channels: list[list[tuple[str, Path]]] = [[] for _ in self.channel_names]
        strange = []
        for path in self._files("imagesTr"):
            match = _IMAGE.fullmatch(path.name.removesuffix(self._ending))
            if match and int(match[2]) < len(channels):
                channels[int(match[2])].append((match[1], path))
            else:
                strange.append(path)
        labels = [(path.name.removesuffix(self._ending), path) for path in self._files("labelsTr")]
        names = self.channel_names if len(channels) > 1 else ("",)
        listing = pair(channels, labels, names)
        for path in strange:
            listing.error("list", "the name does not end in the number of a channel", where=path)
        if self._count not in (None, len(labels)):
            listing.warning(
                "list",
                f"numTraining is {self._count}, there are {len(labels)} label maps",
                where=self.folder / FILE,
            )
        return listing

    def _files(self, part: str) -> list[Path]:
        return sorted(
            path for path in (self.folder / part).glob(f"*{self._ending}") if path.is_file()
        )
