"""The layers compute the same as those of e3nn, with plain tensor operations."""

import numpy as np
import pytest
import torch
from e3nn import nn as e3nn
from e3nn import o3
from e3nn.math import soft_one_hot_linspace
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hyperspace.nets.harmonic.kernels import dimension, discretize_basis, reach
from napari_hyperspace.nets.harmonic.layers import (
    Gate,
    LinearUp,
    MaxNormPool,
    SteerableNorm,
    gate_input,
)
from napari_hyperspace.nets.harmonic.steerable import (
    CoupledBasis,
    n_path_weights,
    paths,
    point_kernel,
    steerable_kernel,
)
from tests.nets.rounding import EPS, assert_equal_in_float64

FIELDS = ((3, 0), (2, 1), (1, 2))
LIKE = torch.zeros((), dtype=torch.float64)


def irreps(fields):
    return "+".join(f"{m}x{d}e" for m, d in fields)


def channels_last(image):
    return image.movedim(1, -1)


def test_norm_is_that_of_e3nn():
    theirs = e3nn.BatchNorm(irreps(FIELDS), instance=True).double()
    ours = SteerableNorm(FIELDS).double()
    with torch.no_grad():
        theirs.weight.copy_(torch.rand(6))
        theirs.bias.copy_(torch.randn(3))
        ours.scalars.weight.copy_(theirs.weight[:3])
        ours.scalars.bias.copy_(theirs.bias)
        ours.weight.copy_(theirs.weight[3:])
    image = torch.randn(2, dimension(FIELDS), 4, 5, 3).double() * 3 + 1
    expected = theirs(channels_last(image)).movedim(-1, 1)
    for exact in (True, False):
        ours.eval().scalars.exact = exact
        assert_equal_in_float64(ours(image), expected)


def test_gate_is_that_of_e3nn():
    scalars, *others = FIELDS
    gates = sum(m for m, _ in others)
    theirs = e3nn.Gate(
        f"{scalars[0]}x0e", [torch.relu], f"{gates}x0e", [torch.sigmoid], irreps(others)
    )
    assert str(theirs.irreps_in) == irreps(gate_input(FIELDS))
    theirs = theirs.double()
    image = torch.randn(2, dimension(gate_input(FIELDS)), 4, 5, 3).double()
    expected = theirs(channels_last(image)).movedim(-1, 1)
    assert_equal_in_float64(Gate(FIELDS)(image), expected)


def test_scalars_alone_need_no_gates():
    image = torch.randn(1, 3, 2, 2, 2).double()
    relu = Gate(((3, 0),))(image)
    assert_equal_in_float64(relu, torch.relu(image) * (relu.max() / image.max()))


def test_kernels_are_those_of_e3nns_tensor_product():
    """For concatenated fields, which are not in the order of e3nn."""
    incoming, outgoing = ((2, 0), (1, 1), (1, 0), (2, 2)), gate_input(FIELDS)
    spacing, radial = (1.0, 1.7, 0.6), 4
    basis = discretize_basis(5.0, spacing, radial, 2, LIKE, integrated=False)
    product = o3.FullyConnectedTensorProduct(
        irreps(incoming), "0e+1e+2e", irreps(outgoing), shared_weights=False, compile_right=True
    )
    weight = torch.randn(radial, product.weight_numel, dtype=torch.float64)
    assert n_path_weights(incoming, 2, outgoing) == product.weight_numel
    self_weight = torch.zeros(n_path_weights(incoming, 0, outgoing), dtype=torch.float64)
    ours = steerable_kernel(weight, self_weight, incoming, outgoing, CoupledBasis(basis))
    # The functions are products of a radial one and a harmonic; that of degree 0 is constant.
    harmonics = basis.values / basis.values[:, :1].clamp_min(1e-12)
    emb, sh = basis.values[:, 0].T, harmonics.amax(0).T  # (taps, radial), (taps, harmonics)
    lowest = harmonics.amin(0).T
    sh = torch.where(lowest.abs() > sh.abs(), lowest, sh)
    theirs = product.double().right(sh, emb @ weight)  # (taps, in, out)
    difference = (ours.flatten(2) - theirs.permute(2, 1, 0)).abs().max()
    assert difference <= 4 * EPS * ours.abs().max()  # e3nn stores its couplings in float32


def test_points_are_those_of_e3nns_linear():
    incoming, outgoing = ((2, 0), (1, 1), (1, 0), (2, 2)), ((2, 0), (3, 2))
    linear = o3.Linear(irreps(incoming), irreps(outgoing)).double()
    image = torch.randn(5, dimension(incoming)).double()
    weight = point_kernel(linear.weight, incoming, outgoing)
    assert_equal_in_float64(image @ weight.T, linear(image))


def test_unconnected_fields_are_zero():
    weight = torch.ones(n_path_weights(((2, 0),), 0, ((1, 0), (1, 1))))
    made = point_kernel(weight, ((2, 0),), ((1, 0), (1, 1)))
    assert made.shape == (4, 2)
    assert not made[1:].any()
    assert len(paths(((2, 0),), 0, ((1, 0), (1, 1)))) == 1


