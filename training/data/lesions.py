"""Lesions in FLAIR images, in BIDS layout."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

from training.config.data import LesionSection
from training.data.base import DataSet, Description
from training.data.listing import Listing, match_files

_ENTITY = re.compile(r"([a-zA-Z]+)-([a-zA-Z0-9+]+)")
# Entities that identify an image; masks have additional ones (desc, label, space).
_IDENTIFYING = ("sub", "ses", "acq", "rec", "dir", "run", "echo")

Entities = dict[str, str]


class Lesions(DataSet):
    """FLAIR images and lesion masks: `sub-*/[ses-*/]anat/*_FLAIR.nii.gz`.

    Masks are files whose names contain `lesion`, next to the images or anywhere in `derivatives`.
    A mask belongs to the image of its subject with the same session, run and so on, as far as both
    state them.
    """

    section_type = LesionSection
    section: LesionSection

    @classmethod
    def recognizes(cls, folder: Path) -> bool:
        """Whether the folder contains FLAIR images of subjects."""
        return any(
            any(folder.glob(f"sub-*/{session}anat/*_FLAIR.nii*")) for session in ("", "ses-*/")
        )

    def describe(self) -> Description:
        """Return the only label."""
        return Description(("FLAIR",), {1: "lesion"})

    def find(self) -> Listing:
        """Match each FLAIR image with its mask."""
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
        paired = match_files([images], labels, subject=lambda name: name.partition("_")[0])
        return Listing(paired.cases, listing.problems + paired.problems)

    def _is_mask(self, path: Path) -> bool:
        name, pattern = path.name.lower(), self.section.mask.lower()
        fits = all(fnmatch.fnmatchcase(name, wanted) for wanted in ("*lesion*", pattern))
        return fits and "sub" in self._entities(path)

    def _entities(self, path: Path) -> Entities:
        """Return `sub`, `ses` and so on of a path; those of the file name take precedence."""
        found: Entities = {}
        for part in path.relative_to(self.folder).parts:
            found |= {key: value for key, value in _ENTITY.findall(part) if key in _IDENTIFYING}
        return found


def _name(entities: Entities) -> str:
    return "_".join(f"{key}-{entities[key]}" for key in _IDENTIFYING if key in entities)


def _agree(mask: Entities, image: Entities) -> bool:
    return all(image.get(key, value) == value for key, value in mask.items())
