"""Folders of label maps of whole heads, without images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch

from napari_hyperspace.core.intensity import Normalisation
from napari_hyperspace.io import check_labels, read
from training.config_data import LabelMapsSection
from training.data.base import DataSet, Description
from training.data.description import case_name
from training.data.listing import CaseFiles, Listing
from training.synthesis.heads import Head
from training.synthesis.labelled import LabelledHead
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
"""What is segmented where the configuration does not say: value → name and ids."""


class LabelMaps(DataSet):
    """A folder with a label map a head; what no label lists is background."""

    section_type = LabelMapsSection

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """No folder of label maps tells what they are: it takes a configuration."""
        return False

    def describe(self) -> Description:
        """Return the structures that are segmented by default."""
        names = {value: name for value, (name, _) in STRUCTURES.items()}
        ids = {value: ids for value, (_, ids) in STRUCTURES.items()}
        return Description(("image",), names, ids)

    def find(self) -> Listing:
        """List the files of the folder."""
        listing = Listing()
        pattern = cast(LabelMapsSection, self.section).pattern
        for path in sorted(self.folder.glob(pattern)):
            listing.add(CaseFiles(case_name(path), (), path))
        listing.find_duplicates()
        return listing

    def _load_case(self, files: CaseFiles, normalisation: Normalisation) -> Any:
        """Read a label map; its images are normalised as they are made."""
        del normalisation
        labels = check_labels(read(files.label), IDS)
        channels = self.rule.lookup()
        targets = torch.tensor([channels.get(i, 0) for i in IDS], dtype=torch.int16)
        return LabelledHead(Head.from_volume(files.name, labels).prepare(), targets)
