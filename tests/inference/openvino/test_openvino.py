"""OpenVINO computes the same functions as torch, can be stopped, and keeps little in memory."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn

from napari_hyperspace.api.segment import segment_steps
from napari_hyperspace.core.errors import Cancelled, HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference import execution
from napari_hyperspace.inference.execution import PRECISIONS, check_precision, network_runner
from napari_hyperspace.inference.openvino import runner as runner_module
from napari_hyperspace.nets.base.levels import Average
from napari_hyperspace.nets.build import build_factory
from napari_hyperspace.nets.harmonic.config import HarmonicUNetConfig, PhysicalKernelsConfig
from napari_hyperspace.nets.plain.config import ConstantConfig, UNetConfig
from tests.models import FakeModel, local_network
from tests.nets.rounding import assert_within_rounding

pytest.importorskip("openvino", reason="OpenVINO is not installed")

CPU = torch.device("cpu")
SPACING = (1.0, 1.4, 2.2)
MILLIMETERS = {"level_spacing_mm": (2.5, 5), "kernel_mm": (4, 8, 16), "radial_functions": 3}
NETWORKS = {
    "strided, transposed": UNetConfig(channels=4, strides=((2, 2, 2), (1, 2, 2))),
    "pooled, linear, batch norm": UNetConfig(
        channels=4, strides=((1, 2, 2),), norm="batch", down="max-pool", up="linear", stem=False
    ),
    "levels in mm": UNetConfig(channels=4, strides=(), level_spacing_mm=(2, 4)),
    "2-D": UNetConfig(n_dim=2, channels=4, strides=((2, 2),)),
    "physical kernels": HarmonicUNetConfig(
        **MILLIMETERS, multiplicities=(4,), kernels="free", pooling="average"
    ),
    "depthwise": HarmonicUNetConfig(
        **MILLIMETERS, multiplicities=(4,), kernels="depthwise", pooling="average"
    ),
}


def baked(config, seed=0):
    torch.manual_seed(seed)
    kind = PhysicalKernelsConfig if isinstance(config, HarmonicUNetConfig) else ConstantConfig
    return build_factory(config, kind()).eval().bake(SPACING[-config.n_dim :])


def image_for(config, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(config.in_channels, 11, 14, 13, generator=generator)


def run(network, image, n_dim, name="openvino-fp32"):
    with network_runner(network, PRECISIONS[name], CPU, n_dim) as runner:
        return runner(image)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_computes_what_it_computes_in_torch(name):
    config = NETWORKS[name]
    network, image = baked(config), image_for(config)
    found = run(network, image, config.n_dim)
    batch = image[None] if config.n_dim == 3 else image.movedim(1, 0)
    logits = found[None] if config.n_dim == 3 else found.movedim(1, 0)
    assert_within_rounding(logits, network.double(), batch)


def test_a_map_of_one_voxel_is_normalized():
    config = NETWORKS["strided, transposed"]
    network = baked(config)
    found = run(network, torch.ones(1, 3, 4, 4), 3)
    assert_within_rounding(found[None], network.double(), torch.ones(1, 1, 3, 4, 4))


class Sine(nn.Module):
    def forward(self, image):
        return torch.cat([image.sin(), image], dim=1)


def test_a_missing_operation_is_named():
    with pytest.raises(NotImplementedError, match="aten::sin"):
        run(Sine(), torch.ones(1, 4, 4, 4), 3)


def test_a_network_that_openvino_cannot_run_is_run_by_torch():
    model = FakeModel(lambda spacing_mm: Sine(), out_channels=2, label_values=(0, 1))
    scan = Volume(
        np.indices((7, 9, 8))[2].astype(np.float32), Grid.from_spacing((7, 9, 8), SPACING)
    )
    with pytest.warns(HyperspaceWarning, match=r"openvino-fp32 failed .*aten::sin"):
        result = run_to_end(segment_steps(scan, model, SPACING, precision="openvino-fp32"))
    assert result.precision == "fp32-channels-last"
    assert np.array_equal(result.labels.affine, scan.affine)


def test_another_device_than_a_cpu_is_refused():
    with (
        pytest.raises(HyperspaceError, match="runs on CPUs only"),
        network_runner(Sine(), PRECISIONS["openvino-fp32"], torch.device("meta"), 3),
    ):
        pass


def test_a_processor_that_openvino_does_not_support_is_no_obstacle(monkeypatch):
    class Core:
        def compile_model(self, *_):
            raise RuntimeError("unsupported")

    monkeypatch.setattr(runner_module, "_core", Core)
    monkeypatch.setattr(runner_module, "_compiled", type(runner_module._compiled)())
    with pytest.raises(NotImplementedError, match="unsupported"):
        run(local_network().eval(), torch.ones(1, 4, 5, 6), 3)


def test_constants_are_computed_and_not_part_of_the_graph():
    from napari_hyperspace.inference.openvino.graph import openvino_graph

    average = Average()
    average.factors = (1.5, 1.0, 1.0)
    graph = openvino_graph(average, (1, 1, 6, 4, 4))
    kinds = {node.get_type_name() for node in graph.get_ops()}
    assert kinds <= {"Parameter", "Constant", "Reshape", "Broadcast", "MatMul", "Result"}


def test_a_run_stops_within_the_network():
    config = NETWORKS["levels in mm"]
    asked = threading.Event()

    def should_stop():
        asked.set()
        return True

    with network_runner(baked(config), PRECISIONS["openvino-fp32"], CPU, 3, should_stop) as runner:
        with pytest.raises(Cancelled):
            runner(torch.zeros(1, 96, 96, 96))
        assert asked.is_set()


def test_compiled_networks_are_kept_and_limited(monkeypatch):
    compiled = []
    graph = runner_module.openvino_graph
    monkeypatch.setattr(runner_module, "_compiled", type(runner_module._compiled)())
    monkeypatch.setattr(
        runner_module, "openvino_graph", lambda *args: compiled.append(args) or graph(*args)
    )
    network, image = local_network().eval(), torch.ones(1, 5, 6, 7)
    first = run(network, image, 3)
    assert torch.equal(run(network, image, 3), first)
    assert len(compiled) == 1
    for length in range(8, 8 + runner_module._MOST_COMPILED):
        run(network, torch.ones(1, 5, 6, length), 3)
    assert len(runner_module._compiled) == runner_module._MOST_COMPILED
    run(network, image, 3)
    assert len(compiled) == runner_module._MOST_COMPILED + 2


def test_another_network_with_the_same_identity_is_compiled_again(monkeypatch):
    """An identity can be used again once its network was deleted."""
    monkeypatch.setattr(runner_module, "id", lambda _: 1, raising=False)
    image = torch.ones(1, 5, 6, 7)
    results = [run(local_network(seed=seed).eval(), image, 3) for seed in (0, 1)]
    assert not torch.equal(*results)


def test_without_the_package_its_precisions_are_refused(monkeypatch):
    monkeypatch.setattr(execution, "openvino_is_available", lambda: False)
    with pytest.raises(HyperspaceError, match=r"napari-hyperspace\[openvino\]"):
        check_precision("openvino-fp32")


def test_the_package_is_not_loaded_before_it_is_used():
    import subprocess

    code = (
        "import sys, napari_hyperspace.inference.engine; "
        "print(any(name.startswith('openvino') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
