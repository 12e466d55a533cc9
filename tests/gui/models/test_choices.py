from __future__ import annotations

from napari_hyperspace.gui.models.choices import Choices


def test_choices_emit_changes_once():
    choices = Choices()
    heard = []
    choices.events.spacing_mm.connect(heard.append)
    choices.spacing_mm = (2.0, 1.0, 1.0)
    choices.spacing_mm = (2.0, 1.0, 1.0)
    assert heard == [(2.0, 1.0, 1.0)]


def test_inference_options_have_the_device_and_the_rule_for_untrained_spacings():
    options = Choices(device="cpu", outside="clamp").inference_options()
    assert (options.device, options.outside) == ("cpu", "clamp")
    assert Choices().inference_options().device is None  # the best one


def test_only_a_run_averages_networks():
    choices = Choices(best=True, uncertainty=True)
    options = choices.run_options()
    assert options.best and options.uncertainty
    assert not choices.inference_options().best
    choices.best = False  # the uncertainty is that of an average
    assert not choices.run_options().best and not choices.run_options().uncertainty
