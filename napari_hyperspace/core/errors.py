"""The errors and warnings meant for users."""

from __future__ import annotations

import os
from collections.abc import Callable

ShouldStop = Callable[[], bool]
"""Asked between steps of long work: true once its caller wants it to stop."""


class HyperspaceError(Exception):
    """Something that a user can mend: says what was wanted, what came and the way out.

    Parameters
    ----------
    problem
        One sentence that says what is wrong.
    where
        The file, layer or configuration it was found in.
    field
        The part of it: a header field, a configuration key, a tensor.
    found, expected
        What came and what was wanted; any object, shown through `str`.
    fix
        The way out, as an imperative sentence.
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
        place = ": ".join(part for part in (self.where, self.field) if part)
        text = f"{place}: {self.problem}" if place else self.problem
        details = [
            f"{name} {value}"
            for name, value in (("found", self.found), ("expected", self.expected))
            if value is not None
        ]
        if details:
            text += f" ({', '.join(details)})"
        return f"{text}. {self.fix}" if self.fix else text

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes send their errors through pickle; keyword arguments would be lost.
        return _rebuild, (type(self), self.problem, self.__dict__.copy())


def _rebuild(
    kind: type[HyperspaceError], problem: str, state: dict[str, object]
) -> HyperspaceError:
    error = kind(problem)
    error.__dict__.update(state)
    return error


class Cancelled(HyperspaceError):
    """The work was stopped because its caller asked for it."""

    def __init__(self, problem: str = "cancelled", **parts: str) -> None:
        super().__init__(problem, **parts)


class HyperspaceWarning(UserWarning):
    """Something that a user should know, but that stops nothing."""
