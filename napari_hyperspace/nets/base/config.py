"""What all configurations share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

Range = tuple[float, float]


class Config(BaseModel):
    """A frozen configuration that knows exactly its own keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
