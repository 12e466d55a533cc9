"""Writing measured Dice into model files, where the plug-in finds it."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.card import DiceRecord
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import bundled_models, load_model, save_model
from training.evaluation.evaluate import Evaluation
from training.evaluation.methods import Method, same_spacing
from training.evaluation.summary import spacing_scores


def dice_records(evaluation: Evaluation, method: Method) -> tuple[DiceRecord, ...]:
    """Return the Dice at each fixed spacing, finest first.

    Spacings at which another network ran (clamped), or where no case shows a label, are left out.
    """
    records = []
    for score in sorted(
        spacing_scores(evaluation, method), key=lambda s: (math.prod(s.spacing_mm), s.spacing_mm)
    ):
        ran = (
            same_spacing(row.network_mm, score.spacing_mm)
            for case in evaluation.cases
            for row in evaluation.at(method, case, score.spacing_mm)
        )
        if all(ran) and math.isfinite(score.mean):
            dice = {name: value for name, value in score.dice.items() if math.isfinite(value)}
            records.append(
                DiceRecord(
                    spacing_mm=score.spacing_mm, dice=dice, mean=score.mean, cases=score.cases
                )
            )
    return tuple(records)


def write_card(evaluation: Evaluation, method: Method) -> Path:
    """Store the Dice of an evaluation in the card of its model file, in place of what was there.

    If the evaluation had tiles of its own, they become the model's: Dice and tiles belong together.
    The file is replaced whole; its weights and their number format stay.

    Raises
    ------
    HyperspaceError
        If nothing was measured at a fixed spacing, or the file has changed since.
    """
    path = bundled_models().get(method.model, Path(method.model))
    records = dice_records(evaluation, method)
    if not records:
        raise HyperspaceError(
            "no Dice at a fixed spacing was measured",
            where=path,
            fix="Give --spacings or --segment",
        )
    model = load_model(path)
    if model.identity != evaluation.models[method.label]["identity"]:
        raise HyperspaceError("the model file has changed since it was evaluated", where=path)
    update: dict[str, Any] = {"dice": records}
    if evaluation.settings.tile_shape is not None:
        update |= {"tile_shape": evaluation.settings.tile_shape, "tile_mm": None}
    card = model.card.model_copy(update=update)
    return save_model(Model(model.factory, card), path, dtype=stored_dtype(path))


def stored_dtype(path: Path) -> str:
    """Return the number format of a model file's weights: ``"float32"`` or ``"float16"``."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    types = {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
    return "float16" if "F16" in types else "float32"
