"""Parity with the released code: recorded logits, and its network written out here."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets import unpickle
from napari_hyperspace.nets.hypernetwork.reference import factory_from_reference
from napari_hyperspace.nets.import_checkpoint import import_checkpoint
from napari_hyperspace.nets.model_file import load_model
from tests.nets.rounding import (
    assert_as_accurate,
    assert_equal_in_float64,
    assert_within_rounding,
)

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = sorted(GOLDEN.glob("hyperspace-reference-*.safetensors"))


def reference_state(path):
    return {
        name.removeprefix("state."): tensor
        for name, tensor in load_file(path).items()
        if name.startswith("state.")
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("nested", [False, True])
def test_logits_are_those_of_the_reference(path, nested, tmp_path):
    golden = load_file(path)
    state = reference_state(path)
    if nested:
        state = {"model": state, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]}}
    torch.save(state, tmp_path / "in.pt")
    model = load_model(import_checkpoint(tmp_path / "in.pt", tmp_path / "out.safetensors"))
    assert model.trained_range_mm is None
    released = reference_state(path)
    double = factory_from_reference(released).double()
    shape = len(double.network_config.strides), double.network_config.convs_per_level
    for i in range(2):
        spacing, recorded = golden[f"spacing.{i}"][0].tolist(), golden[f"logits.{i}"]
        image = golden["input"]
        logits = model.network(spacing)(image)
        doubled = {name: tensor.double() for name, tensor in released.items()}
        exact = run_reference(doubled, spacing, image.double(), *shape)
        network = double.bake(spacing)
        assert_equal_in_float64(network(image.double()), exact)
        assert_within_rounding(recorded, network, image)
        assert_as_accurate(logits, recorded, exact)
        assert_as_accurate(logits, run_reference(released, spacing, image, *shape), exact)


def make_state(n_dim, in_channels, out_channels, channels, n_down, n_fix, hidden):
    """A random checkpoint of the released architecture, by its own names and shapes."""
    generator = torch.Generator().manual_seed(7)

    def linear(name, rows, columns):
        state[f"{name}.weight"] = torch.randn(rows, columns, generator=generator) / columns
        state[f"{name}.bias"] = torch.randn(rows, generator=generator) / 5

    state: dict[str, torch.Tensor] = {}
    widths = (n_dim, *hidden)
    for i, (a, b) in enumerate(pairwise(widths)):
        linear(f"conditioner.{i}.0", b, a)

    def conv(name, a, b, kernel=3):
        linear(f"unet.{name}.conditioner.0", a * b * kernel**n_dim + b, hidden[-1])

    def norm(name, c):
        linear(f"unet.{name}.conditioner.0", 2 * c, hidden[-1])

    conv("conv_init", in_channels, channels)
    norm("norm_init", channels)
    for level in range(n_down + 1):
        c = channels * 2**level
        for i in range(n_fix):
            conv(f"conv_{level}_{i}", c, c)
            norm(f"norm_{level}_{i}", c)
        if level < n_down:
            conv(f"down_{level}", c, 2 * c)
            norm(f"down_norm_{level}", 2 * c)
            conv(f"up_{level}", 2 * c, c, 4)
            norm(f"up_norm_{level}", c)
            for i in range(n_fix):
                conv(f"dec_conv_{level}_{i}", 2 * c if i == 0 else c, c)
                norm(f"dec_norm_{level}_{i}", c)
    conv("conv_final", channels, out_channels)
    return state


def run_reference(state, spacing, image, n_down, n_fix):
    """The released network, by the names of its tensors."""
    n_dim = len(spacing)
    code, i = torch.tensor([spacing], dtype=image.dtype), 0
    while f"conditioner.{i}.0.weight" in state:
        code = F.relu(
            F.linear(code, state[f"conditioner.{i}.0.weight"], state[f"conditioner.{i}.0.bias"])
        )
        i += 1

    def head(name):
        key = f"unet.{name}.conditioner.0"
        return 5 * torch.tanh(F.linear(code, state[f"{key}.weight"], state[f"{key}.bias"]))[0]

    def conv(x, name, c_out, stride=1, transposed=False):
        made = head(name)
        kernel = 4 if transposed else 3
        shape = (x.shape[1], c_out) if transposed else (c_out, x.shape[1])
        weight, bias = made[:-c_out].view(*shape, *[kernel] * n_dim), made[-c_out:]
        kind = f"conv{'_transpose' if transposed else ''}{n_dim}d"
        return getattr(F, kind)(x, weight, bias, stride=stride, padding=1)

    def norm(x, name):
        scale, shift = head(name).chunk(2)
        return F.instance_norm(F.relu(x), weight=scale, bias=shift)

    channels = head("norm_init").numel() // 2
    x = norm(conv(image, "conv_init", channels), "norm_init")
    skips = []
    for level in range(n_down + 1):
        c = channels * 2**level
        for i in range(n_fix):
            x = norm(conv(x, f"conv_{level}_{i}", c), f"norm_{level}_{i}")
        if level < n_down:
            skips.append(x)
            x = norm(conv(x, f"down_{level}", 2 * c, stride=2), f"down_norm_{level}")
    for level in reversed(range(n_down)):
        c = channels * 2**level
        x = norm(conv(x, f"up_{level}", c, 2, transposed=True), f"up_norm_{level}")
        x = torch.cat([x, skips[level]], 1)
        for i in range(n_fix):
            x = norm(conv(x, f"dec_conv_{level}_{i}", c), f"dec_norm_{level}_{i}")
    out = state["unet.conv_final.conditioner.0.bias"].numel() // (channels * 3**n_dim + 1)
    return conv(x, "conv_final", out)


@pytest.mark.parametrize(
    ("n_dim", "in_channels", "out_channels", "channels", "n_down", "n_fix", "hidden"),
    [
        (3, 4, 2, 3, 1, 1, (5,)),
        (3, 1, 8, 2, 4, 2, (10, 10, 20)),
        (3, 2, 3, 16, 2, 1, (10, 10, 50)),
        (2, 1, 3, 6, 3, 3, (4, 4)),
        (2, 3, 2, 5, 0, 2, (7, 6, 5, 4)),
    ],
)
def test_other_shapes_are_inferred(
    n_dim, in_channels, out_channels, channels, n_down, n_fix, hidden
):
    state = make_state(n_dim, in_channels, out_channels, channels, n_down, n_fix, hidden)
    factory = factory_from_reference({f"module.{name}": t for name, t in state.items()}).double()
    config = factory.network_config
    assert (config.n_dim, config.in_channels, config.out_channels) == (
        n_dim,
        in_channels,
        out_channels,
    )
    spacing = (0.9, 1.7, 3.1)[:n_dim]
    image = torch.randn(2, in_channels, *[32] * n_dim, dtype=torch.float64)
    doubled = {name: tensor.double() for name, tensor in state.items()}
    expected = run_reference(doubled, spacing, image, n_down, n_fix)
    assert_equal_in_float64(factory.bake(spacing)(image), expected)


def test_anything_but_tensors_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made-by-pickle"),)

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(HyperspaceError, match="cannot be read"):
        import_checkpoint(tmp_path / "evil.pt", tmp_path / "out.safetensors")
    assert not (tmp_path / "made-by-pickle").exists()
    assert not (tmp_path / "out.safetensors").exists()


def test_refusals_name_what_is_no_tensor(tmp_path):
    """And do not point to torch's documentation, which says how to run the pickle anyway."""

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made-by-pickle"),)

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    (tmp_path / "noise.pt").write_bytes(b"noise" * 99)
    for name, words in (("evil.pt", "mkdir, which is not a tensor"), ("noise.pt", "not a check")):
        with pytest.raises(HyperspaceError, match=words) as caught:
            import_checkpoint(tmp_path / name, tmp_path / "out.safetensors")
        assert "documentation" not in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_modules_of_the_working_folder_are_not_executed(tmp_path, monkeypatch):
    made = tmp_path / "made-by-module"
    for name in ("torch", "safetensors", "re", "psutil"):
        code = f"open({str(made)!r}, 'w').close()\nraise ImportError\n"
        (tmp_path / f"{name}.py").write_text(code)
    torch.save({"a": torch.zeros(2)}, tmp_path / "in.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), ".", *sys.path])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(tmp_path)]))
    with pytest.raises(HyperspaceError, match="not a checkpoint"):
        import_checkpoint("in.pt", "out.safetensors")
    assert not made.exists()


def test_the_process_that_reads_pickles_has_limits(tmp_path):
    resource = pytest.importorskip("resource")
    code = (
        "import resource, runpy; "
        f"module = runpy.run_path({unpickle.__file__!r}); "
        "module['limit_resources'](1000); "
        "print(*(resource.getrlimit(getattr(resource, 'RLIMIT_' + name))[0] "
        "for name in ('AS', 'CPU', 'CORE', 'FSIZE')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    limits = [int(value) for value in done.stdout.split()]
    assert limits[2] == 0
    if sys.platform == "linux":  # other systems lack some limits
        assert all(0 <= limit < 1 << 40 for limit in limits)
        assert resource.RLIM_INFINITY not in limits


def test_a_full_or_slow_conversion_is_a_declared_error(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(2)}, tmp_path / "in.pt")

    def full(*_arguments, **_options):
        raise OSError(28, os.strerror(28))

    def slow(*_arguments, **_options):
        raise subprocess.TimeoutExpired("python", 600)

    monkeypatch.setattr("napari_hyperspace.nets.import_checkpoint.subprocess.run", slow)
    with pytest.raises(HyperspaceError, match="takes too long"):
        import_checkpoint(tmp_path / "in.pt", tmp_path / "out.safetensors")
    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(HyperspaceError, match="No space"):
        import_checkpoint(tmp_path / "in.pt", tmp_path / "out.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("unet.up_0.conditioner.0.bias"), "lacks a tensor"),
        (lambda s: s.update(extra=torch.zeros(2)), "does not have"),
        (lambda s: s["unet.norm_init.conditioner.0.weight"].fill_(torch.nan), "not finite"),
        (lambda s: s.update({"conditioner.1.0.weight": torch.zeros(6, 9)}), "does not fit"),
        (lambda s: s.clear(), "not a checkpoint"),
        (lambda s: s.update({"conditioner.0.0.weight": torch.zeros(3)}), "not those of a U-Net"),
        (
            lambda s: s.update({"unet.norm_init.conditioner.0.bias": torch.zeros(0)}),
            "not those of a U-Net",
        ),
    ],
)
def test_damaged_checkpoints_are_refused(change, words):
    state = make_state(3, 1, 2, 2, 1, 1, (5, 6))
    change(state)
    with pytest.raises(HyperspaceError, match=words):
        factory_from_reference(state)
