"""Training batches: functions of (seed, step), prepared in worker processes.

All samples of a batch have the same spacing.
"""

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
from training.config.head import ClassConditionalHead, SignedDistanceHead
from training.data.base import Source
from training.sampling.augment import apply_sample, bring_to, working_shape
from training.sampling.conditional import conditional_sample
from training.sampling.distances import distance_targets, margin_voxels
from training.sampling.guidance import CoarseGrid, guided_sample, sample_coarse_grid
from training.sampling.parameters import sample_parameters, sample_spacing
from training.sampling.patch import patch_shape
from training.seeding import generator
from training.synthesis.labeled_head import LabeledHead


@dataclass(frozen=True)
class Batch:
    """The samples that one process trains on in one step.

    Parameters
    ----------
    step
        Number of the step, from 0.
    image
        (B, C, D, H, W) float32.
    labels
        (B, D, H, W) int16; `training.data.labels.OUTSIDE` where the label is unknown. With
        `training.soft_labels` (B, K, D, H, W) float32, the fraction of each voxel that each class
        covers; all 0 where the label is unknown. With signed distances (B, K, D, H, W) float32 in
        mm; NaN where the label is unknown.
    spacing_mm
        Working spacing (z, y, x).
    names
        Name of the source of each sample.
    grids
        Coarse grid of each sample, on which the result is compared with the labels; none without a
        weight of consistency.
    """

    step: int
    image: Tensor
    labels: Tensor
    spacing_mm: Triple
    names: tuple[str, ...]
    grids: tuple[CoarseGrid, ...] = ()


@dataclass(frozen=True)
class StepParameters:
    """Spacing of a step, and the index of the source of each sample, over all processes."""

    spacing_mm: Triple
    sources: tuple[int, ...]


