"""Code and commands that repeat a result make the same labels, bit for bit."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import napari_hyperspace as hs
from napari_hyperspace.api.reproduce import ResultOrigin, command_for, python_code, scan_file
from tests.training.cli.conftest import SCRIPT, environment, run
from tests.training.conftest import AFFINE

pytestmark = pytest.mark.filterwarnings("ignore:.*were not finite:UserWarning")


@pytest.fixture
def awkward_scan(dataset: Path, tmp_path: Path) -> Path:
    """A file with two volumes and a NaN, in a folder with spaces and quotation marks."""
    array = np.asarray(nib.load(dataset / "imagesTr" / "tiny_000.nii.gz").dataobj, np.float32)
    array[1, 2, 3] = np.nan
    folder = tmp_path / 'it\'s a "folder" $HOME'
    folder.mkdir()
    path = folder / "scan one.nii"
    nib.save(nib.Nifti1Image(np.stack([array[::-1], array], -1), AFFINE), path)
    return path


def made(path: Path, model_file: Path) -> tuple[hs.Volume, str, str]:
    """Return labels that need every option, with their code and command."""
    volume = hs.read(path, volume=1, spacing_mm=(0.9, 1.1, 4 / 3), fill=-2.5)
    model = hs.load_model(model_file)
    labels = hs.segment(
        volume,
        model,
        (9.0, 1 / 0.7, 1.3),
        outside="clamp",
        precision="fp32",
        device="cpu",
        tile_shape=(8, 7, 6),
        overlap=0.4,
    )
    labels = hs.postprocess(labels, largest_component=True, smallest_component_mm3=8)
    origin = ResultOrigin(str(model_file), (scan_file(volume),))
    record = labels.metadata["record"]
    return labels, python_code(record, origin), command_for(record, origin, windows=False)


def assert_same(path: Path, labels: hs.Volume) -> None:
    again = hs.read(path)
    np.testing.assert_array_equal(again.array, labels.array)
    assert again.dtype == labels.dtype
    assert np.array_equal(again.affine, labels.affine.astype(np.float32))


def test_code_and_command_repeat_the_labels(
    awkward_scan: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, code, command = made(awkward_scan, model_file)
    assert labels.array.any()
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "code", "exec"), {})
    assert_same(tmp_path / "labels.nii.gz", labels)
    (tmp_path / "labels.nii.gz").unlink()
    result = run(*shlex.split(command)[1:])
    assert result.exit_code == 0, result.stderr
    assert_same(tmp_path / "labels.nii.gz", labels)


@pytest.mark.slow
def test_code_and_command_repeat_the_labels_in_processes_of_their_own(
    awkward_scan: Path, model_file: Path, tmp_path: Path
) -> None:
    labels, code, command = made(awkward_scan, model_file)
    script = tmp_path / "again.py"
    script.write_text(code, encoding="utf-8")
    for arguments in ([sys.executable, str(script)], [str(SCRIPT), *shlex.split(command)[1:]]):
        folder = tmp_path / str(len(arguments))
        folder.mkdir()
        done = subprocess.run(
            arguments, cwd=folder, env=environment(), text=True, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        if arguments[0] == sys.executable:
            assert done.stdout.strip().endswith("identical labels")
        assert_same(folder / "labels.nii.gz", labels)


def test_another_model_is_refused(awkward_scan: Path, model_file: Path, tmp_path: Path) -> None:
    _, code, command = made(awkward_scan, model_file)
    digest = hs.load_model(model_file).digest
    other = "0" * len(digest)
    with pytest.raises(hs.HyperspaceError, match="another model"):
        exec(compile(code.replace(digest, other), "code", "exec"), {})
    result = run(*shlex.split(command.replace(digest, other))[1:])
    assert result.exit_code == 1
    assert "another model" in result.stderr


@pytest.mark.parametrize("text", ["0,4,4", "a", "4,,4", "-4,4,4"])
def test_tile_shapes_that_are_none_are_refused(text: str, dataset: Path, tmp_path: Path) -> None:
    scan = dataset / "imagesTr" / "tiny_000.nii.gz"
    result = run("predict", scan, tmp_path / "labels.nii.gz", f"--tile-shape={text}")
    assert result.exit_code == 2
    assert "numbers of voxels" in result.stderr
