"""Fine-tune a factory on corrected voxels: the loop, its samples and its loss."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from napari_hyperspace.core.errors import Cancelled, HyperspaceError, ShouldStop
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.inference.execution import fast_convolutions
from napari_hyperspace.nets.base.factory import Factory

POINTS_PER_STEP = 1 << 14
"""Largest number of corrected voxels that one step uses."""


@dataclass(frozen=True, eq=False)
class TuningView:
    """A scan as the network of a spacing sees it, and the corrected voxels as points in it.

    Parameters
    ----------
    image
        (C, D, H, W) on the working grid, float32.
    spacing_mm
        That the network is made for, canonical order.
    points
        (N, 3) centers of the corrected voxels as indices of the working grid.
    classes
        (N,) output channel of each point.
    weights
        (N,) number of voxels that each point stands for.
    patch
        Largest part of the image that is used at once, in voxels.
    """

    image: Tensor
    spacing_mm: tuple[float, ...]
    points: NDArray[np.float32]
    classes: NDArray[np.int64]
    weights: NDArray[np.float32]
    patch: tuple[int, int, int]


@dataclass(frozen=True)
class TuningOptions:
    """How a factory is fine-tuned; see `adapt_steps`."""

    steps: int
    seconds: float | None
    learning_rate: float
    pull: float
    seed: int


def tune_steps(
    factory: Factory,
    parameters: Sequence[nn.Parameter],
    views: Sequence[TuningView],
    options: TuningOptions,
    should_stop: ShouldStop,
) -> Generator[Progress, None, int]:
    """Fine-tune parameters of a factory in place; return the number of steps done.

    The logits are interpolated linearly at the centers of the corrected voxels, as in `segment`,
    and the loss is computed there: labels are never resampled. Every second step uses the first
    view, the others take turns.
    """
    optimizer = torch.optim.Adam(parameters, lr=options.learning_rate)
    original = [each.detach().clone() for each in parameters]
    device = original[0].device
    started = time.perf_counter()
    done = 0
    while done < options.steps:
        if should_stop():
            raise Cancelled
        spent = time.perf_counter() - started
        if options.seconds is not None and done and spent >= options.seconds:
            break
        share = done / options.steps
        if options.seconds is not None:
            share = max(share, spent / options.seconds)
        left = spent / share * (1 - share) if done else None
        yield Progress(share, f"step {done + 1} of {options.steps}", left)
        rate = options.learning_rate * (1 + math.cos(math.pi * min(share, 1.0))) / 2
        optimizer.param_groups[0]["lr"] = rate
        rng = np.random.default_rng((options.seed, done))
        view = views[1 + done // 2 % (len(views) - 1) if done % 2 and len(views) > 1 else 0]
        image, points, classes, weights = (each.to(device) for each in draw(view, rng))
        with torch.enable_grad(), fast_convolutions(device, torch.float32):
            logits = run(factory, image, view.spacing_mm)
            loss = point_loss(logits_at(logits, points), classes, weights)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        if not math.isfinite(loss.item()):
            raise HyperspaceError(
                "the loss is not finite", field=f"step {done + 1}", fix="Use a lower learning rate"
            )
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            for parameter, first in zip(parameters, original, strict=True):
                parameter.lerp_(first, min(1.0, options.pull * rate))
        done += 1
    return done


def run(factory: Factory, image: Tensor, spacing_mm: tuple[float, ...]) -> Tensor:
    """Run the network of a spacing: (C, D, H, W) → logits (K, D, H, W)."""
    if len(spacing_mm) == 2:
        planes: Tensor = factory(image.movedim(1, 0), spacing_mm)
        return planes.movedim(0, 1)
    logits: Tensor = factory(image[None], spacing_mm)
    return logits[0]


def draw(view: TuningView, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw a patch around a corrected voxel, and the corrected voxels in it.

    Returns
    -------
    tuple of Tensor
        Image (C, *patch) with changed intensities; points (N, 3) as indices of the patch; their
        classes (N,), and how many voxels each of them stands for (N,).
    """
    foreground = np.flatnonzero(view.classes)
    center = view.points[rng.choice(foreground if len(foreground) else len(view.classes))]
    shape = np.array(view.image.shape[1:])
    size = np.minimum(shape, view.patch)
    start = np.round(center + rng.uniform(-0.25, 0.25, 3) * size - size / 2).astype(int)
    start = np.clip(start, 0, shape - size)
    a, b, c = (slice(int(low), int(low + n)) for low, n in zip(start, size, strict=True))
    local = view.points - start.astype(np.float32)
    inside = ((local > -0.51) & (local < size - 0.49)).all(axis=1)
    kept, weights = thinned(np.flatnonzero(inside), view.classes, POINTS_PER_STEP, rng)
    return (
        _jittered(view.image[:, a, b, c], rng),
        torch.from_numpy(local[kept]),
        torch.from_numpy(view.classes[kept]),
        torch.from_numpy(view.weights[kept] * weights),
    )


