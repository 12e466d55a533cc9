"""The errors and warnings meant for users."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Literal, NamedTuple, Self, TypedDict, TypeVar, Unpack

__all__ = [
    "Cancelled",
    "ErrorParts",
    "HyperspaceError",
    "HyperspaceWarning",
    "OptionNeededError",
    "ReadOption",
    "SeriesChoice",
    "ShouldStop",
    "printable",
]

_Error = TypeVar("_Error", bound="HyperspaceError")

ShouldStop = Callable[[], bool]
"""Called between steps of long work; returns true to stop it."""

ReadOption = Literal["spacing_mm", "series", "volume", "fill"]
"""An option of `napari_hyperspace.read`."""


# Control characters, separators of lines, marks that change the direction of text, and surrogates,
# which stand for bytes of a file name that are not valid text and cannot be printed.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return a text with its control characters escaped: an escape becomes ``\x1b``.

    Names of files and fields of headers may contain any character. Printed unescaped, they could
    move the cursor of a terminal or imitate other output.
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


_LONGEST_NAME = 1000  # characters shown of a path or field
_LONGEST_VALUE = 4000  # and of a value, such as the list of the series in a folder


class ErrorParts(TypedDict, total=False):
    """The keyword arguments of `HyperspaceError`."""

    where: str | os.PathLike[str] | None
    field: str | None
    found: object
    expected: object
    fix: str | None


class HyperspaceError(Exception):
    """An error that a user can fix. It is not changed after it was made; see `replace`.

    Parameters
    ----------
    problem
        One sentence that says what is wrong.
    where
        The file, layer or configuration with the problem.
    field
        The part of it: a header field, a configuration key, a tensor.
    found, expected
        The value found and the value expected; any object, shown through `str`.
    fix
        What the user can do, as an imperative sentence.
    """

    def __init__(
        self,
        problem: str,
        *,
        where: str | os.PathLike[str] | None = None,
        field: str | None = None,
        found: object = None,
        expected: object = None,
        fix: str | None = None,
    ) -> None:
        self.problem = problem
        self.where = None if where is None else os.fspath(where)
        self.field = field
        self.found = found
        self.expected = expected
        self.fix = fix
        super().__init__(problem)

    def __str__(self) -> str:
        place = ": ".join(printable(_cut(part)) for part in (self.where, self.field) if part)
        problem = _lines(self.problem)
        text = f"{place}: {problem}" if place else problem
        details = [
            f"{name} {_lines(str(value))}"
            for name, value in (("found", self.found), ("expected", self.expected))
            if value is not None
        ]
        if details:
            text += f" ({', '.join(details)})"
        return f"{text}. {self.fix}" if self.fix else text

    def replace(self, **parts: Unpack[ErrorParts]) -> Self:
        """Return an error of the same class with some parts replaced, to be raised instead."""
        where = parts.get("where")
        state: dict[str, object] = {**parts}
        if where is not None:
            state["where"] = os.fspath(where)
        return _rebuild(type(self), self.problem, {**self.__dict__, **state})

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes send their errors through pickle; keyword arguments would be lost.
        return _rebuild, (type(self), self.problem, self.__dict__.copy())


def _lines(text: str) -> str:
    """Escape control characters, except ends of lines, which some values have on purpose."""
    return "\n".join(map(printable, _cut(text, _LONGEST_VALUE).split("\n")))


def _cut(text: str, longest: int = _LONGEST_NAME) -> str:
    """Leave out the middle of a text of a damaged file, which may have any length."""
    return text if len(text) <= longest else f"{text[: longest // 2]} … {text[-longest // 2 :]}"


def _rebuild(kind: type[_Error], problem: str, state: dict[str, object]) -> _Error:
    # Without `__init__`: a subclass may require arguments of its own.
    error = kind.__new__(kind, problem)
    error.__dict__.update(state)
    return error


class Cancelled(HyperspaceError):
    """The work was stopped because its caller asked for it."""

    def __init__(self, problem: str = "cancelled", **parts: Unpack[ErrorParts]) -> None:
        super().__init__(problem, **parts)


class SeriesChoice(NamedTuple):
    """One of several DICOM series: what to ask for, and what to show."""

    uid: str
    description: str


class OptionNeededError(HyperspaceError):
    """A file that can be read if an option of `napari_hyperspace.read` is given.

    Parameters
    ----------
    problem, **parts
        As in `HyperspaceError`.
    option
        The option.
    n_volumes
        How many volumes there are to choose from, for the option ``"volume"``.
    series
        The image series to choose from, for the option ``"series"``.
    """

    def __init__(
        self,
        problem: str,
        *,
        option: ReadOption,
        n_volumes: int = 1,
        series: tuple[SeriesChoice, ...] = (),
        **parts: Unpack[ErrorParts],
    ) -> None:
        super().__init__(problem, **parts)
        self.option: ReadOption = option
        self.n_volumes = n_volumes
        self.series = series


class HyperspaceWarning(UserWarning):
    """Something that a user should know, but that stops nothing."""
