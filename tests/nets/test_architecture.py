"""Networks whose architecture depends on the spacing: traced once per kind of architecture."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.cost import trace_cache
from napari_hyperspace.cost.cost_model import Operation, Trace
from napari_hyperspace.cost.trace import trace
from napari_hyperspace.cost.trace_cache import trace_of
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.plan import make_plan
from napari_hyperspace.nets.base.architecture import Architecture
from napari_hyperspace.nets.build import build_factory
from napari_hyperspace.nets.card import LabelClass, ModelCard
from napari_hyperspace.nets.harmonic.config import HarmonicUNetConfig, PhysicalKernelsConfig
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.plain.config import ConstantConfig, UNetConfig
from tests.models import FakeModel, local_network

CARD = ModelCard(name="levels", labels=(LabelClass(value=1, name="one"),))
UNET = build_factory(
    UNetConfig(channels=3, level_spacing_mm=(2, 4), convs_per_level=1), ConstantConfig()
)
HARMONIC = build_factory(
    HarmonicUNetConfig(multiplicities=(2, 1), level_spacing_mm=(2, 4), kernel_mm=(5, 10, 20)),
    PhysicalKernelsConfig(),
)
SHAPE = (120, 130, 140)
spacings = st.tuples(*[st.floats(0.3, 6)] * 3)


def map_sizes(found: Trace) -> np.ndarray:
    """The size of each map for an input of `SHAPE`: (maps, axes)."""
    return np.maximum(np.ceil(np.array(SHAPE) / np.array(found.strides) - 1e-4), 1)


def multiplied(found: Trace, factors) -> list[Operation]:
    """The convolutions, and the products with a matrix on the way up.

    On the way down a whole factor pools where it divides the size of a map, and is a product else.
    """
    n_up = sum(factor != 1 for level in factors for factor in level)
    products = [each for each in found.operations if each.kind == "product"]
    convolutions = [each for each in found.operations if each.kind in ("conv", "depthwise")]
    return convolutions + products[len(products) - n_up :]


@pytest.mark.parametrize("factory", [UNET, HARMONIC], ids=["unet", "harmonic"])
def test_counts_of_one_network_give_those_of_another(factory):
    """Equal for each voxel of a map, on maps that differ in size by rounding.

    A traced map is rounded up to whole voxels, and a factor of up to 1.01 may be taken for 1: along
    an axis of n voxels, sizes differ by at most 1 + 0.01 n.
    """

    @settings(max_examples=40, deadline=None)
    @given(here=spacings, there=spacings)
    @example(here=(1.5, 1.0, 1.5), there=(1.5, 1.0, 0.75))
    @example(here=(1.0, 1.0, 1.0), there=(0.4, 0.5, 2 / 3))
    def check(here, there):
        old, new = factory.architecture(here), factory.architecture(there)
        if old.kind != new.kind:
            return
        found = trace(factory.skeleton(here), 1, 3).at(old, new)
        direct = trace(factory.skeleton(there), 1, 3)
        assert found.parameters == direct.parameters
        factors = factory.network_config.factors(there) if factory is UNET else ()
        ours, theirs = (multiplied(each, factors) for each in (found, direct))
        our_sizes, their_sizes = map_sizes(found), map_sizes(direct)
        for one, other in zip(ours, theirs, strict=True):
            assert one.kind == other.kind
            assert one.macs == pytest.approx(other.macs, rel=1e-12)
            sizes = their_sizes[other.map]
            assert (np.abs(our_sizes[one.map] - sizes) <= 1 + 0.01 * sizes).all()
        # The peak is at the finest levels, whose maps have many voxels along each axis.
        peaks = [each.peak_bytes(SHAPE, 4, reordered=False, heap=False) for each in (found, direct)]
        assert peaks[0] == pytest.approx(peaks[1], rel=0.05)

    check()


def test_levels_are_found_again_at_another_spacing():
    here, there = UNET.architecture((1, 1.5, 1)), UNET.architecture((0.7, 1.2, 0.9))
    assert here.kind != there.kind  # pools by whole voxels, and by parts of voxels
    here = UNET.architecture((0.9, 1.5, 1.1))
    found = trace(UNET.skeleton((0.9, 1.5, 1.1)), 1, 3).at(here, there)
    coarsest = tuple(4 / step for step in (0.7, 1.2, 0.9))
    assert any(np.allclose(strides, coarsest) for strides in found.strides)


def test_each_kind_is_counted_once(monkeypatch):
    traced = []

    def seen(network, *args):
        traced.append(network)
        return trace(network, *args)

    monkeypatch.setattr(trace_cache, "trace", seen)
    model = Model(HARMONIC, CARD)
    trace_cache._traces.clear()
    found = [trace_of(model, (s, s, s)).trace for s in np.geomspace(0.4, 6, 30)]
    assert len(traced) <= 4
    macs = [each.macs((64, 64, 64)) for each in found]
    assert len(set(macs)) > 5  # the kernels' shapes are each spacing's own


def test_baking_takes_as_long_at_any_spacing():
    """On a finer grid kernels hold many times the weights, and take about as long to make."""
    model = Model(HARMONIC, CARD)
    trace_cache._traces.clear()
    trace_cache._bake_seconds[model.identity] = 0.5
    coarse, fine = (trace_of(model, (step,) * 3) for step in (4, 0.8))
    assert fine.trace.parameters > 4 * coarse.trace.parameters
    assert coarse.bake_seconds == fine.bake_seconds == 0.5


def test_kernels_of_each_channel_are_told_apart():
    """They reach another rate than those that mix channels, at every spacing."""
    config = HarmonicUNetConfig(
        multiplicities=(4,),
        level_spacing_mm=(2,),
        kernel_mm=(5, 10),
        kernels="depthwise",
        pooling="average",
    )
    factory = build_factory(config, PhysicalKernelsConfig(voxels="integrated"))
    here, there = (0.9, 1.1, 0.7), (0.8, 1.3, 0.6)
    old, new = factory.architecture(here), factory.architecture(there)
    assert old.kind == new.kind
    found = trace(factory.skeleton(here), 1, 3).at(old, new)
    direct = trace(factory.skeleton(there), 1, 3)
    taps = [
        [each.macs for each in one.operations if each.kind == "depthwise"]
        for one in (found, direct)
    ]
    assert taps[0] == taps[1]
    assert len(taps[0]) == 5  # all but the first, of one channel, and those of 1³ voxels


def test_a_flattened_product_is_a_map():
    """Averaging by real factors multiplies flattened maps with a matrix; memory counts them."""
    down = UNetConfig(channels=3, level_spacing_mm=(2,), convs_per_level=1)
    found = trace(build_factory(down, ConstantConfig()).skeleton((1.3, 0.7, 1.1)), 1, 3)
    products = [each for each in found.operations if each.kind == "product"]
    assert len(products) == 6  # one per axis down, one per axis up
    for each in products:
        assert each.fresh == pytest.approx(3, rel=1e-3)  # its channels
        assert each.macs == products[0].macs  # per voxel of its own output, whatever its size


def test_the_tile_in_mm_follows_the_spacing():
    model = FakeModel(lambda _: local_network(), tile_shape=(64, 64, 64), tile_mm=(40, 80, 80))
    grid = Grid.from_spacing((200, 200, 200), (1, 1, 1))

    def tile(spacing):
        return make_plan(grid, model, spacing).largest_tile

    assert tile((1, 1, 1)) == (40, 64, 64)
    assert tile((2.5, 2.5, 3)) == (16, 32, 27)
    assert tile((0.5, 0.5, 0.5)) == (64, 64, 64)
    assert tile((100, 2, 2)) == (1, 40, 40)
    assert make_plan(
        grid, model, (1, 1, 1), InferenceOptions(tile_shape=(50, 50, 50))
    ).largest_tile == (50, 50, 50)


def test_a_2d_model_has_two_edges_in_mm():
    model = FakeModel(lambda _: local_network(n_dim=2), n_dim=2, tile_mm=(90, 60))
    plan = make_plan(Grid.from_spacing((9, 200, 200), (3, 1, 1)), model)
    assert plan.largest_tile[1:] == (90, 60)


def test_what_is_pooled_tells_kinds_apart():
    one = Architecture.of_factors([(1.0, 1.5, 2.0), (1.0, 2.5, 1.0)])
    assert one.voxels == ((1.0, 1.5, 2.0), (1.0, 3.75, 2.0))
    assert one.kind == Architecture.of_factors([(1.0, 1.7, 3.0), (1.0, 3.1, 1.0)]).kind
    for other in ((1.0, 1.0, 2.0), (1.0, 1.5, 2.5), (2.0, 1.5, 2.0)):
        assert one.kind != Architecture.of_factors([other, (1.0, 2.5, 1.0)]).kind


def test_a_network_that_is_given_stays_as_it_is():
    network = local_network()
    trace(network, 1, 3)
    assert isinstance(network[0].weight, torch.nn.Parameter)
    assert not network[0].weight.is_meta