def thinned(
    places: NDArray[np.intp], classes: NDArray[np.integer], most: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Choose points at random, and return how many points each of them stands for.

    Parameters
    ----------
    places
        Indices of the points to choose from.
    classes
        Class of each point. At most half of the result is background.
    most
        Largest number to return.
    """
    kept, weights = [], []
    for stratum in (places[classes[places] > 0], places[classes[places] == 0]):
        chosen = stratum
        if len(stratum) > most // 2:
            chosen = stratum[rng.integers(len(stratum), size=most // 2)]
        kept.append(chosen)
        weights.append(np.full(len(chosen), len(stratum) / max(len(chosen), 1), np.float32))
    return np.concatenate(kept), np.concatenate(weights)


def _jittered(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Change the intensities of normalized channels (C, D, H, W) a little."""
    contrast, brightness = rng.uniform(0.9, 1.1), rng.uniform(-0.1, 0.1)
    noise = torch.from_numpy(rng.standard_normal(tuple(image.shape), np.float32))
    return image * contrast + brightness + 0.05 * image.std() * noise


def logits_at(logits: Tensor, points: Tensor) -> Tensor:
    """Interpolate logits (K, D, H, W) linearly at points (N, 3) in indices: (N, K)."""
    size = torch.tensor(logits.shape[1:], device=points.device)
    unit = (2 * points + 1) / size - 1  # grid_sample: -1 to 1 between the edges, last axis first
    sampled = F.grid_sample(
        logits[None],
        unit.flip(1)[None, None, None],
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return sampled[0, :, 0, 0].T


def point_loss(logits: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """Return the sum of cross-entropy and soft Dice loss of weighted points (N, K)."""
    entropy = F.cross_entropy(logits, classes, reduction="none")
    target = F.one_hot(classes, logits.shape[1])[:, 1:] * weights[:, None]
    found = logits.softmax(1)[:, 1:]
    both = (found * target).sum(0)
    sums = (found * weights[:, None]).sum(0) + target.sum(0)
    dice = (2 * both + 1) / (sums + 1)
    return (entropy * weights).sum() / weights.sum() + 1 - dice.mean()


def patch_within(
    factory: Factory, spacing_mm: Sequence[float], shape: Sequence[int], most_bytes: int
) -> tuple[int, ...]:
    """Return the shape of the largest patch whose training keeps at most so many bytes.

    Parameters
    ----------
    factory, spacing_mm
        The network is traced without computing anything.
    shape
        The patch to start from, one number per dimension of the network; its longest axis is halved
        until it is small enough, or 16 voxels long.
    most_bytes
        Of what is kept for the gradients.
    """
    patch = tuple(shape)
    while max(patch) > _SMALLEST_PATCH and _kept_bytes(factory, spacing_mm, patch) > most_bytes:
        longest = patch.index(max(patch))
        patch = tuple((n + 1) // 2 if i == longest else n for i, n in enumerate(patch))
    return patch


_SMALLEST_PATCH = 16


def _kept_bytes(factory: Factory, spacing_mm: Sequence[float], patch: Sequence[int]) -> int:
    """Return how much a forward pass keeps for the gradients."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    skeleton = factory.skeleton(spacing_mm)
    channels = factory.network_config.in_channels
    image = torch.empty(1, channels, *patch, device="meta", requires_grad=True)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        skeleton(image)
    return sum(kept.values())
