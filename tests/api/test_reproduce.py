"""The text of code and commands that repeat a result; tests/training/cli runs them."""

from __future__ import annotations

import ast
import shlex
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from napari_hyperspace.api.reproduce import (
    ResultOrigin,
    ScanFile,
    command_for,
    explain_placeholders,
    python_code,
    scan_file,
)
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import GuidanceRecord, PostprocessingOptions, Volume
from tests.io.test_record import RECORD

SIMPLE = replace(RECORD, channels=("T1",), postprocessing=(), reading={}, guidance=None)
NASTY = '/scans/it\'s a "scan"; rm -rf $HOME `x`\n\\é.nii.gz'


def origin(*scans, model="brain"):
    return ResultOrigin(model, scans or (ScanFile("/scan.nii.gz"),))


def strings(code):
    return [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]


def test_paths_are_quoted_so_that_nothing_in_them_is_executed():
    place = origin(ScanFile(NASTY), model=NASTY)
    assert strings(python_code(SIMPLE, place)).count(NASTY) == 2
    arguments = shlex.split(command_for(SIMPLE, place, windows=False))
    assert arguments.count(NASTY) == 2
    assert arguments[:3] == ["hyperspace", "predict", NASTY]


def test_texts_of_a_file_cannot_leave_the_comment():
    bad = replace(SIMPLE, model="x\nimport os", torch_version="2\r3", program_version="1\u20281")
    tree = ast.parse(python_code(bad, origin()))
    imported = [alias.name for n in tree.body if isinstance(n, ast.Import) for alias in n.names]
    assert imported == ["napari_hyperspace"]


def test_a_command_for_windows_quotes_as_windows_does():
    text = command_for(SIMPLE, origin(ScanFile(r"C:\a b\scan.nii")), windows=True)
    assert r'predict "C:\a b\scan.nii" labels.nii.gz' in text


def test_unknown_files_are_placeholders_and_said():
    place = origin(ScanFile(None), model=None)
    assert not place.is_complete
    code, command = python_code(SIMPLE, place), command_for(SIMPLE, place)
    for name in ("SCAN.nii.gz", "MODEL.safetensors"):
        assert name in strings(code)
        assert name in shlex.split(command)
        assert name in explain_placeholders(place)
        assert f"# Replace {name}" in code
    assert explain_placeholders(origin()) == ""
    assert origin().is_complete


def test_options_of_reading_are_those_of_each_scan():
    scan = ScanFile("/dicom", "1.2.3", {"volume": 1, "spacing_mm": (0.1, 0.2, 1 / 3), "fill": -1.0})
    code = python_code(SIMPLE, origin(scan))
    given = "volume=1, spacing_mm=(0.1, 0.2, 0.3333333333333333), fill=-1.0, series='1.2.3'"
    assert f"scan = hs.read('/dicom', {given})\n" in code
    arguments = shlex.split(command_for(SIMPLE, origin(scan), windows=False))
    for pair in (["--series", "1.2.3"], ["--volume", "1"]):
        assert pair == arguments[arguments.index(pair[0]) :][:2]
    assert arguments[arguments.index("--scan-spacing") + 1] == "0.1,0.2,0.3333333333333333"
    assert "--fill=-1.0" in arguments


def test_channels_of_one_file_make_a_command_and_those_of_several_do_not():
    one = [ScanFile("/a.nii", None, {"volume": n}) for n in (0, 1)]
    assert "--volume" not in shlex.split(command_for(SIMPLE, origin(*one)))
    with pytest.raises(HyperspaceError, match="several files"):
        command_for(SIMPLE, origin(ScanFile("/a.nii"), ScanFile("/b.nii")))
    with pytest.raises(HyperspaceError, match="several files"):
        command_for(SIMPLE, origin(*one[::-1]))
    code = python_code(SIMPLE, origin(ScanFile("/a.nii"), ScanFile("/b.nii")))
    assert "scan = [\n    hs.read('/a.nii'),\n    hs.read('/b.nii'),\n]" in code


