"""Import rules: each folder imports from the folders below it, and nothing imports in a circle.

`RULES` lists what each folder may import from, directly; see docs/architecture.md. The source of
every module is read, so imports inside functions and for types alone count too. What packages may
not load at run time (Qt, napari, the libraries for training) is shown in fresh processes.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_MODULES = 15  # per folder, __init__.py included
MAX_LINES = 400

HS = "napari_hyperspace"
_ENGINE = (
    *("core", "core.labels", "io.base", "io.ome_zarr", "io", "nets", "nets.base"),
    *(
        "inference",
        "inference.best",
        "quality",
        "cost",
        "support",
        "api",
        "api.sweeps",
        "api.corrections",
        "api.assessment",
    ),
)
_BELOW_API = _ENGINE[: _ENGINE.index("api")]
_TRAINING = (
    *("config", "synthesis", "data", "sampling", "evaluation", "evaluation.real"),
    *("evaluation.quality", "fit"),
    *("comparison", "cka", "cli"),
)
_ADAPTERS = ("gui.adapters", "gui.adapters.painting")


def _hs(*folders: str) -> set[str]:
    return {f"{HS}.{folder}".rstrip(".") for folder in folders}


RULES: dict[str, set[str]] = {
    HS: _hs(
        *("core", "core.labels", "io", "nets", "quality"),
        *("api", "api.sweeps", "api.corrections", "api.assessment"),
    ),  # the public names, loaded when first used
    f"{HS}.core": set(),
    f"{HS}.core.labels": _hs("core"),
    f"{HS}.io.base": _hs("core"),
    f"{HS}.io.ome_zarr": _hs("core", "io.base"),
    f"{HS}.io": _hs("core", "io.base", "io.ome_zarr"),
    f"{HS}.nets.base": _hs("core"),
    f"{HS}.nets.plain": _hs("core", "nets.base"),
    f"{HS}.nets.hypernetwork": _hs("core", "nets.base", "nets.plain"),
    f"{HS}.nets.harmonic": _hs("core", "nets.base"),
    f"{HS}.nets": _hs("", "core", "nets.base", "nets.plain", "nets.hypernetwork", "nets.harmonic"),
    f"{HS}.quality": _hs("core", "nets.base"),
    f"{HS}.inference.openvino": _hs("core", "nets.base"),
    f"{HS}.inference": _hs("core", "nets", "nets.base", "inference.openvino"),
    f"{HS}.inference.best": _hs("core", "inference"),
    f"{HS}.cost": _hs("core", "nets", "nets.base", "inference"),
    f"{HS}.support": _hs("", "core", "nets", "inference", "cost"),
    f"{HS}.api": _hs(
        *("", "core", "core.labels", "io.base", "io.ome_zarr", "io", "nets", "nets.base"),
        *("inference", "inference.best", "quality", "cost", "support"),
    ),
    f"{HS}.api.sweeps": _hs("", *_BELOW_API, "api"),
    f"{HS}.api.corrections": _hs("", *_BELOW_API, "api"),
    f"{HS}.api.assessment": _hs("", *_BELOW_API, "api"),
    f"{HS}.gui": set(),
    f"{HS}.gui.adapters": _hs("", *_ENGINE),
    f"{HS}.gui.adapters.painting": _hs("", *_ENGINE, "gui.adapters"),
    f"{HS}.gui.models": _hs("", *_ENGINE, *_ADAPTERS),
    f"{HS}.gui.jobs": _hs("", *_ENGINE, *_ADAPTERS, "gui.models"),
    f"{HS}.gui.controllers.results": _hs("", *_ENGINE, *_ADAPTERS, "gui.models", "gui.jobs"),
    f"{HS}.gui.controllers.corrections": _hs(
        *("", *_ENGINE, *_ADAPTERS, "gui.models", "gui.jobs", "gui.controllers.results")
    ),
    f"{HS}.gui.controllers": _hs(
        *("", *_ENGINE, *_ADAPTERS, "gui.models", "gui.jobs"),
        *("gui.controllers.results", "gui.controllers.corrections"),
    ),
    f"{HS}.gui.widgets.parts": _hs("core", "gui.models"),
    f"{HS}.gui.widgets.windows": _hs(
        *("core", "gui.models", "gui.controllers", "gui.controllers.results", "gui.widgets.parts")
    ),
    f"{HS}.gui.widgets.corrections": _hs(
        *("core", "gui.models", "gui.controllers.corrections", "gui.widgets.parts")
    ),
    f"{HS}.gui.widgets": _hs(
        *("core", "gui.adapters", "gui.models", "gui.jobs"),
        *("gui.controllers", "gui.controllers.results", "gui.widgets.parts", "gui.widgets.windows"),
        *("gui.controllers.corrections", "gui.widgets.corrections"),
    ),
    "training": {"training.cli"},  # python -m training
    **{
        f"training.{folder}": {
            "training",
            *_hs("", *_ENGINE, "nets.plain", "nets.hypernetwork", "nets.harmonic"),
            *(f"training.{lower}" for lower in _TRAINING[:place]),
        }
        for place, folder in enumerate(_TRAINING)
    },
}
RULES["training.cka"] -= {"training.comparison"}  # sisters


def _modules(root: Path, packages: tuple[str, ...]) -> dict[str, Path]:
    """Return the modules of packages below a folder: dotted name → file."""
    modules = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            modules[name.removesuffix(".__init__")] = path
    return modules


def _folder(name: str, path: Path) -> str:
    return name if path.name == "__init__.py" else name.rpartition(".")[0]


def _imports(modules: dict[str, Path]) -> dict[str, set[str]]:
    """Return which of these modules (dotted name → file) each of them imports, anywhere in it."""
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        found: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: relative import"
                base = node.module or ""
                for alias in node.names:
                    full = f"{base}.{alias.name}"
                    found.add(full if full in modules else base)
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
        graph[name] = (found & modules.keys()) - {name}
    return graph


def _violations(root: Path, rules: dict[str, set[str]], packages: tuple[str, ...]) -> list[str]:
    """Return the imports that the rules do not allow, one text each."""
    modules = _modules(root, packages)
    folder_of = {name: _folder(name, path) for name, path in modules.items()}
    wrong = []
    for name, imported in _imports(modules).items():
        here = folder_of[name]
        if here not in rules:
            wrong.append(f"{name}: folder {here} has no rule")
            continue
        for other in sorted(imported):
            there = folder_of[other]
            if there != here and there not in rules[here]:
                wrong.append(f"{name} imports {other}: {here} may not import from {there}")
    return wrong


PACKAGES = (HS, "training")


def test_folders_import_from_the_folders_below_them_only():
    assert _violations(ROOT, RULES, PACKAGES) == []


def test_the_rules_themselves_have_no_circle():
    TopologicalSorter(
        {folder: below - {folder, HS, "training"} for folder, below in RULES.items()}
    ).prepare()


def test_no_module_imports_in_a_circle():
    graph = _imports(_modules(ROOT, PACKAGES))
    for package in PACKAGES:  # they import for the names that they pass on, when first used
        graph[package] = set()
    TopologicalSorter(graph).prepare()


def test_no_folder_holds_more_than_fifteen_modules_and_no_file_more_than_400_lines():
    modules = _modules(ROOT, PACKAGES)
    folders: dict[Path, int] = {}
    for path in modules.values():
        folders[path.parent] = folders.get(path.parent, 0) + 1
    assert {str(f): n for f, n in folders.items() if n > MAX_MODULES} == {}
    lines = {str(p): len(p.read_text(encoding="utf-8").splitlines()) for p in modules.values()}
    assert {p: n for p, n in lines.items() if n > MAX_LINES} == {}


def test_public_class_names_are_unique():
    places: dict[str, list[str]] = {}
    for name, path in _modules(ROOT, PACKAGES).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def _write_package(root: Path, files: dict[str, str]) -> None:
    for name, source in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")


@pytest.mark.parametrize(
    "wrong_import",
    [
        "import fake.gui",
        "from fake.gui import button",
        "from fake import gui",
        "def late():\n    import fake.gui",
        "def late():\n    from fake.gui import button",
        "if TYPE_CHECKING:\n    from fake.gui import button",
    ],
)
def test_the_check_of_rules_can_fail(tmp_path, wrong_import):
    rules = {"fake": set(), "fake.core": set(), "fake.gui": {"fake.core"}}
    _write_package(
        tmp_path,
        {
            "fake/__init__.py": "",
            "fake/core/__init__.py": "",
            "fake/core/inner.py": "import json\n",
            "fake/gui/__init__.py": "from fake.core import inner\nbutton = 1\n",
        },
    )
    assert _violations(tmp_path, rules, ("fake",)) == []
    _write_package(tmp_path, {"fake/core/inner.py": wrong_import + "\n"})
    expected = "fake.core.inner imports fake.gui: fake.core may not import from fake.gui"
    assert _violations(tmp_path, rules, ("fake",)) == [expected]
    with pytest.raises(CycleError):
        TopologicalSorter(_imports(_modules(tmp_path, ("fake",)))).prepare()


QT = ("qtpy", "superqt", "pyqtgraph", "PyQt5", "PyQt6", "PySide2", "PySide6")
NAPARI = (*QT, "napari", "magicgui")
TRAINING_ONLY = ("monai", "lightning_fabric", "tensorboard", "matplotlib", "pandas")

# What no module of a package may load.
BLOCKED = {
    f"{HS}.core": (*NAPARI, *TRAINING_ONLY, "pydantic", "nibabel", "SimpleITK"),
    f"{HS}.io": (*NAPARI, *TRAINING_ONLY),
    f"{HS}.nets": (*NAPARI, *TRAINING_ONLY),
    f"{HS}.inference": (*NAPARI, *TRAINING_ONLY),
    f"{HS}.cost": (*NAPARI, *TRAINING_ONLY),
    f"{HS}.quality": (*NAPARI, *TRAINING_ONLY),
    f"{HS}.support": (*NAPARI, *TRAINING_ONLY),
    f"{HS}.api": (*NAPARI, *TRAINING_ONLY),
    f"{HS}.gui.models": NAPARI,
    "training": NAPARI,
}

# Runs in the fresh process: argv[1] is {"package": …, "blocked": […]}.
IMPORT_EVERYTHING = """
import importlib, json, pkgutil, sys

