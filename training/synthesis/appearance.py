"""The intensities of each tissue in one synthetic image, and their variation."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass, replace

import numpy as np

from training.config.synthesis import SynthesisSection
from training.synthesis.tissues import CONTRAST_PRIORS, EXTRA_CEREBRAL, TISSUES

# Tissues that often have similar intensities. In images of free contrast, the mean of a tissue is
# often a mixture of those listed here.
RELATED_TISSUES: dict[str, tuple[str, ...]] = {
    "cerebellar grey": ("cortex",),
    "cerebellar white": ("white matter",),
    "hippocampus": ("cortex",),
    "amygdala": ("hippocampus",),
    "caudate": ("cortex",),
    "putamen": ("caudate",),
    "accumbens": ("caudate",),
    "thalamus": ("putamen", "white matter"),
    "pallidum": ("putamen", "white matter"),
    "ventral diencephalon": ("white matter", "thalamus"),
    "brain stem": ("white matter", "thalamus"),
    "spinal cord": ("brain stem",),
    "chiasm": ("white matter",),
    "optic nerve": ("white matter",),
    "choroid plexus": ("csf", "cortex"),
    "vessel": ("csf", "cortex"),
    "eye": ("csf",),
    "eye muscle": ("soft tissue",),
    "mucosa": ("soft tissue",),
    "vein": ("artery",),
}
_FATTY = {"skin": 1.0, "cancellous bone": 0.8, "soft tissue": 0.6}
# Smallest and largest smooth variation of inhomogeneous tissues, relative to their mean.
_UNEVEN = {
    "soft tissue": (0.1, 0.5),
    "skin": (0.05, 0.35),
    "cancellous bone": (0.05, 0.3),
    "mucosa": (0.05, 0.4),
}


@dataclass(frozen=True)
class Appearance:
    """The intensities of each tissue, in the order of `training.synthesis.tissues.TISSUES`.

    Parameters
    ----------
    contrast
        Kind of image.
    means
        Mean of each tissue; air is 0 and the brightest tissue about 1.
    white
        Standard deviation of the voxel-wise variation of each tissue.
    smooth
        Standard deviation of the smooth variation of each tissue.
    smooth_mm
        Distance between the control points of the smooth variation.
    """

    contrast: str
    means: tuple[float, ...]
    white: tuple[float, ...]
    smooth: tuple[float, ...]
    smooth_mm: float = 3.0

    def without(self, names: Set[str]) -> Appearance:
        """Return this appearance with some tissues replaced by air."""
        keep = [name not in names for name in TISSUES]
        means, white, smooth = (
            tuple(value if kept else 0.0 for value, kept in zip(values, keep, strict=True))
            for values in (self.means, self.white, self.smooth)
        )
        return replace(self, means=means, white=white, smooth=smooth)

    def thinned(self, rng: np.random.Generator) -> Appearance:
        """Return this appearance without a random subset of the extra-cerebral tissues."""
        probability = rng.random()
        names = {name for name in sorted(EXTRA_CEREBRAL) if rng.random() < probability}
        return self.without(names)


def sample_appearance(
    rng: np.random.Generator, config: SynthesisSection, contrast: str | None = None
) -> Appearance:
    """Sample the appearance of an image.

    Parameters
    ----------
    rng
        Random generator of this sample.
    config
        Ranges of the random parameters.
    contrast
        Kind of image; `None`: random.
    """
    shares = config.contrasts.model_dump()
    weights = np.array(list(shares.values()))
    sampled = str(rng.choice(list(shares), p=weights / weights.sum()))
    contrast = contrast or sampled
    means = _free_means(rng) if contrast == "free" else _means_from_prior(rng, contrast)
    means["air"] = 0.0
    if rng.random() < 0.6:
        # In spin echo images, fat can be several times as bright as the brain.
        gain = np.exp(rng.uniform(np.log(0.7), np.log(5)))
        for name, power in _FATTY.items():
            means[name] *= float(gain**power)
    level = config.texture * rng.random(2)
    spread = rng.uniform(0.4, 1.6, (2, len(TISSUES))) * level[:, None]
    for name, bounds in _UNEVEN.items():
        spread[1, TISSUES.index(name)] += rng.uniform(*bounds) * means[name]
    spread[:, 0] = 0
    values = np.clip([means[name] for name in TISSUES], 0, 5)
    return Appearance(
        contrast,
        tuple(values.tolist()),
        tuple(spread[0].tolist()),
        tuple(spread[1].tolist()),
        float(np.exp(rng.uniform(np.log(1.5), np.log(9)))),
    )


def _free_means(rng: np.random.Generator) -> dict[str, float]:
    """Sample the mean of each tissue independently of any kind of scan."""
    # Probability that the mean of a tissue is a mixture of related ones; the square root favors
    # large probabilities.
    closeness = math.sqrt(rng.random())
    means: dict[str, float] = {}
    for name in _RELATED_FIRST:
        value = rng.uniform(0.02, 1)
        related = RELATED_TISSUES.get(name)
        if related and rng.random() < closeness:
            weights = rng.dirichlet(np.ones(len(related)))
            mixture = sum(w * means[other] for w, other in zip(weights, related, strict=True))
            value = mixture + rng.normal(0, 0.08 * rng.random())
        means[name] = float(value)
    return means


def _means_from_prior(rng: np.random.Generator, contrast: str) -> dict[str, float]:
    """Sample the mean of each tissue around the usual one of a kind of scan."""
    prior = CONTRAST_PRIORS[contrast].means
    jitter = rng.uniform(0.01, 0.06)
    # One gain scales the contrast among all brain tissues, so that they vary together.
    middle = 0.5 * (prior["cortex"] + prior["white matter"])
    # Grey and white matter differ little in many spin echo images, and strongly in images that are
    # made to separate them.
    gain = rng.uniform(0.15, 0.5) if rng.random() < 0.25 else rng.uniform(0.5, 1.35)
    means = {}
    for name, usual in prior.items():
        outside = name in EXTRA_CEREBRAL
        value = usual if outside or name == "csf" else middle + gain * (usual - middle)
        means[name] = float(value + rng.normal(0, 3 * jitter if outside else jitter))
    means["csf"] += float(rng.normal(0, 0.06))
    return means


def _related_first() -> tuple[str, ...]:
    """Return the tissues except air, each after those that it is related to."""
    done: list[str] = []
    todo = [name for name in TISSUES if name != "air"]
    while todo:
        ready = [name for name in todo if all(k in done for k in RELATED_TISSUES.get(name, ()))]
        done += ready
        todo = [name for name in todo if name not in ready]
    return tuple(done)


_RELATED_FIRST = _related_first()