@pytest.mark.parametrize("factors", [(2, 1, 3), (1, 1, 1), (3, 2, 2)])
def test_pooling_keeps_the_feature_of_largest_norm(factors):
    shape = (6, 4, 6)
    image = torch.randn(3, dimension(FIELDS), *shape).double()
    pooled = MaxNormPool(FIELDS, factors)(image)
    assert pooled.shape[2:] == tuple(n // f for n, f in zip(shape, factors, strict=True))
    for b, z, y, x in np.ndindex(3, *pooled.shape[2:]):
        block = image[b][
            :,
            z * factors[0] : (z + 1) * factors[0],
            y * factors[1] : (y + 1) * factors[1],
            x * factors[2] : (x + 1) * factors[2],
        ].flatten(1)
        start = 0
        for multiplicity, degree in FIELDS:
            for _ in range(multiplicity):
                feature = block[start : start + 2 * degree + 1]
                best = feature[0].argmax() if degree == 0 else feature.norm(dim=0).argmax()
                got = pooled[b, start : start + 2 * degree + 1, z, y, x]
                assert torch.equal(got, feature[:, best])
                start += 2 * degree + 1


def test_upsampling_keeps_the_corners():
    image = torch.randn(1, 2, 3, 2, 4).double()
    up = LinearUp()(image, (6, 2, 8))
    torch.testing.assert_close(up[..., 0, 0, 0], image[..., 0, 0, 0])
    torch.testing.assert_close(up[..., -1, -1, -1], image[..., -1, -1, -1])
    assert LinearUp()(image, (3, 2, 4)) is image


class TestReach:
    @pytest.mark.parametrize(
        ("spacing", "sampled", "integrated"),
        [(1, 2, 2), (2.5, 1, 1), (2.51, 0, 1), (5, 0, 0), (0.5, 5, 5)],
    )
    def test_kernels_of_5_mm(self, spacing, sampled, integrated):
        assert reach(5.0, spacing, integrated=False) == sampled
        assert reach(5.0, spacing, integrated=True) == integrated

    @given(diameter=st.floats(1, 40), spacing=st.floats(0.2, 10))
    def test_taps_beyond_the_reach_are_outside_of_the_ball(self, diameter, spacing):
        outer = (reach(diameter, spacing, integrated=False) + 1) * spacing
        assert outer > diameter / 2 * (1 - 1e-6)
        edge = (reach(diameter, spacing, integrated=True) + 0.5) * spacing
        assert edge >= diameter / 2 * (1 - 1e-5)


class TestBasis:
    @settings(max_examples=15, deadline=None)
    @given(spacing=st.tuples(*[st.floats(0.5, 4)] * 3))
    def test_integrals_over_voxels_add_up_to_that_over_the_ball(self, spacing):
        """That is 1 for degree 0, and 0 for harmonics of higher degree."""
        values = discretize_basis(5.0, spacing, 3, 2, LIKE, integrated=True).values.sum(-1)
        np.testing.assert_allclose(values[:, 0], 1, atol=0.05)
        np.testing.assert_allclose(values[:, 1:4], 0, atol=1e-9)

    def test_integrals_are_those_of_many_samples(self):
        """Of a voxel beside the middle one, sampled on a grid 60 times finer."""
        step, fine = 1.4, 1.4 / 60
        values = discretize_basis(5.0, (step,) * 3, 3, 1, LIKE, integrated=True)
        assert values.taps == (5, 5, 5)
        offsets = (torch.arange(60, dtype=torch.float64) + 0.5) * fine - step / 2
        places = torch.stack(torch.meshgrid(offsets, offsets, offsets + step, indexing="ij"), -1)
        emb = soft_one_hot_linspace(places.norm(dim=-1), 0, 2.5, 3, "smooth_finite", cutoff=True)
        harmonics = o3.spherical_harmonics([0, 1], places, True, "component")
        expected = torch.einsum("xyzn,xyzm->nm", emb, harmonics) * fine**3
        whole = torch.linspace(0, 2.5, 9001, dtype=torch.float64)
        shells = soft_one_hot_linspace(whole, 0, 2.5, 3, "smooth_finite", cutoff=True)
        expected /= torch.trapezoid(4 * torch.pi * whole[:, None] ** 2 * shells, whole, dim=0)[
            :, None
        ]
        beside = values.values.unflatten(2, values.taps)[:, :, 2, 2, 3]
        torch.testing.assert_close(beside, expected, atol=2e-3, rtol=0)

    def test_sampled_functions_jump_and_integrated_ones_do_not(self):
        def change(integrated):
            below, above = (
                discretize_basis(5.0, (step, 1, 1), 3, 0, LIKE, integrated=integrated)
                for step in (1.2499, 1.2501)
            )
            below, above = (basis.values.sum(-1)[:, 0] for basis in (below, above))
            return float((below - above).abs().max() / below.abs().max())

        assert change(False) > 0.3  # three taps instead of five
        assert change(True) < 0.01
