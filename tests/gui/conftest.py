"""Fakes for the tests of the plug-in: services that take no time, and a view that remembers."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import numpy as np
import pytest
import torch

import napari_hyperspace
from napari_hyperspace.api.estimate import Estimate
from napari_hyperspace.api.segment import SegmentResult
from napari_hyperspace.core.errors import (
    Cancelled,
    HyperspaceError,
    HyperspaceWarning,
    ShouldStop,
)
from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.core.spacing import Range
from napari_hyperspace.core.volume import Laterality, Record, Volume, digest_of_labels
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.protocols import SpacingModel
from napari_hyperspace.io import Receipt, Series
from napari_hyperspace.io.series import Slice
from napari_hyperspace.nets.base.architecture import Architecture
from napari_hyperspace.nets.base.guidance import GivenGuidance, GuidanceChannels
from napari_hyperspace.nets.base.localization import Localization
from napari_hyperspace.nets.card import DiceRecord, LabelClass, ModelCard
from napari_hyperspace.nets.model import Model

pytest.importorskip("napari")

from napari_hyperspace.gui.adapters.readers import ReadOptions
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models import settings
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.scales import Scales
from napari_hyperspace.gui.models.view import (
    Accuracy,
    CostOverSpacing,
    Entries,
    StructureRow,
    StructuresView,
    Tone,
    View,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from pytestqt.qtbot import QtBot

    from napari_hyperspace.gui.controllers.dock import DockController

# Oblique and anisotropic, its axes in the order of no slice view: x runs along the second axis.
OBLIQUE = np.array(
    [
        [0.10, -0.68, 0.30, 41.5],
        [-0.67, -0.10, 0.40, -12.25],
        [-0.04, -0.05, -4.97, 63.125],
        [0, 0, 0, 1],
    ]
)


@pytest.fixture(autouse=True)
def user_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what tests choose out of the user's settings."""
    monkeypatch.setattr(settings, "_plugin_settings", lambda: None)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Make napari's settings of the plug-in, in a file of the test."""
    from napari.settings import _plugin_config_generator
    from npe2 import PluginManager, PluginManifest

    manager = PluginManager()
    manifest = Path(napari_hyperspace.__file__).parent / "napari.yaml"
    manager.register(PluginManifest.from_file(manifest))
    model = _plugin_config_generator.plugin_configuration_generator(manager)["napari-hyperspace"]

    def make() -> Any:
        chosen = model(config_path=tmp_path / "settings.yaml")
        monkeypatch.setattr(settings, "_plugin_settings", lambda: chosen)
        return chosen

    return make


@pytest.fixture
def oblique_volume() -> Volume:
    array = np.arange(5 * 7 * 3, dtype=np.int16).reshape(5, 7, 3)
    return Volume(array, Grid((5, 7, 3), OBLIQUE), "oblique", {"path": "/scans/oblique.nii"})


