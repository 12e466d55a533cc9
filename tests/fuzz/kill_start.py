"""The entry point of the children of the kill harness, without imports of its own."""

from __future__ import annotations

from typing import Any


def main(*arguments: Any) -> None:
    """Run `tests.fuzz.kill_child.main`, which is slow to import."""
    from tests.fuzz import kill_child

    kill_child.main(*arguments)
