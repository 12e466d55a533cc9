"""Layers of networks, and their activations in the same box."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.nets.plain.config import UNetConfig
from napari_hyperspace.nets.plain.unet import UNet
from training.cka.activations import activations, find_layers
from training.cka.blocks import cut_block, largest_box
from training.cka.layers import common_period, skip_pairs
from training.data.base import Case


def passing(conv):
    """Set a convolution to the identity."""
    with torch.no_grad():
        conv.weight.zero_()
        conv.bias.zero_()
        conv.weight[0, 0, 1, 1, 1] = 1
    return conv


class Coordinates(nn.Module):
    """Passes its input through three levels, strided and pooled, and back to the first one."""

    def __init__(self):
        super().__init__()
        self.first = passing(nn.Conv3d(1, 1, 3, padding=1))
        self.act = nn.ReLU(inplace=True)
        self.strided = passing(nn.Conv3d(1, 1, 3, stride=(1, 2, 2), padding=1))
        self.pool = nn.AvgPool3d(2)
        self.deep = passing(nn.Conv3d(1, 1, 3, padding=1))
        self.joined = nn.Conv3d(2, 1, 1)
        self.grad_was_on = None

    def forward(self, image):
        self.grad_was_on = torch.is_grad_enabled()
        skip = self.act(self.first(image))
        deep = self.deep(self.pool(self.strided(skip)))
        up = nn.functional.interpolate(deep, size=skip.shape[2:])
        return self.joined(torch.cat([up, skip], dim=1))


def ramp_case(shape=(41, 47, 39), spacing=(0.9, 0.7, 1.1), box=None):
    """A case whose channel 0 is the distance from its first voxel's edge along x, in mm."""
    grid = Grid.from_spacing(shape, spacing)
    x = (torch.arange(shape[2], dtype=torch.float32) + 0.5) * spacing[2]
    labels = torch.zeros(shape, dtype=torch.int16)
    if box is not None:
        labels[box] = 1
    return Case("ramp", x.expand(1, *shape).contiguous(), labels, grid)


def test_layers_of_a_unet_by_level_and_position():
    network = UNet(UNetConfig(channels=2, strides=((2, 2, 2), (1, 2, 2)), convs_per_level=1)).eval()
    layers = find_layers(network, 1)
    assert [layer.name for layer in layers] == [
        f"{place} {kind}"
        for place in (
            *("down 0.1", "down 0.2", "down 1.1", "down 1.2"),
            *("bottom 2.1", "bottom 2.2", "up 1.1", "up 1.2", "up 0.1", "up 0.2"),
        )
        for kind in ("conv", "act")
    ] + ["up 0.3 conv"]
    assert layers[0].module == "stem.conv"
    assert layers[5].module == "downs.0.activation"
    assert layers[-1].module == "head"
    assert {layer.stride for layer in layers if layer.level == 2} == {(2, 4, 4)}
    assert {layer.offset for layer in layers} == {(0, 0, 0)}
    pairs = [(layers[a].module, layers[b].module) for a, b in skip_pairs(layers)]
    assert pairs == [
        ("encoder.0.0.activation", "decoder.0.0.conv"),
        ("encoder.1.0.activation", "decoder.1.0.conv"),
    ]


@pytest.mark.parametrize("up", ["transposed", "linear"])
def test_skip_pairs_of_a_pooled_unet(up):
    config = UNetConfig(
        channels=2, strides=((2, 2, 2),) * 2, convs_per_level=2, down="max-pool", up=up, stem=False
    )
    layers = find_layers(UNet(config).eval(), 1)
    pairs = [(layers[a].module, layers[b].module) for a, b in skip_pairs(layers)]
    assert pairs == [
        ("encoder.0.1.activation", "decoder.0.0.conv"),
        ("encoder.1.1.activation", "decoder.1.0.conv"),
    ]
    # A pooled voxel is centered between the voxels that are averaged.
    assert [{x.offset for x in layers if x.level == level} for level in range(3)] == [
        {(0, 0, 0)},
        {(0.5, 0.5, 0.5)},
        {(1.5, 1.5, 1.5)},
    ]


