"""Writing measured Dice into the cards of model files."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.card import DiceRecord
from napari_hyperspace.nets.locations import find_model
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import load_model, save_model
from training.evaluation.evaluate import Evaluation
from training.evaluation.methods import Method
from training.evaluation.rows import NETWORK_SPACING, SPACING
from training.evaluation.summary import spacing_scores


def dice_records(evaluation: Evaluation, method: Method) -> tuple[DiceRecord, ...]:
    """Return the Dice at each fixed spacing, finest first.

    Spacings that were clamped for any case, or at which no case has a label, are left out.
    """
    rows = evaluation.rows[evaluation.rows["model"] == method.label]
    clamped = ~np.isclose(rows[NETWORK_SPACING], rows[SPACING], rtol=1e-6, atol=0).all(axis=1)
    left_out = set(rows[clamped][SPACING].itertuples(index=False, name=None))
    native = {s.spacing_mm: s.mean for s in spacing_scores(evaluation, method, "dice_native")}
    records = []
    for score in sorted(
        spacing_scores(evaluation, method), key=lambda s: (math.prod(s.spacing_mm), s.spacing_mm)
    ):
        if score.spacing_mm not in left_out and math.isfinite(score.mean):
            mean = native[score.spacing_mm]
            update = {"native_mean": mean if math.isfinite(mean) else None}
            records.append(score.to_record().model_copy(update=update))
    return tuple(records)


def write_card(evaluation: Evaluation, method: Method) -> Path:
    """Replace the Dice in the card of a model file by that of an evaluation.

    If the evaluation set a tile shape, it becomes the model's, because Dice depends on the tiles.
    The weights and their number format do not change.

    Raises
    ------
    HyperspaceError
        If nothing was measured at a fixed spacing, or the file has changed since.
    """
    path = find_model(method.model)
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
