"""How well a model segments synthetic scans of whole heads, by structure, spacing and contrast."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_hyperspace.api.segment import segment
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import ReportProgress
from napari_hyperspace.nets.card import DiceRecord
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import bundled_models, load_model, save_model
from training.data.labels import OUTSIDE
from training.evaluation.record import stored_dtype
from training.evaluation.scores import dice_per_label, spacing_text
from training.sampling.pairs import make_pair, sample_whole_head
from training.sampling.synthesize import SynthesisInput, check_contrast
from training.synthesis.render import covering_labels


@dataclass(frozen=True)
class Judgment:
    """Dice of one model on synthetic scans.

    Parameters
    ----------
    model
        Name of the model.
    maps
        The label maps that the scans were made from.
    names
        Name of each structure.
    spacings_mm, contrasts
        What the scans were like.
    dice
        (maps, spacings, contrasts, structures); NaN where a scan shows no such structure.
    seed
        Seed of the draws.
    """

    model: str
    maps: tuple[str, ...]
    names: tuple[str, ...]
    spacings_mm: tuple[Triple, ...]
    contrasts: tuple[str, ...]
    dice: NDArray[np.float64]
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; `None` stands for NaN."""
        rows = []
        for i, name in enumerate(self.maps):
            for j, spacing in enumerate(self.spacings_mm):
                for k, contrast in enumerate(self.contrasts):
                    dice = zip(self.names, self.dice[i, j, k].tolist(), strict=True)
                    rows.append(
                        {
                            "map": name,
                            "spacing_mm": list(spacing),
                            "contrast": contrast,
                            "dice": {n: None if np.isnan(d) else d for n, d in dice},
                        }
                    )
        return {"model": self.model, "seed": self.seed, "rows": rows}

    def records(self) -> tuple[DiceRecord, ...]:
        """Return Dice against spacing as a card holds it."""
        found = []
        count = len(self.maps) * len(self.contrasts)
        for j, spacing in enumerate(self.spacings_mm):
            dice = _mean(self.dice[:, j], (0, 1))
            named = {n: d for n, d in zip(self.names, dice.tolist(), strict=True) if d == d}
            mean = float(np.nanmean(dice))
            found.append(DiceRecord(spacing_mm=spacing, dice=named, mean=mean, cases=count))
        return tuple(found)

    def to_markdown(self) -> str:
        """Return two tables: by structure, and by contrast."""
        by_structure = _mean(self.dice, (0, 2))
        by_contrast = _mean(_mean(self.dice, (3,)), (0,))
        labels = [spacing_text(spacing) for spacing in self.spacings_mm]
        return (
            f"# {self.model} on synthetic scans\n\n"
            f"Whole heads made from {', '.join(self.maps)} (seed {self.seed}), segmented at the "
            f"scan's own spacing; Dice there, against the label that covers most of each voxel.\n\n"
            "By structure, mean over contrasts and maps:\n\n"
            + _table(labels, self.names, by_structure)
            + "\nBy contrast, mean over structures and maps:\n\n"
            + _table(labels, self.contrasts, by_contrast)
        )


