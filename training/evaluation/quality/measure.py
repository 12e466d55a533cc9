"""Results whose quality is known: of scans as they are, and of scans with artificial defects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_hyperspace.api.agreement import agreement
from napari_hyperspace.api.assessment.second_opinion import second_opinion_steps
from napari_hyperspace.api.segment import segment
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.progress import ReportProgress, run_to_end
from napari_hyperspace.core.volume import Volume, VolumeMetadata
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.nets.model import Model
from napari_hyperspace.quality.figures import figures_of
from training.data.base import DataSet
from training.data.labels import OUTSIDE
from training.evaluation.quality.calibrate import AssessedScan
from training.sampling.pairs import make_pair, sample_whole_head
from training.sampling.synthesize import SynthesisInput, check_contrast
from training.seeding import generator

Array = NDArray[np.float32]


def _noise(values: Array, rng: np.random.Generator) -> Array:
    spread = rng.uniform(0.4, 1.5) * float(values.std())
    return (values + rng.normal(0, spread, values.shape)).astype(np.float32)


def _blur(values: Array, rng: np.random.Generator) -> Array:
    blurred: Array = ndimage.gaussian_filter(values, rng.uniform(1, 2.5))
    return blurred


def _inverted(values: Array, rng: np.random.Generator) -> Array:
    del rng
    inverted: Array = values.max() - values
    return inverted


VARIANTS: Mapping[str, Callable[[Array, np.random.Generator], Array]] = {
    "noise": _noise,
    "blur": _blur,
    "inverted": _inverted,
}
"""Artificial defects, by name: noise, smoothing, and exchanged bright and dark."""


@dataclass(frozen=True)
class KnownScan:
    """A scan with its true labels.

    Parameters
    ----------
    case
        Its name.
    image
        The images, one volume each.
    truth
        Label values with ``label_names``; negative where unknown.
    spacings_mm
        Working spacings; `None` is its own.
    """

    case: str
    image: tuple[Volume, ...]
    truth: Volume
    spacings_mm: tuple[Triple | None, ...]


def matched_names(model: Model, dataset: DataSet) -> dict[int, str]:
    """Return the model's name of each label value of a data set, in the order of the channels.

    Labels with the same values are the same; otherwise, they are matched by name.

    Raises
    ------
    HyperspaceError
        If they have neither values nor names in common.
    """
    values = sorted(dataset.label_names)
    if values == sorted(model.label_names):
        return {value: model.label_names[value] for value in values}
    known = {name.casefold(): name for name in model.label_names.values()}
    names = {value: dataset.label_names[value] for value in values}
    if not known.keys() & {name.casefold() for name in names.values()}:
        raise HyperspaceError(
            "the model has none of the labels of the data set",
            where=model.name,
            found=", ".join(known.values()),
            expected=", ".join(names.values()),
        )
    return {value: known.get(name.casefold(), name) for value, name in names.items()}


def real_scans(
    dataset: DataSet,
    label_names: Mapping[int, str],
    names: Sequence[str],
    spacings_mm: Sequence[Triple],
) -> Iterator[KnownScan]:
    """Return cases of a data set; for the names of labels see `matched_names`."""
    values = np.array([0, *label_names])
    for name in names:
        (case,) = dataset.load([name], Normalization("none"))
        channels = case.labels.numpy()
        known = np.where(channels <= OUTSIDE, -1, values[channels.clip(0)]).astype(np.int32)
        truth = Volume(known, case.grid, name, {"label_names": label_names})
        image = tuple(Volume(each.numpy(), case.grid, name) for each in case.image)
        yield KnownScan(name, image, truth, tuple(spacings_mm))


def synthetic_scans(
    maps: SynthesisInput,
    label_names: Mapping[int, str],
    names: Sequence[str],
    spacings_mm: Sequence[Triple],
    contrasts: Sequence[str],
    seed: int,
) -> Iterator[KnownScan]:
    """Return synthetic whole heads: one for each map, spacing and contrast."""
    for contrast in contrasts:
        check_contrast(contrast)
    values = np.array([0, *label_names])
    for head in maps.load(names):
        for place, spacing in enumerate(spacings_mm):
            for contrast in contrasts:
                numbers = (*head.name.encode(), place, *contrast.encode())
                parameters = sample_whole_head(
                    head, maps.synthesis, spacing, numbers, seed=seed, contrast=contrast
                )
                pair = make_pair(head, parameters, f"{head.name} {contrast} {place}")
                known = np.where(pair.labels.array < 0, -1, values[pair.labels.array.clip(0)])
                named: VolumeMetadata = {"label_names": label_names}
                truth = Volume(known.astype(np.int32), pair.labels.grid, pair.name, named)
                yield KnownScan(pair.name, (pair.image,), truth, (None,))


def assess_known(
    model: Model,
    scans: Iterator[KnownScan],
    n_scans: int,
    *,
    variants: Sequence[str] = tuple(VARIANTS),
    seed: int = 0,
    device: str | None = None,
    show: ReportProgress = lambda fraction, message: None,
) -> list[AssessedScan]:
    """Segment scans twice and compare the results with each other and with the truth.

    Each scan is segmented as it is at its spacings, and with one artificial defect, the next one of
    the list for each scan.

    Parameters
    ----------
    model
        The model.
    scans, n_scans
        The scans, and their number.
    variants
        Names in `VARIANTS`.
    seed
        Seed of the defects.
    device
        Where to compute; `None`: the best.
    show
        Called with the fraction done and the next scan.
    """
    options = InferenceOptions(device=device, precision="fp32", outside="clamp")
    assessed = []
    for number, scan in enumerate(scans):
        show(number / n_scans, scan.case)
        for spacing in scan.spacings_mm:
            assessed.append(_assessed(model, scan, scan.image, spacing, "", options))
        if variants:
            name = variants[number % len(variants)]
            rng = generator(seed, "quality", number)
            changed = tuple(
                each.with_array(VARIANTS[name](each.array.astype(np.float32), rng))
                for each in scan.image
            )
            spacing = scan.spacings_mm[number // len(variants) % len(scan.spacings_mm)]
            assessed.append(_assessed(model, scan, changed, spacing, name, options))
    return assessed


def _assessed(
    model: Model,
    scan: KnownScan,
    image: tuple[Volume, ...],
    spacing_mm: Triple | None,
    variant: str,
    options: InferenceOptions,
) -> AssessedScan:
    labels = segment(image, model, spacing_mm, options)
    second = run_to_end(second_opinion_steps(image, labels, model, options))
    known: NDArray[Any] = scan.truth.array >= 0
    truth = scan.truth.with_array(np.where(known, scan.truth.array, 0))
    shown = labels.with_array(np.where(known, labels.array, 0))
    groups = {name: [value] for value, name in model.label_names.items()}
    names = {name.casefold(): name for name in groups}
    return AssessedScan(
        scan.case,
        variant,
        labels.metadata["record"].spacing_mm,
        {one.name: one.dice for one in agreement(labels, second).structures},
        {
            names.get(one.name.casefold(), one.name): one.dice
            for one in agreement(shown, truth).structures
        },
        figures_of(labels, groups, image[0]),
    )
