"""Data sets of label maps of whole heads, for synthetic images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.io import read
from training.config.data import LabelMapsSection
from training.data.base import Case, DataSet, Description
from training.data.description import case_name
from training.data.listing import CaseFiles, Listing
from training.synthesis.heads import Head
from training.synthesis.labeled_head import LabeledHead
from training.synthesis.tissues import IDS

STRUCTURES: dict[int, tuple[str, tuple[int, ...]]] = {
    1: ("cortex", (3, 42)),
    2: ("white matter", (2, 25, 41, 57, 77, 78, 79, 251, 252, 253, 254, 255)),
    3: ("thalamus", (10, 49)),
    4: ("pallidum", (13, 52)),
    5: ("putamen", (12, 51)),
    6: ("caudate and accumbens", (11, 26, 50, 58)),
    7: ("cerebellar grey", (8, 47)),
    8: ("cerebellar white", (7, 46)),
    9: ("ventricles", (4, 5, 14, 15, 31, 43, 44, 63, 72, 136, 137, 163, 164)),
    10: ("brain stem", (16,)),
    11: ("hippocampus", (17, 53)),
    12: ("amygdala", (18, 54)),
    13: ("ventral diencephalon", (28, 60)),
}
"""Default labels: value → name and ids."""


class LabelMaps(DataSet):
    """A folder with one label map per head; ids that no label lists are background."""

    section_type = LabelMapsSection
    section: LabelMapsSection

    @classmethod
    def recognizes(cls, folder: Path) -> bool:
        """Return false: label maps alone are not recognized, they need a configuration."""
        return False

    def __init__(
        self, folder: str | os.PathLike[str], section: LabelMapsSection | None = None
    ) -> None:
        super().__init__(folder, section)
        listed = {i for ids in self.rule.ids.values() for i in ids}
        unknown = sorted((listed | set(self.rule.ignore)) - set(IDS))
        if unknown:
            raise HyperspaceError(
                "ids without a tissue cannot be synthesized",
                where=self.folder,
                field="data.labels, data.ignore",
                found=unknown,
                expected="ids of the brain as in FreeSurfer, or extra-cerebral ids above 500",
            )
        # All tissues that no label lists are background.
        rest = tuple(i for i in IDS if i not in listed and i not in self.rule.ignore)
        background = (*self.rule.ids.get(0, ()), *rest)
        self.rule = replace(self.rule, ids={**self.rule.ids, 0: background})

    def describe(self) -> Description:
        """Return the default labels."""
        names = {value: name for value, (name, _) in STRUCTURES.items()}
        ids = {value: ids for value, (_, ids) in STRUCTURES.items()}
        return Description(("image",), names, ids)

    def find(self) -> Listing:
        """List the files of the folder."""
        listing = Listing()
        for path in sorted(self.folder.glob(self.section.pattern)):
            listing.add(CaseFiles(case_name(path), (), path))
        listing.find_duplicates()
        return listing

    def load(self, names: Sequence[str], normalization: Normalization) -> list[Case]:
        """Raise an error, because there are no images.

        Raises
        ------
        HyperspaceError
            Always.
        """
        raise HyperspaceError(
            "the data set contains only label maps, no images",
            where=self.folder,
            fix="Write synthetic images with `hyperspace synthesize`, "
            "or evaluate on synthetic images with `hyperspace evaluate-synthetic`",
        )

    def sources(self, names: Sequence[str], normalization: Normalization) -> list[LabeledHead]:
        """Read label maps; their synthetic images are already normalized.

        Raises
        ------
        HyperspaceError
            If a name is unknown, or a map contains an id without a tissue.
        """
        del normalization
        channels = self.rule.lookup()
        targets = torch.tensor([channels[i] for i in IDS], dtype=torch.int16)
        return [
            LabeledHead(
                Head.from_volume(files.name, self.rule.check(read(files.label))).prepare(), targets
            )
            for files in self._named(names)
        ]
