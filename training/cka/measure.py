"""Measure CKA over spacings: within a network, between spacings, between models."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Generator, Iterator, Sequence

import numpy as np
import torch

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.format import format_range, format_spacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.progress import Progress, ReportProgress, run_to_end
from napari_hyperspace.core.spacing import in_ranges
from napari_hyperspace.inference.execution import choose_device
from napari_hyperspace.inference.protocols import SpacingModel
from training.cka.activations import activations, find_layers
from training.cka.blocks import cut_block, largest_box
from training.cka.layers import NetworkLayer, common_period, skip_pairs
from training.cka.result import CKAConditions, CKAResult, CKASettings
from training.cka.similarity import MIN_EXAMPLES, Array, MinibatchCKA, gram
from training.data.base import Case, DataSet
from training.seeding import generator


def measure_cka(
    models: Sequence[SpacingModel],
    dataset: DataSet,
    names: Sequence[str],
    settings: CKASettings | None = None,
    *,
    device: str | torch.device | None = None,
    report: ReportProgress | None = None,
) -> CKAResult:
    """Measure CKA over the cases of a data set.

    Memory holds the scans of one batch, the activations (float32) in the box of one batch at one
    spacing, and one number for each pair of layers.

    Parameters
    ----------
    models
        One model, or two to compare, such as two seeds.
    dataset, names
        The cases; at least four.
    settings
        What to measure.
    device
        Where the networks run; `None`: where the models were loaded. The CPU, with a warning, if it
        is not available.
    report
        Called with the progress.

    Raises
    ------
    HyperspaceError
        If the numbers of channels of models and data set differ, a model is not 3-D, there are too
        few cases, or the device is unknown.
    """
    device = None if device is None else choose_device(device)
    settings = settings or CKASettings()
    _check(models, dataset, names)
    _warn_outside_range(models, settings.spacings)
    return run_to_end(_measure(models, dataset, names, settings, device), report)


def _measure(
    models: Sequence[SpacingModel],
    dataset: DataSet,
    names: Sequence[str],
    settings: CKASettings,
    device: str | torch.device | None,
) -> Generator[Progress, None, CKAResult]:
    spacings = settings.spacings
    reference = spacings.index(settings.reference)
    yield Progress(0.0, "reading the sizes of the scans")
    box = _common_box(dataset, names, settings)
    networks = range(len(models))
    steps = range(len(spacings))
    layers = [[find_layers(m.network(s, device), m.in_channels) for s in spacings] for m in models]
    _check_layers(models, layers)
    within = [((m, s), (m, s)) for m in networks for s in steps]
    between = [((m, reference), (m, s)) for m in networks for s in steps]
    across = [((0, s), (1, s)) for s in steps] if len(models) == 2 else []
    cka = MinibatchCKA(list(dict.fromkeys([*within, *between, *across])))
    batches = _batches(names, settings)
    jobs = len(batches) * len(within)
    done = 0
    for number, batch in enumerate(batches, start=1):
        cases = dataset.load(batch, Normalization("none"))
        grams: dict[tuple[int, int], Array] = {}
        for m, model in enumerate(models):
            inputs = [_normalized(case, model.normalization) for case in cases]
            for s, spacing in enumerate(spacings):
                text = f"{model.name} at {format_spacing(spacing, collapse=True)}"
                yield Progress(done / jobs, f"batch {number} of {len(batches)}: {text}")
                network, period = model.network(spacing, device), common_period(layers[m][s])
                blocks = (cut_block(x, spacing, box, settings.margin_mm, period) for x in inputs)
                grams[m, s] = _grams(
                    activations(network, layers[m][s], b.image, b.center, b.extent) for b in blocks
                )
                done += 1
        cka.update(grams)
    yield Progress(1.0, "done")
    maps = cka.maps()
    return CKAResult(
        models=[(model.name, model.identity) for model in models],
        layers=[found[reference] for found in layers],
        skips=[skip_pairs(found[reference]) for found in layers],
        spacings_mm=spacings,
        reference=reference,
        within=[[maps[(m, s), (m, s)] for s in steps] for m in networks],
        between=[[maps[(m, reference), (m, s)] for s in steps] for m in networks],
        across=[maps[pair] for pair in across],
        conditions=CKAConditions(
            data=dataset.name,
            cases=len(names),
            batches=[len(batch) for batch in batches],
            box_mm=[round(edge, 3) for edge in box],
            margin_mm=settings.margin_mm,
            seed=settings.seed,
        ),
    )


def _grams(examples: Iterator[list[torch.Tensor]]) -> Array:
    """Return the Gram matrix of each layer (layers, n, n) from each example's activations."""
    columns = [list(column) for column in zip(*examples, strict=True)]
    grams = []
    while columns:  # frees the activations of a layer once its matrix is computed
        grams.append(gram(torch.stack(columns.pop()).numpy()))
    return np.stack(grams[::-1])


def _batches(names: Sequence[str], settings: CKASettings) -> list[list[str]]:
    order = generator(settings.seed, "cka").permutation(len(names))
    parts = np.array_split(order, -(-len(names) // settings.batch))
    return [[names[i] for i in part] for part in parts]


def _normalized(case: Case, normalization: Normalization) -> Case:
    image = np.stack([normalization.apply(channel.numpy()) for channel in case.image])
    return dataclasses.replace(case, image=torch.from_numpy(image))


def _common_box(dataset: DataSet, names: Sequence[str], settings: CKASettings) -> Triple:
    """Return the box to compare; warn if a scan is smaller than the one in the settings."""
    grids = [dataset.load([name], Normalization("none"))[0].grid for name in names]
    box = largest_box(grids, settings.box_mm)
    if min(box) < settings.box_mm:
        warnings.warn(
            f"the box is {format_spacing(box)} (z, y, x), limited by the smallest scan",
            HyperspaceWarning,
            stacklevel=2,
        )
    return box


def _check(models: Sequence[SpacingModel], dataset: DataSet, names: Sequence[str]) -> None:
    if len(models) not in (1, 2):
        raise HyperspaceError("CKA compares one model or two", found=len(models))
    for model in models:
        for what, found, expected in (
            ("axes", model.n_dim, 3),
            ("channels", model.in_channels, len(dataset.channel_names)),
        ):
            if found != expected:
                raise HyperspaceError(
                    f"model and data set have different numbers of {what}",
                    where=model.name,
                    found=found,
                    expected=expected,
                )
    if len(set(names)) < max(MIN_EXAMPLES, len(names)):
        raise HyperspaceError(
            "CKA needs at least four different cases", where=dataset.name, found=len(names)
        )


def _check_layers(
    models: Sequence[SpacingModel], layers: Sequence[list[list[NetworkLayer]]]
) -> None:
    for model, networks in zip(models, layers, strict=True):
        if len({tuple((layer.module, layer.kind) for layer in found) for found in networks}) > 1:
            raise HyperspaceError(
                "the networks of the model have different layers at different spacings",
                where=model.name,
                fix="Measure at spacings where the layers are the same",
            )


def _warn_outside_range(models: Sequence[SpacingModel], spacings: Sequence[Triple]) -> None:
    for model in models:
        ranges = model.trained_range_mm
        outside = [spacing for spacing in spacings if not in_ranges(spacing, ranges)]
        if ranges is not None and outside:
            warnings.warn(
                f"{model.name}: {len(outside)} of {len(spacings)} spacings are outside of the "
                f"trained range of {format_range(ranges, collapse=True)}",
                HyperspaceWarning,
                stacklevel=3,
            )
