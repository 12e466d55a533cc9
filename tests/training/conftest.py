"""Small data sets in the layout of the Medical Segmentation Decathlon, and small runs."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.training.heads import head_array, volume
from training.synthesis.heads import Head
from training.synthesis.labeled_head import LabeledHead
from training.synthesis.tissues import IDS

N_CASES = 7
# Not canonical, not isotropic: the axes point to Left, Superior, Anterior.
AFFINE = np.array(
    [[-1.0, 0.0, 0.0, 20.0], [0.0, 0.0, 1.5, -11.0], [0.0, 1.25, 0.0, 5.0], [0.0, 0.0, 0.0, 1.0]]
)


def case_arrays(index: int, values: tuple[int, int] = (1, 2)) -> tuple[np.ndarray, np.ndarray]:
    """A bright ellipsoid; its halves along the first axis are two structures."""
    rng = np.random.default_rng(index)
    shape = (15 + index % 3, 12, 13 - index % 2)
    center = (np.array(shape) - 1) / 2 + rng.uniform(-1, 1, 3)
    grid = np.moveaxis(np.indices(shape), 0, -1)
    radii = np.array([5.0, 3.5, 3.0])
    inside = (((grid - center) / radii) ** 2).sum(axis=-1) < 1
    front = grid[..., 0] < center[0]
    labels = np.where(inside, np.where(front, values[0], values[1]), 0).astype(np.uint8)
    image = 100 + 60 * inside + 40 * (inside & front) + rng.normal(0, 8, shape)
    return image.astype(np.float32), labels


def write_dataset(
    folder: Path,
    n_cases: int = N_CASES,
    values: tuple[int, int] = (1, 2),
    modalities: int = 1,
) -> Path:
    """Write a data set of small ellipsoids."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    training = []
    for index in range(n_cases):
        image, labels = case_arrays(index, values)
        if modalities > 1:
            image = np.stack([image * (k + 1) for k in range(modalities)], axis=-1)
        file = f"tiny_{index:03d}.nii.gz"
        nib.save(nib.Nifti1Image(image, AFFINE), folder / "imagesTr" / file)
        nib.save(nib.Nifti1Image(labels, AFFINE), folder / "labelsTr" / file)
        training.append({"image": f"./imagesTr/{file}", "label": f"./labelsTr/{file}"})
    description = {
        "name": "Tiny",
        "license": "CC0",
        "modality": {str(k): f"channel {k}" for k in range(modalities)},
        "labels": {"0": "background", str(values[0]): "front", str(values[1]): "back"},
        "training": training,
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str = "tiny", **choices: Any) -> Path:
        return write_dataset(tmp_path / name, **choices)

    return make


@pytest.fixture
def dataset(make_dataset: Callable[..., Path]) -> Path:
    return make_dataset()


@pytest.fixture
def model_file(make_model: Callable[..., Any], tmp_path: Path) -> Path:
    """An untrained model with the two labels of the small data set."""
    from napari_hyperspace import save_model

    return save_model(make_model(), tmp_path / "first.safetensors")


@pytest.fixture
def narrow_file(make_model: Callable[..., Any], tmp_path: Path) -> Path:
    """Another model with a narrow trained range and weights in float16."""
    from napari_hyperspace import save_model

    model = make_model(seed=1, range_mm=(1.0, 2.0), name="other")
    return save_model(model, tmp_path / "other.safetensors", dtype="float16")


def config_values(**changes: Any) -> dict[str, Any]:
    """A run of a few seconds on the data set `tiny`; `a__b=…` changes the key `a.b`."""
    values: dict[str, Any] = {
        "name": "tiny run",
        "seed": 3,
        "data": {"folder": "tiny", "validation_cases": 2},
        "spacing": {"range_mm": [[1.0, 2.5], [1.2, 3.0], [1.0, 2.0]]},
        "network": {
            "out_channels": 3,
            "channels": 4,
            "strides": [[2, 2, 2]],
            "convs_per_level": 1,
        },
        "factory": {"kind": "hypernetwork", "rank": 2, "hidden": [4]},
        "optimizer": {"learning_rate": 0.01, "warm_up_steps": 2, "ema_decay": 0.9},
        "training": {"steps": 6, "batch_size": 2},
        "validation": {
            "every_steps": 3,
            "spacings_mm": [[1.5, 1.5, 1.0]],
            "report_spacings_mm": [[1.5, 1.5, 1.0], [2.0, 2.0, 2.0]],
        },
        "compute": {"device": "cpu", "threads": 1, "workers": 0, "log_every_steps": 2},
    }
    for key, value in changes.items():
        *parents, last = key.split("__")
        section = values
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return values


def interrupt_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Send SIGTERM to this process during a step."""
    from training.fit.trainer import Trainer

    plain = Trainer._step

    def interrupted(self: Trainer, batch: Any) -> tuple[float, float]:
        if batch.step + 1 == step:
            signal.raise_signal(signal.SIGTERM)
        return plain(self, batch)

    monkeypatch.setattr(Trainer, "_step", interrupted)


@pytest.fixture
def labels() -> NDArray[np.int16]:
    return head_array()


@pytest.fixture
def head(labels: NDArray[np.int16]) -> Head:
    return Head.from_volume("tiny", volume(labels))


@pytest.fixture
def targets() -> torch.Tensor:
    """Each generation class has its own channel."""
    return torch.arange(len(IDS), dtype=torch.int16)


@pytest.fixture
def source(head: Head, targets: torch.Tensor) -> LabeledHead:
    return LabeledHead(head, targets)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three label maps."""
    path = tmp_path / "maps"
    path.mkdir()
    for i in range(3):
        stored = volume(head_array(seed=i))
        image = nib.Nifti1Image(stored.array.astype(np.int16), stored.grid.affine)
        nib.save(image, path / f"head_{i}.nii.gz")
    return path
