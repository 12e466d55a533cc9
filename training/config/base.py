"""The base class of all sections of a configuration, its former keys, and reading of YAML."""

from __future__ import annotations

import os
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import read_text
from napari_hyperspace.nets.base.config import Config
from training.config.plain_yaml import parse_yaml


class ConfigSection(Config):
    """A section of a configuration; unknown keys, infinite numbers and NaN are refused."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def nested_models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in the annotation of a field, all members of unions included."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for argument in typing.get_args(annotation):
            yield from nested_models(argument)


def rename_former_keys(values: Any, model: type[BaseModel]) -> Any:
    """Return the plain data of a configuration with former keys renamed at every level.

    A former key is kept if its section also has the present one; validation refuses both.

    Parameters
    ----------
    values
        Data as read from YAML or JSON.
    model
        The model that describes it.
    """
    if not isinstance(values, dict):
        return values
    former = model.former_keys if issubclass(model, Config) else {}
    renamed: dict[Any, Any] = {}
    for key, value in values.items():
        present = former.get(key, key)
        name = key if present in values else present
        field = model.model_fields.get(name)
        for inner in nested_models(field.annotation) if field is not None else ():
            value = rename_former_keys(value, inner)
        renamed[name] = value
    return renamed


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a mapping from a YAML file.

    Raises
    ------
    HyperspaceError
        If it cannot be read, is not a mapping, or `parse_yaml` refuses it.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise HyperspaceError(
            f"the configuration cannot be read: {error.strerror}", where=path
        ) from error
    except ValueError as error:  # not UTF-8, or a null character in the path
        raise HyperspaceError(
            "the configuration cannot be read", where=path, found=error, expected="text in UTF-8"
        ) from error
    values = parse_yaml(text, where=path)
    if not isinstance(values, dict):
        raise HyperspaceError(
            "the configuration must be a mapping of keys to values",
            where=path,
            found=type(values).__name__,
        )
    return values