def test_layers_of_any_factory_without_hooks_left_behind(tiny_model):
    layers = find_layers(tiny_model.network((1, 1, 1)), 1)
    assert [layer.module for layer in layers] == [
        layer.module for layer in find_layers(tiny_model.network((2, 1, 3)), 1)
    ]
    network = tiny_model.network((1, 1, 1))
    activations(network, layers, torch.rand(1, 9, 11, 10), (4, 5, 4.5), (4, 4, 4))
    assert not any(module._forward_hooks for module in network.modules())


def test_activations_are_copied_before_they_are_overwritten(tiny_model):
    network = tiny_model.network((1, 1, 1))
    layers = find_layers(network, 1)
    image = torch.randn(1, 9, 11, 10)
    kept = activations(network, layers, image, (4, 5, 4.5), (100, 100, 100))  # whole feature maps
    conv = network.stem.conv(image[None]).flatten()
    torch.testing.assert_close(kept[0], conv)
    torch.testing.assert_close(kept[1], conv.relu())
    assert (kept[0] < 0).any()
    torch.testing.assert_close(kept[-1], network(image[None]).flatten())


def test_the_network_runs_without_gradient():
    network = Coordinates().eval()
    layers = find_layers(network, 1)
    assert all(parameter.requires_grad for parameter in network.parameters())
    kept = activations(network, layers, torch.rand(1, 8, 8, 8), (4, 4, 4), (4, 4, 4))
    assert network.grad_was_on is False
    assert not any(tensor.requires_grad for tensor in kept)


PLAIN = (1, 1, 1)


def weighted(layer, values, block):
    """Return the sum of the weights, and the weighted mean of a ramp along x, in mm."""
    window = layer.window(block.center, block.extent, (999, 999, 999))
    roots = np.sqrt(np.einsum("i,j,k->ijk", *(weights for _, weights in window)))
    ramp = values.numpy().reshape(roots.shape) / roots
    return (roots**2).sum(), (roots**2 * ramp).sum() / (roots**2).sum()


@pytest.mark.parametrize("spacing", [(0.9, 0.9, 0.9), (1.3, 1, 1.7), (2, 2, 2)])
@pytest.mark.parametrize("last", [26, 39])
def test_every_feature_map_covers_the_same_box_in_mm(spacing, last):
    case = ramp_case(box=(slice(12, 29), slice(20, 31), slice(15, last)))
    network = Coordinates().eval()
    layers = find_layers(network, 1)
    assert [layer.stride for layer in layers] == [
        *((1, 1, 1), (1, 1, 1), (1, 2, 2), (2, 4, 4), (1, 1, 1)),
    ]
    assert [layer.offset for layer in layers[2:]] == [(0, 0, 0), (0.5, 1, 1), (0, 0, 0)]
    assert common_period(layers) == (2, 4, 4)
    block = cut_block(case, spacing, (16.0, 16.0, 16.0), 8.0, common_period(layers))
    middle = (15 + last) / 2 * 1.1
    kept = activations(network, layers, block.image, block.center, block.extent)
    for layer, values in zip(layers[:4], kept, strict=False):
        voxels, mean = weighted(layer, values, block)
        assert voxels * np.prod(spacing) * np.prod(layer.stride) == pytest.approx(16**3)
        # Resampling shifts a ramp by a few hundredths of a mm; a large voxel that is partly outside
        # of the box has the value at its own center, not at that of its part in the box.
        step = layer.stride[2] * spacing[2]
        assert abs(mean - middle) <= 0.05 + step**2 / 4 / 16, layer.name


def test_weights_of_a_box_of_whole_voxels():
    case = ramp_case(shape=(17, 17, 17), spacing=(1, 1, 1))
    network = nn.Sequential(nn.AvgPool3d(2), passing(nn.Conv3d(1, 1, 3, padding=1)))
    (layer,) = find_layers(network, 1)
    assert (layer.stride, layer.offset) == ((2, 2, 2), (0.5, 0.5, 0.5))
    block = cut_block(case, (1, 1, 1), (7.0, 7.0, 7.0), 100, (2, 2, 2))
    assert block.center == (8, 8, 8)
    (values,) = activations(network, [layer], block.image, block.center, block.extent)
    # The box extends from 5 to 12 mm: half of the voxel from 4 to 6 mm, and three whole ones.
    line = values.reshape(4, 4, 4)[1, 1]
    torch.testing.assert_close(line, torch.tensor([5 * 0.5**0.5, 7, 9, 11]))