@dataclass
class FakeModel:
    """Stands for a `Model`. Bright voxels are label 1, very bright ones label 2."""

    name: str = "fake"
    in_channels: int = 1
    n_dim: int = 3
    trained_range_mm: tuple[Range, ...] | None = ((0.8, 4.0),) * 3
    normalization: Normalization = field(default_factory=Normalization)
    label_names: dict[int, str] = field(default_factory=lambda: {1: "front", 2: "back"})
    label_colors: dict[int, str] = field(default_factory=lambda: {1: "#ff8800", 2: "#0088ff"})
    dice: tuple[DiceRecord, ...] = ()
    baked: list[tuple[float, ...]] = field(default_factory=list)
    tile_shape: tuple[int, ...] | None = None
    tile_mm: tuple[float, ...] | None = None
    localization: Localization | None = None
    guidance: GuidanceChannels | None = None
    given_guidance: GivenGuidance | None = None

    @property
    def image_channels(self) -> int:
        return self.in_channels - (self.out_channels if self.guidance else 0)

    @property
    def identity(self) -> str:
        return self.name

    @property
    def digest(self) -> str:
        return "0" * 32

    @property
    def head(self) -> str:
        return self.card.head

    @property
    def channel_names(self) -> tuple[str, ...]:
        return self.card.channel_names

    @property
    def out_channels(self) -> int:
        return 1 + len(self.label_names)

    @property
    def label_values(self) -> tuple[int, ...]:
        return (0, *self.label_names)

    @property
    def label_sides(self) -> dict[int, Laterality]:
        return {label.value: label.laterality for label in self.card.labels}

    @property
    def card(self) -> ModelCard:
        return ModelCard(
            name=self.name,
            description="A fake.",
            labels=tuple(LabelClass(value=v, name=name) for v, name in self.label_names.items()),
            channel_names=("T1", "T2")[: self.in_channels],
            license="none",
            dice=self.dice,
        )

    def architecture(self, spacing_mm: Sequence[float]) -> Architecture:
        return Architecture("fake", ())

    def skeleton(self, spacing_mm: Sequence[float]) -> torch.nn.Module:
        return torch.nn.Identity()

    def network(
        self, spacing_mm: Sequence[float], device: str | torch.device | None = None
    ) -> torch.nn.Module:
        self.baked.append(tuple(spacing_mm))
        return torch.nn.Identity()