class TrainingBatches(Dataset[Batch]):
    """The batches of a run, indexed by step.

    Parameters
    ----------
    config
        Configuration of the run.
    sources
        Sources of the training samples.
    rank, world_size
        Index of this process and number of processes; each makes its share of the samples of every
        step.
    held_out
        Labels that are never the structure of a sample of class-conditional training.
    """

    def __init__(
        self,
        config: FitConfig,
        sources: Sequence[Source],
        rank: int = 0,
        world_size: int = 1,
        held_out: Sequence[int] = (),
    ) -> None:
        self.config = config
        self.sources = sources
        self.rank = rank
        self.world_size = world_size
        self.held_out = held_out
        self._classes = config.network.out_channels if config.training.soft_labels else None

    def __len__(self) -> int:
        return self.config.training.steps

    def parameters(self, step: int) -> StepParameters:
        """Return the random parameters of a step."""
        rng = generator(self.config.seed, "step", step)
        spacing_mm = sample_spacing(rng, self.config.spacing)
        size, count = self.config.training.batch_size, len(self.sources)
        return StepParameters(
            spacing_mm, tuple(rng.choice(count, size, replace=size > count).tolist())
        )

    def shape(self, parameters: StepParameters) -> Shape:
        """Return the sample shape of a step: that of its largest case, at most the patch shape."""
        shapes = [working_shape(self.sources[i], parameters.spacing_mm) for i in parameters.sources]
        return patch_shape(self.config.training, parameters.spacing_mm, np.max(shapes, axis=0))

    def __getitem__(self, step: int) -> Batch:
        with _one_thread():
            return self._batch(step)

    def _batch(self, step: int) -> Batch:
        config, head, parameters = self.config, self.config.head, self.parameters(step)
        shape, margin = self.shape(parameters), self._margin(parameters.spacing_mm)
        images, labels, names, grids = [], [], [], []
        for sample in range(self.rank, len(parameters.sources), self.world_size):
            source = self.sources[parameters.sources[sample]]
            rng = generator(config.seed, "sample", step, sample)
            if isinstance(source, LabeledHead):
                image, label = source.sample(
                    rng, config.synthesis, parameters.spacing_mm, shape, margin
                )
            else:
                extent_mm = np.multiply(shape, parameters.spacing_mm).tolist()
                changes = sample_parameters(rng, config.spacing, config.augmentation, extent_mm)
                image, label = apply_sample(
                    source,
                    parameters.spacing_mm,
                    shape,
                    changes,
                    classes=self._classes,
                    margin=margin,
                )
            if config.spacing.resampled_mm is not None:
                target_mm = config.spacing.resampled_mm
                image, label = bring_to(image, label, parameters.spacing_mm, target_mm)
            count = head.structures_per_patch if isinstance(head, ClassConditionalHead) else 1
            for part in range(count):
                shown, target, grid = self._with_head(
                    image, label, parameters.spacing_mm, margin, (step, sample, part)
                )
                images.append(shown)
                labels.append(target)
                names.append(source.name)
                grids += [] if grid is None else [grid]
        spacing_mm = config.spacing.resampled_mm or parameters.spacing_mm
        return Batch(
            step, torch.stack(images), torch.stack(labels), spacing_mm, tuple(names), tuple(grids)
        )

    def _margin(self, spacing_mm: Triple) -> Shape:
        """Return by how many voxels labels must exceed the image, on each side."""
        config, margin_mm = self.config, 0.0
        if isinstance(config.head, SignedDistanceHead):
            margin_mm = config.head.clip_mm
        if config.guidance is not None:
            margin_mm = max(margin_mm, config.guidance.margin_mm)
        return margin_voxels(spacing_mm, margin_mm) if margin_mm else (0, 0, 0)

    def _with_head(
        self,
        image: Tensor,
        label: Tensor,
        spacing_mm: Triple,
        margin: Shape,
        place: tuple[int, int, int],
    ) -> tuple[Tensor, Tensor, CoarseGrid | None]:
        """Return what the network sees and is to return, and the grid of the consistency."""
        config, head, grid = self.config, self.config.head, None
        classes = config.network.out_channels
        if config.guidance is not None:
            rng = generator(config.seed, "guidance", *place)
            image, grid = guided_sample(
                rng, image, label, spacing_mm, classes, config.guidance, margin
            )
            if not config.guidance.consistency_weight:
                grid = None
        if isinstance(head, ClassConditionalHead):
            rng = generator(config.seed, "structure", *place)
            image, label = conditional_sample(rng, image, label, spacing_mm, head, self.held_out)
            if head.consistency_weight:
                rng = generator(config.seed, "consistency", *place)
                grid = sample_coarse_grid(rng, head.coarse_mm, spacing_mm)
        elif isinstance(head, SignedDistanceHead):
            kept = margin_voxels(spacing_mm, head.clip_mm)
            label = _without_margin(label, np.subtract(margin, kept).tolist())
            label = distance_targets(label, spacing_mm, classes, head.clip_mm, kept)
        elif any(margin):
            label = _without_margin(label, margin).contiguous()
        return image, label, grid

    def names(self, step: int) -> tuple[str, ...]:
        """Return the names of the sources of a step, over all processes."""
        return tuple(self.sources[i].name for i in self.parameters(step).sources)


def _without_margin(label: Tensor, margin: Sequence[int]) -> Tensor:
    z, y, x = (slice(m, n - m) for m, n in zip(margin, label.shape, strict=True))
    return label[z, y, x]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread, as workers do: the last digits of sums depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _unchanged(batch: Any) -> Any:  # torch declares the argument as a list of samples
    return batch


def prepared(batches: TrainingBatches, first_step: int, workers: int) -> Iterator[Batch]:
    """Return the batches from a step on, prepared in advance by worker processes (forked here).

    If a worker process dies, one of `WORKER_DEATHS` is raised; `is_worker_death` distinguishes it
    from other errors.
    """
    loader: DataLoader[Batch] = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first_step, len(batches)),
        num_workers=workers,
        collate_fn=_unchanged,
        prefetch_factor=3 if workers else None,
        # Forked workers share the cases in memory and do not read files again.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )
    return iter(loader)


# torch raises RuntimeError for most deaths; a death during the transfer of a batch breaks the
# connection instead.
_BROKEN_CONNECTIONS = (ConnectionError, EOFError)
WORKER_DEATHS = (RuntimeError, *_BROKEN_CONNECTIONS)


def is_worker_death(error: Exception) -> bool:
    """Whether an error was raised because a worker process died."""
    return isinstance(error, _BROKEN_CONNECTIONS) or "DataLoader worker" in str(error)
