"""Files about the project: workflows, environments, citation, forms for issues."""

from __future__ import annotations

import configparser
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import napari_hyperspace

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

if not WORKFLOWS:
    pytest.skip("the sdist has no workflows", allow_module_level=True)


def _read(path: Path):
    return yaml.safe_load(path.read_text("utf-8"))


def _workflow(name: str):
    return _read(ROOT / ".github" / "workflows" / name)


def _pins(name: str) -> dict[str, str]:
    lines = (ROOT / ".ci" / name).read_text("utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(package): pinned for package, pinned in pairs}


def _direct_requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    texts = list(project["dependencies"])
    for extra in ("all", "train", "test", "test-gui"):
        texts += project["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


def _jobs():
    return _workflow("test.yml")["jobs"]["tox"]["strategy"]["matrix"]["include"]


def _environments(jobs) -> set[str]:
    return {name for job in jobs for name in job["environments"].split(",")}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_permissions_are_few(path):
    workflow = _read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        for step in job.get("steps", ()):
            if action := step.get("uses"):
                assert re.fullmatch(r"[\w./-]+@(v\d+|release/v\d+)", action)


def test_every_tox_environment_of_the_workflow_exists():
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", "utf-8")
    gating = set(re.split(r",\s*", tox["tox"]["env_list"]))
    run = _environments(_jobs())
    assert run == gating | {"pyside6", "lowest", "newest"}
    assert run <= {section.removeprefix("testenv:") for section in tox.sections()}


def test_workflow_covers_the_supported_systems_and_pythons():
    for system in ("ubuntu-latest", "macos-latest", "windows-latest"):
        run = _environments(job for job in _jobs() if job["system"] == system)
        assert {"headless", "napari", "pyside6", "newest"} <= run
    assert {job["python"] for job in _jobs()} == {"3.11", "3.12", "3.13", "3.14"}


def test_only_a_tested_and_checked_tag_is_published():
    workflow = _workflow("release.yml")
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key "on" as true
    jobs = workflow["jobs"]
    assert (jobs["build"]["needs"], jobs["publish"]["needs"]) == ("test", "build")
    assert jobs["publish"]["permissions"] == {"id-token": "write"}


def test_lowest_versions_are_the_lower_bounds():
    bounds: dict[str, list[str]] = {}
    for requirement in _direct_requirements():
        (bound,) = (part.version for part in requirement.specifier if part.operator == ">=")
        bounds.setdefault(canonicalize_name(requirement.name), []).append(bound)
    for name, pinned in _pins("lowest.txt").items():
        if name in bounds:  # an extra can need a newer version than the base requirement
            highest = max(bounds[name], key=Version)
            assert (pinned + ".0.0").startswith(highest + "."), name
    assert bounds.keys() <= _pins("lowest.txt").keys()


def test_every_direct_requirement_is_pinned():
    names = {canonicalize_name(requirement.name) for requirement in _direct_requirements()}
    assert names <= _pins("constraints.txt").keys()


def test_citation_names_the_version_and_the_paper():
    citation = _read(ROOT / "CITATION.cff")
    assert napari_hyperspace.__version__ == version("napari-hyperspace")
    installed = Version(napari_hyperspace.__version__)
    if not installed.is_prerelease:  # after a release comes a development version of the next one
        assert Version(str(citation["version"])) == installed
    assert citation["license"] == "BSD-3-Clause"
    assert [reference["year"] for reference in citation["references"]] == [2024]


def test_bug_report_asks_for_diagnostics():
    form = _read(ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml")["body"]
    (asked,) = (field for field in form if field.get("id") == "diagnostics")
    assert asked["validations"] == {"required": True}
    description = asked["attributes"]["description"]
    assert "`hyperspace diagnostics`" in description and "Copy diagnostics" in description