def _mean(values: NDArray[np.float64], axes: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the mean over axes of what is no NaN; NaN where nothing is."""
    known = np.isfinite(values)
    total, count = np.where(known, values, 0).sum(axis=axes), known.sum(axis=axes)
    mean: NDArray[np.float64] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def _table(rows: Sequence[str], columns: Sequence[str], values: NDArray[np.float64]) -> str:
    lines = [["spacing (mm, z × y × x)", *columns, "mean"], ["---", *["---:"] * (len(columns) + 1)]]
    for name, row in zip(rows, values, strict=True):
        lines.append([name, *(f"{value:.3f}" for value in (*row, *_mean(row, (0,)).reshape(1)))])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def judge(
    model: str | Model,
    maps: SynthesisInput,
    names: Sequence[str],
    spacings_mm: Sequence[Triple],
    contrasts: Sequence[str],
    *,
    seed: int = 0,
    device: str | None = None,
    show: ReportProgress | None = None,
) -> Judgment:
    """Segment synthetic scans as a user's would be, and measure Dice on their own grids.

    Each scan is of a whole head at its spacing, whose draw depends on seed, map, spacing and
    contrast alone: models are judged on the same scans.

    Parameters
    ----------
    model
        The model, or its name or file.
    maps
        Label maps; the model's labels are found among theirs by name.
    names
        Which maps.
    spacings_mm, contrasts
        What the scans are like.
    seed
        Seed of the draws.
    device
        Where to compute; `None`: the best.
    show
        Told how far it is.

    Raises
    ------
    HyperspaceError
        If model and maps share no label, or a contrast is not known.
    """
    loaded = load_model(model) if isinstance(model, str) else model
    for contrast in contrasts:
        check_contrast(contrast)
    values = {label.name: label.value for label in loaded.card.labels}
    # The channel of a label in the maps is its place among their values.
    names_there = maps.data.label_names
    channels = {names_there[value]: i for i, value in enumerate(sorted(names_there), start=1)}
    shared = [name for name in values if name in channels]
    if not shared:
        raise HyperspaceError(
            "the model has none of the maps' labels",
            where=loaded.card.name,
            found=", ".join(values),
            expected=", ".join(channels),
        )
    heads = maps.load(names)
    dice = np.full((len(heads), len(spacings_mm), len(contrasts), len(shared)), np.nan)
    total, done = dice[..., 0].size, 0
    for i, head in enumerate(heads):
        for j, spacing in enumerate(spacings_mm):
            for k, contrast in enumerate(contrasts):
                if show is not None:
                    show(done / total, f"{head.name}, {contrast}, {spacing_text(spacing)} mm")
                done += 1
                place = [round(1000 * step) for step in spacing]
                draw = sample_whole_head(
                    head,
                    maps.synthesis,
                    spacing,
                    (*head.name.encode(), *place, *contrast.encode()),
                    seed=seed,
                    contrast=contrast,
                )
                pair = make_pair(head, draw, f"{head.name} {contrast}")
                found = segment(pair.image, loaded, device=device).array
                truth = covering_labels(head.head, draw, head.targets).numpy()
                dice[i, j, k] = _dice(found, truth, shared, values, channels)
    return Judgment(
        loaded.card.name,
        tuple(head.name for head in heads),
        tuple(shared),
        tuple(spacings_mm),
        tuple(contrasts),
        dice,
        seed,
    )


def _dice(
    found: NDArray[Any],
    truth: NDArray[Any],
    shared: Sequence[str],
    values: dict[str, int],
    channels: dict[str, int],
) -> NDArray[np.float64]:
    """Return Dice of each shared label."""
    ours = np.zeros(int(found.max()) + 1, np.int64)
    theirs = np.zeros(int(truth.max()) + 1, np.int64)
    for i, name in enumerate(shared, start=1):
        for table, value in ((ours, values[name]), (theirs, channels[name])):
            if value < len(table):
                table[value] = i
    known = np.where(truth < 0, OUTSIDE, theirs[truth])  # -1 would be the table's last entry
    return dice_per_label(torch.from_numpy(ours[found]), torch.from_numpy(known), len(shared) + 1)


def write_judgment(judgment: Judgment, folder: Path, model: str | None = None) -> list[Path]:
    """Write `synthetic.md` and `synthetic.json`, and perhaps Dice into the model's card.

    Parameters
    ----------
    judgment
        What was measured.
    folder
        Where to write.
    model
        Model whose card is to hold Dice against spacing; `None`: none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "synthetic.md", folder / "synthetic.json"]
    files[0].write_text(judgment.to_markdown(), encoding="utf-8")
    files[1].write_text(json.dumps(judgment.to_dict(), indent=1) + "\n", encoding="utf-8")
    if model is not None:
        path = bundled_models().get(model, Path(model))
        loaded = load_model(path)
        card = loaded.card.model_copy(update={"dice": judgment.records()})
        files.append(save_model(Model(loaded.factory, card), path, dtype=stored_dtype(path)))
    return files
