"""Imports point one way: core ← io, nets ← {gui, training}, and gui and training never meet.

Each rule is proven in a fresh process that blocks what a package may not load and then imports
every module of it. Imports inside functions run later than that, so the source is read as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

QT = ("qtpy", "superqt", "pyqtgraph", "PyQt5", "PyQt6", "PySide2", "PySide6")
NAPARI = (*QT, "napari", "magicgui")
TRAINING_ONLY = ("monai", "lightning_fabric", "lightning", "tensorboard", "matplotlib")
GUI_UPPER = ("napari_hyperspace.gui.controllers.main", "napari_hyperspace.gui.widgets")
HEAVY = (*NAPARI, *TRAINING_ONLY, "torch", "scipy", "SimpleITK", "nibabel", "pydantic")

FORBIDDEN = {
    "napari_hyperspace.core": (
        *("napari_hyperspace.io", "napari_hyperspace.nets", "napari_hyperspace.gui", "training"),
        *NAPARI,
        *("pydantic", "nibabel", "SimpleITK", "monai"),
    ),
    "napari_hyperspace.io": (
        "napari_hyperspace.nets",
        "napari_hyperspace.gui",
        "training",
        *NAPARI,
    ),
    "napari_hyperspace.nets": (
        "napari_hyperspace.io",
        "napari_hyperspace.gui",
        "training",
        *NAPARI,
    ),
    "napari_hyperspace.gui": ("training", *TRAINING_ONLY),
    "training": ("napari_hyperspace.gui", *NAPARI),
    # Inside the gui: widgets → controller → {state, worker, convert}.
    "napari_hyperspace.gui.models.state": (*NAPARI, *GUI_UPPER),
    "napari_hyperspace.gui.adapters.layers": (*QT, *GUI_UPPER),
}

# Runs in the fresh process: argv[1] is {"package": …, "forbidden": […], "path": folder or null}.
IMPORT_EVERYTHING = """
import ast, importlib, importlib.util, json, pkgutil, sys

task = json.loads(sys.argv[1])
if task["path"]:
    sys.path.insert(0, task["path"])

def forbidden(name):
    return any(name == rule or name.startswith(rule + ".") for rule in task["forbidden"])

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if forbidden(name):
            raise ImportError(f"{task['package']} loads {name}, which it may not")

def imported_names(source, package):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            module = importlib.util.resolve_name(relative, package)
            yield from (f"{module}.{alias.name}" for alias in node.names)

sys.meta_path.insert(0, Blocker())
root = importlib.import_module(task["package"])
modules = [root.__name__]
if hasattr(root, "__path__"):
    found = pkgutil.walk_packages(root.__path__, root.__name__ + ".")
    modules += [module.name for module in found]
for name in modules:
    if name.rpartition(".")[2] == "__main__":
        continue
    spec = importlib.import_module(name).__spec__
    with open(spec.origin, encoding="utf-8") as file:
        wrong = [found for found in imported_names(file.read(), spec.parent) if forbidden(found)]
    if wrong:
        sys.exit(f"{name} names {', '.join(wrong)}, which it may not load")
print(json.dumps(modules))
"""


def _fresh_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def _import_everything(
    package: str, forbidden: tuple[str, ...], path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    task = {"package": package, "forbidden": forbidden, "path": str(path) if path else None}
    return _fresh_python(IMPORT_EVERYTHING, json.dumps(task))


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_one_way(package):
    if package == "napari_hyperspace.gui":
        pytest.importorskip("napari", reason="the gui needs napari and a Qt binding")
    result = _import_everything(package, FORBIDDEN[package])
    assert result.returncode == 0, result.stderr
    assert package in json.loads(result.stdout)


def _write_package(root: Path, files: dict[str, str]) -> None:
    for name, source in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")


@pytest.mark.parametrize(
    ("wrong_import", "complaint"),
    [
        ("import fake.gui", "fake.core loads fake.gui"),
        ("from fake.gui import button", "fake.core loads fake.gui"),
        ("from ... import gui", "fake.core loads fake.gui"),
        ("from ...gui import button", "fake.core loads fake.gui"),
        ("def late():\n    import fake.gui", "fake.core.deep.inner names fake.gui"),
        (
            "def late():\n    from ...gui import button",
            "fake.core.deep.inner names fake.gui.button",
        ),
    ],
)
def test_the_check_of_imports_can_fail(tmp_path, wrong_import, complaint):
    package = {
        "fake/__init__.py": "",
        "fake/core/__init__.py": "",
        "fake/core/deep/__init__.py": "",
        "fake/core/deep/inner.py": "import json\n",
        "fake/gui/__init__.py": "button = 1\n",
    }
    _write_package(tmp_path, package)
    right = _import_everything("fake.core", ("fake.gui",), tmp_path)
    assert right.returncode == 0, right.stderr
    assert "fake.core.deep.inner" in json.loads(right.stdout)

    _write_package(tmp_path, {"fake/core/deep/inner.py": wrong_import + "\n"})
    wrong = _import_everything("fake.core", ("fake.gui",), tmp_path)
    assert wrong.returncode != 0
    assert complaint in wrong.stderr


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, napari_hyperspace; print(*sys.modules, sep='\\n')"
    result = _fresh_python(code)
    assert result.returncode == 0, result.stderr
    loaded = {name.partition(".")[0] for name in result.stdout.split()}
    assert "napari_hyperspace" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_importing_the_package_takes_less_than_five_times_numpy():
    # Processor time, and the best of several processes: other work on the machine does not count.
    # The package loads a few small modules, so it stays far below the bound.
    code = "import sys, time; t = time.process_time(); __import__(sys.argv[1]); "
    code += "print(time.process_time() - t)"

    def seconds(name: str) -> float:
        return min(float(_fresh_python(code, name).stdout) for _ in range(4))

    assert seconds("napari_hyperspace") < 5 * seconds("numpy")


RUN_BLOCKED = """
import json, runpy, sys

blocked = json.loads(sys.argv[1])

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
sys.argv = ["training", *sys.argv[2:]]
runpy.run_module("training", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("command", [None, "predict", "estimate", "info", "fit"])
def test_command_line_answers_with_the_base_requirement_alone(command):
    arguments = [command, "--help"] if command else ["--help"]
    result = _fresh_python(
        RUN_BLOCKED, json.dumps([*NAPARI, *TRAINING_ONLY, "nilearn"]), *arguments
    )
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout
