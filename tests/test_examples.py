"""What README and guide show is run as it is printed there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = Path(sysconfig.get_path("scripts")) / "hyperspace"
GUIDE = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs/guide").glob("*.md"))
DOCUMENTS = ["README.md", *GUIDE]


def _blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def _commands(document: str) -> list[list[str]]:
    """Return the arguments of each `hyperspace` command in a document."""
    lines = "".join(_blocks(document, "bash")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines if line.startswith("hyperspace ")]
    return [command[1:] for command in words]


def _run(*command: str, cwd: Path) -> str:
    result = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def folder_with_scan(tmp_path: Path, data_root: Path) -> Path:
    """Return a folder with a real scan in it, named as in the documents."""
    source = min((data_root / "hippocampus" / "imagesTr").glob("[!.]*.nii.gz"))
    (tmp_path / "scan.nii.gz").write_bytes(source.read_bytes())
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("document", ["README.md", "docs/guide/python.md", "docs/guide/tuning.md"])
def test_python_examples_run(document, folder_with_scan):
    (example,) = _blocks(document, "python")
    _run(sys.executable, "-W", "error", "-c", example, cwd=folder_with_scan)
    scan, labels = (nib.load(folder_with_scan / f"{name}.nii.gz") for name in ("scan", "labels"))
    assert labels.shape == scan.shape
    assert labels.affine.tobytes() == scan.affine.tobytes()
    assert set(np.unique(np.asarray(labels.dataobj))) == {0, 1, 2}


@pytest.mark.slow
@pytest.mark.parametrize("document", ["README.md", "docs/guide/command-line.md"])
def test_commands_that_need_no_training_run(document, folder_with_scan):
    runnable = [
        words for words in _commands(document) if words[0] in {"predict", "estimate", "info"}
    ]
    assert runnable
    for arguments in runnable:
        _run(str(SCRIPT), *arguments, cwd=folder_with_scan)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_shown_exists_with_its_options(document):
    """Each verb and each option of a document is known to the command line."""
    from typer.main import get_command

    from training.cli import app

    verbs = get_command(app).commands
    for verb, *arguments in _commands(document):
        assert verb in verbs, verb
        command = verbs[verb]
        if hasattr(command, "commands"):  # a group: the next word is its command
            command = command.commands[arguments[0]]
        known = {name for parameter in command.params for name in parameter.opts}
        options = {word for word in arguments if re.fullmatch(r"--?[a-z][\w-]*", word)}
        assert options <= known | {"--help"}, (verb, options - known)


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/guide.md", *GUIDE])
def test_links_lead_somewhere(document):
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)", text)
    missing = [
        target
        for target in targets
        if "://" not in target and not os.path.exists(path.parent / target)
    ]
    assert missing == []


def test_the_page_of_the_api_lists_every_public_name():
    import napari_hyperspace

    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\.\. auto(?:function|class|exception):: (\w+)", text, re.MULTILINE)
    assert sorted(listed) == sorted(napari_hyperspace.__all__)
