from __future__ import annotations

import threading
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_hyperspace.core.errors import Cancelled, HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.volume import Volume

pytest.importorskip("napari")

from napari_hyperspace.gui.jobs.services import Services

# Oblique, anisotropic, in the order of no slice view: x runs along the second array axis.
OBLIQUE = np.array(
    [
        [0.10, -0.68, 0.30, 41.5],
        [-0.67, -0.10, 0.40, -12.25],
        [-0.04, -0.05, -4.97, 63.125],
        [0, 0, 0, 1],
    ]
)


@pytest.fixture
def oblique_volume() -> Volume:
    array = np.arange(5 * 7 * 3, dtype=np.int16).reshape(5, 7, 3)
    return Volume(array, Grid((5, 7, 3), OBLIQUE), "oblique", {"path": "/scans/oblique.nii"})


@dataclass(frozen=True)
class FakeEstimate:
    seconds: float
    peak_bytes: int
    peak_host_bytes: int
    spacing_mm: tuple[float, float, float]
    available_bytes: int | None = 8 * 10**9
    probe_seconds: float = 0.0

    @property
    def fits(self) -> bool:
        return self.available_bytes is None or self.peak_bytes <= self.available_bytes


@dataclass(frozen=True)
class FakeProgress:
    fraction: float
    message: str


@dataclass(frozen=True)
class FakeResult:
    labels: Volume
    seconds: float
    peak_bytes: int
    spacing_mm: tuple[float, float, float]
    bake_seconds: float = 0.001
    precision: str = "fp32"
    device: str = "cpu"


class FakeNetwork:
    pass


@dataclass
class FakeModel:
    """Bright voxels are label 1, very bright ones label 2."""

    name: str = "fake"
    in_channels: int = 1
    n_dim: int = 3
    trained_range_mm: tuple | None = ((0.8, 4.0),) * 3
    normalization: Normalization = field(default_factory=Normalization)
    label_names: dict = field(default_factory=lambda: {1: "front", 2: "back"})
    label_colors: dict = field(default_factory=lambda: {1: "#ff8800", 2: "#0088ff"})
    dice: tuple = ()
    baked: list = field(default_factory=list)

    @property
    def card(self):
        channels = ("T1", "T2")[: self.in_channels]
        return SimpleNamespace(
            name=self.name,
            description="A fake.",
            license="none",
            citation="",
            channel_names=channels,
            dice=self.dice,
        )

    def network(self, spacing_mm, device=None):
        self.baked.append(tuple(spacing_mm))
        return FakeNetwork()


class FakeServices(Services):
    """Costs one microsecond a working voxel; segments by thresholds, in as many steps as told."""

    def __init__(self) -> None:
        self.models = {"fake": FakeModel(), "other": FakeModel("other", trained_range_mm=None)}
        self.steps = 3
        self.step_seconds = 0.0
        self.gate: threading.Event | None = None
        self.runs: list = []
        self.estimated: list = []
        self.error: Exception | None = None
        self.warning: str | None = None
        self.files: dict = {}
        self.written: list = []
        self.budgets: list = []

    def bundled_models(self):
        return {name: Path(name) for name in ("fake", "other")}

    def load_model(self, name_or_path):
        if name_or_path not in self.models:
            raise HyperspaceError("this is no model", where=name_or_path)
        return self.models[name_or_path]

    def devices(self):
        return [("cpu", "CPU")]

    def _estimate(self, grid, spacing_mm):
        voxels = np.prod(np.divide(grid.field_of_view_mm, 1)) / np.prod(spacing_mm)
        self.estimated.append(tuple(spacing_mm))
        return FakeEstimate(voxels * 1e-6, int(voxels * 400), int(voxels * 4), tuple(spacing_mm))

    def settled_precision(self, model, spacing_mm, device):
        return "fp32"

    def estimate(self, grid, model, spacing_mm, *, device=None, outside="refuse", precision="auto"):
        return self._estimate(grid, spacing_mm)

    def estimate_curve(self, grid, model, spacings, *, device=None, outside="refuse"):
        return [self._estimate(grid, spacing) for spacing in spacings]

    def spacing_for(self, grid, model, *, seconds=None, bytes=None, device=None):
        self.budgets.append((seconds, bytes))
        if seconds < 1e-3:
            raise HyperspaceError("no trained spacing is that fast")
        return (2.0, 1.5, 1.5)

    def segment_steps(
        self,
        volumes,
        model,
        spacing_mm,
        *,
        device=None,
        outside="refuse",
        precision="auto",
        should_stop=None,
    ):
        started = time.perf_counter()
        self.runs.append((volumes, tuple(spacing_mm), outside, model.normalization.kind))
        if self.warning:
            warnings.warn(self.warning, HyperspaceWarning, stacklevel=2)
        for i in range(self.steps):
            yield FakeProgress(i / self.steps, f"tile {i + 1} of {self.steps}")
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
        return FakeResult(
            volume.with_array(labels), time.perf_counter() - started, 10**6, tuple(spacing_mm)
        )

    def read(self, path, **options):
        outcome = self.files[path]
        return outcome(**options) if callable(outcome) else outcome

    def list_series(self, folder):
        return [SimpleNamespace(uid=uid, is_image=True) for uid in ("1.2", "1.3")]

    def write(self, volume, path):
        self.written.append((volume, path))
        return f"{path}: affine bit-identical"


@pytest.fixture
def services() -> FakeServices:
    return FakeServices()


class MockView:
    """Remembers what it was last told; answers what it is told to answer."""

    def __init__(self):
        self.said = []
        self.answers = {}
        self.asked = []

    def __getattr__(self, name):
        if name.startswith("show_"):
            return lambda *args, **kwargs: self.said.append((name[5:], args or kwargs))
        if name.startswith("ask_"):
            return lambda *args: self.asked.append((name, args)) or self.answers[name].pop(0)
        raise AttributeError(name)

    def last(self, what):
        return next((args for name, args in reversed(self.said) if name == what), None)

    @property
    def messages(self):
        return [args for name, args in self.said if name == "message"]


@pytest.fixture
def view():
    return MockView()


@pytest.fixture
def viewer():
    """A viewer without a window, with one image."""
    from napari.components import ViewerModel

    viewer = ViewerModel()
    values = np.random.default_rng(0).normal(size=(12, 14, 16))
    viewer.add_image(values, scale=(1.0, 1.0, 1.0), units="mm", name="scan")
    return viewer


@pytest.fixture
def controller(qtbot, viewer, view, services):
    from napari_hyperspace.gui.controllers.main import Controller
    from napari_hyperspace.gui.models.state import Choices

    controller = Controller(viewer, view, services, Choices(rest_ms=0))
    qtbot.waitUntil(lambda: view.last("cost") is not None and bool(view.last("cost")[0]))
    yield controller
    controller.jobs.cancel()
    qtbot.waitUntil(lambda: not controller.jobs.running)
    controller.close()
