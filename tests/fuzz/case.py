"""What a target of the mutation driver is, and what a case of it is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from napari_hyperspace.core.errors import HyperspaceError
from tests.fuzz.limits import MEMORY_BYTES


class Wrong(Exception):
    """The product accepted a file and returned something that cannot be right."""


@dataclass
class Case:
    """Files, and what is done with them.

    Parameters
    ----------
    files
        Their content, by path in the folder of the case.
    entry
        The file or folder that the product is given.
    options
        What else it is given.
    expected
        What it must return if it accepts the files; `None`: unknown.
    """

    files: dict[str, bytes]
    entry: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    expected: object = None


def digest(case: Case) -> str:
    """Return a checksum of the files of a case and of what is done with them."""
    total = hashlib.blake2b(f"{case.entry} {case.options!r}".encode(), digest_size=16)
    for name, content in sorted(case.files.items()):
        total.update(f"{name} {len(content)} ".encode("utf-8", "surrogatepass"))
        total.update(content)
    return total.hexdigest()


class Target:
    """A part of the program that reads what others have written.

    A case is a function of the generator alone. The first `n_sound` cases are undamaged: a refusal
    of one of them is a finding, unless `sound_is_refused`.
    """

    name: ClassVar[str]
    sound_is_refused: ClassVar[bool] = False
    may_write: ClassVar[tuple[str, ...]] = ()
    """Patterns of the files that it may leave in the folder of the case."""
    memory_bytes: ClassVar[int | None] = MEMORY_BYTES
    """Memory that a case may map; `None`: the product limits itself, the parent watches."""
    limits_itself: ClassVar[bool] = False
    """Whether the product reads in a process of limited memory, so that no allocation is refused
    before it fails."""
    share: ClassVar[float] = 1.0
    """Its share of the time, relative to that of other targets."""
    n_sound: int = 1

    def prepare(self) -> None:
        """Import what is tested and make the sound files; called once per process."""

    def sound(self, index: int) -> Case:
        """Return an undamaged case."""
        raise NotImplementedError

    def mutated(self, random: Random) -> Case:
        """Return a damaged case."""
        raise NotImplementedError

    def run(self, folder: Path, case: Case) -> None:
        """Give a case to the product.

        Raises
        ------
        HyperspaceError
            If the product refuses it, as it should.
        Wrong
            If it returns something that cannot be right.
        """
        raise NotImplementedError

    def changed(self, case: Case) -> set[str]:
        """Return the names of the files of a case that the product may change."""
        return set()

    def case(self, seed: int, index: int) -> Case:
        """Return a case by its number."""
        if index < self.n_sound:
            return self.sound(index)
        return self.mutated(Random(f"{self.name} {seed} {index}"))


class Refused(HyperspaceError):
    """A refusal that is declared by other means than `HyperspaceError`, such as an exit status."""
