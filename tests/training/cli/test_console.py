"""Help, the script and the module, and former names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import training
from tests.training.cli.conftest import SCRIPT, environment, run
from training.cli import app

COMMANDS = (
    *("predict", "estimate", "info", "fit", "export", "import-checkpoint", "check", "evaluate"),
    *("evaluate-synthetic", "compare", "cka", "synthesize", "diagnostics", "models"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: hyperspace {command}" in " ".join(result.stdout.split())


def test_the_script_and_the_module_run_the_same_commands(tmp_path: Path) -> None:
    # A folder of the user's hides `python -m training` there, but not the script.
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").write_text("raise RuntimeError('folder of the user')")
    root = Path(training.__file__).parents[1]

    def helped(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in (*command, "--help")]
        return subprocess.run(
            words, cwd=cwd, env=environment(), capture_output=True, text=True, check=False
        )

    script = helped(SCRIPT, cwd=tmp_path)
    assert script.returncode == 0 and script.stderr == ""
    assert "folder of the user" in helped(sys.executable, "-m", "training", cwd=tmp_path).stderr
    module = helped(sys.executable, "-m", "training", cwd=root)
    assert "Usage: hyperspace" in script.stdout
    assert "Usage: python -m training" in module.stdout
    assert [f"│ {command} " in script.stdout for command in COMMANDS] == [True] * len(COMMANDS)
    # The lines after the name of the program are the same.
    assert script.stdout.split("\n")[3:] == module.stdout.split("\n")[3:]


def test_former_names_of_commands_and_options_are_accepted_and_hidden() -> None:
    commands = [command.name for command in app.registered_commands if command.hidden]
    assert commands == ["judge"]
    assert "judge" not in run("--help").stdout
    assert "--contrasts" in run("judge", "--help").stdout
    for command, option in (("evaluate", "--form"), ("export", "--search-extent-mm")):
        assert option not in run(command, "--help").stdout
        result = run(command, option)
        assert result.exit_code == 2 and "requires an argument" in result.stderr


def test_help_needs_no_heavy_module() -> None:
    code = (
        "import sys\nfrom training.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit as end: assert not end.code\n"
        "print([m for m in ('torch', 'monai', 'pydantic', 'nibabel') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment()
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_diagnostics_are_text_or_json(own_log: Path) -> None:
    assert "versions:\n  napari-hyperspace: " in run("diagnostics").stdout
    found = json.loads(run("diagnostics", "--json").stdout)
    assert found["log"] == {"level": "warning", "lines": "no file"}
    assert Path(run("diagnostics", "--log-file").stdout.strip()) == own_log


def test_commands_are_logged_on_request(own_log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERSPACE_LOG", "info")
    assert run("info", "hippocampus").exit_code == 0
    (line,) = own_log.read_text("utf-8").splitlines()
    assert line.endswith(" info: finished")


def test_errors_and_warnings_of_commands_are_logged_without_names(
    tmp_path: Path, own_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "Mustermann.nii.gz"
    assert run("estimate", missing, "--model", "hippocampus").exit_code == 1
    assert run("predict", missing).exit_code == 2
    (line,) = own_log.read_text("utf-8").splitlines()
    assert "estimate: HyperspaceError" in line and "Mustermann" not in line

    def defect(*_: object, **__: object) -> None:
        raise RuntimeError("Mustermann")

    monkeypatch.setattr("napari_hyperspace.nets.model_file.read_card", defect)
    assert isinstance(run("info", "hippocampus").exception, RuntimeError)
    assert "info: RuntimeError" in own_log.read_text("utf-8")
    assert "Mustermann" not in own_log.read_text("utf-8")


def test_memory_that_runs_out_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(_: object) -> None:
        raise MemoryError("Unable to allocate 12 GiB")

    monkeypatch.setattr("napari_hyperspace.nets.model_file.read_card", exhausted)
    result = run("info", "brain")
    assert result.exit_code == 1
    assert result.stderr == "error: there is not enough memory: Unable to allocate 12 GiB\n"
