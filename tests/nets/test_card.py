"""The card's labels: which are left and right counterparts."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from napari_hyperspace.core.volume import Laterality
from napari_hyperspace.nets.card import LabelClass, ModelCard
from napari_hyperspace.nets.locations import bundled_models
from napari_hyperspace.nets.model_file import read_card


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