def test_feature_maps_have_the_same_position_in_all_cases():
    strided = [passing(nn.Conv3d(1, 1, 3, stride=2, padding=1)) for _ in range(3)]
    pooled = [x for _ in range(3) for x in (nn.AvgPool3d(2), nn.Conv3d(1, 1, 1))]
    for network in (nn.Sequential(*strided), nn.Sequential(*pooled)):
        layers = find_layers(network, 1)
        assert common_period(layers) == (8, 8, 8)
        for spacing in np.linspace(0.94, 2, 7):
            seen = set()
            for start in range(0, 25, 3):  # at the borders of the scan, and in between
                case = ramp_case((30, 29, 28), (1, 1, 1), (slice(start, 28),) * 3)
                block = cut_block(case, (spacing,) * 3, (25, 25, 25), 3, (8, 8, 8))
                kept = activations(network, layers, block.image, block.center, block.extent)
                weights = []
                for layer, values in zip(layers, kept, strict=True):
                    size = [-(-n // int(s)) for n, s in zip(block.image.shape[1:], layer.stride,
                                                            strict=True)]  # fmt: skip
                    window = layer.window(block.center, block.extent, size)
                    assert values.numel() == np.prod([len(w) for _, w in window])
                    for _, w in window:
                        assert sum(w) * layer.stride[0] * spacing == pytest.approx(25)
                        weights += [len(w), round(w[0], 6), round(w[-1], 6)]
                seen.add(tuple(weights))
            assert len(seen) == 1


def test_the_box_is_centered_on_the_structures_and_stays_inside():
    inside = ramp_case(box=(slice(18, 23), slice(20, 25), slice(19, 22)))
    block = cut_block(inside, (0.9, 0.7, 1.1), (12, 12, 12), 1000, PLAIN)
    np.testing.assert_allclose(block.center, (20, 22, 20), atol=1e-9)
    np.testing.assert_allclose(block.extent, (12 / 0.9, 12 / 0.7, 12 / 1.1))
    assert block.image.shape == (1, 41, 47, 39)  # the margin is cut off at the border
    torch.testing.assert_close(block.image, inside.image)
    corner = ramp_case(box=(slice(0, 2), slice(46, 47), slice(0, 39)))
    block = cut_block(corner, (1, 1, 1), (12, 12, 12), 0, PLAIN)
    assert block.image.shape == (1, 13, 13, 13)  # an odd number of voxels around the center
    unlabeled = cut_block(ramp_case(), (0.9, 0.7, 1.1), (12, 12, 12), 1000, PLAIN)
    np.testing.assert_allclose(unlabeled.center, (20, 23, 19), atol=1e-9)


def test_the_margin_bounds_the_input_of_the_network():
    case = ramp_case(shape=(60, 60, 60), spacing=(1, 1, 1))
    for spacing in ((1.0, 1.0, 1.0), (0.94, 1.5, 2.0)):
        for period in (1, 8):
            block = cut_block(case, spacing, (10, 10, 10), 5, (period,) * 3)
            for size, step in zip(block.image.shape[1:], spacing, strict=True):
                assert 20 <= size * step < 20 + 2 * period * step


def test_a_box_is_no_longer_than_the_smallest_scan():
    small, narrow = (30, 50, 20), (40, 24, 64)
    grids = [Grid.from_spacing(small, (1, 1, 1.5)), Grid.from_spacing(narrow, (1, 1, 1))]
    assert largest_box(grids, 32.0) == (30, 24, 30)


def test_a_network_with_other_layers_is_refused(tiny_model):
    network = tiny_model.network((1, 1, 1))
    layers = find_layers(network, 1)
    with pytest.raises(HyperspaceError, match="does not execute the layers"):
        activations(Coordinates(), find_layers(Coordinates(), 1)[:2] * 2, torch.rand(1, 8, 8, 8),
                    (4, 4, 4), (4, 4, 4))  # fmt: skip
    assert len(layers) > 4
    with pytest.raises(HyperspaceError, match="no convolution"):
        find_layers(nn.Identity(), 1)
