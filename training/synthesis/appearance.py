"""How bright each tissue is in one image, and how much it varies within."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from training.config.synthesis import SynthesisSection
from training.synthesis.tissues import CONTRAST_PRIORS, EXTRA_CEREBRAL, TISSUES

# Tissues that often look like others: each is drawn as a mixture of these where images are free.
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
# Least and largest smooth variation of what is no uniform tissue, relative to its mean.
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
        Standard deviation of voxel-wise variation.
    smooth
        Standard deviation of smooth variation.
    smooth_mm
        Distance over which that varies.
    """

    contrast: str
    means: tuple[float, ...]
    white: tuple[float, ...]
    smooth: tuple[float, ...]
    smooth_mm: float = 3.0

    def without(self, names: set[str] | frozenset[str]) -> Appearance:
        """Return these looks with some tissues as air."""
        keep = [name not in names for name in TISSUES]
        means, white, smooth = (
            tuple(value if kept else 0.0 for value, kept in zip(values, keep, strict=True))
            for values in (self.means, self.white, self.smooth)
        )
        return replace(self, means=means, white=white, smooth=smooth)

    def thinned(self, rng: np.random.Generator) -> Appearance:
        """Return these looks with some of the extra-cerebral tissues left out, by chance."""
        chance = rng.random()
        names = {name for name in sorted(EXTRA_CEREBRAL) if rng.random() < chance}
        return self.without(names)


def draw_looks(
    rng: np.random.Generator, config: SynthesisSection, contrast: str | None = None
) -> Appearance:
    """Draw the looks of an image.

    Parameters
    ----------
    rng
        The generator of this sample.
    config
        What may happen.
    contrast
        Kind of image; `None`: drawn.
    """
    shares = config.contrasts.model_dump()
    weights = np.array(list(shares.values()))
    drawn = str(rng.choice(list(shares), p=weights / weights.sum()))
    contrast = contrast or drawn
    means = _free(rng) if contrast == "free" else _lawful(rng, contrast)
    means["air"] = 0.0
    if rng.random() < 0.6:
        # Fat outshines the brain several times in spin echoes.
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


def _free(rng: np.random.Generator) -> dict[str, float]:
    closeness = math.sqrt(rng.random())  # how much kin look alike in this image: rather much
    means: dict[str, float] = {}
    for name in _IN_ORDER:
        value = rng.uniform(0.02, 1)
        kin = RELATED_TISSUES.get(name)
        if kin and rng.random() < closeness:
            weights = rng.dirichlet(np.ones(len(kin)))
            alike = sum(w * means[other] for w, other in zip(weights, kin, strict=True))
            value = alike + rng.normal(0, 0.08 * rng.random())
        means[name] = float(value)
    return means


def _lawful(rng: np.random.Generator, contrast: str) -> dict[str, float]:
    law = CONTRAST_PRIORS[contrast].means
    jitter = rng.uniform(0.01, 0.06)
    # The contrast among brain tissues varies; what is like grey matter varies together.
    middle = 0.5 * (law["cortex"] + law["white matter"])
    # Grey and white matter differ little in spin echoes, much in images made to tell them apart.
    gain = rng.uniform(0.15, 0.5) if rng.random() < 0.25 else rng.uniform(0.5, 1.35)
    means = {}
    for name, usual in law.items():
        outside = name in EXTRA_CEREBRAL
        value = usual if outside or name == "csf" else middle + gain * (usual - middle)
        means[name] = float(value + rng.normal(0, 3 * jitter if outside else jitter))
    means["csf"] += float(rng.normal(0, 0.06))
    return means


def _ordered() -> tuple[str, ...]:
    """Return the tissues but air, kin first."""
    done: list[str] = []
    todo = [name for name in TISSUES if name != "air"]
    while todo:
        ready = [name for name in todo if all(k in done for k in RELATED_TISSUES.get(name, ()))]
        done += ready
        todo = [name for name in todo if name not in ready]
    return tuple(done)


_IN_ORDER = _ordered()
