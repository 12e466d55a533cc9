"""The card of a model: its description, labels, input and accuracy; everything but the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, field_validator, model_validator

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.structures import (
    LABEL_COLORS,
    colors_for,
    laterality_in_name,
    value_on_side,
)
from napari_hyperspace.core.volume import Laterality, Side
from napari_hyperspace.nets.base.config import Config, Range
from napari_hyperspace.nets.base.guidance import GuidanceChannels, GuidanceKind
from napari_hyperspace.nets.base.localization import Localization
from napari_hyperspace.nets.base.quality import QualityConfig

Contrast = Literal["t1", "t2", "pd", "flair"]
"""Contrast of an MR image."""

LARGEST_VALUE = 65535
"""Of a label."""
HexColor = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]


class LabelClass(Config):
    """One structure that a model segments."""

    value: Annotated[int, Field(ge=1, le=LARGEST_VALUE)]
    """Value in the label map."""
    name: str
    """Name shown to users."""
    color: HexColor = LABEL_COLORS[0]
    """Color to draw it in. In a card, each label without one gets another of `LABEL_COLORS`."""
    side: Side | None = None
    """Side of the body; null: neither side, or both sides in one label."""
    structure: str = ""
    """Name without the side, the same as of its counterpart on the other side."""
    paired: bool = False
    """Whether it contains the structures of both sides of the body, which post-processing can
    divide into left and right."""

    @model_validator(mode="before")
    @classmethod
    def _side_in_name(cls, values: Any) -> Any:
        # Cards written before labels had sides: the side is that of the English name.
        if not isinstance(values, dict) or not {"side", "structure"}.isdisjoint(values):
            return values
        name = values.get("name")
        if not isinstance(name, str):
            return values
        side, structure, _ = laterality_in_name(name)
        return {**values, "side": side, "structure": structure}

    @model_validator(mode="after")
    def _on_both_sides(self) -> Self:
        if self.paired and self.side is not None:
            raise ValueError(f"a label of both sides of the body has no side; found {self.side}")
        return self

    @property
    def laterality(self) -> Laterality:
        """Side and name without it."""
        return Laterality(self.side, self.structure or self.name, self.paired)


class NormalizationConfig(Config):
    """How the input's intensities are normalized; see `Normalization`."""

    kind: Literal["z-score", "percentile", "window", "none"] = "z-score"
    lower: float = 0.5
    """Percentile or intensity that is mapped to 0."""
    upper: float = 99.5
    """Percentile or intensity that is mapped to 1."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        try:
            self.build()
        except HyperspaceError as error:
            raise ValueError(f"{error.problem}; found {error.found}") from error
        return self

    def build(self) -> Normalization:
        """Return the normalization that it describes."""
        return Normalization(self.kind, self.lower, self.upper)


class DiceRecord(Config):
    """Measured Dice at one spacing."""

    spacing_mm: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    """Working spacing in mm, (z, y, x)."""
    dice: dict[str, float]
    """Mean over the cases, by label name."""
    mean: float
    """Mean over the labels."""
    native_mean: float | None = None
    """Mean over the labels, scored on the grids of the scans themselves; unlike `mean`, it is
    comparable between spacings."""
    cases: int | None = None
    """Number of cases."""


class RealDice(DiceRecord):
    """Measured Dice of real scans of one contrast at one spacing, on the grids of the scans."""

    contrast: Contrast
    """Contrast of the scans."""
    compared_with: str
    """Whose labels they were compared with, such as "FreeSurfer"."""
    agreement: bool = False
    """Whether those are the labels of another program, and not made or checked by people: the
    Dice is then how far the two agree."""


class LocalizationConfig(Config):
    """A coarse first pass that finds the region to segment."""

    spacing_mm: PositiveFloat = 4.0
    """Spacing of the first pass, in mm."""
    margin_mm: Annotated[float, Field(ge=0)] = 8.0
    """Margin around the bounding box of what was found, in mm."""
    extent_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    """Typical size in mm of that box (z, y, x), margin included; used by estimates."""
    plausible_ml: tuple[PositiveFloat, PositiveFloat] | None = None
    """Smallest and largest plausible volume in ml of what is found; null: nothing is checked."""
    from_top_mm: PositiveFloat | None = None
    """If what was found is implausible, it is looked for again in this height in mm below the top
    of the head; null: it is not."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.plausible_ml is not None and self.plausible_ml[0] > self.plausible_ml[1]:
            raise ValueError(f"plausible_ml needs smallest ≤ largest; found {self.plausible_ml}")
        return self

    def build(self) -> Localization:
        """Return the localization that it describes."""
        return Localization(
            self.spacing_mm,
            self.margin_mm,
            self.extent_mm,
            self.plausible_ml,
            self.from_top_mm,
        )


