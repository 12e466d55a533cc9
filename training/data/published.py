"""Published data sets that are recognized by their file names."""

from __future__ import annotations

from pathlib import Path

from training.config.data import BratsSection, MMWHSSection, SpiderSection
from training.data.base import DataSet, Description
from training.data.description import case_name
from training.data.listing import Listing, match_files

_NIFTI = ".nii*"  # some copies of these data sets are uncompressed


def _found(folder: Path, pattern: str, ending: str) -> list[tuple[str, Path]]:
    """Return the files that match a pattern, each with its name without an ending."""
    return [(case_name(path).removesuffix(ending), path) for path in sorted(folder.glob(pattern))]


class Brats(DataSet):
    """BRATS 2021: `CASE/CASE_t1ce.nii.gz`, `CASE/CASE_seg.nii.gz`; other contrasts are not used.

    Necrosis (1) and enhancing tumor (4) form the tumor core; edema (2) is background.
    """

    section_type = BratsSection

    @classmethod
    def recognizes(cls, folder: Path) -> bool:
        """Whether a subfolder contains a contrast-enhanced T1."""
        return any(folder.glob(f"*/*_t1ce{_NIFTI}"))

    def describe(self) -> Description:
        """Return the tumor core, as in the paper."""
        return Description(("T1c",), {1: "tumour core"}, {0: (2,), 1: (1, 4)}, name="BRATS 2021")

    def find(self) -> Listing:
        """Match the images with the label maps in their folders."""
        images, labels = (
            _found(self.folder, f"*/*{ending}{_NIFTI}", ending) for ending in ("_t1ce", "_seg")
        )
        return match_files([images], labels)


class Spider(DataSet):
    """SPIDER: `images/N_t1.mha`, `masks/N_t1.mha`.

    Vertebrae (1–25) and the spinal canal (100, or 26 in copies with consecutive ids) are labels;
    partially visible vertebrae (101–125) and discs (201–225) are background.
    """

    section_type = SpiderSection
    section: SpiderSection

    @classmethod
    def recognizes(cls, folder: Path) -> bool:
        """Whether both folders contain files named by a contrast."""
        return all(any((folder / part).glob("*_t[12]*.mha")) for part in ("images", "masks"))

    def describe(self) -> Description:
        """Return vertebrae and spinal canal, as in the paper."""
        labels = {
            0: (*range(101, 126), *range(201, 226)),
            1: tuple(range(1, 26)),
            2: (26, 100),
        }
        names = {1: "vertebrae", 2: "spinal canal"}
        contrasts = " or ".join(
            contrast.replace("_", " ").upper() for contrast in self.section.contrasts
        )
        return Description((contrasts,), names, labels, name="SPIDER", license="CC-BY 4.0")

    def find(self) -> Listing:
        """Match images and masks; the contrasts of one patient are cases of one subject."""
        images, labels = (
            [
                found
                for contrast in self.section.contrasts
                for found in _found(self.folder, f"{part}/*_{contrast}.mha", "")
            ]
            for part in ("images", "masks")
        )
        return match_files([images], labels, subject=lambda name: name.partition("_")[0])


class MMWHS(DataSet):
    """MM-WHS 2017: `mr_train/mr_train_1001_image.nii.gz`, `mr_train/mr_train_1001_label.nii.gz`.

    Files may be in any subfolder. The test set is left out, because its labels are not public.
    """

    section_type = MMWHSSection
    section: MMWHSSection

    @classmethod
    def recognizes(cls, folder: Path) -> bool:
        """Whether the folder or a subfolder contains images."""
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
            (self.section.modality.upper(),),
            dict(enumerate(structures.values(), start=1)),
            {value: (i,) for value, i in enumerate(structures, start=1)},
            name="MM-WHS",
        )

    def find(self) -> Listing:
        """Match the images of the modality with their label maps."""
        other = "ct_" if self.section.modality == "mr" else "mr_"
        images, labels = (
            [
                (name, path)
                for name, path in _found(self.folder, f"**/*{ending}{_NIFTI}", ending)
                if not name.startswith(other) and "_test_" not in name
            ]
            for ending in ("_image", "_label")
        )
        return match_files([images], labels)
