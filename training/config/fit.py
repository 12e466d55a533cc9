"""The configuration of a training run: one YAML file, checked before anything starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.build import FactoryConfig, NetworkConfig, check_pair
from training.config.base import ConfigSection, read_yaml
from training.config.data import AnyDataSection
from training.config.errors import explain
from training.config.synthesis import SynthesisSection


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the smaller spacing comes first, not {bounds[0]} before {bounds[1]}")
    return bounds


Probability = Annotated[float, Field(ge=0, le=1)]
SpacingRange = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_ordered)]
Spacing = tuple[PositiveFloat, PositiveFloat, PositiveFloat]
PatchSize = Annotated[
    Spacing,
    BeforeValidator(lambda size: (size,) * 3 if isinstance(size, (int, float)) else size),
]


class SpacingSection(ConfigSection):
    """The working spacings met in training. Axis order: canonical (z, y, x)."""

    range_mm: tuple[SpacingRange, SpacingRange, SpacingRange]
    """Smallest and largest spacing of each axis, in mm; drawn log-uniformly."""
    clusters_mm: tuple[Spacing, ...] = ()
    """Spacings of scans as they were acquired: if there are any, one of them is drawn, not the
    range, and images are averaged over its voxels."""
    resampled_mm: Spacing | None = None
    """Spacing that images of a cluster are interpolated to (cubically, labels to the nearest)
    before the network sees them, as a data set brought to one spacing is."""
    isotropic_probability: Probability = 0.0
    """Share of the steps whose three axes are drawn jointly (1: always, 0: independently)."""
    thick_slice_probability: Probability = 0.0
    """Share of the steps with thick slices along one axis, drawn by chance."""
    thick_mm: SpacingRange = (3.0, 7.0)
    """Spacing of thick slices, within the range of their axis."""
    fine_mm: SpacingRange = (0.4, 1.3)
    """Spacing within thick slices, within the ranges of the other two axes."""
    antialias_probability: Probability = 0.75
    """Share of the samples averaged over the larger voxels; the others are only interpolated."""
    cubic_probability: Probability = 0.2
    """Share of the undeformed samples interpolated by cubic kernels, the others by linear ones."""

    @model_validator(mode="after")
    def _met_in_training(self) -> SpacingSection:
        met = [self.resampled_mm] if self.resampled_mm else [*self.clusters_mm]
        if self.resampled_mm and not self.clusters_mm:
            raise ValueError("resampled_mm: what is resampled is clusters_mm")
        for spacing in met:
            for step, (low, high) in zip(spacing, self.range_mm, strict=True):
                if not low <= step <= high:
                    raise ValueError(f"range_mm: does not hold {spacing}, which is met in training")
        return self


class AugmentationSection(ConfigSection):
    """What is changed at random in a sample besides its spacing."""

    flip_probability: tuple[Probability, Probability, Probability] = (0.0, 0.0, 0.5)
    """Chance of mirroring each canonical axis (z, y, x)."""
    deform_probability: Probability = 0.7
    """Chance of rotating, scaling and bending a sample; all in one interpolation."""
    rotation_deg: NonNegativeFloat = 12.0
    """Largest rotation about each axis, in degrees."""
    scale: Annotated[float, Field(ge=1, lt=2)] = 1.15
    """Largest factor by which an axis grows or shrinks."""
    elastic_mm: NonNegativeFloat = 1.0
    """Standard deviation of the smooth displacement, in mm."""
    elastic_control_mm: PositiveFloat = 12.0
    """Distance between the control points of the smooth displacement, in mm."""
    intensity_probability: Probability = 0.5
    """Chance of each of the intensity changes below."""
    contrast: Annotated[float, Field(ge=1)] = 1.25
    """Largest factor on the intensities."""
    brightness: NonNegativeFloat = 0.2
    """Largest shift of the intensities, in standard deviations of the normalized image."""
    gamma: Annotated[float, Field(ge=1)] = 1.4
    """Largest exponent of the intensities between their extremes; its inverse is the smallest."""
    bias: NonNegativeFloat = 0.2
    """Standard deviation of the logarithm of the smooth bias field."""
    noise: NonNegativeFloat = 0.12
    """Largest standard deviation of the noise, in those of the normalized image."""
    blur_mm: NonNegativeFloat = 0.0
    """Largest standard deviation of an additional blur of the whole image, in mm."""


class LossSection(ConfigSection):
    """Weighted sum of soft Dice loss and cross-entropy."""

    dice_weight: NonNegativeFloat = 1.0
    """Weight of the Dice loss."""
    cross_entropy_weight: NonNegativeFloat = 1.0
    """Weight of the cross-entropy."""
    include_background: bool = False
    """Whether the background is a class of the Dice loss."""
    whole_batch: bool = False
    """Whether the Dice is taken over the batch at once instead of sample by sample."""


class OptimizerSection(ConfigSection):
    """Optimizer, learning rate over the steps, weight averaging."""

    kind: Literal["adam", "adamw"] = "adamw"
    """Optimizer."""
    learning_rate: PositiveFloat = 2e-3
    """Learning rate after the warm-up."""
    final_learning_rate: NonNegativeFloat = 1e-5
    """Learning rate at the last step."""
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    """Form of the decay; `poly` falls with the power 0.9 of the steps that remain."""
    warm_up_steps: NonNegativeInt = 200
    """Steps over which the learning rate rises from zero."""
    weight_decay: NonNegativeFloat = 1e-4
    """Decay of the weights; with `adam` it is part of the gradient."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.9,
        0.99,
    )
    """Memory of the optimizer's first and second moment."""
    gradient_clip: NonNegativeFloat = 1.0
    """Largest norm of the gradient; 0: not clipped."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Memory of the moving average of the weights that is validated and exported; 0: none."""


