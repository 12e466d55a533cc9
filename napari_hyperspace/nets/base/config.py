"""What all configurations share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator

Range = tuple[float, float]


class Config(BaseModel):
    """A frozen configuration; unknown keys, infinite numbers and NaN are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    former_keys: ClassVar[Mapping[str, str]] = {}
    """Keys that were renamed, in files written before: old name to present name."""

    @model_validator(mode="before")
    @classmethod
    def _accept_former_keys(cls, values: Any) -> Any:
        if not isinstance(values, dict) or cls.former_keys.keys().isdisjoint(values):
            return values
        renamed = {cls.former_keys.get(key, key): value for key, value in values.items()}
        if len(renamed) < len(values):
            twice = [f"{old} and {new}" for old, new in cls.former_keys.items() if old in values]
            raise ValueError(f"a key is given under its former and its present name: {twice}")
        return renamed
