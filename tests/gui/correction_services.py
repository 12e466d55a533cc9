"""Services for tests of corrections: the real functions, with models whose answer is known."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence
from typing import Any, cast

import torch
from torch import nn

from napari_hyperspace.api.corrections.adapt import AdaptResult
from napari_hyperspace.core.errors import Cancelled, HyperspaceError, ShouldStop
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.options import Outside
from napari_hyperspace.nets.locations import InstalledModel
from napari_hyperspace.nets.model import Model
from tests.gui.conftest import FakeServices
from tests.models import FakeModel as FakeSpacingModel


def box_filter_model() -> FakeSpacingModel:
    """A class-conditional model: a structure grows by one voxel, except into voxels outside."""

    def make(spacing_mm: tuple[float, ...]) -> nn.Module:
        network = nn.Conv3d(4, 2, 3, padding=1)
        network.weight.data.zero_()
        network.weight.data[1, 1] = network.weight.data[1, 2] = 1.0
        network.weight.data[1, 3, 1, 1, 1] = -100.0
        network.bias.data = torch.tensor([0.0, -0.5])
        return network

    return FakeSpacingModel(
        make,
        name="refine",
        head="class-conditional",
        in_channels=4,
        channel_names=("image", "rough mask", "voxels inside", "voxels outside"),
        out_channels=2,
        label_values=(0, 1),
        label_names={1: "structure"},
        label_colors={1: "#ff0000"},
    )


class CorrectionFakes(FakeServices):
    """Answers to strokes by growing them by a voxel; ``gate`` holds answers back."""

    def __init__(self) -> None:
        super().__init__()
        self.refiner: FakeSpacingModel | None = box_filter_model()
        self.gate: threading.Event | None = None
        self.answers: list[tuple[int, ...]] = []
        self.cancelled = 0
        self.kept: list[str] = []

    def refiners(self) -> list[tuple[str, str]]:
        return [] if self.refiner is None else [("refine", "refine")]

    def load_model(self, name_or_path: str) -> Model:
        if name_or_path == "refine":
            return cast(Model, self.refiner)
        return super().load_model(name_or_path)

    def correct_steps(
        self, volume: Volume, strokes: Any, values: Any, *more: Any, **kept: Any
    ) -> Any:
        def steps() -> Generator[Progress, None, Any]:
            stop = kept["should_stop"]
            self.answers.append(tuple(values))
            while self.gate is not None and not self.gate.is_set():
                if stop():
                    self.cancelled += 1
                    raise Cancelled
                time.sleep(0.002)
            inner = super(CorrectionFakes, self).correct_steps(
                volume, strokes, values, *more, **kept
            )
            return (yield from inner)

        return steps()

    def adapt_steps(
        self,
        model: Model,
        volumes: Sequence[Volume],
        corrected: Volume,
        spacing_mm: Triple,
        *,
        device: str | None,
        outside: Outside,
        should_stop: ShouldStop,
    ) -> Generator[Progress, None, AdaptResult]:
        yield Progress(0.5, "adapting")
        adapted = cast(Any, type(model))(f"{model.name} adapted")
        before = corrected.with_array(corrected.array * 0)
        return AdaptResult(
            adapted,
            {1: 0.7},
            {1: 0.9},
            before,
            corrected,
            spacing_mm,
            10,
            {1: 100},
            ("heads",),
            1.5,
        )

    def keep_model(self, model: Model) -> InstalledModel:
        from pathlib import Path

        if "full" in self.kept:
            raise HyperspaceError("the disk is full")
        self.kept.append(model.name)
        self.models[model.name] = cast(Any, model)
        return InstalledModel(model.name, Path(model.name), "own")
