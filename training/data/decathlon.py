"""The layout of the Medical Segmentation Decathlon: a folder with a `dataset.json`."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_hyperspace.core.errors import HyperspaceError
from training.data.base import CaseFiles, DataSet

_FILE = "dataset.json"


class Decathlon(DataSet):
    """A data set described by `dataset.json` (`modality`, `labels`, `training`).

    Several modalities lie in one 4-D file, one after the other.

    Parameters
    ----------
    folder
        The folder that holds `dataset.json`.

    Raises
    ------
    HyperspaceError
        If the description is missing or broken, or files it lists are missing or listed twice.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        description = self._read()
        self.name = str(description.get("name") or self.folder.name)
        self.licence = str(description.get("licence") or description.get("license") or "")
        self.label_names = {
            int(value): str(name)
            for value, name in self._part(description, "labels").items()
            if int(value) != 0
        }
        modality = self._part(description, "modality")
        self.channel_names = tuple(str(modality[key]) for key in sorted(modality, key=int))
        if not self.label_names or not self.channel_names:
            raise HyperspaceError(
                "the data set names no label or no modality", where=self.folder / _FILE
            )
        self._cases = self._list(description)

    def cases(self) -> Sequence[CaseFiles]:
        """List the cases under `training`, in the order of `dataset.json`."""
        return self._cases

    def _read(self) -> dict[str, Any]:
        path = self.folder / _FILE
        try:
            description = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise HyperspaceError(
                f"the description of the data set cannot be read: {error.strerror}",
                where=path,
                fix="Name a folder in the layout of the Medical Segmentation Decathlon",
            ) from error
        except ValueError as error:
            raise HyperspaceError("not valid JSON", where=path, found=error) from error
        if not isinstance(description, dict):
            raise HyperspaceError("a mapping is expected", where=path)
        return description

    def _part(self, description: dict[str, Any], key: str) -> dict[str, Any]:
        part = description.get(key)
        if not isinstance(part, dict) or not all(number.isdigit() for number in part):
            raise HyperspaceError(
                'a mapping of numbers to names is expected, such as {"0": "background"}',
                where=self.folder / _FILE,
                field=key,
                found=part,
            )
        return part

    def _list(self, description: dict[str, Any]) -> tuple[CaseFiles, ...]:
        entries = description.get("training")
        if not isinstance(entries, list) or not entries:
            raise HyperspaceError(
                "no training cases are listed", where=self.folder / _FILE, field="training"
            )
        cases, problems = [], []
        for entry in entries:
            try:
                image, label = self._file(entry["image"]), self._file(entry["label"])
            except (KeyError, TypeError):
                problems.append(f"not a pair of image and label: {entry}")
                continue
            problems += [f"missing: {path}" for path in (image, label) if not path.is_file()]
            indices = range(len(self.channel_names)) if len(self.channel_names) > 1 else [None]
            name = image.name.removesuffix(".gz").removesuffix(".nii")
            cases.append(CaseFiles(name, tuple((image, index) for index in indices), label))
        counts = Counter(case.name for case in cases)
        problems += [f"listed {n} times: {name}" for name, n in counts.items() if n > 1]
        if problems:
            raise HyperspaceError(
                "the list of cases is broken:\n  " + "\n  ".join(problems),
                where=self.folder / _FILE,
                field="training",
            )
        return tuple(cases)

    def _file(self, text: str) -> Path:
        path = Path(os.path.normpath(self.folder / text))
        if not path.is_relative_to(os.path.normpath(self.folder)):
            raise HyperspaceError(
                "a file lies outside of the data set's folder",
                where=self.folder / _FILE,
                found=text,
            )
        return path
