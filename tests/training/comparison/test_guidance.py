"""A comparison with guided networks, and their guidance alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_hyperspace as hs
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.resample import resample_labels
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.nets.card import LabelClass
from tests.training.comparison.conftest import NAMES, write_comparison
from training.comparison.config import load_comparison
from training.comparison.runs import compared_runs, train
from training.data.decathlon import Decathlon
from training.evaluation.evaluate import evaluate
from training.evaluation.measure import Measurer, Settings
from training.evaluation.plan import listed

SECTION = {
    "guidance_mm": 2.5,
    "methods": {
        "Guided": {"set": {"network.in_channels": 4, "guidance": {"spacing_mm": [2.0, 3.0]}}},
        "Alone": {"run": "Guided", "guidance_only": True},
    },
    "tables": {"main": {"title": "All", "methods": ["Guided", "Alone"], "seeds": [0]}},
}


def test_guided_networks_are_measured_with_the_truth_on_a_coarse_grid(
    dataset: Path, make_model: Callable[..., Any], tmp_path: Path
) -> None:
    comparison = load_comparison(write_comparison(dataset.parent, SECTION))
    (run,) = compared_runs(comparison, tmp_path / "runs")
    train(run, comparison.base)
    methods = comparison.used("Guided", run.folder.model)
    assert [method.guidance_only for method in methods] == [False, True]
    data, settings = Decathlon(dataset), Settings(guidance_mm=2.5)
    spacing = (1.5, 1.5, 1.5)
    found = evaluate(methods, data, NAMES[:1], listed([spacing]), settings=settings)
    rows = found.rows.set_index(["model", "label"])
    # The guidance alone, by hand: the share of each label, interpolated to the scan's grid.
    measurer = Measurer(data, settings)
    case = measurer.case(NAMES[0])
    truth = Volume(measurer.truth(case).clip(0).astype(np.int32), case.grid)
    coarse = resample_labels(truth, case.grid.with_spacing((2.5, 2.5, 2.5)))
    given = measurer.guidance(case, methods[0])
    np.testing.assert_array_equal(given.array, coarse.array)
    alone = measurer.segment(case, methods[1], spacing).labels.array
    for value in (1, 2):
        both = 2 * ((alone == value) & (truth.array == value)).sum()
        dice = both / ((alone == value).sum() + (truth.array == value).sum())
        assert rows.loc[("Alone", value), "dice_native"] == pytest.approx(dice)
        assert 0.4 < dice < 1
        assert rows.loc[("Guided", value), "dice_native"] != pytest.approx(dice)

    # Guidance by what another model finds at a coarse spacing, on the grid of that spacing.
    labels = tuple(LabelClass(value=i, name=name) for i, name in ((1, "front"), (2, "back")))
    model_file = hs.save_model(make_model(labels=labels), tmp_path / "first.safetensors")
    second = replace(methods[0], guidance_from=f"{model_file}@2.5")
    found_labels = measurer.guidance(case, second)
    assert found_labels.grid.is_close(case.at_spacing((2.5, 2.5, 2.5)).grid)
    scan = Volume(case.at_spacing((2.5, 2.5, 2.5)).image[0].numpy(), found_labels.grid)
    expected = hs.segment(scan, hs.load_model(model_file), outside="clamp").array
    np.testing.assert_array_equal(found_labels.array, expected)
    other = measurer.segment(case, second, spacing).labels.array
    assert (other != measurer.segment(case, methods[0], spacing).labels.array).any()


def test_guidance_alone_needs_a_guided_method(dataset: Path) -> None:
    section = {**SECTION, "methods": {"Alone": {"guidance_only": True}}}
    section["tables"] = {"main": {"title": "All", "methods": ["Alone"], "seeds": [0]}}
    with pytest.raises(HyperspaceError, match="guidance_only: needs `run`"):
        load_comparison(write_comparison(dataset.parent, section))


def test_the_source_of_guidance_has_a_spacing(dataset: Path) -> None:
    methods = {**SECTION["methods"], "Found": {"run": "Guided", "guidance_from": "brain"}}
    with pytest.raises(HyperspaceError, match="guidance_from"):
        load_comparison(write_comparison(dataset.parent, {**SECTION, "methods": methods}))