class FakeServices(Services):
    """Estimates one microsecond per working voxel; segments by thresholds, in ``steps`` steps."""

    def __init__(self) -> None:
        self.models = {"fake": FakeModel(), "other": FakeModel("other", trained_range_mm=None)}
        self.steps = 3
        self.step_seconds = 0.0
        self.gate: threading.Event | None = None
        self.runs: list[tuple[Sequence[Volume], Triple, str, str]] = []
        self.estimated: list[Triple] = []
        self.error: Exception | None = None
        self.warning: str | None = None
        self.doubts: tuple[str, ...] = ()
        self.files: dict[str, Volume | Callable[..., Volume]] = {}
        self.written: list[tuple[Volume, str]] = []
        self.budgets: list[tuple[float, int]] = []

    def bundled_models(self) -> Mapping[str, Path]:
        return {name: Path(name) for name in ("fake", "other")}

    def read_card(self, name_or_path: str) -> ModelCard:
        known = self.models.get(name_or_path)
        return super().read_card(name_or_path) if known is None else known.card

    def load_model(self, name_or_path: str) -> Model:
        if name_or_path not in self.models:
            raise HyperspaceError("this is no model", where=name_or_path)
        return cast(Model, self.models[name_or_path])

    def devices(self) -> list[tuple[str, str]]:
        return [("cpu", "CPU")]

    def _estimate(self, grid: Grid, spacing_mm: Triple) -> Estimate:
        voxels = float(np.prod(grid.field_of_view_mm) / np.prod(spacing_mm))
        self.estimated.append(spacing_mm)
        return Estimate(
            seconds=voxels * 1e-6,
            peak_bytes=int(voxels * 400),
            peak_host_bytes=int(voxels * 4),
            working_shape=(1, 1, 1),
            spacing_mm=spacing_mm,
            n_tiles=1,
            available_bytes=8 * 10**9,
            available_host_bytes=8 * 10**9,
            precision="fp32",
        )

    def settled_precision(self, model: SpacingModel, spacing_mm: Triple, device: str | None) -> str:
        return "fp32"

    def estimate(
        self, grid: Grid, model: SpacingModel, spacing_mm: Triple, options: InferenceOptions
    ) -> Estimate:
        return self._estimate(grid, spacing_mm)

    def slowdown(self) -> float:
        return 1.0

    def estimate_curve(
        self,
        grid: Grid,
        model: SpacingModel,
        spacings: Sequence[Triple],
        options: InferenceOptions,
    ) -> Sequence[Estimate]:
        return [self._estimate(grid, spacing) for spacing in spacings]

    def spacing_for(
        self,
        grid: Grid,
        model: SpacingModel,
        *,
        seconds: float,
        memory_bytes: int,
        device: str | None,
    ) -> Triple:
        self.budgets.append((seconds, memory_bytes))
        if seconds < 1e-3:
            raise HyperspaceError("no trained spacing is that fast")
        return (2.0, 1.5, 1.5)

    def segment_steps(
        self,
        volumes: Sequence[Volume],
        model: SpacingModel,
        spacing_mm: Triple,
        options: InferenceOptions,
        should_stop: ShouldStop,
    ) -> Generator[Progress, None, SegmentResult]:
        started = time.perf_counter()
        self.runs.append((volumes, spacing_mm, options.outside, model.normalization.kind))
        if self.warning:
            warnings.warn(self.warning, HyperspaceWarning, stacklevel=2)
        for i in range(self.steps):
            yield Progress(i / self.steps, f"tile {i + 1} of {self.steps}")
            deadline = time.perf_counter() + self.step_seconds
            while time.perf_counter() < deadline or (self.gate and not self.gate.is_set()):
                if should_stop():
                    raise Cancelled
                time.sleep(0.002)
            if should_stop():
                raise Cancelled
        if self.error:
            raise self.error
        volume = volumes[0]
        limits = np.quantile(volume.array, (0.9, 0.97))
        labels = np.digitize(volume.array, limits).astype(np.uint8)
        record = Record(
            model=model.name,
            model_digest=model.digest,
            spacing_mm=spacing_mm,
            precision="fp32",
            device="cpu",
            outside=options.outside,
            overlap=options.overlap,
            channels=model.channel_names,
            reading=volume.metadata.get("reading", {}),
            labels_digest=digest_of_labels(labels),
        )
        return SegmentResult(
            volume.with_array(labels, metadata={**volume.metadata, "record": record}),
            seconds=time.perf_counter() - started,
            bake_seconds=0.001,
            peak_bytes=10**6,
            spacing_mm=spacing_mm,
            precision="fp32",
            device="cpu",
        )

    def check_result(
        self,
        volumes: Sequence[Volume],
        labels: Volume,
        model: SpacingModel,
        should_stop: ShouldStop,
    ) -> tuple[str, ...]:
        return self.doubts

    def read(self, path: str, **options: Unpack[ReadOptions]) -> Volume:
        outcome = self.files[path]
        return outcome if isinstance(outcome, Volume) else outcome(**options)

    def list_series(self, folder: str) -> Sequence[Series]:
        return [
            Series(uid, "", "MR", (Slice(Path(folder), uid, "", "MR"),)) for uid in ("1.2", "1.3")
        ]

    def write(self, volume: Volume, path: str) -> Receipt:
        self.written.append((volume, path))
        return Receipt(Path(path), True, True, 0.0, volume.array.size)


