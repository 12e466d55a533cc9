"""The base classes of all configurations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Range = tuple[float, float]
"""Smallest and largest value."""


class Config(BaseModel):
    """A frozen configuration; unknown keys, infinite numbers and NaN are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    former_keys: ClassVar[Mapping[str, str]] = {}
    """Keys that were renamed and are still accepted: old name to present name."""

    @model_validator(mode="before")
    @classmethod
    def _accept_former_keys(cls, values: object) -> object:
        if not isinstance(values, dict) or cls.former_keys.keys().isdisjoint(values):
            return values
        renamed = {cls.former_keys.get(key, key): value for key, value in values.items()}
        if len(renamed) < len(values):
            twice = [f"{old} and {new}" for old, new in cls.former_keys.items() if old in values]
            raise ValueError(f"a key is given under its former and its present name: {twice}")
        return renamed


class BaseNetworkConfig(Config):
    """What the configurations of all families of networks have in common."""

    # The order of the fields is that of the stored JSON, from which a model's identity is computed.
    kind: str
    n_dim: Literal[2, 3]
    """Spatial dimensions."""
    in_channels: Annotated[int, Field(ge=1, le=256)] = 1
    """Images at the input."""
    out_channels: Annotated[int, Field(ge=2, le=4096)] = 2
    """Classes, background included."""

    @property
    @abstractmethod
    def features(self) -> str:
        """The features at full size, in words."""

    @property
    @abstractmethod
    def n_levels(self) -> int:
        """Number of levels, that of the input included."""

    @abstractmethod
    def factors(self, spacing_mm: Sequence[float]) -> tuple[tuple[float, ...], ...]:
        """Return how many voxels of a level one voxel of the next level covers, per axis.

        Parameters
        ----------
        spacing_mm
            Spacing of the input in mm, in array-axis order.
        """
