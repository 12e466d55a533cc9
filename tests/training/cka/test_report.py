"""Figures and numbers of CKA, and the command that writes them."""

from __future__ import annotations

import inspect
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from napari_hyperspace.nets.model_file import save_model
from training.cka.layers import skip_pairs
from training.cka.measure import measure_cka
from training.cka.report import distances, draw_cka
from training.cka.result import CKASettings
from training.cli import app, measuring

SMALL = CKASettings(
    start_mm=(1, 1, 1), stop_mm=(2, 2, 2), steps=2, box_mm=8.0, margin_mm=2.0, batch=8
)


def test_the_figure_marks_levels_and_skips(data, names, tiny_model):
    result = measure_cka([tiny_model], data, names[:4], SMALL)
    figure = draw_cka(result)
    titles = [axes.get_title() for axes in figure.axes[:8]]
    assert [title[0] for title in titles] == list("abcdefgh")
    first = figure.axes[0]
    labels = [text.get_text() for text in first.get_xticklabels()]
    assert labels == ["down 0", "down 1", "bottom 2", "up 1", "up 0"]
    circles = {(line.get_xdata()[0], line.get_ydata()[0]) for line in first.lines
               if line.get_marker() == "o"}  # fmt: skip
    pairs = skip_pairs(result.layers[0])
    assert circles == {*pairs, *((b, a) for a, b in pairs)}
    assert len(pairs) == 2
    curves = [line.get_label() for line in figure.axes[7].lines[:5]]
    assert curves == labels


def test_one_spacing_has_no_slope(data, names, tiny_model):
    settings = CKASettings((1, 1, 1), (2, 2, 2), steps=1, box_mm=8, margin_mm=2)
    result = measure_cka([tiny_model], data, names[:4], settings)
    assert result.within_slope(0) is None
    assert result.to_dict()["between_slope_per_mm"] == [None]
    assert draw_cka(result).axes[2].texts[0].get_text() == "needs two spacings"


def test_distances_use_skip_connections():
    lengths = distances(6, [(1, 4)])
    assert lengths[0, 5] == 3
    assert lengths[1, 3] == 2
    np.testing.assert_array_equal(lengths, lengths.T)


def test_the_command_writes_figures_and_numbers_of_two_models(dataset, make_model, tmp_path):
    paths = [save_model(make_model(seed=s), tmp_path / f"{s}.safetensors") for s in (1, 2)]
    arguments = ["cka", paths[0], dataset, "--against", paths[1], "--out", tmp_path / "out"]
    arguments += ["--start", "1", "--stop", "2,1,1", "--steps", "2", "--box", "8", "--json"]
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    files = [Path(file) for file in json.loads(done.stdout)["files"]]
    assert [file.name for file in files] == [
        *("cka.json", "cka.png", "cka.svg", "cka-2.png", "cka-2.svg"),
    ]
    assert {file.name for file in (tmp_path / "out").iterdir()} == {file.name for file in files}
    values = json.loads(files[0].read_text())
    assert values["spacings_mm"] == [[1, 1, 1], [2, 1, 1]]
    assert values["reference_mm"] == [1, 1, 1]
    assert (values["cases"], values["batches"], values["box_mm"]) == (7, [7], [8, 8, 8])
    n = len(values["layers"][0])
    for key in ("within", "between"):
        assert np.shape(values[key]) == (2, 2, n, n)
    assert np.shape(values["across"]) == (2, n, n)
    assert np.shape(values["within_slope_per_mm"]) == (2, n, n)
    for png, svg in (files[1:3], files[3:5]):
        assert png.read_bytes().startswith(b"\x89PNG")
        assert ET.parse(svg).getroot().tag.endswith("svg")


def test_the_defaults_of_the_command_are_those_of_the_settings():
    defaults = {name: p.default for name, p in inspect.signature(measuring.cka).parameters.items()}
    settings = CKASettings()
    assert (float(defaults["start"]),) * 3 == settings.start_mm
    assert (float(defaults["stop"]),) * 3 == settings.stop_mm
    for option, field in (
        ("box", "box_mm"),
        ("margin", "margin_mm"),
        ("reference", "reference_mm"),
    ):
        assert defaults[option] == getattr(settings, field)
    for field in ("steps", "batch", "seed"):
        assert defaults[field] == getattr(settings, field)
