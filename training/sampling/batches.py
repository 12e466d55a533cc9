"""Batches of one spacing each, a pure function of (seed, step), prepared in worker processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from napari_hyperspace.core.geometry import Shape, Triple
from training.config.fit import FitConfig
from training.data.base import Case
from training.sampling.augment import (
    apply_sample,
    bring_to,
    draw_sample,
    sample_spacing,
    working_shape,
)
from training.sampling.patch import patch_shape
from training.seeding import generator
from training.synthesis.labeled_head import LabeledHead

Source = Case | LabeledHead
"""What samples are made from: a scan with its labels, or a label map alone."""


@dataclass(frozen=True)
class Batch:
    """What one process computes in one step.

    Parameters
    ----------
    step
        Number of the step, from 0.
    image
        (B, C, D, H, W) float32.
    labels
        (B, D, H, W) int16; `training.sampling.augment.OUTSIDE` where nothing is known.
    spacing_mm
        Working spacing (z, y, x).
    names
        The case of each sample.
    """

    step: int
    image: Tensor
    labels: Tensor
    spacing_mm: Triple
    names: tuple[str, ...]


@dataclass(frozen=True)
class StepParameters:
    """The spacing of a step, and the case (by its number) of each sample over all processes."""

    spacing_mm: Triple
    cases: tuple[int, ...]


class TrainingBatches(Dataset[Batch]):
    """The batches of a run, by step.

    Parameters
    ----------
    config
        The run's configuration.
    cases
        The training cases.
    rank, world_size
        Which process this is, and of how many; each makes its share of every step's samples.
    """

    def __init__(
        self, config: FitConfig, cases: Sequence[Source], rank: int = 0, world_size: int = 1
    ) -> None:
        self.config = config
        self.cases = cases
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return self.config.training.steps

    def draw(self, step: int) -> StepParameters:
        """Draw the spacing and the cases of a step."""
        rng = generator(self.config.seed, "step", step)
        spacing_mm = sample_spacing(rng, self.config.spacing)
        size, count = self.config.training.batch_size, len(self.cases)
        return StepParameters(
            spacing_mm, tuple(rng.choice(count, size, replace=size > count).tolist())
        )

    def shape(self, draw: StepParameters) -> Shape:
        """Return the sample shape of a step: of its largest case, within the patch shape."""
        shapes = [working_shape(self.cases[i], draw.spacing_mm) for i in draw.cases]
        return patch_shape(self.config.training, draw.spacing_mm, np.max(shapes, axis=0))

    def __getitem__(self, step: int) -> Batch:
        with _one_thread():
            return self._batch(step)

    def _batch(self, step: int) -> Batch:
        config, draw = self.config, self.draw(step)
        shape = self.shape(draw)
        images, labels, names = [], [], []
        for sample in range(self.rank, len(draw.cases), self.world_size):
            case = self.cases[draw.cases[sample]]
            rng = generator(config.seed, "sample", step, sample)
            if isinstance(case, LabeledHead):
                image, label = case.sample(rng, config.synthesis, draw.spacing_mm, shape)
            else:
                extent_mm = np.multiply(shape, draw.spacing_mm).tolist()
                changes = draw_sample(rng, config.spacing, config.augmentation, extent_mm)
                image, label = apply_sample(case, draw.spacing_mm, shape, changes)
            if config.spacing.resampled_mm is not None:
                target_mm = config.spacing.resampled_mm
                image, label = bring_to(image, label, draw.spacing_mm, target_mm)
            images.append(image)
            labels.append(label)
            names.append(case.name)
        spacing_mm = config.spacing.resampled_mm or draw.spacing_mm
        return Batch(step, torch.stack(images), torch.stack(labels), spacing_mm, tuple(names))

    def names(self, step: int) -> tuple[str, ...]:
        """Return the cases of a step, those of all processes."""
        return tuple(self.cases[i].name for i in self.draw(step).cases)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute as the workers do: sums and roots differ in the last digit between thread counts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _as_is(batch: Any) -> Any:
    return batch


def prepared(batches: TrainingBatches, first_step: int, workers: int) -> Iterator[Batch]:
    """Return the batches from a step on, prepared ahead by worker processes (forked here).

    Should one of these die, what is raised for it is one of `WORKER_DEATHS`, told from others by
    `is_worker_death`.
    """
    loader: DataLoader[Batch] = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first_step, len(batches)),  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=_as_is,
        prefetch_factor=3 if workers else None,
        # Forked workers share the cases in memory and read no file again.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )
    return iter(loader)


# torch tells most deaths itself; one amid the hand-over of a batch breaks the connection for it.
_BROKEN_CONNECTIONS = (ConnectionError, EOFError)
WORKER_DEATHS = (RuntimeError, *_BROKEN_CONNECTIONS)


def is_worker_death(error: Exception) -> bool:
    """Whether this error was raised because a process that prepares batches was killed."""
    return isinstance(error, _BROKEN_CONNECTIONS) or "DataLoader worker" in str(error)
