"""The configuration of a training run: one YAML file, validated before training starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
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
from napari_hyperspace.core.spacing import MAX_FIELD_OF_VIEW_MM
from napari_hyperspace.nets.build import FactoryConfig, NetworkConfig, check_pair
from training.config.base import ConfigSection, read_yaml, rename_former_keys
from training.config.data import AnyDataSection
from training.config.errors import explain
from training.config.guidance import GuidanceSection
from training.config.head import ClassConditionalHead, LabelsHead, SignedDistanceHead
from training.config.plain_yaml import parse_yaml
from training.config.spacing import Spacing, SpacingSection, Step
from training.config.synthesis import Probability, SynthesisSection

_Edge = Annotated[float, Field(gt=0, le=MAX_FIELD_OF_VIEW_MM)]
_EdgeVoxels = Annotated[int, Field(ge=1, le=1 << 20)]
_MAX_PROCESSES = 1024  # torch crashes with a million threads
PatchSize = Annotated[
    tuple[_Edge, _Edge, _Edge],
    BeforeValidator(lambda size: (size,) * 3 if isinstance(size, (int, float)) else size),
]


class AugmentationSection(ConfigSection):
    """Random changes of a sample besides its spacing."""

    flip_probability: tuple[Probability, Probability, Probability] = (0.0, 0.0, 0.5)
    """Probability of mirroring each canonical axis (z, y, x)."""
    deform_probability: Probability = 0.7
    """Probability of a deformation: rotation, scaling and smooth displacement."""
    rotation_deg: NonNegativeFloat = 12.0
    """Largest rotation about each axis, in degrees."""
    scale: Annotated[float, Field(ge=1, lt=2)] = 1.15
    """Largest scaling factor of an axis; its inverse is the smallest."""
    elastic_mm: NonNegativeFloat = 1.0
    """Standard deviation of the smooth displacement, in mm."""
    elastic_control_mm: Step = 12.0
    """Distance between the control points of the smooth displacement, in mm."""
    intensity_probability: Probability = 0.5
    """Probability of each of the following changes of the intensities."""
    contrast: Annotated[float, Field(ge=1)] = 1.25
    """Largest factor of the intensities; its inverse is the smallest."""
    brightness: NonNegativeFloat = 0.2
    """Largest shift of the intensities, in standard deviations of the normalized image."""
    gamma: Annotated[float, Field(ge=1)] = 1.4
    """Largest exponent of the intensities, scaled to 0 to 1; its inverse is the smallest."""
    bias: NonNegativeFloat = 0.2
    """Standard deviation of the logarithm of the smooth bias field."""
    noise: NonNegativeFloat = 0.12
    """Largest standard deviation of the noise, relative to that of the normalized image."""
    blur_mm: NonNegativeFloat = 0.0
    """Largest standard deviation of an additional blur of the image, in mm."""


class LossSection(ConfigSection):
    """Weighted sum of soft Dice loss and cross-entropy."""

    dice_weight: NonNegativeFloat = 1.0
    """Weight of the Dice loss."""
    cross_entropy_weight: NonNegativeFloat = 1.0
    """Weight of the cross-entropy."""
    include_background: bool = False
    """Whether the Dice loss includes the background."""
    whole_batch: bool = False
    """Whether Dice is computed over the whole batch instead of per sample."""


class OptimizerSection(ConfigSection):
    """Optimizer, schedule of the learning rate, averaging of the weights."""

    kind: Literal["adam", "adamw"] = "adamw"
    """Optimizer."""
    learning_rate: PositiveFloat = 2e-3
    """Learning rate after the warm-up."""
    final_learning_rate: NonNegativeFloat = 1e-5
    """Learning rate at the last step."""
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    """Decay of the learning rate; `poly` is the power 0.9 of the fraction of steps that remain."""
    warm_up_steps: NonNegativeInt = 200
    """Number of steps over which the learning rate rises from zero."""
    weight_decay: NonNegativeFloat = 1e-4
    """Weight decay; with `adam` it is added to the gradient."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.9,
        0.99,
    )
    """Decay rates of the optimizer's first and second moment."""
    gradient_clip: NonNegativeFloat = 1.0
    """Largest norm of the gradient; 0: no clipping."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay rate of the moving average of the weights, which is validated and exported; 0: no
    average."""


