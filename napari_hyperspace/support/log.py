"""The log file: warnings and errors, in words of the program only.

Messages for users name files, layers and values of headers, and any of these can contain the name
of a patient. An entry of the log therefore contains text from the source code of this program only:
the parts of a message that were filled in are replaced by an ellipsis. The class of the error and
the places in the code say the rest.

The file is rotated. A log that cannot be written disturbs nothing.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import CodeType, FunctionType, ModuleType, TracebackType

from platformdirs import user_log_path

from napari_hyperspace import __version__

__all__ = [
    "FOLDER_VARIABLE",
    "LEVEL_VARIABLE",
    "log_error",
    "log_event",
    "log_file",
    "log_level",
    "log_lines",
    "log_warning",
]

LEVEL_VARIABLE = "HYPERSPACE_LOG"
"""Environment variable: ``off``, ``error``, ``warning`` (the default) or ``info``."""

FOLDER_VARIABLE = "HYPERSPACE_LOG_FOLDER"
"""Environment variable: the folder of the log file, instead of the user's log folder."""

_LEVELS = {"off": logging.CRITICAL + 1, "error": 40, "warning": 30, "info": 20}
_FILE_BYTES = 1_000_000
_OLDER_FILES = 2
_PACKAGES = ("napari_hyperspace", "training")
_NAMED_LIBRARIES = frozenset(
    {
        *("torch", "numpy", "scipy", "nibabel", "pydicom", "SimpleITK", "safetensors", "pydantic"),
        *("napari", "qtpy", "superqt", "magicgui", "pyqtgraph", "vispy", "psygnal", "e3nn"),
        *("monai", "lightning_fabric", "pandas", "matplotlib", "yaml", "typer", "rich"),
    }
)
_MAX_PLACES = 5
_MAX_CAUSES = 3
_TWO_WORDS = re.compile(r"[A-Za-z]+[,:;]? [A-Za-z]+")  # a shorter constant may match by chance

_lock = threading.Lock()
_configured: tuple[Path, int] | None = None


def log_file() -> Path:
    """Return the path of the log file, which need not exist."""
    named = os.environ.get(FOLDER_VARIABLE)
    folder = Path(named) if named else user_log_path("napari-hyperspace")
    return folder / "hyperspace.log"


def log_level() -> str:
    """Return what is logged: ``off``, ``error``, ``warning`` or ``info``."""
    wanted = os.environ.get(LEVEL_VARIABLE, "").lower()
    return wanted if wanted in _LEVELS else "warning"


def log_lines() -> int | None:
    """Return the number of lines in the log file and its older parts; `None`: there is no file."""
    path = log_file()
    lines = None
    for part in (path, *(Path(f"{path}.{n + 1}") for n in range(_OLDER_FILES))):
        try:
            with open(part, "rb") as file:
                lines = (lines or 0) + sum(1 for _ in file)
        except OSError:
            continue
    return lines


def log_error(error: BaseException, doing: str) -> None:
    """Log an error.

    Parameters
    ----------
    error
        The error, with its traceback if it was raised.
    doing
        What failed, in words of the program.
    """
    _log(logging.ERROR, lambda: f"{doing}: {_described(error)}")


def log_warning(warning: Warning | str, doing: str) -> None:
    """Log a warning.

    Parameters
    ----------
    warning
        The warning or its text.
    doing
        What was being done, in words of the program.
    """
    kind = type(warning).__name__ if isinstance(warning, Warning) else "warning"
    _log(logging.WARNING, lambda: f"{doing}: {kind}: {own_words(str(warning), _own_texts())}")


def log_event(text: str) -> None:
    """Log a text of the program; only written with the level ``info``."""
    _log(logging.INFO, lambda: text)


def own_words(text: str, known: Collection[str]) -> str:
    """Return a text in which everything but the known texts is replaced by an ellipsis.

    Parameters
    ----------
    text
        A message that was made from known texts and filled-in values.
    known
        Texts of the program. Parts of a message are kept from two words on.
    """
    if text in known:
        return text
    parts = sorted((k for k in known if k in text and _TWO_WORDS.search(k)), key=len, reverse=True)
    kept, place = "", 0
    while place < len(text):
        part = next((p for p in parts if text.startswith(p, place)), None)
        if part is None:
            kept += "" if kept.endswith("…") else "…"
            place += 1
        else:
            kept += part
            place += len(part)
    return kept.replace("\n", " ")


