"""Data sets: from a layout on disk to cases in memory."""

from __future__ import annotations

from pathlib import Path

from training.config import DecathlonSection, resolve_path
from training.data.base import DataSet
from training.data.decathlon import Decathlon


def open_dataset(config: DecathlonSection, base: Path) -> DataSet:
    """Open the data set that a configuration names.

    Parameters
    ----------
    config
        Its section.
    base
        Folder that the configuration's relative paths start from.
    """
    return Decathlon(resolve_path(config.folder, base, field="data.folder"))