task = json.loads(sys.argv[1])

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in task["blocked"]:
            raise ImportError(f"{task['package']} loads {name}, which it may not")

sys.meta_path.insert(0, Blocker())
root = importlib.import_module(task["package"])
names = [module.name for module in pkgutil.walk_packages(root.__path__, root.__name__ + ".")]
for name in names:
    if name.rpartition(".")[2] != "__main__":
        importlib.import_module(name)
print(json.dumps(names))
"""


def _fresh_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("package", BLOCKED)
def test_packages_do_not_load_what_they_may_not(package):
    task = {"package": package, "blocked": BLOCKED[package]}
    result = _fresh_python(IMPORT_EVERYTHING, json.dumps(task))
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)


def test_the_check_of_what_is_loaded_can_fail():
    task = {"package": f"{HS}.io", "blocked": ["nibabel"]}
    result = _fresh_python(IMPORT_EVERYTHING, json.dumps(task))
    assert result.returncode != 0
    assert "loads nibabel, which it may not" in result.stderr


def test_importing_the_package_loads_the_standard_library_alone():
    code = "import sys; before = set(sys.modules); import napari_hyperspace; "
    code += "print(*set(sys.modules) - before, sep='\\n')"
    result = _fresh_python(code)
    assert result.returncode == 0, result.stderr
    loaded = {name.partition(".")[0] for name in result.stdout.split()}
    assert loaded - sys.stdlib_module_names == {"napari_hyperspace"}


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
    blocked = json.dumps([*NAPARI, *TRAINING_ONLY, "nilearn", "pandas"])
    result = _fresh_python(RUN_BLOCKED, blocked, *arguments)
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout
