"""The raw layout of nnU-Net v2: `dataset.json`, `imagesTr/CASE_0000.nii.gz`, `labelsTr`."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

from napari_hyperspace.core.errors import HyperspaceError
from training.config.data import NNUNetSection
from training.data.base import DataSet, Description
from training.data.description import FILE, has_key, license_of, numbered, read_description
from training.data.listing import Listing, match_files

_IMAGE = re.compile(r"(.+)_(\d{4})")


class NNUNet(DataSet):
    """A data set described by `dataset.json` (`channel_names`, `labels`, `file_ending`).

    The label `ignore` marks voxels whose label is unknown. Overlapping regions need `data.labels`
    and `data.names`, which define labels that do not overlap.
    """

    section_type = NNUNetSection

    @classmethod
    def recognizes(cls, folder: Path) -> bool:
        """Whether a `dataset.json` lists channels."""
        return has_key(folder, "channel_names")

    @cached_property
    def _about(self) -> dict[str, Any]:
        return read_description(self.folder)

    @cached_property
    def _channels(self) -> tuple[str, ...]:
        channels = numbered(self._about, "channel_names", self.folder)
        if list(channels) != list(range(len(channels))):
            raise HyperspaceError(
                "the channels are not numbered 0, 1, …",
                where=self.folder / FILE,
                field="channel_names",
            )
        return tuple(channels.values())

    @cached_property
    def _ending(self) -> str:
        ending = self._about.get("file_ending")
        if not isinstance(ending, str) or not ending.startswith("."):
            raise HyperspaceError(
                "a text such as .nii.gz is expected",
                where=self.folder / FILE,
                field="file_ending",
                found=ending,
            )
        return ending

    def describe(self) -> Description:
        """Return the contents of `dataset.json`."""
        about, where = self._about, self.folder / FILE
        listed = about.get("labels")
        if not isinstance(listed, dict):
            raise HyperspaceError(
                "a mapping of names to ids is expected", where=where, field="labels", found=listed
            )
        ids = {str(name): i for name, i in listed.items() if isinstance(i, int)}
        if len(ids) < len(listed) and not (self.section.labels and self.section.names):
            raise HyperspaceError(
                "regions may overlap, but the labels of a network must not",
                where=where,
                field="labels",
                found=", ".join(str(name) for name in listed if name not in ids),
                fix="Define labels by their ids in data.labels, and their names in data.names",
            )
        return Description(
            channel_names=self._channels,
            label_names={i: name for name, i in ids.items() if i != 0 and name != "ignore"},
            ignore=(ids["ignore"],) if "ignore" in ids else (),
            name=str(about.get("name") or ""),
            license=license_of(about),
        )

    def find(self) -> Listing:
        """Match the files of `imagesTr` and `labelsTr` by name."""
        channels: list[list[tuple[str, Path]]] = [[] for _ in self._channels]
        unknown = []
        for path in self._files("imagesTr"):
            match = _IMAGE.fullmatch(path.name.removesuffix(self._ending))
            if match and int(match[2]) < len(channels):
                channels[int(match[2])].append((match[1], path))
            else:
                unknown.append(path)
        labels = [(path.name.removesuffix(self._ending), path) for path in self._files("labelsTr")]
        names = self._channels if len(channels) > 1 else ("",)
        listing = match_files(channels, labels, names)
        for path in unknown:
            listing.error("list", "the name does not end with the number of a channel", where=path)
        count = self._about.get("numTraining")
        if count not in (None, len(labels)):
            listing.warning(
                "list",
                f"numTraining is {count}, there are {len(labels)} label maps",
                where=self.folder / FILE,
            )
        return listing

    def _files(self, part: str) -> list[Path]:
        return sorted(
            path for path in (self.folder / part).glob(f"*{self._ending}") if path.is_file()
        )