class StepsSection(ConfigSection):
    """Length of the training, batches and patches."""

    steps: Annotated[int, Field(ge=1, le=10**9)]
    """Number of optimizer steps."""
    batch_size: Annotated[int, Field(ge=1, le=1 << 16)] = 4
    """Number of samples per step, over all devices."""
    patch_shape: tuple[_EdgeVoxels, _EdgeVoxels, _EdgeVoxels] = (96, 96, 96)
    """Largest patch in voxels (z, y, x). Larger samples are cropped at a random position, and the
    trained model is run in tiles of at most this size."""
    patch_mm: PatchSize | None = None
    """Largest patch in mm, one number or one per axis (z, y, x), in addition to that in voxels."""
    soft_labels: bool = False
    """Whether targets are the fractions of each voxel that the classes cover, not one label."""
    patience: NonNegativeInt = 0
    """Number of validations without improvement after which the run stops; 0: never."""


class ValidationSection(ConfigSection):
    """Dice of the validation cases on the working grid, at fixed spacings."""

    every_steps: PositiveInt = 500
    """Number of steps between validations; each one also writes a checkpoint."""
    spacings_mm: Annotated[tuple[Spacing, ...], Field(min_length=1)] = (
        (1, 1, 1),
        (2, 2, 2),
        (1, 1, 3),
        (3, 1, 1),
    )
    """Spacings of the validations during training, in mm (z, y, x)."""
    pairs_per_map: Annotated[int, Field(ge=1, le=1 << 16)] = 3
    """Number of synthetic pairs per validation label map and spacing, with different contrasts."""
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
    """Spacings of the final report and of the model's card, in mm (z, y, x)."""


class ComputeSection(ConfigSection):
    """Devices and processes. May change when a run is resumed."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Kind of device."""
    devices: Annotated[int, Field(ge=1, le=_MAX_PROCESSES)] = 1
    """Number of devices (processes)."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the network's arithmetic; weights and loss are in fp32."""
    channels_last: bool = False
    """Whether tensors are in channels-last memory format; slow on a CPU, where the gradients of the
    normalization layers are not optimized for it."""
    threads: Annotated[int, Field(ge=0, le=_MAX_PROCESSES)] = 0
    """Number of CPU threads per training process; 0: chosen by torch."""
    workers: Annotated[int, Field(ge=0, le=_MAX_PROCESSES)] = 1
    """Number of processes per training process that prepare batches; 0: none."""
    log_every_steps: PositiveInt = 20
    """Number of steps between entries of the log."""


class CardSection(ConfigSection):
    """Texts of the exported model's card."""

    former_keys: ClassVar[Mapping[str, str]] = {"licence": "license"}

    description: str = ""
    """One or two sentences about the structures and the images that the model is made for."""
    license: str = ""
    """License of the training data."""
    citation: str = ""
    """Publications to cite."""


