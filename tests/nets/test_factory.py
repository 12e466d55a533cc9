"""The contract of all factories with all networks, then the properties of each."""

from __future__ import annotations

import math
import threading

import pytest
import torch
from pydantic import ValidationError

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.build import build_factory
from napari_hyperspace.nets.hypernetwork.config import HypernetworkConfig
from napari_hyperspace.nets.plain.config import ConstantConfig, UNetConfig
from tests.nets.rounding import EPS, assert_equal_in_float64

RANGE = ((0.8, 5.0), (0.5, 4.0), (0.5, 4.0))
NETWORKS = {
    "3-D": UNetConfig(channels=3, strides=((2, 2, 2),) * 2, convs_per_level=1),
    "2-D": UNetConfig(n_dim=2, channels=3, strides=((2, 2),), convs_per_level=2),
    "batch norm": UNetConfig(
        channels=3, strides=((1, 2, 2),), norm="batch", down="max-pool", up="linear", stem=False
    ),
}
# One image and the guidance of three classes.
NETWORKS["guided"] = UNetConfig(
    in_channels=4, out_channels=3, channels=3, strides=((2, 2, 1),), convs_per_level=1
)
FACTORIES = {
    "residual": lambda n: HypernetworkConfig(range_mm=RANGE[:n], rank=5),
    "paper": lambda n: HypernetworkConfig.paper((4, 5)),
    "constant": lambda n: ConstantConfig(),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    return NETWORKS[request.param]


@pytest.fixture(params=FACTORIES)
def factory(request, network):
    torch.manual_seed(5)
    made = build_factory(network, FACTORIES[request.param](network.n_dim))
    if request.param == "residual":
        with torch.no_grad():
            for head in made.heads.values():
                head.weight.normal_(std=0.1)
    return made


def image(network, batch=2):
    return torch.randn(batch, network.in_channels, *(9, 7, 11)[: network.n_dim])


def test_baked_network_equals_the_factory(factory, network):
    spacing = (1.0, 2.0, 3.3)[: network.n_dim]
    factory.double().eval()
    x = image(network).double()
    assert_equal_in_float64(factory.bake(spacing)(x), factory(x, spacing))


def test_baked_network_is_plain(factory, network):
    baked = factory.bake((1.0, 2.0, 3.3)[: network.n_dim])
    assert not baked.training
    assert not any(p.requires_grad for p in baked.parameters())
    assert baked(image(network)).grad_fn is None
    device = next(factory.parameters()).device
    assert all(t.device == device for t in baked.state_dict().values())
    # An ordinary state dict, of the same names as the network alone would have.
    from napari_hyperspace.nets.plain.unet import UNet

    assert baked.state_dict().keys() == UNet(network).state_dict().keys()


def test_baked_network_does_not_follow_training(factory, network):
    baked = factory.bake((1.0,) * network.n_dim)
    before = {name: tensor.clone() for name, tensor in baked.state_dict().items()}
    with torch.no_grad():
        for tensor in factory.state_dict().values():
            tensor.add_(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in baked.state_dict().items())


def test_gradients_reach_every_parameter(factory, network):
    factory.train()
    loss = factory(image(network), (1.0, 2.0, 3.3)[: network.n_dim]).square().mean()
    loss.backward()
    missing = [n for n, p in factory.named_parameters() if p.grad is None]
    assert not missing
    assert all(torch.isfinite(p.grad).all() for p in factory.parameters())


def test_gradient_equals_a_difference_quotient(factory, network):
    factory.double().eval()
    x, spacing = image(network).double(), (1.0, 2.0, 3.3)[: network.n_dim]

    def loss():
        return factory(x, spacing).square().mean()

    loss().backward()
    parameter = next(p for name, p in factory.named_parameters() if "head" in name)
    direction = torch.randn_like(parameter)
    expected = (parameter.grad * direction).sum()
    step = 1e-6
    with torch.no_grad():
        parameter.add_(step * direction)
        up = loss()
        parameter.sub_(2 * step * direction)
        down = loss()
    torch.testing.assert_close(expected, (up - down) / (2 * step), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("wrong", [(1.0,), (1, 1, 0), (1, math.nan, 1), (1, math.inf, 1)])
def test_impossible_spacings_are_refused(factory, network, wrong):
    with pytest.raises(HyperspaceError, match="positive finite"):
        factory.bake(wrong[: network.n_dim] if len(wrong) == 1 else wrong)


def test_weights_that_are_not_finite_are_refused(factory, network):
    """Fault 50 of the list of bad inputs."""
    with torch.no_grad():
        next(p for name, p in factory.named_parameters() if "head" in name).fill_(math.nan)
    with pytest.raises(HyperspaceError, match="not finite") as caught:
        factory.bake((1.5,) * network.n_dim)
    assert caught.value.found == (1.5,) * network.n_dim


def test_the_residual_hypernetwork_starts_with_one_well_initialized_network():
    """Before training, all spacings have the same network, with norm scales of 1.

    Without rounding: the differences are sums of zeros.
    """
    factory = build_factory(NETWORKS["3-D"], FACTORIES["residual"](3))
    a, b = factory.bake((1, 1, 1)).state_dict(), factory.bake((5, 2, 0.5)).state_dict()
    for name, tensor in a.items():
        torch.testing.assert_close(tensor, b[name], rtol=0, atol=0)
        if name.endswith("norm.weight"):
            assert (tensor == 1).all()


def test_encoding_has_a_constant_norm_and_spans_the_range():
    factory = build_factory(NETWORKS["3-D"], FACTORIES["residual"](3))
    for spacing in ((0.8, 0.5, 0.5), (5, 4, 4), (2, 1, 0.7), (9, 0.1, 4)):
        assert factory.encode(spacing).norm().item() == pytest.approx(math.sqrt(3), abs=8 * EPS)
    low, high = factory.encode((0.8, 0.5, 0.5)), factory.encode((5.0, 4.0, 4.0))
    torch.testing.assert_close(low, torch.tensor([1.0, 1, 1, 0, 0, 0]), atol=EPS, rtol=0)
    torch.testing.assert_close(high, torch.tensor([0.0, 0, 0, 1, 1, 1]), atol=EPS, rtol=0)
    middle = factory.encode((2.0, 1.0, math.sqrt(2)))  # √(0.5 · 4) is the middle of the log-range
    assert middle[2].item() == pytest.approx(math.cos(math.pi / 4), abs=EPS)


def test_weights_of_the_paper_are_bounded_by_five():
    factory = build_factory(NETWORKS["3-D"], FACTORIES["paper"](3))
    made = torch.cat(list(factory.layer_weights((100.0, 100.0, 100.0)).values()))
    assert made.abs().max() <= 5 * (1 + EPS)
    assert factory.encode((1.5, 2.0, 3.0)).tolist() == [1.5, 2.0, 3.0]


def test_inconsistent_configurations_are_refused():
    with pytest.raises(ValidationError, match="needs range_mm"):
        HypernetworkConfig()
    with pytest.raises(ValidationError, match="smallest"):
        HypernetworkConfig(range_mm=((5.0, 0.8),) * 3)
    with pytest.raises(ValidationError, match="hidden layer"):
        HypernetworkConfig(encoding="raw-mm", hidden=(), rank=None)
    with pytest.raises(ValueError, match="needs 3 pairs"):
        build_factory(UNetConfig(), HypernetworkConfig(range_mm=RANGE[:2]))


def test_model_caches_networks_and_is_thread_safe(make_model):
    model = make_model()
    found, barrier = [], threading.Barrier(8)

    def ask():
        barrier.wait()
        for step in range(20):
            found.append((step % 3, model.network((1.0, 1.0, 1.0 + step % 3))))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for step in range(3):
        assert len({id(network) for which, network in found if which == step}) == 1


def test_a_model_describes_itself(make_model):
    model = make_model(values=(3, 700))
    assert model.label_values == (0, 3, 700)
    assert model.label_names == {3: "structure 3", 700: "structure 700"}
    assert model.trained_range_mm == ((0.5, 5.0),) * 3
    assert model.identity == make_model(values=(3, 700)).identity
    assert model.identity != make_model(values=(3, 700), seed=1).identity


def test_card_and_network_must_agree(make_model):
    """Fault 49 of the list of bad inputs."""
    with pytest.raises(HyperspaceError, match="number of classes"):
        make_model(out_channels=3, values=(1,))
    with pytest.raises(HyperspaceError, match="input channels"):
        make_model(in_channels=2, channel_names=("T1",))
