"""CKA of models over spacings: within a network, between spacings, between models."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.inference.protocols import SpacingModel
from training.cka.activations import activations, find_layers
from training.cka.blocks import cut_block, largest_box
from training.cka.layers import NetworkLayer, common_period, skip_pairs
from training.cka.result import CKAResult, CKASettings, edge_mm
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
    show: Callable[[float, str], None] = lambda fraction, message: None,
) -> CKAResult:
    """Measure CKA over the cases of a data set.

    Of the scans, one batch is in memory at a time; of the activations, those of the box of one
    batch at one spacing (float32); of what was measured, a number for each pair of layers.

    Parameters
    ----------
    models
        One, or two to compare, such as two seeds.
    dataset, names
        The cases; four at least.
    settings
        What to measure.
    device
        Where the networks run; `None`: where the models were loaded.
    show
        Called with the fraction done and what comes next.

    Raises
    ------
    HyperspaceError
        If models and data set have different channels, a model is not 3-D, or cases are too few.
    """
    settings = settings or CKASettings()
    _check(models, dataset, names)
    spacings = settings.spacings
    reference = spacings.index(settings.reference)
    _say_extrapolation(models, spacings)
    show(0.0, "reading the scans' sizes")
    box = _common_box(dataset, names, settings)
    if min(box) < settings.box_mm:
        edges = " × ".join(f"{edge:.1f}" for edge in box)
        warnings.warn(
            f"the box is {edges} mm (z, y, x): the smallest scan is no larger",
            HyperspaceWarning,
            stacklevel=2,
        )
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
            seen = [_normalized(case, model.normalization) for case in cases]
            for s, spacing in enumerate(spacings):
                text = (
                    f"batch {number} of {len(batches)}: {model.name} at {edge_mm(spacing):.2f} mm"
                )
                show(done / jobs, text)
                network, period = model.network(spacing, device), common_period(layers[m][s])
                blocks = (cut_block(x, spacing, box, settings.margin_mm, period) for x in seen)
                grams[m, s] = _grams(
                    activations(network, layers[m][s], b.image, b.center, b.extent) for b in blocks
                )
                done += 1
        cka.update(grams)
    show(1.0, "done")
    maps = cka.maps()
    return CKAResult(
        models=[(model.name, model.identity) for model in models],
        layers=[kinds[reference] for kinds in layers],
        skips=[skip_pairs(kinds[reference]) for kinds in layers],
        spacings_mm=spacings,
        reference=reference,
        within=[[maps[(m, s), (m, s)] for s in steps] for m in networks],
        between=[[maps[(m, reference), (m, s)] for s in steps] for m in networks],
        across=[maps[pair] for pair in across],
        about={
            "data": dataset.name,
            "cases": len(names),
            "batches": [len(batch) for batch in batches],
            "box_mm": [round(edge, 3) for edge in box],
            "margin_mm": settings.margin_mm,
            "seed": settings.seed,
        },
    )


def _grams(examples: Iterator[list[torch.Tensor]]) -> Array:
    """Return the Gram matrix of each layer (layers, n, n) from each example's activations."""
    columns = [list(column) for column in zip(*examples, strict=True)]
    grams = []
    while columns:  # each layer's activations go once its matrix is made
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
    grids = [dataset.load([name], Normalization("none"))[0].grid for name in names]
    return largest_box(grids, settings.box_mm)


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
                    f"the model has another number of {what} than the data set",
                    where=model.name,
                    found=found,
                    expected=expected,
                )
    if len(set(names)) < max(MIN_EXAMPLES, len(names)):
        raise HyperspaceError(
            "CKA needs different cases, four at least", where=dataset.name, found=len(names)
        )


def _check_layers(
    models: Sequence[SpacingModel], layers: Sequence[list[list[NetworkLayer]]]
) -> None:
    for model, kinds in zip(models, layers, strict=True):
        if len({tuple((layer.module, layer.kind) for layer in found) for found in kinds}) > 1:
            raise HyperspaceError(
                "the model's networks have different layers at different spacings",
                where=model.name,
                fix="Measure spacings at which they have the same",
            )


def _say_extrapolation(models: Sequence[SpacingModel], spacings: Sequence[Triple]) -> None:
    for model in models:
        ranges = model.trained_range_mm
        outside = [
            spacing
            for spacing in spacings
            if ranges and not all(a <= x <= b for x, (a, b) in zip(spacing, ranges, strict=True))
        ]
        if outside:
            warnings.warn(
                f"{model.name}: {len(outside)} of {len(spacings)} spacings lie outside of the "
                f"trained range {ranges} mm",
                HyperspaceWarning,
                stacklevel=3,
            )
