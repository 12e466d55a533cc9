"""What a user installs: requirement, wheel, resources, command line and napari's manifest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points, metadata, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _names(requirements):
    return {re.split(r"[^A-Za-z0-9_-]", text)[0].lower() for text in requirements}


def test_base_requirement_leaves_napari_qt_and_training_out():
    base = _names(text for text in requires("napari-hyperspace") if "extra ==" not in text)
    left_out = {"napari", "pyqt5", "pyqt6", "pyside6", "monai", "lightning-fabric", "tensorboard"}
    assert base.isdisjoint(left_out | {"matplotlib", "nilearn"})
    assert {"torch", "nibabel", "simpleitk", "qtpy", "magicgui", "pyqtgraph", "typer"} <= base


def test_torch_versions_with_wrong_gradients_or_slow_convolutions_are_refused():
    from packaging.requirements import Requirement

    wanted = [Requirement(text) for text in requires("napari-hyperspace")]
    versions = ("2.5.1", "2.6.0", "2.8.0", "2.9.0", "2.9.1", "2.13.0")

    def accepted(extra: str) -> list[str]:
        """Return the versions that all requirements on torch of an install accept."""
        found = [
            each.specifier
            for each in wanted
            if each.name == "torch" and (not each.marker or each.marker.evaluate({"extra": extra}))
        ]
        return [version for version in versions if all(version in one for one in found)]

    assert accepted("") == ["2.6.0", "2.8.0", "2.13.0"]
    assert accepted("train") == ["2.8.0", "2.13.0"]


def test_license_covers_code_and_model_files():
    named = metadata("napari-hyperspace")
    assert named["License-Expression"] == "BSD-3-Clause AND CC-BY-SA-4.0 AND Apache-2.0"
    assert set(named.get_all("License-File")) == {
        "LICENSE",
        "resources/models/LICENSES.md",
        "resources/models/licenses/Apache-2.0.txt",
        "resources/models/licenses/CC-BY-SA-4.0.txt",
    }


def _spdx(name: str) -> str:
    return {"CC-BY-SA 4.0": "CC-BY-SA-4.0", "Apache 2.0": "Apache-2.0"}[name.partition(" (")[0]]


def test_every_model_file_is_listed_with_the_license_of_its_card():
    import napari_hyperspace as hs

    table = (ROOT / "resources/models/LICENSES.md").read_text("utf-8")
    listed = dict(re.findall(r"^\| `(\S+)` \| \[(\S+)\]\(licenses/\2\.txt\)", table, re.M))
    cards = {path.name: hs.load_model(name).card for name, path in hs.bundled_models().items()}
    assert listed == {file: _spdx(card.license) for file, card in cards.items()}
    expression = metadata("napari-hyperspace")["License-Expression"].split(" AND ")
    assert set(expression) == {"BSD-3-Clause", *listed.values()}
    for license in listed.values():
        assert (ROOT / f"resources/models/licenses/{license}.txt").is_file()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return the wheel of this checkout."""
    for builder in ("hatchling", "hatch_vcs", "hatch_fancy_pypi_readme"):
        pytest.importorskip(builder, reason="builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_wheel_carries_packages_and_resources_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "napari_hyperspace",
        "training",
    }
    assert {"napari_hyperspace/napari.yaml", "training/__main__.py"} <= names
    resources = [path for path in (ROOT / "resources").rglob("*") if path.is_file()]
    for path in resources:
        relative = path.relative_to(ROOT).as_posix()
        assert f"napari_hyperspace/{relative}" in names
    assert not any("__pycache__" in name for name in names)


@pytest.mark.slow
def test_wheel_is_at_most_60_mb(wheel):
    assert wheel.stat().st_size <= 60e6


@pytest.mark.slow
def test_readme_of_the_wheel_works_without_the_repository(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode()
    assert "# napari-hyperspace" in text
    targets = re.findall(r"\]\(([^)]*)\)", text)
    assert targets
    assert all(target.startswith(("https://", "#")) for target in targets)


@pytest.mark.slow
def test_installed_wheel_answers_from_any_folder(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def python(*arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, *arguments],
            cwd=elsewhere,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    assert "predict" in python("-m", "training", "--help")
    version = python("-c", "import napari_hyperspace as hs; print(hs.__version__)").strip()
    assert version == wheel.name.split("-")[1]
    where = "import training; print(training.__path__[0])"
    assert Path(python("-c", where).strip()) == site / "training"
    listed = "import napari_hyperspace as hs; print(*hs.bundled_models().values(), sep='\\n')"
    for path in python("-c", listed).split():
        assert Path(path).is_relative_to(site / "napari_hyperspace" / "resources" / "models")


def test_manifest_is_found_and_valid():
    npe2 = pytest.importorskip("npe2", reason="npe2 comes with napari")
    pytest.importorskip("napari", reason="the commands of the manifest import the gui")
    (found,) = entry_points(group="napari.manifest", name="napari-hyperspace")
    assert found.value == "napari_hyperspace:napari.yaml"
    manifest = npe2.PluginManifest.from_distribution("napari-hyperspace")
    manifest.validate_imports()
    assert manifest.name == "napari-hyperspace"
    assert manifest.contributions.widgets[0].display_name == "HyperSpace"
    assert {"Segmentation"} <= set(manifest.categories)
    commands = [command.id for command in manifest.contributions.commands]
    assert commands
    assert all(command.startswith("napari-hyperspace.") for command in commands)


def test_sample_images_reader_and_writer_are_offered():
    npe2 = pytest.importorskip("npe2", reason="npe2 comes with napari")
    contributions = npe2.PluginManifest.from_distribution("napari-hyperspace").contributions
    patterns = {pattern for reader in contributions.readers for pattern in reader.filename_patterns}
    assert {"*.nii", "*.nii.gz", "*.nrrd", "*.mha", "*.mhd"} <= patterns
    assert any(reader.accepts_directories for reader in contributions.readers)
    written = {name for writer in contributions.writers for name in writer.filename_extensions}
    assert {".nii.gz", ".nrrd", ".mha"} <= written
    assert len(contributions.sample_data) >= 2
