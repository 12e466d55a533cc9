"""Dice of a model on synthetic scans of whole heads, by structure, spacing and contrast."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from napari_hyperspace.api.segment import segment
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import create_folder, write_text
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import ReportProgress
from napari_hyperspace.nets.locations import find_model
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import load_model, save_model
from training.data.labels import OUTSIDE
from training.evaluation.measure import coarse_truth
from training.evaluation.record import stored_dtype
from training.evaluation.rows import SPACING
from training.evaluation.scores import SpacingScore, dice_per_label, dice_table
from training.evaluation.summary import plain
from training.sampling.pairs import make_pair, sample_whole_head
from training.sampling.synthesize import SynthesisInput, check_contrast
from training.synthesis.render import covering_labels


@dataclass(frozen=True)
class SyntheticScores:
    """Dice of one model on synthetic scans.

    Parameters
    ----------
    model
        Name of the model.
    dice
        A row per scan and a column per structure; NaN where a scan does not show the structure.
        The index is (map, z_mm, y_mm, x_mm, contrast): the label map that the scan was made from,
        its spacing and its contrast.
    seed
        Seed of the scans.
    """

    model: str
    dice: pd.DataFrame
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; `None` stands for NaN."""
        rows = [
            {
                "map": name,
                "spacing_mm": list(spacing),
                "contrast": contrast,
                "dice": plain(dice),
            }
            for (name, *spacing, contrast), dice in _items(self.dice)
        ]
        return {"model": self.model, "seed": self.seed, "rows": rows}

    def by_structure(self) -> list[SpacingScore]:
        """Return Dice of each structure at each spacing, mean over maps and contrasts."""
        return self._scores(self.dice.groupby(level=SPACING, sort=False).mean())

    def by_contrast(self) -> list[SpacingScore]:
        """Return Dice of each contrast at each spacing, mean over maps and structures."""
        scans = self.dice.mean(axis="columns")
        means = scans.groupby(level=[*SPACING, "contrast"]).mean().unstack("contrast")
        spacings = self.dice.groupby(level=SPACING, sort=False).size().index
        return self._scores(means.loc[spacings, self.dice.index.unique("contrast")])

    def _scores(self, means: pd.DataFrame) -> list[SpacingScore]:
        n_scans = len(self.dice) // len(means)
        return [SpacingScore(spacing, dice, n_scans) for spacing, dice in _items(means)]

    def to_markdown(self) -> str:
        """Return two tables: by structure, and by contrast."""
        return (
            f"# {self.model} on synthetic scans\n\n"
            f"Whole heads made from {', '.join(self.dice.index.unique('map'))} (seed {self.seed}), "
            "segmented at the scan's own spacing. Dice is measured there, against the label that "
            "covers most of each voxel.\n\n"
            "By structure, mean over contrasts and maps:\n\n"
            f"{dice_table(self.by_structure())}\n\n"
            "By contrast, mean over structures and maps:\n\n"
            f"{dice_table(self.by_contrast())}\n"
        )


def _items(dice: pd.DataFrame) -> Iterator[tuple[Any, dict[str, float]]]:
    """Return the rows of a table, each with its index."""
    for index, row in zip(dice.index.to_list(), dice.to_dict("records"), strict=True):
        yield index, {str(name): value for name, value in row.items()}


def evaluate_synthetic(
    model: str | Model,
    maps: SynthesisInput,
    names: Sequence[str],
    spacings_mm: Sequence[Triple],
    contrasts: Sequence[str],
    *,
    seed: int = 0,
    device: str | None = None,
    show: ReportProgress = lambda fraction, message: None,
) -> SyntheticScores:
    """Segment synthetic scans as a user's would be, and measure Dice on their own grids.

    Each scan shows a whole head at its spacing. It depends on seed, map, spacing and contrast only:
    all models are evaluated on the same scans. Guided models get the truth on a coarse grid.

    Parameters
    ----------
    model
        The model, or its name or file.
    maps
        Label maps; the model's labels are found among theirs by name.
    names
        Names of the maps to use.
    spacings_mm, contrasts
        Spacings (z, y, x) and contrasts of the scans.
    seed
        Seed of the scans.
    device
        Where to compute; `None`: the best.
    show
        Called with the fraction done and the next scan.

    Raises
    ------
    HyperspaceError
        If model and maps share no label, or a contrast is unknown.
    """
    loaded = load_model(model) if isinstance(model, str) else model
    for contrast in contrasts:
        check_contrast(contrast)
    values = {label.name: label.value for label in loaded.card.labels}
    # Channels of the maps are in the order of their label values.
    map_names = maps.data.label_names
    channels = {map_names[value]: i for i, value in enumerate(sorted(map_names), start=1)}
    shared = [name for name in values if name in channels]
    if not shared:
        raise HyperspaceError(
            "the model has none of the maps' labels",
            where=loaded.card.name,
            found=", ".join(values),
            expected=", ".join(channels),
        )
    heads = maps.load(names)
    scans = [
        (head, spacing, contrast)
        for head in heads
        for spacing in spacings_mm
        for contrast in contrasts
    ]
    dice = []
    for i, (head, spacing, contrast) in enumerate(scans):
        show(i / len(scans), f"{head.name}, {contrast}, {format_spacing(spacing)}")
        place = [round(1000 * step) for step in spacing]
        parameters = sample_whole_head(
            head,
            maps.synthesis,
            spacing,
            (*head.name.encode(), *place, *contrast.encode()),
            seed=seed,
            contrast=contrast,
        )
        pair = make_pair(head, parameters, f"{head.name} {contrast}")
        truth = covering_labels(head.head, parameters, head.targets).numpy()
        guidance = None
        if loaded.guidance is not None:
            own = np.zeros(len(channels) + 1, np.int32)
            own[[channels[name] for name in shared]] = [values[name] for name in shared]
            known = pair.labels.with_array(own[truth.clip(0)], metadata={})
            guidance = coarse_truth(known, loaded)
        found = segment(pair.image, loaded, guidance=guidance, device=device).array
        dice.append(_dice(found, truth, shared, values, channels))
    index = pd.MultiIndex.from_tuples(
        [(head.name, *spacing, contrast) for head, spacing, contrast in scans],
        names=["map", *SPACING, "contrast"],
    )
    return SyntheticScores(loaded.card.name, pd.DataFrame(dice, index, shared), seed)


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


def write_synthetic_scores(
    scores: SyntheticScores, folder: Path, model: str | None = None
) -> list[Path]:
    """Write ``synthetic.md`` and ``synthetic.json``, and optionally Dice into the model's card.

    Parameters
    ----------
    scores
        The scores.
    folder
        Folder to write to.
    model
        Model in whose card Dice against spacing is stored; `None`: none.
    """
    create_folder(folder)
    files = [folder / "synthetic.md", folder / "synthetic.json"]
    write_text(files[0], scores.to_markdown())
    write_text(files[1], json.dumps(scores.to_dict(), indent=1) + "\n")
    if model is not None:
        path = find_model(model)
        loaded = load_model(path)
        records = tuple(score.to_record() for score in scores.by_structure())
        card = loaded.card.model_copy(update={"dice": records})
        files.append(save_model(Model(loaded.factory, card), path, dtype=stored_dtype(path)))
    return files