def _log(level: int, text: Callable[[], str]) -> None:
    """Log the text that a function returns; any failure is ignored."""
    try:
        logger = _logger()
        if logger.isEnabledFor(level):
            logger.log(level, "%s", text())
    except Exception:  # the log must not disturb the work
        return


def _logger() -> logging.Logger:
    """Return the logger of the program, which writes to the file that is wanted now."""
    global _configured
    logger = logging.getLogger("napari_hyperspace")
    wanted = log_file(), _LEVELS[log_level()]
    with _lock:
        if wanted != _configured:
            handler = _Handler(wanted[0])
            handler.setFormatter(
                logging.Formatter(f"%(asctime)s %(levelname)s {__version__} %(message)s")
            )
            logger.handlers[:] = [handler]
            logger.setLevel(wanted[1])
            logger.propagate = False  # an application's own handlers would print it
            _configured = wanted
    return logger


class _Handler(RotatingFileHandler):
    """Appends to a file, which is open during an entry only, and says nothing of failures."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path,
            maxBytes=_FILE_BYTES,
            backupCount=_OLDER_FILES,
            encoding="utf-8",
            errors="backslashreplace",
            delay=True,
        )

    def _open(self) -> TextIOWrapper:
        os.makedirs(os.path.dirname(self.baseFilename), exist_ok=True)
        return super()._open()

    def emit(self, record: logging.LogRecord) -> None:
        """Write an entry. Windows cannot rename an open file, so the file is closed again."""
        super().emit(record)
        if self.stream is not None:
            self.stream.close()
            # The handler opens the file again for the next entry.
            self.stream = None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Ignore that the log cannot be written."""


def _described(error: BaseException) -> str:
    """Describe an error and its causes: classes, words of the program, places in the code."""
    known = _own_texts()
    parts: list[str] = []
    one: BaseException | None = error
    while one is not None and len(parts) < _MAX_CAUSES:
        code = f" ({errno.errorcode.get(one.errno or 0, '?')})" if isinstance(one, OSError) else ""
        # A `HyperspaceError` has its sentence apart from the values and the file.
        words = own_words(str(getattr(one, "problem", one)), known).strip("… ")
        places = " < ".join(_places(one.__traceback__))
        text = f"{type(one).__name__}{code}" + (f": {words}" if words else "")
        parts.append(text + (f" [{places}]" if places else ""))
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return ", caused by ".join(parts)


def _places(traceback: TracebackType | None) -> list[str]:
    """Return where an error was raised, innermost first, in modules with known names only."""
    places: list[str] = []
    while traceback is not None:
        module = str(traceback.tb_frame.f_globals.get("__name__", ""))
        top = module.partition(".")[0]
        if top in _PACKAGES:
            places.append(f"{module.removeprefix('napari_hyperspace.')}:{traceback.tb_lineno}")
        elif top in _NAMED_LIBRARIES and places[-1:] != [top]:
            places.append(top)
        traceback = traceback.tb_next
    return places[::-1][:_MAX_PLACES]


def _own_texts() -> frozenset[str]:
    """Return the texts in the code of the loaded modules of this program."""
    modules = [
        module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in _PACKAGES and isinstance(module, ModuleType)
    ]
    return frozenset(
        text
        for module in modules
        for value in list(vars(module).values())
        for code in _codes(value, module.__name__)
        for text in _texts(code)
    )


def _codes(value: object, module: str) -> Iterator[CodeType]:
    """Return the code of a function, or of the functions of a class, of a module."""
    if isinstance(value, type):
        if value.__module__ == module:
            for member in list(vars(value).values()):
                yield from _codes(member, module)
        return
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    elif isinstance(value, property):
        value = value.fget
    elif isinstance(value, cached_property):
        value = value.func
    value = getattr(value, "__wrapped__", value)
    if isinstance(value, FunctionType) and value.__module__ == module:
        yield value.__code__


def _texts(code: CodeType) -> Iterator[str]:
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, CodeType):
            yield from _texts(constant)
