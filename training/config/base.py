"""The base of every part of a configuration, and the reading of its file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.base.config import Config


class ConfigSection(Config):
    """A part of the configuration: unknown keys, infinite numbers and NaN are refused."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a mapping from a YAML file.

    Raises
    ------
    HyperspaceError
        If it cannot be read, is not plain YAML or holds no mapping.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise HyperspaceError(
            f"the configuration cannot be read: {error.strerror}", where=path
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise HyperspaceError(
            "the configuration is not plain YAML", where=path, found=" ".join(str(error).split())
        ) from error
    if not isinstance(values, dict):
        raise HyperspaceError(
            "the configuration must be a mapping of keys to values",
            where=path,
            found=type(values).__name__,
        )
    return values