class GuidanceConfig(Config):
    """The channels of guidance after the images: one per class, the background first."""

    kind: GuidanceKind = "one-hot"
    """Classes, interpolated between the voxels of the guidance; or distances to their surfaces."""
    clip_mm: PositiveFloat = 10.0
    """Distance in mm at which a channel of distances becomes 0 or 1."""
    spacing_mm: tuple[PositiveFloat, PositiveFloat]
    """Smallest and largest spacing of the guidance in training, in mm."""
    optional: bool = False
    """Whether the network was also trained without guidance."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.spacing_mm
        if low > high:
            raise ValueError(f"spacing_mm needs smallest ≤ largest; found {low, high}")
        return self

    def build(self) -> GuidanceChannels:
        """Return the channels that it describes."""
        return GuidanceChannels(self.kind, self.clip_mm, self.spacing_mm, self.optional)


class ModelCard(Config):
    """What a model is, what it was trained on and how accurate it is.

    All axis orders are canonical (z, y, x).
    """

    former_keys: ClassVar[Mapping[str, str]] = {
        "normalisation": "normalization",
        "search": "localization",
        "licence": "license",
    }

    name: str
    description: str = ""
    labels: Annotated[tuple[LabelClass, ...], Field(min_length=1)]
    """The classes of output channels 1, 2, …; channel 0 is the background, value 0."""
    channel_names: Annotated[tuple[str, ...], Field(min_length=1)] = ("image",)
    """Description of each input channel."""
    head: Literal["labels", "class-conditional"] = "labels"
    """What the output is: all labels; or one structure, which the channels after the image select
    (a rough mask, voxels known to be inside, voxels known to be outside)."""
    guidance: GuidanceConfig | None = None
    """A segmentation at a lower spacing, whose channels come after the images; null: none."""
    normalization: NormalizationConfig = NormalizationConfig()
    axis_order: Literal["IPL"] = "IPL"
    """Directions of the array axes that the network sees: to Inferior, Posterior, Left."""
    trained_range_mm: tuple[Range, ...] | None = None
    """Smallest and largest spacing seen in training, in mm per axis; null: unknown."""
    tile_shape: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    """Largest tile in voxels; null: the engine decides."""
    tile_mm: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """Largest tile in mm, in addition to that in voxels; null: no limit."""
    localization: LocalizationConfig | None = None
    """The coarse first pass; null: the whole scan is segmented."""
    license: str = ""
    """License of the weights, and of the data they were trained on."""
    citation: str = ""
    """What to cite."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Summary: seed, data, steps, time, machine, configuration."""
    dice: tuple[DiceRecord, ...] = ()
    """Measured accuracy against spacing."""
    real: tuple[RealDice, ...] = ()
    """Measured on real scans, for models whose `dice` is that of synthetic ones."""
    quality: QualityConfig | None = None
    """What is known about good results; null: nothing."""

    @field_validator("labels")
    @classmethod
    def _distinct_colors(cls, labels: tuple[LabelClass, ...]) -> tuple[LabelClass, ...]:
        given = {each.value: each.color for each in labels if "color" in each.model_fields_set}
        colors = colors_for([each.value for each in labels], given)
        return tuple(each.model_copy(update={"color": colors[each.value]}) for each in labels)

    @model_validator(mode="after")
    def _values_are_unique(self) -> Self:
        values = [label.value for label in self.labels]
        if len(set(values)) != len(values):
            raise ValueError(f"label values must differ; found {values}")
        for value in (label.value for label in self.labels if label.paired):
            divided = {value_on_side(value, "left"), value_on_side(value, "right")}
            if divided & set(values) or max(divided) > LARGEST_VALUE:
                raise ValueError(
                    f"a label of both sides needs two free values up to {LARGEST_VALUE} for its "
                    f"left and right part; found {sorted(divided)}"
                )
        for low, high in self.trained_range_mm or ():
            if not 0 < low <= high:
                raise ValueError(f"a range in mm needs 0 < smallest ≤ largest; found {low, high}")
        return self
