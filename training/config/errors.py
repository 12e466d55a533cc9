"""Messages for invalid configurations: they name the key and suggest the nearest known one."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator

from pydantic import BaseModel, ValidationError

from napari_hyperspace.core.errors import HyperspaceError
from training.config.base import nested_models


def explain(
    error: ValidationError, model: type[BaseModel], where: str | os.PathLike[str] | None = None
) -> HyperspaceError:
    """Convert an error of pydantic to one that names each key and suggests known ones."""
    keys = dict(_keys(model))
    lines = []
    for problem in error.errors():
        # The location includes the tags of discriminated unions, which are not keys of the file.
        location = [str(part) for part in problem["loc"]]
        key = ".".join(_without_tags(location, keys))
        if problem["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key{_nearest(key, list(keys))}")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            found = problem.get("input")
            shown = "" if isinstance(found, dict) else f" (found {found!r})"
            lines.append(f"{key}: {message}{shown}" if key else message)
    return HyperspaceError(
        "the configuration is not valid:\n  " + "\n  ".join(lines),
        where=where,
        fix="Correct these keys",
    )


def first_problem(error: ValidationError) -> str:
    """Return the first problem that pydantic found, in one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    return ": ".join(part for part in (".".join(map(str, first["loc"])), first["msg"]) if part)


def _nearest(key: str, known: list[str]) -> str:
    """Return a suggestion for an unknown key, as the end of a message."""
    parent, _, name = key.rpartition(".")
    siblings = [k.rpartition(".")[2] for k in known if k.rpartition(".")[0] == parent]
    match = difflib.get_close_matches(name, siblings, n=1, cutoff=0.5)
    if match:
        return f"; did you mean {match[0]}?"
    elsewhere = [k for k in known if k.rpartition(".")[2] == name]
    if elsewhere:
        return f"; did you mean {elsewhere[0]}?"
    return f"; known here: {', '.join(dict.fromkeys(siblings))}" if siblings else ""


def _without_tags(location: list[str], keys: dict[str, None]) -> list[str]:
    """Return the parts of an error's location that are keys or indices."""
    path: list[str] = []
    for i, part in enumerate(location):
        known = ".".join([*path, part]) in keys
        if known or i == len(location) - 1 or part.isdigit():
            path.append(part)
    return path


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, None]]:
    """Yield the dotted path of every key of a model, all members of unions included."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", None
        for inner in nested_models(field.annotation):
            yield from _keys(inner, f"{prefix}{name}.")
