"""Targets with a fault each, which show that the driver finds it."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from random import Random

from napari_hyperspace.core.errors import HyperspaceError
from tests.fuzz.case import Case, Target, Wrong


class Fault(Target):
    """Does something wrong in the second case; the name says what."""

    name = "fault"
    kind: str

    def sound(self, index: int) -> Case:
        """Return an undamaged case."""
        return Case({"a.txt": b"sound"})

    def mutated(self, random: Random) -> Case:
        """Return a damaged case."""
        return Case({"a.txt": random.randbytes(8)})

    def run(self, folder: Path, case: Case) -> None:
        """Do it."""
        if (folder / "a.txt").read_bytes() != b"sound":
            getattr(self, self.kind.replace(" ", "_"))(folder)

    def undeclared(self, folder: Path) -> None:
        """Raise another error than `HyperspaceError`."""
        raise ZeroDivisionError

    def crash(self, folder: Path) -> None:
        """End the process."""
        os.abort()

    def time(self, folder: Path) -> None:
        """Never end."""
        while True:
            pass

    def blocked(self, folder: Path) -> None:
        """Wait for something."""
        while True:
            time.sleep(1)

    def memory(self, folder: Path) -> None:
        """Allocate more than the limit, and hide that."""
        try:
            held = bytearray(3 << 30)
        except MemoryError as error:
            raise HyperspaceError("it does not fit") from error
        while held:  # where the address space is not limited
            held[:: 1 << 12] = bytes(len(held) >> 12)

    def left_behind(self, folder: Path) -> None:
        """Leave a file."""
        (folder / "b.txt").touch()

    def left_in_tmp(self, folder: Path) -> None:
        """Leave a temporary file."""
        os.close(tempfile.mkstemp()[0])

    def input_changed(self, folder: Path) -> None:
        """Change its input."""
        (folder / "a.txt").write_text("changed")

    def printed(self, folder: Path) -> None:
        """Print, as a library in C would."""
        os.write(2, b"a library says\n")

    def warning(self, folder: Path) -> None:
        """Warn as a library does."""
        warnings.warn("overflow", RuntimeWarning, stacklevel=1)

    def message(self, folder: Path) -> None:
        """Refuse with the name of a patient."""
        raise HyperspaceError("not readable", found="Private^Name")

    def wrong(self, folder: Path) -> None:
        """Return something that cannot be right."""
        raise Wrong("a spacing of NaN")

    def exit(self, folder: Path) -> None:
        """Exit."""
        sys.exit(3)


_KINDS = (
    *("undeclared", "crash", "time", "blocked", "memory", "left behind", "left in tmp"),
    *("input changed", "printed", "warning", "message", "wrong", "exit"),
)
FAULTS: dict[str, type[Target]] = {
    f"fault: {kind}": type(f"Fault_{kind}", (Fault,), {"kind": kind, "name": f"fault: {kind}"})
    for kind in _KINDS
}
