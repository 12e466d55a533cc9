"""Guidance of guided models: shown for them only, and used by whatever runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pytestqt")

from napari_hyperspace.api.guidance import CoarselyGuidedModel
from napari_hyperspace.inference.guidance import GuidedModel
from napari_hyperspace.nets.base.guidance import GuidanceChannels
from tests.gui.conftest import FakeModel

CHANNELS = GuidanceChannels("one-hot", 10.0, (2.0, 8.0), True)


@pytest.fixture
def guided(services, monkeypatch) -> FakeModel:
    """A guided model, and a list of the models that were run with it."""
    model = FakeModel("guided", in_channels=4)
    model.guidance = CHANNELS
    services.models["guided"] = model
    monkeypatch.setattr(
        type(services),
        "bundled_models",
        lambda self: {name: Path(name) for name in self.models},
    )
    return model


@pytest.fixture
def ran(services, monkeypatch) -> list[object]:
    """The models that were run."""
    seen: list[object] = []
    steps = type(services).segment_steps

    def recorded(self, volumes, model, *rest):
        seen.append(model)
        return steps(self, volumes, model, *rest)

    monkeypatch.setattr(type(services), "segment_steps", recorded)
    return seen


def choose(controller, view, qtbot, key: str) -> None:
    view.said.clear()
    controller.models.choose(key)
    qtbot.waitUntil(lambda: (view.last("cost") or ("",))[0] != "")


def test_other_models_show_no_guidance(guided, controller, view, services, qtbot):
    assert view.last("guidance") == (None, "", None)
    choose(controller, view, qtbot, "guided")
    assert view.last("guidance")[0] is not None
    choose(controller, view, qtbot, "other")
    assert view.last("guidance") == (None, "", None)
    assert controller.guidance.is_guided is False


def test_coarse_passes_and_labels_can_be_chosen(
    guided, controller, viewer, view, qtbot, run, ran, results
):
    choose(controller, view, qtbot, "guided")
    entries, current, spacing = view.last("guidance")
    names = ["fake, coarse pass", "other, coarse pass", "guided, coarse pass"]
    assert [name for _, name in entries] == names
    assert (current, spacing) == ("pass:fake", 4.0)  # √(2 · 8)
    controller.guidance.set_spacing(3.0)
    run(qtbot, controller)
    assert isinstance(ran[-1], CoarselyGuidedModel)
    assert ran[-1].coarse_pass.spacing_mm == 3.0 and ran[-1].coarse_pass.model.name == "fake"
    (result,) = results(viewer)
    assert result.metadata["hyperspace_origin"].guidance_model == "fake"

    painted = viewer.add_labels(np.zeros((12, 14, 16), np.uint8), name="mine")
    painted.data[2:5, 3:9, 4:8] = 1
    key = next(key for key, name in view.last("guidance")[0] if name == "Labels: mine")
    controller.guidance.choose(key)
    assert view.last("guidance")[1:] == (key, None)
    run(qtbot, controller)
    assert isinstance(ran[-1], GuidedModel)
    classes = ran[-1].given_guidance.classes
    assert classes is not None and int((classes.array == 1).sum()) == 3 * 6 * 4
    origins = [one.metadata.get("hyperspace_origin") for one in results(viewer)]
    (file,) = (origin.guidance for origin in origins if origin and origin.guidance)
    assert file.path is None


def test_labels_that_are_removed_or_painted_on(guided, controller, viewer, view, qtbot, run, ran):
    choose(controller, view, qtbot, "guided")
    layer = viewer.add_labels(np.zeros((12, 14, 16), np.uint8), name="mine")
    key = view.last("guidance")[0][-1][0]
    controller.guidance.choose(key)
    layer.data = np.full((12, 14, 16), 2, np.uint8)
    run(qtbot, controller)
    assert (ran[-1].given_guidance.classes.array == 2).all()
    viewer.layers.remove(layer)
    assert view.last("guidance")[1] == "pass:fake"


def test_labels_that_do_not_fit_are_an_error(guided, controller, viewer, view, qtbot):
    choose(controller, view, qtbot, "guided")
    viewer.add_labels(np.full((12, 14, 16), 9, np.uint8), name="mine")
    controller.guidance.choose(view.last("guidance")[0][-1][0])
    controller.segmentation.run()
    with qtbot.captureExceptions():
        qtbot.waitUntil(lambda: not controller.running)
    assert any("none of the model's structures" in text for text, _ in view.messages)


def test_previews_run_with_the_guidance(guided, controller, viewer, view, qtbot, ran, previews):
    guided.guidance = GuidanceChannels("one-hot", 10.0, (2.0, 8.0), False)
    choose(controller, view, qtbot, "guided")
    viewer.add_labels(np.ones((12, 14, 16), np.uint8), name="mine")
    controller.guidance.choose(view.last("guidance")[0][-1][0])
    controller.choices.live = True
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    assert ran[-1].given_guidance is not None and ran[-1].normalization.kind == "none"
