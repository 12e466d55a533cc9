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
    assert LabelClass(value=1, name="left bank", side=None).laterality == (None, "left bank")
    with pytest.raises(ValidationError):
        LabelClass(value=1, name="a", side="front")


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
    assert card.labels[0].laterality == laterality
    again = ModelCard.model_validate_json(card.model_dump_json())
    assert again == card


def test_a_stated_side_survives_a_round_trip():
    card = ModelCard(name="m", labels=(LabelClass(value=1, name="left bank", side=None),))
    again = ModelCard.model_validate_json(card.model_dump_json())
    assert again.labels[0].laterality == (None, "left bank")


@pytest.mark.parametrize("name", bundled_models())
def test_structures_of_bundled_models_are_on_neither_side(name):
    for label in read_card(name).card.labels:
        assert label.laterality == (None, label.name)
