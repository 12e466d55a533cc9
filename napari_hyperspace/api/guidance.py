"""What a guided model is guided by: labels on any grid, or a coarse pass of a model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.volume import GuidanceRecord, Volume, digest_of_labels
from napari_hyperspace.inference.guidance import NO_GUIDANCE, GuidedModel
from napari_hyperspace.inference.inputs import guidance_needed
from napari_hyperspace.inference.normalized import NormalizedModel
from napari_hyperspace.inference.protocols import SpacingModel
from napari_hyperspace.io import check_labels
from napari_hyperspace.nets.base.guidance import GivenGuidance

__all__ = [
    "AnyGuidance",
    "CoarselyGuidedModel",
    "Guidance",
    "as_pass",
    "check_guidance",
    "coarse_model",
    "coarse_pass_spacing",
    "given_labels",
    "guided_by",
]

_TOLERANCE = 1.02  # of the trained range of the guidance: spacings are rounded to grids
_MOST_LISTED = 10


@dataclass(frozen=True, eq=False)
class Guidance:
    """A coarse pass that guides a segmentation.

    Parameters
    ----------
    model
        Segments the same structures, at a lower spacing. It may be the guided model itself, if that
        was trained without guidance too.
    spacing_mm
        Working spacing of the coarse pass: a number, or (z, y, x) in canonical order; `None`: the
        middle of the range that the guided model was trained with.
    precision, localization_precision
        As in `InferenceOptions`; `None`: those of the segmentation.
    """

    model: SpacingModel
    spacing_mm: float | Sequence[float] | None = None
    precision: str | None = None
    localization_precision: str | None = None


AnyGuidance = Volume | Guidance | SpacingModel
"""Labels on any grid, a coarse pass, or a model: a coarse pass of that model."""


def check_guidance(model: SpacingModel, guidance: AnyGuidance | None) -> None:
    """Check that guidance is given to a guided model, and to no other.

    Raises
    ------
    HyperspaceError
        If it is missing, or the model is not guided, or the guidance is not of its structures.
    """
    if guidance is None:
        if model.guidance is not None and model.given_guidance is None:
            raise guidance_needed(model)
        return
    if model.guidance is None:
        raise HyperspaceError(
            "this model is not guided: it segments the image alone",
            where=model.name,
            field="guidance",
            fix="Leave out the guidance, or use a model that was trained with guidance",
        )
    if not isinstance(guidance, Volume):
        coarse_model(model, as_pass(guidance))


def as_pass(guidance: Guidance | SpacingModel) -> Guidance:
    """Return a coarse pass; of a model, at the default spacing."""
    return guidance if isinstance(guidance, Guidance) else Guidance(guidance)


def guided_by(model: SpacingModel, labels: Volume) -> GuidedModel:
    """Return a guided model with labels as the guidance of a scan.

    Parameters
    ----------
    model
        A guided model.
    labels
        Label map on any grid: of another spacing, a part of the scan, or with other axes. Labels
        are matched by their names if it has any, otherwise by their values. Nothing is known
        outside of it.

    Raises
    ------
    HyperspaceError
        If the model is not guided, or a label is none of its structures.
    """
    check_guidance(model, labels)
    record = GuidanceRecord(labels_digest=digest_of_labels(check_labels(labels).array))
    return given_labels(model, labels, record)


def given_labels(
    model: SpacingModel, labels: Volume, record: GuidanceRecord, *, outside_class: int = -1
) -> GuidedModel:
    """Return a guided model with labels as the guidance of a scan; see `guided_by`.

    Parameters
    ----------
    model, labels
        As in `guided_by`.
    record
        Where the labels come from.
    outside_class
        Class outside of the labels; negative: unknown.
    """
    labels = check_labels(labels)
    values = np.unique(labels.array)
    classes = _classes(model, labels.metadata.get("label_names", {}), values.tolist())
    _warn_of_spacing(model, labels)
    index = np.array([classes[value] for value in values.tolist()], np.int16)
    array = index[np.searchsorted(values, labels.array)]
    given = Volume(array, labels.grid, labels.name)
    return GuidedModel(model, GivenGuidance(given, outside_class, record))


def _classes(
    model: SpacingModel, names: Mapping[int, str], values: Sequence[int]
) -> dict[int, int]:
    """Return the class of each label value of a guidance."""
    own = {name.casefold(): value for value, name in model.label_names.items()}
    classes, unknown = {0: 0}, []
    for value in values:
        if value == 0:
            continue
        mine = own.get(names[value].casefold()) if value in names else None
        if mine is None and not names and value in model.label_values:
            mine = value
        if mine is None:
            unknown.append(f"{value} {names[value]}" if value in names else str(value))
        else:
            classes[value] = model.label_values.index(mine)
    if unknown:
        more = f" and {len(unknown) - _MOST_LISTED} more" if len(unknown) > _MOST_LISTED else ""
        raise HyperspaceError(
            "the guidance has labels that are none of the model's structures",
            where=model.name,
            field="guidance",
            found=", ".join(unknown[:_MOST_LISTED]) + more,
            expected=", ".join(f"{value} {name}" for value, name in model.label_names.items()),
            fix="Remove these labels, or give them the values and names of the model's",
        )
    return classes


def _warn_of_spacing(model: SpacingModel, labels: Volume) -> None:
    """Warn of guidance that is coarser than in training.

    A finer one is usual: labels on the grid of the scan may have been made at any spacing.
    """
    assert model.guidance is not None
    _, high = model.guidance.spacing_mm
    if max(labels.spacing_mm) > high * _TOLERANCE:
        warnings.warn(
            f"the guidance has a spacing of {format_spacing(labels.spacing_mm)}, and the model was "
            f"trained with guidance of at most {high:g} mm: the labels may be less accurate",
            HyperspaceWarning,
            stacklevel=2,
        )


def coarse_model(model: SpacingModel, guidance: Guidance) -> SpacingModel:
    """Return the model of a coarse pass, ready to run.

    Raises
    ------
    HyperspaceError
        If it segments other structures than the guided model, or needs guidance itself.
    """
    coarse = guidance.model
    if coarse.head != "labels":
        raise HyperspaceError(
            "the model of the coarse pass refines labels, and cannot make guidance",
            where=coarse.name,
            field="guidance",
            fix="Use a model that segments all its structures",
        )
    if coarse.image_channels != model.image_channels:
        raise HyperspaceError(
            "the model of the coarse pass wants another number of images",
            where=coarse.name,
            field="guidance",
            found=coarse.image_channels,
            expected=model.image_channels,
        )
    _classes(model, coarse.label_names, list(coarse.label_names))
    if coarse.guidance is None:
        return coarse
    if not coarse.guidance.optional:
        raise HyperspaceError(
            "the model of the coarse pass needs guidance itself",
            where=coarse.name,
            field="guidance",
            fix="Use a model without guidance for the coarse pass, or give labels",
        )
    return GuidedModel(coarse, NO_GUIDANCE)


def coarse_pass_spacing(
    model: SpacingModel, guidance: Guidance, native_mm: Sequence[float]
) -> tuple[float, float, float]:
    """Return the spacing of a coarse pass (z, y, x).

    Parameters
    ----------
    model
        The guided model.
    guidance
        The coarse pass.
    native_mm
        Spacing of the scan in canonical order: the coarse pass is not finer by default.
    """
    given = guidance.spacing_mm
    if given is None:
        assert model.guidance is not None
        middle = math.sqrt(math.prod(model.guidance.spacing_mm))
        z, y, x = (max(middle, step) for step in native_mm)
        return z, y, x
    if isinstance(given, int | float):
        return float(given), float(given), float(given)
    z, y, x = (float(step) for step in given)
    return z, y, x


class CoarselyGuidedModel(NormalizedModel):
    """A guided model with the coarse pass that guides it: both run in one call.

    Parameters
    ----------
    model
        A guided model.
    coarse_pass
        Runs first.

    Raises
    ------
    HyperspaceError
        As `check_guidance`.
    """

    def __init__(self, model: SpacingModel, coarse_pass: Guidance) -> None:
        check_guidance(model, coarse_pass)
        super().__init__(model)
        self.normalization = model.normalization
        self.localization = model.localization
        self.model = model
        self.coarse_pass = coarse_pass
