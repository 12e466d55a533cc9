"""Cards as text: one line that says what a model is for, and all that is needed to choose it."""

from __future__ import annotations

from typing import Any

import pytest

import napari_hyperspace as hs
from napari_hyperspace.nets.card import DiceRecord, LabelClass, ModelCard
from napari_hyperspace.nets.model_file import read_card
from napari_hyperspace.nets.summary import card_text, one_line


def card(**fields: Any) -> ModelCard:
    labels = tuple(LabelClass(value=v, name=f"part {v}") for v in range(1, 9))
    return ModelCard(**{"name": "some", "labels": labels, **fields})


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("Parts of a thing.", "Parts of a thing"),
        ("Parts at 0.5 mm; fast. Do not use it.", "Parts at 0.5 mm; fast"),
        ("Several\n lines", "Several lines"),
        ("", "segments part 1, part 2, part 3, part 4, part 5, part 6 and 2 more"),
    ],
)
def test_one_line(description: str, expected: str) -> None:
    assert one_line(card(description=description)) == expected


def test_lines_of_the_bundled_models_differ() -> None:
    lines = [one_line(read_card(path).card) for path in hs.bundled_models().values()]
    assert len(set(lines)) == len(lines) and all("\n" not in line for line in lines)


def test_the_text_has_range_data_license_and_figures() -> None:
    text = card_text(
        card(
            description="What it is.",
            trained_range_mm=((0.5, 4.0),) * 3,
            license="CC0",
            citation="Somebody 2020",
            training={"data": "some data"},
            dice=(
                DiceRecord(
                    spacing_mm=(1, 1, 3), dice={"part 1": 0.5, "part 2": 0.9}, mean=0.7, cases=4
                ),
            ),
        )
    )
    for line in (
        "What it is.",
        "Structures: 1 part 1, 2 part 2",
        "Input: image",
        "Trained range: 0.5–4 mm (z, y, x)",
        "Training data: some data",
        "License: CC0",
        "Cite: Somebody 2020",
        "  1 × 1 × 3 mm: mean 0.700; lowest 0.500 (part 1), 4 cases",
    ):
        assert line in text


def test_what_a_card_does_not_state_is_said() -> None:
    text = card_text(card(training={"data": {"not": "a text"}}))
    assert "Trained range: not stated" in text and "License: not stated" in text
    assert "Measured Dice: none stated" in text and "Training data" not in text
