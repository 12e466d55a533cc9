from __future__ import annotations

import inspect
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.nets.model_file import save_model
from training.cka.activations import activations
from training.cka.blocks import cut_block
from training.cka.layers import common_period, skip_pairs
from training.cka.measure import _batches, measure_cka
from training.cka.report import distances, draw_cka, run_cka
from training.cka.result import CKASettings
from training.cka.similarity import linear_cka
from training.cli import app, measuring
from training.data.decathlon import Decathlon

SMALL = CKASettings(
    start_mm=(1, 1, 1), stop_mm=(2, 2, 2), steps=2, box_mm=8.0, margin_mm=2.0, batch=8
)


class Watched(Decathlon):
    """Notes how many cases are read at once."""

    def load(self, names, normalization):
        self.loads = [*getattr(self, "loads", []), len(names)]
        return super().load(names, normalization)


@pytest.fixture
def data(make_dataset):
    return Watched(make_dataset(n_cases=9))


@pytest.fixture
def names(data):
    return [case.name for case in data.cases()]


def test_maps_are_those_of_the_definition(data, names, make_model):
    models = [make_model(seed=1), make_model(seed=2)]
    names = names[:7]  # one batch: the whole is the direct computation
    result = measure_cka(models, data, names, SMALL)
    assert result.spacings_mm == [(1, 1, 1), (2, 2, 2)]
    assert result.reference == 0
    cases = data.load(names, models[0].normalization)

    def layers(model, spacing):
        period = common_period(result.layers[0])
        blocks = [cut_block(case, spacing, (8.0, 8.0, 8.0), 2.0, period) for case in cases]
        network = model.network(spacing)
        kept = [
            activations(network, result.layers[0], block.image, block.center, block.extent)
            for block in blocks
        ]
        return [np.stack([x.numpy() for x in column]) for column in zip(*kept, strict=True)]

    fine, coarse = (layers(models[0], spacing) for spacing in result.spacings_mm)
    other = layers(models[1], (2, 2, 2))
    for cka, rows, columns in (
        (result.within[0][1], coarse, coarse),
        (result.between[0][1], fine, coarse),
        (result.across[1], coarse, other),
    ):
        for i, j in ((0, 0), (3, 8), (8, 3), (-1, 2)):
            expected = linear_cka(rows[i], columns[j], unbiased=True)
            assert cka[i, j] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(np.diagonal(result.within[1][0]), 1, atol=1e-12)
    np.testing.assert_allclose(result.between[0][0], result.within[0][0], atol=1e-12)
    expected = (result.within[0][1] - result.within[0][0]) / 1.0
    np.testing.assert_allclose(result.within_slope(0), expected, atol=1e-12)


def test_a_model_is_like_itself_and_like_another_at_other_weights(data, names, make_model):
    model = make_model(seed=1)
    same = measure_cka([model, make_model(seed=1)], data, names, SMALL)
    np.testing.assert_allclose(np.diagonal(same.across[0]), 1, atol=1e-9)
    other = measure_cka([model, make_model(seed=2)], data, names, SMALL)
    assert (np.diagonal(other.across[0])[2:] < 0.999).all()


def test_cases_are_read_batch_by_batch_and_order_is_the_seeds(data, names, tiny_model):
    said = []
    measure_cka([tiny_model], data, names, SMALL, show=lambda *step: said.append(step))
    assert data.loads == [1] * 9 + [5, 4]
    fractions = [fraction for fraction, _ in said]
    assert fractions == sorted(fractions)
    assert said[-1] == (1.0, "done")


def test_a_box_larger_than_the_scans_is_made_smaller_and_said(data, names, tiny_model):
    settings = CKASettings((1, 1, 1), (2, 2, 2), steps=1, batch=8)
    # Scans of 15–17 × 12 × 12–13 voxels of 1 × 1.25 × 1.5 mm along x, z, y.
    with pytest.warns(HyperspaceWarning, match=r"15\.0 × 18\.0 × 15\.0 mm \(z, y, x\)"):
        result = measure_cka([tiny_model], data, names[:5], settings)
    assert result.about["box_mm"] == [15, 18, 15]