@pytest.fixture
def no_fronts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network sees strokes as they are: its answers can be foretold."""
    from napari_hyperspace.api.corrections import refine

    monkeypatch.setattr(refine, "membership_of_strokes", lambda *_: None)


@pytest.fixture
def services() -> FakeServices:
    return FakeServices()


class MockView:
    """Records the arguments of its methods; answers questions from the lists in ``answers``."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []
        self.answers: dict[str, list[Any]] = {}
        self.asked: list[tuple[str, tuple[object, ...]]] = []

    def last(self, what: str) -> Any:
        """Return the arguments of the last call of ``show_…``; `None` if there was none."""
        return next((args for name, args in reversed(self.said) if name == what), None)

    @property
    def messages(self) -> list[Any]:
        return [args for name, args in self.said if name == "message"]

    def _say(self, what: str, *args: object) -> None:
        self.said.append((what, args))

    def _ask(self, what: str, *args: object) -> Any:
        self.asked.append((what, args))
        return self.answers[what].pop(0)

    def show_models(self, entries: Entries, current: str) -> None:
        self._say("models", entries, current)

    def show_model_purposes(self, lines: Mapping[str, str]) -> None:
        self._say("model_purposes", lines)

    def show_devices(self, entries: Entries, current: str) -> None:
        self._say("devices", entries, current)

    def show_layers(
        self, entries: Entries, current: Sequence[str], channels: Sequence[str]
    ) -> None:
        self._say("layers", entries, current, channels)

    def show_guidance(
        self, entries: Entries | None, current: str, spacing_mm: float | None
    ) -> None:
        self._say("guidance", entries, current, spacing_mm)

    def show_scan(self, text: str, hint: str = "") -> None:
        self._say("scan", text, *([hint] if hint else []))

    def show_model(self, text: str, details: str) -> None:
        self._say("model", text, details)

    def show_choices(self, choices: Choices) -> None:
        self._say("choices", choices)

    def show_scales(self, scales: Scales) -> None:
        self._say("scales", scales)

    def show_cost(self, text: str, fits: bool, notes: Sequence[str]) -> None:
        self._say("cost", text, fits, notes)

    def show_estimating(self, text: str) -> None:
        self._say("estimating", text)

    def show_bake(self, text: str) -> None:
        self._say("bake", text)

    def show_curve(self, curve: CostOverSpacing | None, trained: Range | None) -> None:
        self._say("curve", curve, trained)

    def show_preview(self, text: str, tone: Tone = "plain") -> None:
        self._say("preview", text, tone)

    def show_accuracy(self, accuracy: Accuracy) -> None:
        self._say("accuracy", accuracy)

    def show_point(self, spacing_mm: float, seconds: float) -> None:
        self._say("point", spacing_mm, seconds)

    def show_message(self, text: str, tone: Tone = "plain") -> None:
        self._say("message", text, tone)

    def show_progress(self, fraction: float | None, text: str = "") -> None:
        self._say("progress", fraction, text)

    def show_ready(self, *, run: bool, cancel: bool, save: bool) -> None:
        self.said.append(("ready", {"run": run, "cancel": cancel, "save": save}))

    def show_structures(self, rows: Sequence[StructureRow], layer: str, sides: bool) -> None:
        self._say("structures", rows, layer, sides)

    def show_in_3d(self, shown: bool) -> None:
        self._say("in_3d", shown)

    def ask_choice(self, title: str, question: str, options: Sequence[str]) -> int | None:
        index: int | None = self._ask("ask_choice", title, question, options)
        return index

    def ask_spacing(
        self, title: str, question: str, spacing_mm: Triple, reset_mm: Triple | None = None
    ) -> Triple | None:
        spacing: Triple | None = self._ask("ask_spacing", title, question, spacing_mm, reset_mm)
        return spacing

    def ask_save_path(self, suggestion: str) -> str | None:
        path: str | None = self._ask("ask_save_path", suggestion)
        return path


if TYPE_CHECKING:
    # mypy compares its methods with those of the protocols.
    _mock: View = MockView()
    _mock_structures: StructuresView = MockView()


@pytest.fixture
def view() -> MockView:
    return MockView()


@pytest.fixture
def viewer() -> ViewerModel:
    """A viewer without a window, with one image."""
    from napari.components import ViewerModel

    viewer = ViewerModel()
    values = np.random.default_rng(0).normal(size=(12, 14, 16))
    viewer.add_image(values, scale=(1.0, 1.0, 1.0), units="mm", name="scan")
    return viewer


@pytest.fixture
def controller(
    qtbot: QtBot, viewer: ViewerModel, view: MockView, services: FakeServices
) -> Iterator[DockController]:
    from napari_hyperspace.gui.controllers.dock import DockController

    controller = DockController(viewer, view, view, services, Choices(rest_ms=0))
    qtbot.waitUntil(lambda: (view.last("cost") or ("",))[0] != "")
    yield controller
    controller.segmentation.cancel()
    qtbot.waitUntil(lambda: not controller.running)
    controller.close()
