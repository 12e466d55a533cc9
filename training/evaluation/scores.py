"""Dice of label maps on the working grid, at fixed spacings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.nets.card import DiceRecord
from training.data.base import Case


@dataclass(frozen=True)
class SpacingScore:
    """Dice at one spacing.

    Parameters
    ----------
    spacing_mm
        Working spacing (z, y, x).
    dice
        Mean over the cases of each label, by name; NaN where no case shows the label.
    cases
        Number of cases.
    """

    spacing_mm: Triple
    dice: Mapping[str, float]
    cases: int

    @property
    def mean(self) -> float:
        """Mean over the labels."""
        return _mean(self.dice.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; `None` stands for NaN."""
        dice = {name: None if np.isnan(value) else value for name, value in self.dice.items()}
        return {
            "spacing_mm": list(self.spacing_mm),
            "dice": dice,
            "mean": None if np.isnan(self.mean) else self.mean,
            "cases": self.cases,
        }

    def to_record(self) -> DiceRecord:
        """Return the form that a model's card has; without labels whose Dice is NaN."""
        dice = {name: value for name, value in self.dice.items() if not np.isnan(value)}
        return DiceRecord(spacing_mm=self.spacing_mm, dice=dice, mean=self.mean, cases=self.cases)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SpacingScore:
        """Make one from what `to_dict` returned."""
        z, y, x = values["spacing_mm"]
        dice = {n: float("nan") if v is None else v for n, v in values["dice"].items()}
        return cls((z, y, x), dice, values["cases"])


def dice_per_label(predicted: Tensor, truth: Tensor, n_classes: int) -> NDArray[np.float64]:
    """Return 2·|A ∩ B| / (|A| + |B|) of classes 1 … n_classes - 1; NaN where both are empty.

    Parameters
    ----------
    predicted, truth
        Label maps of the same shape, integer classes; voxels whose true label is unknown
        (negative) are ignored.
    n_classes
        Number of classes, background included.
    """
    known = truth >= 0
    a, b = predicted[known].long(), truth[known].long()
    both = torch.bincount(a[a == b], minlength=n_classes)[1:].double()
    sizes = (torch.bincount(a, minlength=n_classes) + torch.bincount(b, minlength=n_classes))[1:]
    return (2 * both / sizes).cpu().numpy()  # 0 / 0 is NaN


class Scored(Protocol):
    """A case that can be scored at any spacing."""

    def scans_at(self, spacing_mm: Sequence[float]) -> Sequence[Case]:
        """Return the scans to score at a spacing, on their working grids."""
        ...


class FixedSpacings:
    """Cases that are resampled to fixed working spacings once and scored repeatedly.

    Parameters
    ----------
    cases
        Cases, each of one or several scans at a spacing.
    spacings_mm
        Working spacings, mm (z, y, x).
    label_names
        Name of each output channel except the background's.
    """

    def __init__(
        self,
        cases: Sequence[Scored],
        spacings_mm: Sequence[Sequence[float]],
        label_names: Sequence[str],
    ) -> None:
        self.label_names = tuple(label_names)
        self.spacings_mm = [(float(z), float(y), float(x)) for z, y, x in spacings_mm]
        self._cases = [
            [scan for case in cases for scan in case.scans_at(s)] for s in self.spacings_mm
        ]

    @torch.no_grad()
    def totals(
        self, bake: Callable[[Triple], nn.Module], device: torch.device, last: bool = False
    ) -> NDArray[np.float64]:
        """Return the sum of Dice and the number of cases, (spacings, labels, 2).

        Parameters
        ----------
        bake
            Makes the network of a spacing.
        device
            Where it runs.
        last
            Whether images are channels-last in memory.
        """
        n_labels = len(self.label_names)
        totals = np.zeros((len(self.spacings_mm), n_labels, 2))
        for i, spacing in enumerate(self.spacings_mm):
            network = bake(spacing)
            for case in self._cases[i]:
                image = case.image[None].to(device)
                if last:
                    image = channels_last(image)
                predicted = network(image)[0].argmax(dim=0)
                dice = dice_per_label(predicted, case.labels.to(device), n_labels + 1)
                totals[i, :, 0] += np.nan_to_num(dice)
                totals[i, :, 1] += np.isfinite(dice)
        return totals

    def scores(self, totals: NDArray[np.float64], n_cases: int) -> list[SpacingScore]:
        """Turn totals (summed over processes) into means."""
        return [
            SpacingScore(
                spacing,
                {
                    name: float(total / count) if count else float("nan")
                    for name, (total, count) in zip(self.label_names, rows, strict=True)
                },
                n_cases,
            )
            for spacing, rows in zip(self.spacings_mm, totals, strict=True)
        ]


def mean_dice(scores: Sequence[SpacingScore]) -> float:
    """Return the mean over spacings of the mean over labels."""
    return _mean(score.mean for score in scores)


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return sum(known) / len(known) if known else float("nan")


def channels_last(image: Tensor) -> Tensor:
    """Return an image (B, C, D, H, W) in the channels-last memory format.

    With one channel the two formats have the same bytes, and only the strides differ.
    """
    if image.shape[1] == 1:
        batch, _, *steps = image.contiguous().stride()
        return image.contiguous().as_strided(image.shape, (batch, 1, *steps))
    return image.contiguous(memory_format=torch.channels_last_3d)


def dice_table(scores: Sequence[SpacingScore]) -> str:
    """Return a Markdown table with a row per spacing and a column per label."""
    names = list(scores[0].dice)
    rows = [
        [
            format_spacing(score.spacing_mm, unit=False),
            *(f"{score.dice[name]:.3f}" for name in names),
            f"{score.mean:.3f}",
        ]
        for score in scores
    ]
    return markdown_table(["spacing (mm, z × y × x)", *names, "mean"], rows)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all columns except the first are aligned as numbers."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))
