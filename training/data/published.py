"""Published data sets that describe themselves by their file names alone."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from training.config.data import BratsSection, MMWHSSection, SpiderSection
from training.data.base import DataSet, Description
from training.data.description import case_name
from training.data.listing import Listing, pair

_NIFTI = ".nii*"  # some copies of these data sets are unpacked


def _found(folder: Path, pattern: str, ending: str) -> list[tuple[str, Path]]:
    """Return the files of a pattern, each with its name up to an ending."""
    return [(case_name(path).removesuffix(ending), path) for path in sorted(folder.glob(pattern))]


class Brats(DataSet):
    """BRATS 2021: `CASE/CASE_t1ce.nii.gz`, `CASE/CASE_seg.nii.gz`; other contrasts are not used.

    Necrosis (1) and enhancing tumour (4) are the tumour core; oedema (2) is background.
    """

    section_type = BratsSection

    @classmethod
    def recognizes(cls, folder: Path) -> bool:
        """Whether a folder in it holds a contrast-enhanced T1."""
        return any(folder.glob(f"*/*_t1ce{_NIFTI}"))

    def describe(self) -> Description:
        """Return the classes of the paper."""
        return Description(("T1c",), {1: "tumour core"}, {0: (2,), 1: (1, 4)}, name="BRATS 2021")

    def find(self) -> Listing:
        """Pair the images with the label maps of their folders."""
        images, labels = (
            _found(self.folder, f"*/*{ending}{_NIFTI}", ending) for ending in ("_t1ce", "_seg")
        )
        return pair([images], labels)


class Spider(DataSet):
    """SPIDER: `images/N_t1.mha`, `masks/N_t1.mha`.

    Vertebrae (1–25) and the spinal canal (100, or 26 where the ids were numbered anew) are labels;
    vertebrae seen in part (101–125) and discs (201–225) are background.
    """

    section_type = SpiderSection

    @classmethod
    def recognizes(cls, folder: Path) -> bool:
        """Whether both folders hold images named by a contrast."""
        return all(any((folder / part).glob("*_t[12]*.mha")) for part in ("images", "masks"))

    def describe(self) -> Description:
        """Return the classes of the paper."""
        labels = {
            0: (*range(101, 126), *range(201, 226)),
            1: tuple(range(1, 26)),
            2: (26, 100),
        }
        names = {1: "vertebrae", 2: "spinal canal"}
        contrasts = " or ".join(contrast.replace("_", " ").upper() for contrast in self._contrasts)
        return Description((contrasts,), names, labels, name="SPIDER", license="CC-BY 4.0")

    def find(self) -> Listing:
        """Pair images and masks; the contrasts of one patient are cases of one subject."""
        images, labels = (
            [
                found
                for contrast in self._contrasts
                for found in _found(self.folder, f"{part}/*_{contrast}.mha", "")
            ]
            for part in ("images", "masks")
        )
        return pair([images], labels, subject=lambda name: name.partition("_")[0])

    @property
    def _contrasts(self) -> tuple[str, ...]:
        return cast(SpiderSection, self.section).contrasts


class MMWHS(DataSet):
    """MM-WHS 2017: `mr_train/mr_train_1001_image.nii.gz`, `mr_train/mr_train_1001_label.nii.gz`.

    In whatever folders; the test set, which has no open labels, is left out.
    """

    section_type = MMWHSSection

    @classmethod
    def recognizes(cls, folder: Path) -> bool:
        """Whether images are in it or in a folder in it."""
        return any(any(folder.glob(f"{part}*_image{_NIFTI}")) for part in ("", "*/"))

    def describe(self) -> Description:
        """Return the seven structures."""
        structures = {
            205: "myocardium of the left ventricle",
            420: "left atrium",
            500: "left ventricle",
            550: "right atrium",
            600: "right ventricle",
            820: "ascending aorta",
            850: "pulmonary artery",
        }
        return Description(
            (self._modality.upper(),),
            dict(enumerate(structures.values(), start=1)),
            {value: (i,) for value, i in enumerate(structures, start=1)},
            name="MM-WHS",
        )

    def find(self) -> Listing:
        """Pair the images of the modality with their label maps."""
        other = "ct_" if self._modality == "mr" else "mr_"
        images, labels = (
            [
                (name, path)
                for name, path in _found(self.folder, f"**/*{ending}{_NIFTI}", ending)
                if not name.startswith(other) and "_test_" not in name
            ]
            for ending in ("_image", "_label")
        )
        return pair([images], labels)

    @property
    def _modality(self) -> str:
        return cast(MMWHSSection, self.section).modality
