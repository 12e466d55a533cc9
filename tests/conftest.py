"""Fixtures for the whole suite."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import pytest

# The suite is deterministic; `make fuzz` draws fresh examples (see tests/fuzz).
hypothesis.settings.register_profile("suite", derandomize=True, database=None)
hypothesis.settings.register_profile("fuzz", deadline=None, print_blob=True)
hypothesis.settings.load_profile("suite")

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real scans; tests that need it are skipped without it."""
    root = os.environ.get("HYPERSPACE_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("set HYPERSPACE_DATA to the folder with the real scans to run this test")
    return Path(root)


@pytest.fixture(autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what is measured out of the user's own cache folder, once for the whole session."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("HYPERSPACE_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def own_log(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the log out of the user's own folder; each test starts with an empty one."""
    folder = tmp_path_factory.mktemp("log")
    monkeypatch.setenv("HYPERSPACE_LOG_FOLDER", str(folder))
    monkeypatch.delenv("HYPERSPACE_LOG", raising=False)
    return folder / "hyperspace.log"


@pytest.fixture(autouse=True)
def own_models(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Start with an empty folder of own models."""
    folder = tmp_path_factory.mktemp("models")
    monkeypatch.setenv("HYPERSPACE_MODELS", str(folder))
    return folder


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Start with an empty cache folder."""
    monkeypatch.setenv("HYPERSPACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240707)


@pytest.fixture
def make_model() -> Callable[..., object]:
    """Make a small model with random, spacing-dependent weights."""
    torch = pytest.importorskip("torch")
    from napari_hyperspace.nets.build import build_factory
    from napari_hyperspace.nets.card import LabelClass, ModelCard
    from napari_hyperspace.nets.hypernetwork.config import HypernetworkConfig
    from napari_hyperspace.nets.model import Model
    from napari_hyperspace.nets.plain.config import UNetConfig

    def make(
        *,
        seed: int = 0,
        n_dim: int = 3,
        in_channels: int = 1,
        out_channels: int = 3,
        channels: int = 4,
        range_mm: tuple[float, float] = (0.5, 5.0),
        values: tuple[int, ...] | None = None,
        **card: object,
    ) -> Model:
        generator_state = torch.random.get_rng_state()
        torch.manual_seed(seed)
        network = UNetConfig(
            n_dim=n_dim,
            in_channels=in_channels,
            out_channels=out_channels,
            channels=channels,
            strides=((2,) * n_dim,) * 2,
            convs_per_level=1,
        )
        ranges = (range_mm,) * n_dim
        factory = build_factory(network, HypernetworkConfig(range_mm=ranges, rank=4))
        with torch.no_grad():  # untrained heads are 0: the spacing would change nothing
            for head in factory.heads.values():
                head.weight.normal_(std=0.05)
        torch.random.set_rng_state(generator_state)
        values = values or tuple(range(1, out_channels))
        card = {
            "name": "tiny",
            "labels": tuple(LabelClass(value=v, name=f"structure {v}") for v in values),
            "channel_names": tuple(f"channel {i}" for i in range(in_channels)),
            "trained_range_mm": ranges,
            **card,
        }
        return Model(factory, ModelCard(**card))

    return make


@pytest.fixture
def tiny_model(make_model):
    """A model of two structures, trained range [0.5, 5] mm."""
    return make_model()
