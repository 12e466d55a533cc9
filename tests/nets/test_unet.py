from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from napari_hyperspace.nets.base.modules import ExactMode, use_fast_mode
from napari_hyperspace.nets.base.normalization import InstanceNorm
from napari_hyperspace.nets.plain.config import UNetConfig
from napari_hyperspace.nets.plain.unet import UNet
from tests.nets.rounding import assert_equal_in_float64

CONFIGS = {
    "hyperspace": UNetConfig(channels=4, strides=((2, 2, 2),) * 3),
    "spider": UNetConfig(channels=2, strides=((2, 2, 2),) * 4),
    "highseg": UNetConfig(
        channels=4,
        strides=((2, 2, 2),) * 4,
        convs_per_level=2,
        stem=False,
        norm="batch",
        activation="leaky-relu",
        order="conv-norm-act",
        up_kernel="stride",
        final_kernel_size=1,
        down="max-pool",
    ),
    "e3mm baseline": UNetConfig(
        channels=4,
        kernel_size=5,
        convs_per_level=2,
        stem=False,
        strides=((2, 2, 2),) * 2,
        down="max-pool",
        up="linear",
        order="conv-norm-act",
        final_kernel_size=1,
    ),
    "anisotropic": UNetConfig(channels=3, strides=((1, 2, 2), (2, 4, 1)), max_channels=5),
    "2-D": UNetConfig(n_dim=2, channels=4, in_channels=2, out_channels=5, strides=((2, 2),) * 3),
    "one level": UNetConfig(channels=4, strides=(), norm="none"),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@given(st.data())
@settings(max_examples=8, deadline=None)
def test_logits_have_the_size_of_the_image(config, data):
    size = data.draw(st.tuples(*[st.integers(1, 19)] * config.n_dim))
    network = UNet(config).eval()
    with torch.no_grad():
        logits = network(torch.randn(2, config.in_channels, *size))
    assert logits.shape == (2, config.out_channels, *size)


def test_the_papers_network_has_its_size():
    """16 channels, 3 strided convolutions: 3.33 M weights, as the released code."""
    network = UNet(UNetConfig(out_channels=2))
    assert sum(p.numel() for p in network.parameters()) == 3_327_122


def plain_unet(network: UNet, image: torch.Tensor) -> torch.Tensor:
    """The paper's network in torch functions, for sizes that the strides divide."""
    p = dict(network.named_parameters())

    def norm(x, name):
        x = F.relu(x)
        mean, var = x.mean((2, 3, 4), keepdim=True), x.var((2, 3, 4), keepdim=True, correction=0)
        scale, shift = (
            p[f"{name}.norm.{part}"].view(1, -1, 1, 1, 1) for part in ("weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    def conv(x, name, **kw):
        return F.conv3d(x, p[f"{name}.conv.weight"], p[f"{name}.conv.bias"], padding=1, **kw)

    def level(x, name):
        for i in range(network.config.convs_per_level):
            x = norm(conv(x, f"{name}.{i}"), f"{name}.{i}")
        return x

    x = norm(conv(image, "stem"), "stem")
    x = level(x, "encoder.0")
    skip = x
    x = norm(conv(x, "downs.0", stride=2), "downs.0")
    x = level(x, "encoder.1")
    up = F.conv_transpose3d(x, p["ups.0.conv.weight"], p["ups.0.conv.bias"], stride=2, padding=1)
    x = torch.cat([norm(up, "ups.0"), skip], 1)
    x = level(x, "decoder.0")
    return F.conv3d(x, p["head.weight"], p["head.bias"], padding=1)


@pytest.mark.parametrize("exact", [True, False])
def test_logits_equal_those_of_plain_torch_functions(exact):
    torch.manual_seed(3)
    network = UNet(UNetConfig(channels=4, convs_per_level=2, strides=((2, 2, 2),))).double().eval()
    for module in network.modules():
        if isinstance(module, ExactMode):
            module.exact = exact
    image = torch.randn(2, 1, 6, 10, 8, dtype=torch.float64)
    with torch.no_grad():
        assert_equal_in_float64(network(image), plain_unet(network, image))


def test_fast_mode_does_not_concatenate():
    network = use_fast_mode(UNet(UNetConfig(channels=4, strides=((2, 2, 2),))).eval())
    widest = 0

    def see(_module, inputs, _output):
        nonlocal widest
        widest = max(widest, inputs[0].shape[1])

    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(see)
    network(torch.randn(1, 1, 5, 6, 7))
    assert widest == 8  # the coarse level's own 8 channels, nowhere 4 + 4 at full size


def test_instance_norm_of_one_voxel_is_its_shift():
    norm = InstanceNorm(3).eval()
    nn.init.normal_(norm.bias)
    for batch in (1, 2):
        out = norm(torch.randn(batch, 3, 1, 1, 1))
        assert torch.equal(out.flatten(1), norm.bias.detach().expand(batch, 3))


@pytest.mark.parametrize(
    "wrong",
    [
        {"strides": ((2, 2),)},
        {"strides": ((3, 2, 2),)},
        {"kernel_size": 4},
        {"out_channels": 1},
        {"color": 3},
        {"channels": 0},
    ],
)
def test_impossible_configurations_are_refused(wrong):
    with pytest.raises(ValidationError):
        UNetConfig(**wrong)


def test_level_channels():
    config = UNetConfig(channels=12, max_channels=40, strides=((1, 2, 2), (2, 2, 2), (2, 4, 1)))
    assert config.level_channels == (12, 24, 40, 40)
