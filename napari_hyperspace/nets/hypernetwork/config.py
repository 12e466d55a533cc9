"""Configuration of a hypernetwork."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from napari_hyperspace.nets.base.config import Config, Range


class HypernetworkConfig(Config):
    """A small perceptron of the spacing that makes all weights of the network.

    layer weights = output(head(coefficients(encoding(spacing))))

    The defaults are this project's; `HypernetworkConfig.paper()` returns those of HyperSpace.
    """

    kind: Literal["hypernetwork"] = "hypernetwork"
    encoding: Literal["log-cos-sin", "raw-mm"] = "log-cos-sin"
    """Cosine and sine of the log-spacing scaled to ``range_mm`` (constant norm), or the mm."""
    range_mm: Annotated[tuple[Range, ...], Field(min_length=2, max_length=3)] | None = None
    """Smallest and largest spacing in mm, per axis (z, y, x), that the encoding is scaled to."""
    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(max_length=8)] = (
        32,
        32,
    )
    """Widths of the perceptron's hidden layers."""
    activation: Literal["relu", "silu"] = "silu"
    """Non-linearity of the perceptron."""
    rank: Annotated[int, Field(ge=1, le=1024)] | None = 8
    """Number of coefficients; `None`: the units of the last hidden layer."""
    output: Literal["residual", "tanh5"] = "residual"
    """``residual``: initial weights plus a difference that starts at 0; ``tanh5``: 5·tanh."""

    @model_validator(mode="after")
    def _encoding_has_its_range(self) -> Self:
        if self.encoding == "log-cos-sin":
            if self.range_mm is None:
                raise ValueError("the encoding log-cos-sin needs range_mm")
            for low, high in self.range_mm:
                if not 0 < low <= high:
                    raise ValueError(
                        f"a range in mm needs 0 < smallest ≤ largest; found {low, high}"
                    )
        if self.rank is None and not self.hidden:
            raise ValueError("without rank, at least one hidden layer is needed")
        return self

    @classmethod
    def paper(cls, hidden: tuple[int, ...] = (10, 10, 50)) -> HypernetworkConfig:
        """Return the configuration of HyperSpace: raw mm, ReLU, no rank, 5·tanh."""
        return cls(encoding="raw-mm", hidden=hidden, activation="relu", rank=None, output="tanh5")