def test_files_hold_the_numbers_and_the_figures(data, names, make_model, tmp_path):
    models = [make_model(seed=1), make_model(seed=2)]
    files = run_cka(models, data, names, tmp_path / "out", SMALL)
    assert [file.name for file in files] == [
        "cka.json", "cka.png", "cka.svg", "cka-2.png", "cka-2.svg",
    ]  # fmt: skip
    values = json.loads(files[0].read_text())
    assert (values["cases"], values["batches"], values["box_mm"]) == (9, [5, 4], [8, 8, 8])
    assert values["reference_mm"] == [1, 1, 1]
    n = len(values["layers"][0])
    for key, count in (("within", 2), ("between", 2)):
        assert np.shape(values[key]) == (2, count, n, n)
    assert np.shape(values["across"]) == (2, n, n)
    assert np.shape(values["within_slope_per_mm"]) == (2, n, n)
    assert files[1].read_bytes().startswith(b"\x89PNG")
    assert ET.parse(files[2]).getroot().tag.endswith("svg")


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


def test_settings_choose_spacings_and_reference():
    chosen = CKASettings()
    assert len(chosen.spacings) == 11  # ten steps, and 1 mm
    assert (chosen.spacings[0], chosen.spacings[-1]) == ((0.94,) * 3, (2.0,) * 3)
    assert chosen.spacings[1] == chosen.reference == (1, 1, 1)
    assert CKASettings((1.5,) * 3, (3,) * 3).reference == (1.5,) * 3
    along = CKASettings((1, 1, 1), (3, 1, 1), steps=3)
    assert along.spacings == [(1, 1, 1), (2, 1, 1), (3, 1, 1)]
    assert (
        CKASettings((1,) * 3, (2,) * 3, steps=3, reference_mm=(1.5,) * 3).spacings[1] == (1.5,) * 3
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"steps": 0}, "steps"),
        ({"batch": 7}, "batch"),
        ({"margin_mm": -1.0}, "margin_mm"),
        ({"box_mm": 0.0}, "box_mm"),
        ({"box_mm": float("nan")}, "box_mm"),
        ({"start_mm": (0, 1, 1)}, "spacing_mm"),
        ({"reference_mm": (1, 1)}, "spacing_mm"),
    ],
)
def test_settings_out_of_range_are_refused(change, field):
    with pytest.raises(HyperspaceError) as caught:
        CKASettings(**change)
    assert caught.value.field == field


def test_no_batch_falls_below_four_examples():
    for n in range(4, 60):
        for batch in (8, 9, 16):
            sizes = [
                len(part) for part in _batches([*map(str, range(n))], CKASettings(batch=batch))
            ]
            assert sum(sizes) == n
            assert 4 <= min(sizes) <= max(sizes) <= batch


def test_models_and_cases_that_do_not_fit_are_refused(data, names, make_model):
    model = make_model()
    with pytest.raises(HyperspaceError, match="number of channels"):
        measure_cka([make_model(in_channels=2)], data, names, SMALL)
    with pytest.raises(HyperspaceError, match="number of axes"):
        measure_cka([make_model(n_dim=2)], data, names, SMALL)
    with pytest.raises(HyperspaceError, match="one model or two"):
        measure_cka([model] * 3, data, names, SMALL)
    for few in (names[:3], [names[0]] * 5):
        with pytest.raises(HyperspaceError, match="four at least"):
            measure_cka([model], data, few, SMALL)


def test_spacings_beyond_the_trained_range_are_said(data, names, make_model):
    model = make_model(range_mm=(0.8, 1.5))
    with pytest.warns(HyperspaceWarning, match="1 of 2 spacings lie outside"):
        measure_cka([model], data, names[:4], SMALL)


def test_each_model_has_its_own_normalization(data, names, make_model):
    z_score = make_model(seed=1)
    window = make_model(seed=1, normalization={"kind": "window", "lower": 80.0, "upper": 180.0})
    assert window.normalization == Normalization("window", 80.0, 180.0)
    result = measure_cka([z_score, window], data, names[:4], SMALL)
    assert np.diagonal(result.across[0])[-1] < 1 - 1e-6


def test_distances_go_over_skips():
    lengths = distances(6, [(1, 4)])
    assert lengths[0, 5] == 3
    assert lengths[1, 3] == 2
    np.testing.assert_array_equal(lengths, lengths.T)


def test_the_command_writes_figure_and_numbers(dataset, make_model, tmp_path):
    paths = [save_model(make_model(seed=s), tmp_path / f"{s}.safetensors") for s in (1, 2)]
    arguments = ["cka", paths[0], dataset, "--against", paths[1], "--out", tmp_path / "out"]
    arguments += ["--start", "1", "--stop", "2,1,1", "--steps", "2", "--box", "8", "--json"]
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    files = [Path(file) for file in json.loads(done.stdout)["files"]]
    values = json.loads(files[0].read_text())
    assert values["spacings_mm"] == [[1, 1, 1], [2, 1, 1]]
    assert values["cases"] == 7
    assert all(file.stat().st_size > 1000 for file in files)


def test_the_commands_defaults_are_the_settings():
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