class StepsSection(ConfigSection):
    """How long, and in what portions."""

    steps: PositiveInt
    """Number of optimizer steps."""
    batch_size: PositiveInt = 4
    """Samples a step, all devices together."""
    patch_shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (96, 96, 96)
    """Largest block in voxels (z, y, x); larger samples are cropped at a random place, and the
    trained model is run in tiles of at most this size."""
    patch_mm: PatchSize | None = None
    """Largest block in mm, one number or one an axis (z, y, x), beside that in voxels."""
    patience: NonNegativeInt = 0
    """Validations without improvement before the run stops early; 0: never."""


class ValidationSection(ConfigSection):
    """Dice on the validation cases, on the working grid, at the same spacings every time."""

    every_steps: PositiveInt = 500
    """Steps between validations; each one writes a checkpoint too."""
    spacings_mm: Annotated[tuple[Spacing, ...], Field(min_length=1)] = (
        (1, 1, 1),
        (2, 2, 2),
        (1, 1, 3),
        (3, 1, 1),
    )
    """Spacings of the validations during training, in mm (z, y, x)."""
    pairs_per_map: PositiveInt = 3
    """Synthetic pairs of each validation label map at each spacing, their contrasts in turn."""
    report_spacings_mm: Annotated[tuple[Spacing, ...], Field(min_length=1)] = (
        (1, 1, 1),
        (1.5, 1.5, 1.5),
        (2, 2, 2),
        (3, 3, 3),
        (4, 4, 4),
        (3, 1, 1),
        (1, 3, 1),
        (1, 1, 3),
    )
    """Spacings of the report at the end and of the model's card, in mm (z, y, x)."""


class ComputeSection(ConfigSection):
    """Where and how to compute. May change when a run is resumed."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Kind of device."""
    devices: PositiveInt = 1
    """Number of devices (processes)."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the network's arithmetic; weights and loss stay in fp32."""
    channels_last: bool = False
    """Whether images lie channels-last in memory; on a CPU the norms' gradients are slow there."""
    threads: NonNegativeInt = 0
    """CPU threads of each training process; 0: what torch chooses."""
    workers: NonNegativeInt = 1
    """Processes that prepare batches beside each training process; 0: none."""
    log_every_steps: PositiveInt = 20
    """Steps between lines of the log."""


class CardSection(ConfigSection):
    """What the exported model says of itself."""

    former_keys: ClassVar[Mapping[str, str]] = {"licence": "license"}

    description: str = ""
    """One or two sentences on what the model segments in which images."""
    license: str = ""
    """License of the training data."""
    citation: str = ""
    """What to cite."""


