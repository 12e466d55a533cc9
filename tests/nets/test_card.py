"""The card's labels: which are left and right counterparts; and its guidance."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.volume import Laterality
from napari_hyperspace.nets.base.guidance import GuidanceChannels
from napari_hyperspace.nets.build import build_factory
from napari_hyperspace.nets.card import LabelClass, ModelCard
from napari_hyperspace.nets.locations import bundled_models
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import load_model, read_card, save_model
from napari_hyperspace.nets.plain.config import ConstantConfig, UNetConfig
from napari_hyperspace.nets.summary import card_text


def test_sides_are_what_the_card_states():
    label = LabelClass(value=1, name="Rinde links", side="left", structure="Rinde")
    assert label.laterality == Laterality("left", "Rinde")
    bank = LabelClass(value=1, name="left bank", side=None)
    assert bank.laterality == Laterality(None, "left bank")
    with pytest.raises(ValidationError):
        LabelClass(value=1, name="a", side="front")


def test_a_label_of_both_sides_has_no_side_and_room_for_its_parts():
    both = LabelClass(value=7, name="thalamus", paired=True)
    assert both.laterality == Laterality(None, "thalamus", paired=True)
    assert LabelClass(value=7, name="thalamus").laterality.paired is False
    with pytest.raises(ValidationError, match="has no side"):
        LabelClass(value=7, name="left thalamus", paired=True)
    for other in (1007, 2007):
        with pytest.raises(ValidationError, match="needs two free values"):
            ModelCard(name="m", labels=(both, LabelClass(value=other, name="other")))
    with pytest.raises(ValidationError, match="needs two free values"):
        ModelCard(name="m", labels=(LabelClass(value=63_536, name="high", paired=True),))


@pytest.mark.parametrize(
    ("name", "laterality"),
    [
        ("left cortex", ("left", "cortex")),
        ("Right-Hippocampus", ("right", "Right-Hippocampus")),
        ("brain stem", (None, "brain stem")),
    ],
)
def test_cards_without_sides_have_those_of_the_english_names(name, laterality):
    text = f'{{"name": "old", "labels": [{{"value": 1, "name": "{name}"}}]}}'
    card = ModelCard.model_validate_json(text)
    assert card.labels[0].laterality == Laterality(*laterality)
    again = ModelCard.model_validate_json(card.model_dump_json())
    assert again == card


def test_a_stated_side_survives_a_round_trip():
    card = ModelCard(name="m", labels=(LabelClass(value=1, name="left bank", side=None),))
    again = ModelCard.model_validate_json(card.model_dump_json())
    assert again.labels[0].laterality == Laterality(None, "left bank")


@pytest.mark.parametrize("name", bundled_models())
def test_structures_of_bundled_models_are_on_neither_side(name):
    for label in read_card(name).card.labels:
        assert label.laterality[:2] == (None, label.name)


def guided_card(**changes):
    labels = [{"value": 1, "name": "a"}, {"value": 2, "name": "b"}]
    values = {
        "name": "guided",
        "labels": labels,
        "channel_names": ["T1", "none", "a", "b"],
        "guidance": {"spacing_mm": [2.0, 4.0]},
    }
    return ModelCard.model_validate({**values, **changes})


def guided_model(card, in_channels=4):
    network = UNetConfig(
        in_channels=in_channels, out_channels=3, channels=2, strides=((2, 2, 2),), convs_per_level=1
    )
    return Model(build_factory(network, ConstantConfig()), card)


def test_a_card_without_guidance_is_not_guided(tiny_model):
    assert tiny_model.guidance is None and tiny_model.given_guidance is None
    assert tiny_model.image_channels == tiny_model.in_channels
    assert "guidance" not in tiny_model.card.model_dump(exclude_defaults=True)


def test_the_card_states_the_channels_of_guidance(tmp_path):
    card = guided_card(
        guidance={"kind": "distances", "clip_mm": 6, "spacing_mm": [2, 4], "optional": True}
    )
    model = load_model(save_model(guided_model(card), tmp_path / "guided.safetensors"))
    assert model.guidance == GuidanceChannels("distances", 6.0, (2.0, 4.0), True)
    assert (model.in_channels, model.image_channels) == (4, 1)
    assert "at 2 to 4 mm, as distances" in card_text(model.card)
    torch.manual_seed(0)
    first = guided_model(guided_card())
    torch.manual_seed(0)
    assert first.digest != guided_model(card).digest  # the labels depend on it


def test_cards_that_cannot_be_guided_are_refused():
    with pytest.raises(ValidationError, match="smallest ≤ largest"):
        guided_card(guidance={"spacing_mm": [4, 2]})
    names = ["none", "a", "b"]  # no image
    with pytest.raises(HyperspaceError, match="one channel per class after the images"):
        guided_model(guided_card(channel_names=names), in_channels=3)
