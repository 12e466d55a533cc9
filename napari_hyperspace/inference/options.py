"""Options of a segmentation that do not depend on the scan, the model or the spacing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict, get_args

import torch

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.volume import OutsideRange as Outside
from napari_hyperspace.inference.execution import check_precision

__all__ = ["DEFAULT_OVERLAP", "InferenceOptions", "OptionKeywords", "Outside", "options_from"]

DEFAULT_OVERLAP = 0.25


class OptionKeywords(TypedDict, total=False):
    """The options of a segmentation as keyword arguments; see `InferenceOptions`."""

    device: str | torch.device | None
    outside: Outside
    tile_shape: Sequence[int] | None
    overlap: float
    precision: str
    localization_precision: str | None
    allow_implausible: bool
    best: bool
    uncertainty: bool
    form: str  # former name of `precision`


@dataclass(frozen=True)
class InferenceOptions:
    """Options of a segmentation, and of its estimate.

    Parameters
    ----------
    device
        Where to compute; `None`: CUDA if available, else the CPU.
    outside
        What to do with a working spacing outside the model's trained range: ``"refuse"``: raise an
        error; ``"clamp"``: use the nearest trained spacing; ``"extrapolate"``: use it anyway.
    tile_shape
        Largest tile in voxels, one number per dimension of the network, canonical order; `None`:
        the model's own.
    overlap
        Smallest fraction of a tile that it shares with the next one.
    precision
        A name in `PRECISIONS`, or ``"auto"``: the fastest on this device that keeps the labels.
    localization_precision
        That of the coarse first pass, for models with one; `None`: as ``precision``.
    allow_implausible
        Accept spacings and sizes that no scanner makes (`napari_hyperspace.core.spacing`).
    best
        Average the probabilities of several networks, for neighboring spacings and for the mirrored
        image (`napari_hyperspace.inference.best`): more accurate, and several times as slow.
    uncertainty
        Also return how uncertain the average is of each voxel's label; only with ``best``.

    Raises
    ------
    HyperspaceError
        If ``outside`` or ``precision`` is unknown, or ``uncertainty`` is asked for without
        ``best``.
    """

    device: str | torch.device | None = None
    outside: Outside = "refuse"
    tile_shape: tuple[int, ...] | None = None
    overlap: float = DEFAULT_OVERLAP
    precision: str = "auto"
    allow_implausible: bool = False
    localization_precision: str | None = None
    best: bool = False
    uncertainty: bool = False

    def __post_init__(self) -> None:
        if self.outside not in get_args(Outside):
            raise HyperspaceError(
                "unknown rule for spacings outside the trained range",
                field="outside",
                found=self.outside,
                expected="refuse, clamp or extrapolate",
            )
        check_precision(self.precision)
        if self.localization_precision is not None:
            check_precision(self.localization_precision)
        if self.uncertainty and not self.best:
            raise HyperspaceError(
                "the uncertainty is that of several networks",
                field="uncertainty",
                fix="Ask for best, too",
            )


def options_from(options: InferenceOptions | None, keywords: OptionKeywords) -> InferenceOptions:
    """Return the options given as an object or as keyword arguments.

    Raises
    ------
    TypeError
        If both are given, or a keyword is unknown.
    """
    if options is not None:
        if keywords:
            raise TypeError(f"give options or keyword arguments, not both: {', '.join(keywords)}")
        return options
    unknown = keywords.keys() - OptionKeywords.__annotations__.keys()
    if unknown:
        raise TypeError(f"unexpected keyword arguments: {', '.join(sorted(unknown))}")
    if "form" in keywords and "precision" in keywords:
        raise TypeError("form is the former name of precision: give one of them")
    default = InferenceOptions()
    tile_shape = keywords.get("tile_shape")
    return InferenceOptions(
        device=keywords.get("device", default.device),
        outside=keywords.get("outside", default.outside),
        tile_shape=None if tile_shape is None else tuple(tile_shape),
        overlap=keywords.get("overlap", default.overlap),
        precision=keywords.get("precision", keywords.get("form", default.precision)),
        allow_implausible=keywords.get("allow_implausible", default.allow_implausible),
        localization_precision=keywords.get("localization_precision"),
        best=keywords.get("best", default.best),
        uncertainty=keywords.get("uncertainty", default.uncertainty),
    )