class FitConfig(ConfigSection):
    """A training run."""

    former_keys: ClassVar[Mapping[str, str]] = {"optimiser": "optimizer"}

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]*$")]
    """Name of the model."""
    seed: NonNegativeInt = 0
    """Seed of every draw and of the first weights."""
    data: AnyDataSection
    """The data set."""
    spacing: SpacingSection
    """The working spacings."""
    augmentation: AugmentationSection = AugmentationSection()
    """Random changes of a sample."""
    synthesis: SynthesisSection = SynthesisSection()
    """How images are made where the data set has label maps alone; `augmentation` is for scans."""
    network: NetworkConfig
    """The network whose weights are made."""
    factory: FactoryConfig
    """The way its weights are made; its range is the training range unless it has its own."""
    loss: LossSection = LossSection()
    """The loss."""
    optimizer: OptimizerSection = OptimizerSection()
    """The optimizer."""
    training: StepsSection
    """Length of the training."""
    validation: ValidationSection = ValidationSection()
    """Validation."""
    compute: ComputeSection = ComputeSection()
    """Devices, precision, processes."""
    card: CardSection = CardSection()
    """The model's card."""

    @model_validator(mode="before")
    @classmethod
    def _factory_range(cls, values: Any) -> Any:
        """Give the factory the training range: one place to write it."""
        if not isinstance(values, dict):
            return values
        factory, spacing = values.get("factory"), values.get("spacing")
        if (
            isinstance(factory, dict)
            and isinstance(spacing, dict)
            and factory.get("kind") == "hypernetwork"
            and "range_mm" in spacing
        ):
            factory = {"range_mm": spacing["range_mm"], **factory}
        return {**values, "factory": factory} if factory is not None else values

    @model_validator(mode="after")
    def _consistent(self) -> FitConfig:
        if self.network.n_dim != 3:
            raise ValueError("network.n_dim: training works on volumes, so it must be 3")
        check_pair(self.network, self.factory)
        if self.optimizer.warm_up_steps >= self.training.steps:
            raise ValueError("optimizer.warm_up_steps: the warm-up must end before training.steps")
        if self.training.batch_size % self.compute.devices:
            raise ValueError("training.batch_size: must be a multiple of compute.devices")
        if not self.loss.dice_weight + self.loss.cross_entropy_weight:
            raise ValueError("loss.dice_weight: one of the two losses must count")
        return self


def load_config(
    path: str | os.PathLike[str], overrides: Sequence[str] = ()
) -> tuple[FitConfig, Path]:
    """Read a configuration file.

    Parameters
    ----------
    path
        A YAML file.
    overrides
        Texts such as ``"training.steps=100"``; the value is YAML, the key a dotted path.

    Returns
    -------
    tuple
        The configuration, and the folder that its relative paths start from.

    Raises
    ------
    HyperspaceError
        If the file cannot be read or a key is unknown, of a wrong type or out of range.
    """
    values = read_yaml(path)
    values.pop("comparison", None)  # what several runs are for; see `training.comparison`
    for override in overrides:
        _override(values, override)
    return parse_config(values, where=path), Path(path).absolute().parent


def parse_config(values: Any, *, where: str | os.PathLike[str] | None = None) -> FitConfig:
    """Check a configuration that was read already; errors name the keys."""
    try:
        return FitConfig.model_validate(values)
    except ValidationError as error:
        raise explain(error, FitConfig, where) from None


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise HyperspaceError(
            "--set wants key=value", found=text, fix="Write, say, --set training.steps=100"
        )
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise HyperspaceError("the value is not YAML", field=key, found=value) from error
    set_key(values, key.strip(), parsed)


def set_key(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key of a configuration that was read but not yet checked.

    Raises
    ------
    HyperspaceError
        If the key leads through a value.
    """
    *parents, last = key.split(".")
    for parent in parents:
        child = values.setdefault(parent, {})
        if not isinstance(child, dict):
            raise HyperspaceError("this key holds a value, not a section", field=key)
        values = child
    values[last] = value


def changes(old: Any, new: Any, prefix: str = "") -> Iterable[str]:
    """List the dotted keys in which two configurations (as plain data) differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from changes(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
    elif old != new:
        yield prefix