def test_dividing_left_and_right_is_repeated():
    sides = replace(SIMPLE, postprocessing=(PostprocessingOptions(True, split_sides=True),))
    code = python_code(sides, origin())
    assert "hs.postprocess(labels, largest_component=True, split_sides=True)" in code
    assert shlex.split(command_for(sides, origin()))[-2:] == [
        "--largest-component",
        "--split-sides",
    ]


def test_postprocessing_twice_is_python_only():
    step = PostprocessingOptions(largest_component=True)
    twice = replace(SIMPLE, postprocessing=(step, PostprocessingOptions(fill_holes_mm3=2.5)))
    code = python_code(twice, origin())
    first = code.index("hs.postprocess(labels, largest_component=True)")
    assert first < code.index("hs.postprocess(labels, fill_holes_mm3=2.5)")
    with pytest.raises(HyperspaceError, match="more than once"):
        command_for(twice, origin())


def test_guidance_by_a_coarse_pass_is_repeated_with_its_precision():
    guided = replace(SIMPLE, guidance=RECORD.guidance)
    place = replace(origin(), guidance_model="/coarse.safetensors")
    code = python_code(guided, place)
    ast.parse(code)
    assert f"coarse = hs.load_model('/coarse.safetensors', digest={'dd' * 16!r})" in code
    assert "    guidance=hs.Guidance(\n        coarse,\n" in code
    assert "(4.0, 0.3333333333333333, 0.30000000000000004)" in code
    arguments = shlex.split(command_for(guided, place, windows=False))
    at = arguments.index("--guidance")
    wanted = "/coarse.safetensors@4.0,0.3333333333333333,0.30000000000000004"
    assert arguments[at + 1] == wanted
    pairs = dict(pairwise(arguments))
    assert pairs["--guidance-precision"] == "fp32"
    assert pairs["--guidance-localization-precision"] == "bf16-channels-last"
    assert pairs["--guidance-digest"] == "dd" * 16


def test_an_average_is_repeated_as_one():
    assert RECORD.best
    assert "    best=True," in python_code(SIMPLE, origin())
    assert "--best" in shlex.split(command_for(SIMPLE, origin(), windows=False))
    single = replace(SIMPLE, best=False)
    assert "best" not in python_code(single, origin())
    assert "--best" not in command_for(single, origin(), windows=False)


def test_guidance_by_labels_is_read_from_their_file():
    labels = GuidanceRecord(labels_digest="ee" * 16)
    guided = replace(SIMPLE, guidance=labels)
    place = replace(origin(), guidance=ScanFile("/coarse labels.nii.gz", None, {"volume": 1}))
    code = python_code(guided, place)
    ast.parse(code)
    assert "guidance=hs.read('/coarse labels.nii.gz', volume=1)," in code
    simple = replace(place, guidance=ScanFile(NASTY))
    arguments = shlex.split(command_for(guided, simple, windows=False))
    assert arguments[arguments.index("--guidance") + 1] == NASTY
    with pytest.raises(HyperspaceError, match="guidance"):
        command_for(guided, place)
    unknown = origin()
    assert not replace(unknown, guidance=ScanFile(None)).is_complete
    assert "GUIDANCE.nii.gz" in python_code(guided, replace(unknown, guidance=ScanFile(None)))
    assert "GUIDANCE.nii.gz" in explain_placeholders(replace(unknown, guidance=ScanFile(None)))


def test_the_file_of_a_volume_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = Grid.from_spacing((2, 2, 2), (1, 1, 1))
    array = np.zeros((2, 2, 2))
    volume = Volume(
        array, grid, "", {"path": "scan.nii", "series": "1.2", "reading": {"volume": 3}}
    )
    assert scan_file(volume) == ScanFile(str(tmp_path / "scan.nii"), "1.2", {"volume": 3})
    assert scan_file(Volume(array, grid)) == ScanFile(None)
