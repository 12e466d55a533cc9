"""Remarks on a result or a scan, and the level that follows from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["LEVELS", "Level", "Remark", "worst"]

Level = Literal["ok", "doubtful", "implausible"]
"""How good a result is, or how fit a scan."""

LEVELS: tuple[Level, ...] = ("ok", "doubtful", "implausible")
"""From good to bad."""


@dataclass(frozen=True)
class Remark:
    """One violated rule.

    Parameters
    ----------
    text
        A plain sentence for users.
    level
        What it means for the whole, by itself.
    structure
        The structure that it is about; empty for the scan or all of the result.
    """

    text: str
    level: Level
    structure: str = ""


def worst(levels: Iterable[Level]) -> Level:
    """Return the worst of several levels; "ok" without any."""
    return max(levels, key=LEVELS.index, default="ok")
