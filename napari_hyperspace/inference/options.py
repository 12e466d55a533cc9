"""How a segmentation is run, whatever the scan, the model and the spacing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, TypedDict, get_args

import torch

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.inference.execution import check_precision

Outside = Literal["refuse", "clamp", "extrapolate"]
"""What to do with a spacing outside the trained range."""

DEFAULT_OVERLAP = 0.25


class OptionKeywords(TypedDict, total=False):
    """The options of a segmentation as keyword arguments; see `InferenceOptions`."""

    device: str | torch.device | None
    outside: Outside
    tile_shape: Sequence[int] | None
    overlap: float
    precision: str
    form: str  # former name of `precision`


@dataclass(frozen=True)
class InferenceOptions:
    """Options of a segmentation, and of its estimate.

    Parameters
    ----------
    device
        Where to compute; `None`: CUDA if available, else the CPU.
    outside
        What to do with a working spacing outside the model's trained range: ``"refuse"``;
        ``"clamp"``: run at the nearest trained spacing; ``"extrapolate"``: run there all the same.
    tile_shape
        Largest tile in voxels, one number per dimension of the network, canonical order; `None`:
        the model's own.
    overlap
        Smallest part of a tile that it shares with the next one.
    precision
        A name in `PRECISIONS`, or ``"auto"``: the fastest on this device that keeps the labels.

    Raises
    ------
    HyperspaceError
        If ``outside`` or ``precision`` is unknown.
    """

    device: str | torch.device | None = None
    outside: Outside = "refuse"
    tile_shape: tuple[int, ...] | None = None
    overlap: float = DEFAULT_OVERLAP
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.outside not in get_args(Outside):
            raise HyperspaceError(
                "unknown rule for spacings outside the trained range",
                field="outside",
                found=self.outside,
                expected="refuse, clamp or extrapolate",
            )
        check_precision(self.precision)

    @classmethod
    def from_keywords(cls, keywords: OptionKeywords) -> InferenceOptions:
        """Make options from keyword arguments.

        Raises
        ------
        TypeError
            If a keyword is unknown.
        """
        given = dict(keywords)
        if "form" in given:
            given.setdefault("precision", given.pop("form"))
        unknown = given.keys() - {each.name for each in fields(cls)}
        if unknown:
            raise TypeError(f"unexpected keyword arguments: {', '.join(sorted(unknown))}")
        if keywords.get("tile_shape") is not None:
            given["tile_shape"] = tuple(keywords["tile_shape"] or ())
        return cls(**given)  # type: ignore[arg-type]
