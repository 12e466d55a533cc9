"""Networks in files for other programs: they make the same logits, and say what they need."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_hyperspace.api import export_network as module
from napari_hyperspace.api.export_network import export_network, export_network_steps
from napari_hyperspace.core.errors import Cancelled, HyperspaceError
from napari_hyperspace.nets import exporting
from napari_hyperspace.nets.card import LabelClass, ModelCard
from napari_hyperspace.nets.exporting import size_multiple
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import load_model
from napari_hyperspace.nets.plain.config import UNetConfig
from napari_hyperspace.nets.plain.factory import ConstantFactory


def tiny(**config) -> Model:
    torch.manual_seed(0)
    settings = {"channels": 2, "out_channels": 3, "convs_per_level": 1, **config}
    if "level_spacing_mm" not in config:
        settings["strides"] = ((2,) * config.get("n_dim", 3),)
    network = UNetConfig(**settings)
    card = ModelCard(
        name="tiny",
        labels=(LabelClass(value=1, name="a"), LabelClass(value=5, name="b")),
        tile_shape=(12, 10, 9)[-network.n_dim :],
        trained_range_mm=((0.5, 4.0),) * network.n_dim,
    )
    return Model(ConstantFactory(network), card)


PHYSICAL = {"level_spacing_mm": (1.5, 3.0)}


def run_onnx(path: Path, image: np.ndarray) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def run_torch(path: Path, image: np.ndarray) -> np.ndarray:
    return torch.export.load(path).module()(torch.from_numpy(image)).numpy()


STRIDES = ({}, (1.0, 1.0, 1.5), (2, 2, 2))
LEVELS_IN_MM = (PHYSICAL, (1.0, 1.0, 1.0), (3, 3, 3))


@pytest.mark.parametrize(
    ("name", "run", "config", "spacing_mm", "multiple"),
    [
        pytest.param("a.onnx", run_onnx, *STRIDES, id="onnx"),
        pytest.param("a.pt2", run_torch, *STRIDES, id="torch-export"),
        pytest.param(
            "a.onnx", run_onnx, *LEVELS_IN_MM, id="onnx, levels in mm", marks=pytest.mark.slow
        ),
    ],
)
def test_sizes_are_free_in_multiples(
    tmp_path: Path, name: str, run, config, spacing_mm, multiple
) -> None:
    if name.endswith("onnx"):
        pytest.importorskip("onnxscript")
    model = tiny(**config)
    done = export_network(model, spacing_mm, tmp_path / name)
    assert done.dynamic
    assert done.size_multiple == multiple
    assert done.error <= done.error_bound
    network = model.network(spacing_mm)
    for shape in ((1, 1, 4, 3, 5), (3, 1, 2, 4, 3), (1, 1, 5, 6, 7)):
        sizes = [n * m for n, m in zip(shape[2:], multiple, strict=True)]
        image = torch.randn(*shape[:2], *sizes)
        found = run(tmp_path / name, image.numpy())
        np.testing.assert_allclose(found, network(image).numpy(), atol=done.error_bound, rtol=0)
    assert_no_paths(tmp_path / name)


def assert_no_paths(path: Path) -> None:
    """The exporters of torch note where each operation is in the source code."""
    content = path.read_bytes()
    if path.suffix == ".pt2":
        with zipfile.ZipFile(path) as archive:
            assert not any(b"hyperspace-" in name.encode() for name in archive.namelist())
            content = b"".join(archive.read(name) for name in archive.namelist())
    root = str(Path(exporting.__file__).parents[1])
    assert root.encode() not in content
    assert b"site-packages" not in content
    assert b"stack_trace" not in content


def test_dimensions_have_names(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export_network(tiny(n_dim=2), (1.0, 1.0), tmp_path / "a.onnx")
    session = runtime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape) == ("image", ["batch", 1, "2*y", "2*x"])
    assert (logits.name, logits.shape) == ("logits", ["batch", 3, "2*y", "2*x"])


def test_one_shape_where_levels_cover_no_whole_voxels(tmp_path: Path) -> None:
    model = tiny(**PHYSICAL)
    spacing_mm = (1.0, 2**0.5, 0.9137)
    assert size_multiple(model, spacing_mm) is None
    done = export_network(model, spacing_mm, tmp_path / "a.pt2")
    assert not done.dynamic
    assert done.shape == (1, 1, 12, 10, 9)  # the model's tile
    image = torch.randn(done.shape)
    found = run_torch(tmp_path / "a.pt2", image.numpy())
    np.testing.assert_allclose(
        found, model.network(spacing_mm)(image).numpy(), atol=done.error_bound, rtol=0
    )
    assert "only images of 1 × 1 × 12 × 10 × 9" in str(done)


def test_a_size_can_be_given(tmp_path: Path) -> None:
    done = export_network(tiny(), (1, 1, 1), tmp_path / "a.pt2", size=(5, 6, 7))
    assert (done.dynamic, done.shape) == (False, (1, 1, 5, 6, 7))
    for size in ((5, 6), (5, 6, 0)):
        with pytest.raises(HyperspaceError, match="3 positive numbers"):
            export_network(tiny(), (1, 1, 1), tmp_path / "a.pt2", size=size)


def test_networks_of_slices_are_exported_too(tmp_path: Path) -> None:
    done = export_network(tiny(n_dim=2), (1.0, 1.0), tmp_path / "a.pt2")
    assert done.dynamic
    assert run_torch(tmp_path / "a.pt2", np.zeros((4, 1, 16, 8), np.float32)).shape == (4, 3, 16, 8)
    side = json.loads(done.side_path.read_text())
    assert side["axes"] == ["y", "x"]
    assert side["axis_directions"] == ["posterior", "left"]


def test_the_side_file_says_what_a_program_needs(tmp_path: Path) -> None:
    model = tiny()
    done = export_network(model, (1, 1, 1.5), tmp_path / "net.pt2")
    assert done.side_path == tmp_path / "net.pt2.json"
    side = json.loads(done.side_path.read_text())
    assert side["file"] == "net.pt2"
    assert side["model_digest"] == model.digest
    assert side["spacing_mm"] == [1, 1, 1.5]
    assert side["axes"] == ["z", "y", "x"]
    assert side["input"]["normalization"]["kind"] == "z-score"
    assert side["output"]["label_values"] == [0, 1, 5]
    assert side["output"]["label_names"] == {"1": "a", "5": "b"}
    assert side["trained_range_mm"] == [[0.5, 4.0]] * 3
    assert side["shapes"] == {
        "dynamic": True,
        "shape": None,
        "size_multiple": [2, 2, 2],
        "smallest_size": [4, 4, 4],
    }
    assert str(tmp_path) not in done.side_path.read_text()


def test_a_network_that_differs_is_not_written(tmp_path: Path, monkeypatch) -> None:
    write = exporting.write_network

    def wrong(*arguments):
        run = write(*arguments)
        return lambda image: run(image) * 1.01

    monkeypatch.setattr(module, "write_network", wrong)
    (tmp_path / "a.pt2").write_text("before")
    with pytest.raises(HyperspaceError, match="other logits"):
        export_network(tiny(), (1, 1, 1), tmp_path / "a.pt2")
    assert (tmp_path / "a.pt2").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt2"]


def test_an_architecture_that_does_not_trace_with_free_sizes_gets_one_shape(
    tmp_path: Path, monkeypatch
) -> None:
    write = exporting.write_network

    def fixed_only(network, shape, multiple, *rest):
        if multiple is not None:
            raise RuntimeError("constraint violated")
        return write(network, shape, multiple, *rest)

    monkeypatch.setattr(module, "write_network", fixed_only)
    assert not export_network(tiny(), (1, 1, 1), tmp_path / "a.pt2").dynamic
    monkeypatch.setattr(module, "write_network", lambda *_: 1 / 0)
    with pytest.raises(HyperspaceError, match="cannot be exported"):
        export_network(tiny(), (1, 1, 1), tmp_path / "b.pt2")
    assert not (tmp_path / "b.pt2").exists()


def test_an_export_can_be_stopped(tmp_path: Path) -> None:
    steps = export_network_steps(tiny(), (1, 1, 1), tmp_path / "a.pt2", should_stop=lambda: True)
    with pytest.raises(Cancelled):
        list(steps)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "format"), [("a.txt", None), ("a", "onnx"), ("a.pt2", "onnx"), ("a.onnx", "zip")]
)
def test_extension_and_format_must_agree(tmp_path: Path, name: str, format) -> None:
    with pytest.raises(HyperspaceError, match="extension"):
        export_network(tiny(), (1, 1, 1), tmp_path / name, format=format)


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HyperspaceError, match=r"napari-hyperspace\[export\]"):
        export_network(tiny(), (1, 1, 1), tmp_path / "a.onnx")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "spacing_mm", "dynamic"),
    [
        ("hippocampus", (1.0, 1.0, 1.5), True),
        ("hippocampus-physical", (2.0, 2.0, 2.0), True),
        ("brain", (5.0, 4.0, 4.1), False),
    ],
)
def test_the_bundled_models_are_exported(
    tmp_path: Path, name: str, spacing_mm, dynamic: bool
) -> None:
    pytest.importorskip("onnxscript")
    done = export_network(load_model(name), spacing_mm, tmp_path / "a.onnx")
    assert done.dynamic == dynamic
    assert done.error <= done.error_bound
