"""Data sets: layouts of files, and cases in memory."""

from __future__ import annotations

import os
from pathlib import Path

from napari_hyperspace.core.errors import HyperspaceError
from training.config.data import DataSection, load_data_section
from training.config.paths import resolve_path
from training.data.base import DataSet
from training.data.decathlon import Decathlon
from training.data.label_maps import LabelMaps
from training.data.lesions import Lesions
from training.data.nnunet import NNUNet
from training.data.pairs import Pairs
from training.data.published import MMWHS, Brats, Spider

ADAPTERS: tuple[type[DataSet], ...] = (
    Decathlon,
    NNUNet,
    Pairs,
    Brats,
    Spider,
    MMWHS,
    Lesions,
    LabelMaps,
)


def open_dataset(config: DataSection, base: Path) -> DataSet:
    """Open the data set of a configuration.

    Parameters
    ----------
    config
        Section of the data set.
    base
        Folder that relative paths of the configuration start from.
    """
    folder = resolve_path(config.folder, base, field="data.folder")
    adapter = next(adapter for adapter in ADAPTERS if isinstance(config, adapter.section_type))
    return adapter(folder, config)


def dataset_at(path: str | os.PathLike[str]) -> DataSet:
    """Open a data set given on the command line.

    Parameters
    ----------
    path
        A folder in a known layout, the configuration of a run, or a YAML file with only the section
        `data`.

    Raises
    ------
    HyperspaceError
        If it is none of these, or the description of the data set is missing or not valid.
    """
    path = Path(path)
    if not os.path.isdir(path):  # false for a name that is too long, too
        return open_dataset(*load_data_section(path))
    for adapter in ADAPTERS:
        if adapter.recognizes(path):
            return adapter(path)
    raise HyperspaceError(
        "the layout of the folder is not supported",
        where=path,
        expected=", ".join(adapter.section_type(folder="").kind for adapter in ADAPTERS),
        fix="Describe it in a YAML file: data: {kind: pairs, folder: …, names: {1: …}}",
    )
