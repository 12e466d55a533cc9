"""What a report of a defect needs: versions, machine, and what was measured on it.

It contains no paths, and no names of users, hosts, files, layers or patients. Nothing is measured.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

from napari_hyperspace import __version__
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.format import format_bytes, format_spacing
from napari_hyperspace.core.memory import available_host_bytes, container_limit_bytes
from napari_hyperspace.core.store import CACHE_VARIABLE, store_path
from napari_hyperspace.cost.calibrate import known_rates
from napari_hyperspace.cost.rates import Rates
from napari_hyperspace.inference.precision import stored_choices
from napari_hyperspace.nets.locations import bundled_models
from napari_hyperspace.nets.model_file import read_card
from napari_hyperspace.support.log import log_level, log_lines

__all__ = ["Sections", "collect_diagnostics", "format_diagnostics"]

Sections = Mapping[str, Mapping[str, str]]
"""Diagnostics: section → item → text."""

_LIBRARIES = (
    *("torch", "numpy", "scipy", "nibabel", "SimpleITK", "pydicom", "safetensors", "pydantic"),
    *("e3nn", "napari", "PyQt6", "PySide6", "PyQt5", "qtpy", "superqt", "pyqtgraph", "magicgui"),
    *("vispy", "monai", "lightning-fabric", "nilearn", "onnxruntime", "openvino"),
)
_ALWAYS_SHOWN = ("napari",)
# Of these variables it is shown whether they are set; of the others, the value if it is harmless.
_FOLDER_VARIABLES = (CACHE_VARIABLE, "HYPERSPACE_LOG_FOLDER", "HYPERSPACE_MODELS")
_VARIABLES = ("OMP_NUM_THREADS", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "QT_API")
_HARMLESS = re.compile(
    r"\d{1,4}|default|(avx|sse|amx)[\w]{0,20}|pyqt[56]|pyside[26]", re.IGNORECASE
)
_DIGEST_LENGTH = 16


def collect_diagnostics(more: Sections | None = None) -> dict[str, dict[str, str]]:
    """Return the diagnostics of this installation and machine.

    Parameters
    ----------
    more
        Sections to add, such as those of the window. They must contain no names or paths.
    """
    devices = _devices()
    sections = {
        "versions": _versions(),
        "system": _system(),
        "devices": dict(devices.values()),
        "rates": {name: _rates(device) for device, (name, _) in devices.items()},
        "precisions": {
            f"{name}, model {one.model[:_DIGEST_LENGTH]}, about "
            f"{format_spacing(one.spacing_mm, collapse=True, digits=2)}": one.choice.precision
            for device, (name, _) in devices.items()
            for one in stored_choices(device)
        },
        "models": _models(),
        "settings": _settings(),
        "log": {"level": log_level(), "lines": _log_lines()},
    }
    return sections | {name: dict(items) for name, items in (more or {}).items()}


def format_diagnostics(sections: Sections) -> str:
    """Write diagnostics as plain text, one item per line."""
    lines: list[str] = []
    for section, items in sections.items():
        lines += [f"{section}:", *(f"  {name}: {text}" for name, text in items.items())]
        if not items:
            lines[-1] += " none"
    return "\n".join(lines)


def _versions() -> dict[str, str]:
    found = {"napari-hyperspace": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            if name in _ALWAYS_SHOWN:
                found[name] = "not installed"
    return found


def _system() -> dict[str, str]:
    memory = psutil.virtual_memory()
    limit = container_limit_bytes()
    cores = psutil.cpu_count(logical=False) or "unknown number of"
    facts = {
        "operating system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "processors": f"{os.cpu_count()} ({cores} cores)",
        "threads": f"{torch.get_num_threads()}",
        "memory": f"{format_bytes(memory.total)}, {format_bytes(available_host_bytes())} free",
    }
    if limit is not None:
        facts["memory limit of the container"] = format_bytes(limit)
    return facts


def _processor() -> str:
    """Return the name of the processor; never that of the computer."""
    capability = torch.backends.cpu.get_cpu_capability()
    name = ""
    with suppress(OSError, subprocess.SubprocessError):
        if sys.platform == "darwin":
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            name = subprocess.run(
                command, capture_output=True, text=True, timeout=1, check=True
            ).stdout
        elif sys.platform.startswith("linux"):
            text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
            found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
            name = found[1] if found else ""
    return f"{name.strip() or platform.processor() or platform.machine()}, {capability}"


def _devices() -> dict[torch.device, tuple[str, str]]:
    """Return the devices: device → (its key, what it is)."""
    found = {torch.device("cpu"): ("cpu", "this processor")}
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        text = f"{facts.name}, {format_bytes(facts.total_memory)}, CUDA {torch.version.cuda}"
        found[torch.device("cuda", index)] = f"cuda:{index}", text
    if torch.backends.mps.is_available():
        found[torch.device("mps")] = "mps", "Apple GPU"
    return found


def _rates(device: torch.device) -> str:
    """Describe the stored rates of a device: age and speed of one convolution per precision."""
    known = known_rates(device)
    if known is None:
        return "not measured"
    speeds = ", ".join(f"{name} {_speed(rates)}" for name, rates in known.precisions.items())
    return f"stored {_age(store_path('rates'))}: {speeds}"


def _speed(rates: Rates) -> str:
    """Write how fast a convolution of 16 to 16 channels is."""
    return f"{1e-9 / rates.convolution_rate(16, 16):.3g} GMAC/s"


def _age(path: Path) -> str:
    """Write when a file was last written."""
    try:
        days = (time.time() - path.stat().st_mtime) / 86400
    except OSError:
        return "in this process"
    return "less than a day ago" if days < 1 else f"{days:.0f} days ago"


def _models() -> dict[str, str]:
    return {name: _model_file(path) for name, path in bundled_models().items()}


def _model_file(path: Path) -> str:
    """Describe a model file: version of its format, size and digest."""
    try:
        header = read_card(path)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except (OSError, HyperspaceError):
        return "not readable"
    return f"format {header.format_version}, {format_bytes(size)}, sha256 {digest[:_DIGEST_LENGTH]}"


def _settings() -> dict[str, str]:
    found = {name: "set" for name in _FOLDER_VARIABLES if os.environ.get(name)}
    for name in _VARIABLES:
        if value := os.environ.get(name):
            found[name] = value if _HARMLESS.fullmatch(value) else "set"
    return found


def _log_lines() -> str:
    lines = log_lines()
    return "no file" if lines is None else str(lines)
