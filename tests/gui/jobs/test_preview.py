from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari.layers import Image

from napari_hyperspace.gui.adapters.layers import take
from napari_hyperspace.gui.jobs.preview import (
    BakeTime,
    NoPreview,
    PreviewEngine,
    PreviewLabels,
    PreviewRequest,
    SpacingCost,
    SpacingQuery,
)
from napari_hyperspace.gui.jobs.worker import Stop
from napari_hyperspace.gui.models.scales import Scale
from napari_hyperspace.gui.models.view import CostOverSpacing
from napari_hyperspace.inference.normalized import NormalizedModel
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.nets.base.localization import Localization


@pytest.fixture
def source():
    values = np.random.default_rng(0).normal(100, 20, (20, 24, 28))
    return take(Image(values, units="mm", name="scan"))


def query(source, services, preview=None, spacing=(1.0, 1.0, 1.0)):
    options = InferenceOptions(outside="extrapolate")
    model = services.load_model("fake")
    return SpacingQuery((source,), model, spacing, options, Scale(), preview)


def test_answers_come_in_order(source, services):
    engine = PreviewEngine(services)
    answers = list(engine.answer(query(source, services), Stop()))
    assert [type(one) for one in answers] == [BakeTime, SpacingCost, CostOverSpacing]
    means = answers[2].spacings_mm
    assert (means[0], means[-1]) == pytest.approx((0.5, 6.0))
    assert services.models["fake"].baked == [(1.0, 1.0, 1.0)]


def test_the_curve_is_kept_until_costs_are_forgotten(source, services):
    engine = PreviewEngine(services)
    first, second = (list(engine.answer(query(source, services), Stop()))[2] for _ in range(2))
    assert first is second
    engine.forget_costs()
    assert list(engine.answer(query(source, services), Stop()))[2] is not first


def test_a_preview_is_of_a_block_of_the_normalized_scan(source, services):
    engine = PreviewEngine(services)
    request = PreviewRequest((10.0, 12.0, 14.0), budget_s=0.003, rest_s=0.0)
    (preview,) = (
        one
        for one in engine.answer(query(source, services, request), Stop())
        if isinstance(one, PreviewLabels)
    )
    assert preview.sharp
    assert all(n < size for n, size in zip(preview.labels.shape, source.data.shape, strict=True))
    ((block,), spacing, _, normalization) = services.runs[0]
    assert (spacing, normalization) == ((1.0, 1.0, 1.0), "none")
    index = tuple(slice(i, i + n) for i, n in zip(preview.start, block.shape, strict=True))
    normalized = (source.data - source.data.mean()) / source.data.std()
    rounding = np.finfo(np.float32).eps * np.abs(source.data).max() / source.data.std()
    np.testing.assert_allclose(block.array, normalized[index], atol=4 * rounding)


def test_a_slow_preview_is_preceded_by_a_coarse_one(source, services):
    engine = PreviewEngine(services)
    request = PreviewRequest((10.0, 12.0, 14.0), budget_s=10.0, rest_s=0.0)
    answers = engine.answer(query(source, services, request, (0.5, 0.5, 0.5)), Stop())
    previews = [one for one in answers if isinstance(one, PreviewLabels)]
    assert [one.sharp for one in previews] == [False, True]
    assert [run[1] for run in services.runs] == [(1.0, 1.0, 1.0), (0.5, 0.5, 0.5)]


def test_a_block_with_too_little_context_is_not_previewed(source, services):
    """With less context than it was made for, a model takes one structure for another."""
    services.models["fake"].localization = Localization(4.0, 4.0, (15.0, 30.0, 20.0))
    engine = PreviewEngine(services)

    def preview(budget_s):
        request = PreviewRequest((10.0, 12.0, 14.0), budget_s, rest_s=0.0)
        return list(engine.answer(query(source, services, request), Stop()))[-1]

    # One microsecond per voxel of 1 mm; the scan has 20 × 24 × 28 of them.
    assert preview(0.003) == NoPreview(15.0, pytest.approx(15**3 * 1e-6))
    assert services.runs == []
    shown = preview(0.004)
    assert isinstance(shown, PreviewLabels) and 15 <= shown.side_mm <= 4000 ** (1 / 3) + 0.5
    assert preview(1.0).side_mm is None  # the whole scan


def test_the_block_stays_the_same_at_rest(source, services):
    """The measured pace changes what is predicted; a box that shrinks would look like a result."""
    engine = PreviewEngine(services)
    sides = []
    for services.step_seconds in (0.0, 0.02, 0.0):
        request = PreviewRequest((10.0, 12.0, 14.0), budget_s=0.003, rest_s=0.0)
        sides.append(list(engine.answer(query(source, services, request), Stop()))[-1].side_mm)
    assert len(set(sides)) == 1


def test_a_stopped_query_gives_no_further_answers(source, services):
    stop = Stop()
    answers = PreviewEngine(services).answer(query(source, services), stop)
    assert isinstance(next(answers), BakeTime)
    stop.set()
    assert list(answers) == []


def test_a_normalized_model_differs_in_normalization_and_localization_only(tiny_model):
    model = NormalizedModel(tiny_model)
    assert model.normalization.kind == "none"
    assert model.localization is None
    for name in ("identity", "label_values", "label_names", "trained_range_mm", "tile_shape"):
        assert getattr(model, name) == getattr(tiny_model, name)
    assert model.network((2.0, 2.0, 2.0)) is tiny_model.network((2.0, 2.0, 2.0))