class FitConfig(ConfigSection):
    """A training run."""

    former_keys: ClassVar[Mapping[str, str]] = {"optimiser": "optimizer"}

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]*$")]
    """Name of the model."""
    seed: NonNegativeInt = 0
    """Seed of all random parameters, including the initial weights."""
    data: AnyDataSection
    """The data set."""
    spacing: SpacingSection
    """The working spacings."""
    augmentation: AugmentationSection = AugmentationSection()
    """Random changes of samples made from scans."""
    synthesis: SynthesisSection = SynthesisSection()
    """Random parameters of images synthesized from label maps, for data sets without scans."""
    network: NetworkConfig
    """The network whose weights are made."""
    factory: FactoryConfig
    """How the weights of the network are made; the range of the factory is that of `spacing` by
    default."""
    head: Annotated[
        LabelsHead | SignedDistanceHead | ClassConditionalHead, Field(discriminator="kind")
    ] = LabelsHead()
    """What the network is trained to return."""
    guidance: GuidanceSection | None = None
    """A segmentation at a lower spacing that the network sees beside the image; null: none."""
    loss: LossSection = LossSection()
    """The loss."""
    optimizer: OptimizerSection = OptimizerSection()
    """The optimizer."""
    training: StepsSection
    """Length of the training, batches and patches."""
    validation: ValidationSection = ValidationSection()
    """Validation."""
    compute: ComputeSection = ComputeSection()
    """Devices, precision and processes."""
    card: CardSection = CardSection()
    """The model's card."""

    @model_validator(mode="before")
    @classmethod
    def _factory_range(cls, values: Any) -> Any:
        """Use the range of the spacing section for the factory by default."""
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
            raise ValueError("network.n_dim: must be 3, because training works on volumes")
        check_pair(self.network, self.factory)
        if self.optimizer.warm_up_steps >= self.training.steps:
            raise ValueError("optimizer.warm_up_steps: the warm-up must end before training.steps")
        if self.training.batch_size % self.compute.devices:
            raise ValueError("training.batch_size: must be a multiple of compute.devices")
        if not self.loss.dice_weight + self.loss.cross_entropy_weight:
            raise ValueError("loss.dice_weight: one of the two losses needs a positive weight")
        hard = self.data.kind == "label-maps" or self.spacing.resampled_mm
        if self.training.soft_labels and hard:
            raise ValueError("training.soft_labels: not with label maps or spacing.resampled_mm")
        kind = self.head.kind
        if kind != "labels" and (self.training.soft_labels or self.spacing.resampled_mm):
            raise ValueError(
                f"head.kind: {kind} goes with neither training.soft_labels nor spacing.resampled_mm"
            )
        if kind == "class-conditional" and self.network.out_channels != 2:
            raise ValueError(f"head.kind: {kind} needs network.out_channels: 2")
        if self.guidance is not None:
            self._check_guidance()
        return self

    def _check_guidance(self) -> None:
        if self.head.kind == "class-conditional":
            raise ValueError(
                "guidance: not with head.kind: class-conditional, whose rough mask is its guidance"
            )
        if self.training.soft_labels or self.spacing.resampled_mm:
            raise ValueError(
                "guidance: goes with neither training.soft_labels nor spacing.resampled_mm"
            )
        network = self.network
        if network.in_channels <= network.out_channels:
            raise ValueError(
                "network.in_channels: with guidance, the number of images plus one channel per "
                f"class: {network.out_channels + 1} for one image (found {network.in_channels})"
            )


def load_config(
    path: str | os.PathLike[str], overrides: Sequence[str] = ()
) -> tuple[FitConfig, Path]:
    """Read a configuration file.

    Parameters
    ----------
    path
        A YAML file.
    overrides
        Texts such as ``"training.steps=100"``: a dotted key and a value in YAML.

    Returns
    -------
    tuple
        The configuration, and the folder that its relative paths start from.

    Raises
    ------
    HyperspaceError
        If the file cannot be read, or a key is unknown or has an invalid value.
    """
    values = read_yaml(path)
    values.pop("comparison", None)  # see `training.comparison`
    for override in overrides:
        _override(values, override)
    return parse_config(values, where=path), Path(path).absolute().parent


def parse_config(values: Any, *, where: str | os.PathLike[str] | None = None) -> FitConfig:
    """Validate the plain data of a configuration; errors name the keys."""
    try:
        return FitConfig.model_validate(values)
    except ValidationError as error:
        raise explain(error, FitConfig, where) from None


def _override(values: dict[str, Any], text: str) -> None:
    """Apply an option ``--set key=value``."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise HyperspaceError(
            "--set expects key=value", found=text, fix="Example: --set training.steps=100"
        )
    try:
        parsed = parse_yaml(value)
    except HyperspaceError as error:
        raise HyperspaceError(
            f"the value of --set cannot be read: {error}", field=key, fix="Example: --set seed=3"
        ) from error
    set_key(values, key.strip(), parsed)


def set_key(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key of a configuration that was read but not yet validated.

    Former names are accepted in the key, in the value and in the configuration; all of them are
    renamed.

    Parameters
    ----------
    values
        Plain data of the configuration, changed in place.
    key, value
        The dotted key and its value.

    Raises
    ------
    HyperspaceError
        If a parent of the key has a value that is not a section.
    """
    present = rename_former_keys(values, FitConfig)
    values.clear()
    values.update(present)
    change: Any = value
    for name in reversed(key.split(".")):
        change = {name: change}
    change = rename_former_keys(change, FitConfig)
    for _ in range(key.count(".")):
        ((parent, change),) = change.items()
        child = values.setdefault(parent, {})
        if not isinstance(child, dict):
            raise HyperspaceError("this key has a value, it is not a section", field=key)
        values = child
    values.update(change)


def changes(old: Any, new: Any, prefix: str = "") -> Iterable[str]:
    """List the dotted keys in which two configurations (as plain data) differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from changes(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
    elif old != new:
        yield prefix
