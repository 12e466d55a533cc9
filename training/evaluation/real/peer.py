"""Another program that segments T1-weighted scans, run as a program: nothing of it is imported."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import create_folder
from napari_hyperspace.core.resample import resample_to_spacing
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io.api import read, write
from napari_hyperspace.io.labels import check_labels

_FINE_MM = 1.0
_MAX_VALUE = 254


@dataclass(frozen=True)
class Peer:
    """A script that is called with an image and the label map to write.

    Parameters
    ----------
    name
        Its name in tables.
    script
        A Python script: ``python SCRIPT IMAGE LABELS`` writes the labels of an image (NIfTI), with
        the label values of the model that it is compared with, on the image's grid.
    kept
        Folder that keeps its labels, by the content of script and image; `None`: none.
    """

    name: str
    script: Path
    kept: Path | None = None

    @classmethod
    def parse(cls, text: str, kept: Path | None = None) -> Peer:
        """Return the peer that ``NAME=SCRIPT`` describes."""
        name, equals, script = text.partition("=")
        if not (name and equals and Path(script).is_file()):
            raise HyperspaceError(
                "not a peer", field="--peer", found=text, expected="NAME=SCRIPT, a Python script"
            )
        return cls(name, Path(script).absolute(), kept)

    def segment(self, image: Volume) -> Volume:
        """Return its labels, on the grid of the image.

        Raises
        ------
        HyperspaceError
            If the script fails, or writes something else.
        """
        name = f"{self._digest(image)}.nii.gz"
        if self.kept is not None and (self.kept / name).is_file():
            return read(self.kept / name)
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "image.nii.gz"), Path(folder, "labels.nii.gz")
            write(Volume(image.array, image.grid), source)
            command = [sys.executable, str(self.script), str(source), str(target)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode or not target.is_file():
                raise HyperspaceError(
                    "the peer failed",
                    where=self.script,
                    found=(done.stderr.strip() or f"exit status {done.returncode}")[-500:],
                )
            labels = check_labels(read(target))
        if not labels.grid.is_close(image.grid) or labels.array.max(initial=0) > _MAX_VALUE:
            raise HyperspaceError(
                "the labels of the peer are not usable",
                where=self.script,
                expected=f"the grid of the image, values up to {_MAX_VALUE}",
            )
        labels = Volume(labels.array.astype(np.uint8), image.grid)
        if self.kept is not None:
            create_folder(self.kept)
            write(labels, self.kept / name)
        return labels

    def segment_finely(self, image: Volume) -> Volume:
        """Return its labels of the image resampled to 1 mm, on that grid.

        A label map on thick slices would be brought to other grids in steps of a slice.
        """
        return self.segment(resample_to_spacing(image, (_FINE_MM,) * 3))

    def _digest(self, image: Volume) -> str:
        digest = hashlib.blake2b(self.script.read_bytes(), digest_size=16)
        for part in (image.grid.affine, np.ascontiguousarray(image.array)):
            digest.update(f"{part.dtype} {part.shape}".encode())
            digest.update(part.data)
        return digest.hexdigest()
