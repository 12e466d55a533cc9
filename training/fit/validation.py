"""The same synthetic pairs at every validation: of maps held back, drawn by the run's seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from napari_hyperspace.core.geometry import Grid
from training.config.fit import FitConfig
from training.data.base import Case
from training.evaluation.scores import Scored
from training.sampling.augment import working_shape
from training.sampling.batches import Source
from training.sampling.patch import patch_shape
from training.seeding import generator
from training.synthesis.labeled_head import LabeledHead
from training.synthesis.render import covering_labels, render
from training.synthesis.sample import sample_pair

CONTRASTS = ("t1", "t2", "flair", "free", "pd")
_AROUND_MM = 12.0  # how far from the brain's middle a patch may lie


@dataclass(frozen=True)
class HeldBack:
    """A label map that is kept for validation.

    Parameters
    ----------
    source
        The map.
    config
        The run's configuration.
    number
        Its number among the maps held back.
    """

    source: LabeledHead
    config: FitConfig
    number: int

    def scans_at(self, spacing_mm: Sequence[float]) -> list[Case]:
        """Return synthetic scans of the map at a spacing, about the middle of its brain."""
        config, head = self.config, self.source.head
        shape = patch_shape(config.training, spacing_mm, working_shape(self.source, spacing_mm))
        place = [round(1000 * step) for step in spacing_mm]
        scans = []
        for pair in range(config.validation.pairs_per_map):
            contrast = CONTRASTS[(self.number * 2 + pair) % len(CONTRASTS)]
            rng = generator(config.seed, "held back", self.number, pair, *place)
            draw = sample_pair(rng, config.synthesis, head, spacing_mm, shape, contrast=contrast)
            low, high = head.brain_box
            middle = (low + high) / 2 * head.spacing_mm + rng.uniform(-1, 1, 3) * _AROUND_MM
            draw = draw.at(middle.tolist())
            image, _ = render(head, draw, self.source.targets)
            labels = covering_labels(head, draw, self.source.targets)
            grid = Grid.from_spacing(shape, spacing_mm)
            scans.append(Case(f"{head.name} {contrast}", image, labels, grid))
        return scans


def scored(config: FitConfig, cases: Sequence[Source]) -> tuple[list[Scored], int]:
    """Return what a run is validated on, and how many scans that is at each spacing."""
    held_back: list[Scored] = []
    for number, case in enumerate(cases):
        if isinstance(case, LabeledHead):
            held_back.append(HeldBack(case, config, number))
        else:
            held_back.append(case)
    synthetic = bool(cases) and isinstance(cases[0], LabeledHead)
    return held_back, len(cases) * (config.validation.pairs_per_map if synthetic else 1)
