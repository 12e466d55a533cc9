"""The cases of a run's validations: scans, or synthetic scans of label maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from napari_hyperspace.core.geometry import Grid
from training.config.fit import FitConfig
from training.config.head import ClassConditionalHead
from training.data.base import Case, Source
from training.evaluation.scores import Scored
from training.sampling.augment import working_shape
from training.sampling.conditional import conditional_sample
from training.sampling.guidance import guided_sample
from training.sampling.patch import patch_shape
from training.seeding import generator
from training.synthesis.labeled_head import LabeledHead
from training.synthesis.render import covering_labels, render
from training.synthesis.sample import sample_pair

CONTRASTS = ("t1", "t2", "flair", "free", "pd")
_OFFSET_MM = 12.0  # largest distance of a patch from the center of the brain, along each axis


@dataclass(frozen=True)
class ValidationHead:
    """A label map of the validation set; its synthetic scans are the same in every validation.

    Parameters
    ----------
    source
        The label map.
    config
        Configuration of the run.
    number
        Its index in the validation set.
    """

    source: LabeledHead
    config: FitConfig
    number: int

    def scans_at(self, spacing_mm: Sequence[float]) -> list[Case]:
        """Return synthetic scans of the label map at a spacing, near the center of its brain."""
        config, head = self.config, self.source.head
        shape = patch_shape(config.training, spacing_mm, working_shape(self.source, spacing_mm))
        place = [round(1000 * step) for step in spacing_mm]
        scans = []
        for pair in range(config.validation.pairs_per_map):
            contrast = CONTRASTS[(self.number * 2 + pair) % len(CONTRASTS)]
            rng = generator(config.seed, "held back", self.number, pair, *place)
            parameters = sample_pair(
                rng, config.synthesis, head, spacing_mm, shape, contrast=contrast
            )
            low, high = head.brain_box
            center = (low + high) / 2 * head.spacing_mm + rng.uniform(-1, 1, 3) * _OFFSET_MM
            parameters = parameters.at(center.tolist())
            image, _ = render(head, parameters, self.source.targets)
            labels = covering_labels(head, parameters, self.source.targets)
            grid = Grid.from_spacing(shape, spacing_mm)
            scans.append(Case(f"{head.name} {contrast}", image, labels, grid))
        return scans


@dataclass(frozen=True)
class ConditionalCase:
    """Scans with the hints of single structures; the same in every validation.

    Parameters
    ----------
    scored
        The scans, with all labels.
    config
        Configuration of the run.
    number
        Index of the case in the validation set.
    held_out
        Labels that are not chosen.
    """

    scored: Scored
    config: FitConfig
    number: int
    held_out: Sequence[int]

    def scans_at(self, spacing_mm: Sequence[float]) -> list[Case]:
        """Return the scans at a spacing, each with the hints of a random structure."""
        assert isinstance(self.config.head, ClassConditionalHead)
        place = [round(1000 * step) for step in spacing_mm]
        scans = []
        for i, scan in enumerate(self.scored.scans_at(spacing_mm)):
            rng = generator(self.config.seed, "validated structure", self.number, i, *place)
            image, labels = conditional_sample(
                rng, scan.image, scan.labels, spacing_mm, self.config.head, self.held_out
            )
            scans.append(Case(scan.name, image, labels, scan.grid))
        return scans


@dataclass(frozen=True)
class GuidedCase:
    """Scans with guidance made from their labels; the same in every validation.

    Parameters
    ----------
    scored
        The scans.
    config
        Configuration of the run.
    number
        Index of the case in the validation set.
    """

    scored: Scored
    config: FitConfig
    number: int

    def scans_at(self, spacing_mm: Sequence[float]) -> list[Case]:
        """Return the scans at a spacing, each with random guidance; never without any."""
        config = self.config
        assert config.guidance is not None
        guidance = config.guidance.model_copy(update={"none_probability": 0.0})
        place = [round(1000 * step) for step in spacing_mm]
        scans = []
        for i, scan in enumerate(self.scored.scans_at(spacing_mm)):
            rng = generator(config.seed, "validated guidance", self.number, i, *place)
            classes = config.network.out_channels
            image, _ = guided_sample(rng, scan.image, scan.labels, spacing_mm, classes, guidance)
            scans.append(Case(scan.name, image, scan.labels, scan.grid))
        return scans


def validation_cases(
    config: FitConfig, sources: Sequence[Source], held_out: Sequence[int] = ()
) -> tuple[list[Scored], int]:
    """Return the cases of a run's validations.

    Parameters
    ----------
    config
        Configuration of the run.
    sources
        Scans or label maps of the validation set.
    held_out
        Labels that are never the structure of class-conditional training.

    Returns
    -------
    tuple
        The cases, and the number of scans at each spacing.
    """
    cases: list[Scored] = []
    n_scans = 0
    for number, source in enumerate(sources):
        if isinstance(source, LabeledHead):
            cases.append(ValidationHead(source, config, number))
            n_scans += config.validation.pairs_per_map
        else:
            cases.append(source)
            n_scans += 1
    if isinstance(config.head, ClassConditionalHead):
        cases = [ConditionalCase(case, config, i, held_out) for i, case in enumerate(cases)]
    if config.guidance is not None:
        cases = [GuidedCase(case, config, i) for i, case in enumerate(cases)]
    return cases, n_scans
