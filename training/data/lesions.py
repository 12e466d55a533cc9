"""Lesions in FLAIR images, in BIDS layout."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path
from typing import cast

from training.config.data import LesionSection
from training.data.base import DataSet, Description
from training.data.listing import Listing, pair

_ENTITY = re.compile(r"([a-zA-Z]+)-([a-zA-Z0-9+]+)")
# What tells images of one session apart; masks have entities of their own (desc, label, space).
_TELLING = ("sub", "ses", "acq", "rec", "dir", "run", "echo")

Entities = dict[str, str]


class Lesions(DataSet):
    """FLAIR images and lesion masks: `sub-*/[ses-*/]anat/*_FLAIR.nii.gz`.

    Masks are files whose names contain `lesion`, beside the images or anywhere in `derivatives`.
    A mask belongs to the image of its subject whose session, run and so on do not contradict its
    own.
    """

    section_type = LesionSection

    @classmethod
    def recognizes(cls, folder: Path) -> bool:
        """Whether subjects have FLAIR images."""
        return any(
            any(folder.glob(f"sub-*/{session}anat/*_FLAIR.nii*")) for session in ("", "ses-*/")
        )

    def describe(self) -> Description:
        """Return the one class."""
        return Description(("FLAIR",), {1: "lesion"})

    def find(self) -> Listing:
        """Pair each FLAIR image with its mask."""
        masks = [
            path
            for pattern in ("sub-*/**/*.nii*", "derivatives/**/*.nii*")
            for path in sorted(self.folder.glob(pattern))
            if self._is_mask(path)
        ]
        flairs = [
            path
            for session in ("", "ses-*/")
            for path in sorted(self.folder.glob(f"sub-*/{session}anat/*_FLAIR.nii*"))
            if not fnmatch.fnmatchcase(path.name.lower(), "*lesion*")
        ]
        images = [(_name(self._entities(path)), path) for path in flairs]
        listing, labels = Listing(), []
        for mask in masks:
            own = self._entities(mask)
            fitting = [name for name, path in images if _agree(own, self._entities(path))]
            if len(fitting) > 1:
                text = f"the mask fits several images: {', '.join(fitting)}"
                listing.error("duplicate", text, _name(own), mask)
            else:
                labels.append((fitting[0] if fitting else _name(own), mask))
        paired = pair([images], labels, subject=lambda name: name.partition("_")[0])
        return Listing(paired.cases, listing.problems + paired.problems)

    def _is_mask(self, path: Path) -> bool:
        name, pattern = path.name.lower(), cast(LesionSection, self.section).mask.lower()
        fits = all(fnmatch.fnmatchcase(name, wanted) for wanted in ("*lesion*", pattern))
        return fits and "sub" in self._entities(path)

    def _entities(self, path: Path) -> Entities:
        """Return what a path says of an image: `sub`, `ses` and so on; the file name decides."""
        found: Entities = {}
        for part in path.relative_to(self.folder).parts:
            found |= {key: value for key, value in _ENTITY.findall(part) if key in _TELLING}
        return found


def _name(entities: Entities) -> str:
    return "_".join(f"{key}-{entities[key]}" for key in _TELLING if key in entities)


def _agree(mask: Entities, image: Entities) -> bool:
    return all(image.get(key, value) == value for key, value in mask.items())
