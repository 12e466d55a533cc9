"""Random parameters of synthetic pairs."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.heads import head_array, volume
from training.config.synthesis import ContrastShares, SynthesisSection
from training.seeding import generator
from training.synthesis.appearance import sample_appearance
from training.synthesis.heads import Head
from training.synthesis.parameters import Acquisition, Corruption, PairParameters, Stripping
from training.synthesis.render import render
from training.synthesis.sample import expected_moments, sample_pair
from training.synthesis.sampling_grid import SamplingGrid, choose_parts, fine_grid, scan_grid
from training.synthesis.stored import check_sizes, parameters_from
from training.synthesis.tissues import CONTRAST_PRIORS, TISSUES

CONFIG = SynthesisSection()
HEAD = Head.from_volume("tiny", volume(head_array()))


def _sample(seed: int, **changes: object) -> PairParameters:
    config = SynthesisSection.model_validate(changes)
    return sample_pair(generator(seed, "sample", 0), config, HEAD, (1.3, 0.8, 2.0), (17, 20, 9))


def test_stored_parameters_are_checked() -> None:
    parameters = _sample(3)
    assert parameters_from(json.loads(json.dumps(parameters.to_dict()))) == parameters
    for path, value in (
        (("shape",), [10**6, 10**6, 10**6]),
        (("shape",), [0, 8, 8]),
        (("shape",), [8, 8]),
        (("spacing_mm",), [1e-9, 1, 1]),
        (("spacing_mm",), ["x", 1, 1]),
        (("spacing_mm",), [float("nan"), 1, 1]),
        (("scale",), 0),
        (("cut",), [3, 0, 0.5]),
        (("geometry", "center_mm"), [1e30, 0, 0]),
        (("geometry", "matrix"), [[1, 0, 0], [0, 1, 0]]),
        (("geometry", "elastic_points"), [1, 2, 2]),
        (("geometry", "elastic_seed"), -1),
        (("acquisition", "parts"), [10**5, 10**5, 10**5]),
        (("acquisition", "profile"), ["box", "box", "x"]),
        (("acquisition", "width_mm"), [1e6, 1e6, 1e6]),
        (("acquisition", "spacing_mm"), [1.3, 0.8, 0.002]),  # finer than the working spacing
        (("appearance", "means"), [0.5]),
        (("appearance", "smooth_mm"), 1e-6),
        (("corruption", "gamma"), 1e3),
        (("corruption", "bias_points"), [10**6, 2, 2]),
    ):
        values = json.loads(json.dumps(parameters.to_dict()))
        section = values
        for key in path[:-1]:
            section = section[key]
        assert path[-1] in section
        section[path[-1]] = value
        with pytest.raises((ValueError, TypeError)):
            parameters_from(values)


def test_profiles_must_not_be_wide_on_many_voxels() -> None:
    """Each size alone is possible: 8000 voxels, and a profile over all of them."""
    parameters = dataclasses.replace(_sample(3), spacing_mm=(1.0, 1.0, 0.01), shape=(2, 2, 8000))
    taken = Acquisition((1.0, 1.0, 0.01), width_mm=(1.0, 1.0, 1.0))
    check_sizes(dataclasses.replace(parameters, acquisition=taken))
    wide = dataclasses.replace(taken, width_mm=(1.0, 1.0, 70.0))
    with pytest.raises(ValueError, match="width_mm"):
        check_sizes(dataclasses.replace(parameters, acquisition=wide))


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_parameters_survive_json_and_depend_only_on_the_seed(seed: int) -> None:
    parameters = _sample(seed)
    text = json.dumps(parameters.to_dict())
    assert PairParameters.from_dict(json.loads(text)) == parameters == _sample(seed)
    assert parameters != _sample(seed + 1)


def test_effects_can_be_switched_off() -> None:
    for seed in range(30):
        parameters = _sample(
            seed,
            strip_probability=0,
            cut_probability=0,
            elastic_mm=0,
            rotation_deg=0,
            scale=1,
            shear=0,
            coarse_probability=0,
            noise=0,
            flip_probability=0,
        )
        geometry = parameters.geometry
        assert parameters.stripping is None and parameters.cut is None
        assert np.array_equal(geometry.matrix, np.eye(3))
        assert not geometry.flip and not geometry.elastic_mm
        assert parameters.acquisition.spacing_mm == parameters.spacing_mm
        assert not parameters.corruption.noise


def test_limits_are_kept() -> None:
    samples = [_sample(seed) for seed in range(300)]
    scales = np.array([np.linalg.svd(d.geometry.matrix)[1] for d in samples])
    limit = CONFIG.scale * (1 + 2 * CONFIG.shear)
    assert scales.max() < limit and scales.min() > 1 / limit and scales.max() > 1.1
    factors = np.array([np.divide(d.acquisition.spacing_mm, d.spacing_mm) for d in samples])
    assert factors.min() == 1 and 1.5 < factors.max() <= CONFIG.coarse_factor
    assert {d.cut is None for d in samples} == {True, False}
    assert {d.appearance.contrast for d in samples} == set(ContrastShares.model_fields)
    assert max(d.corruption.noise for d in samples) <= CONFIG.noise
    flips = np.mean([d.geometry.flip for d in samples])
    assert 0.35 < flips < 0.65


def test_patches_lie_near_the_brain() -> None:
    low, high = (index * HEAD.spacing_mm for index in HEAD.brain_box)
    for seed in range(100):
        center = np.array(_sample(seed, off_brain_probability=0).geometry.center_mm)
        assert (center > low - 15).all() and (center < high + 15).all()


@pytest.mark.parametrize(
    ("contrast", "order"),
    [
        ("t1", ("air", "csf", "cortex", "thalamus", "white matter")),
        ("t2", ("air", "white matter", "cortex", "csf")),
        ("pd", ("air", "white matter", "cortex")),
        ("flair", ("air", "csf", "white matter", "cortex")),
    ],
)
def test_contrast_priors_put_tissues_in_order(contrast: str, order: tuple[str, ...]) -> None:
    appearance = [sample_appearance(np.random.default_rng(i), CONFIG, contrast) for i in range(60)]
    assert {item.contrast for item in appearance} == {contrast}
    means = np.mean([item.means for item in appearance], axis=0)
    assert (np.diff([means[TISSUES.index(name)] for name in order]) > 0.02).all()


# Where structures lie in the MNI152 template (right side, RAS+ mm).
_IN_TEMPLATE = {
    "thalamus": (12, -18, 8),
    "caudate": (13, 13, 9),
    "putamen": (26, 4, 2),
    "pallidum": (19, -4, -1),
    "accumbens": (10, 12, -7),
    "hippocampus": (24, -14, -20),
    "amygdala": (23, -4, -19),
    "ventral diencephalon": (10, -14, -10),
    "brain stem": (4, -26, -32),
    "cerebellar grey": (36, -60, -30),
    "cerebellar white": (14, -54, -32),
}


def test_the_t1_prior_agrees_with_a_real_template() -> None:
    """Intensity relative to the cortex (0) and white matter (1), within the jitter of the prior."""
    load = pytest.importorskip("nilearn.datasets").load_mni152_template
    image = load(resolution=1)
    array, inverse = np.asarray(image.dataobj), np.linalg.inv(image.affine)
    # The two peaks of its histogram: cortex and white matter.
    counts, edges = np.histogram(array[array > 0.3], 40)
    middle = (edges[1:] + edges[:-1]) / 2
    grey, white = (
        float(middle[part][counts[part].argmax()]) for part in (middle < 0.75, middle > 0.75)
    )
    assert grey == pytest.approx(0.66, abs=0.03) and white == pytest.approx(0.87, abs=0.03)
    prior = CONTRAST_PRIORS["t1"].means
    far = {}
    for name, position in _IN_TEMPLATE.items():
        z, y, x = np.rint((inverse @ [*position, 1])[:3]).astype(int)
        there = (np.median(array[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2]) - grey) / (
            white - grey
        )
        here = (prior[name] - prior["cortex"]) / (prior["white matter"] - prior["cortex"])
        if abs(here - there) > 0.25:
            far[name] = (here, there)
    assert not far


def test_free_contrast_has_no_order_but_similar_related_tissues() -> None:
    appearance = [sample_appearance(np.random.default_rng(i), CONFIG, "free") for i in range(300)]
    means = np.array([item.means for item in appearance])
    white, grey, cerebellar = (
        means[:, TISSUES.index(name)] for name in ("white matter", "cortex", "cerebellar grey")
    )
    assert 0.4 < np.mean(white > grey) < 0.6
    assert np.mean(np.abs(grey - cerebellar) < 0.1) > 1.5 * np.mean(np.abs(grey - white) < 0.1)
    assert not means[:, 0].any() and means.min() >= 0


def test_only_contrasts_with_a_share_are_sampled() -> None:
    only = ContrastShares(free=0, t1=0, t2=2, pd=0, flair=0)
    config = SynthesisSection(contrasts=only)
    contrasts = {sample_appearance(np.random.default_rng(i), config).contrast for i in range(20)}
    assert contrasts == {"t2"}


def test_thinning_keeps_the_brain() -> None:
    appearance = sample_appearance(np.random.default_rng(0), CONFIG, "t1")
    thin = [appearance.thinned(np.random.default_rng(i)) for i in range(40)]
    brain, bone = TISSUES.index("cortex"), TISSUES.index("skin")
    assert {item.means[brain] for item in thin} == {appearance.means[brain]}
    assert {item.means[bone] for item in thin} == {appearance.means[bone], 0.0}


@pytest.mark.parametrize("stripping", [None, Stripping(0.0), Stripping(0.0, keep_csf=False)])
def test_expected_moments_agree_with_the_whole_scan(stripping: Stripping | None) -> None:
    """Compared with the image itself, painted at the spacing of the map without other effects."""
    shape = tuple(HEAD.shape)
    parameters = sample_pair(
        generator(3, "sample", 0),
        SynthesisSection(elastic_mm=0, rotation_deg=0, scale=1, shear=0, coarse_probability=0),
        HEAD,
        HEAD.spacing_mm,
        shape,
        contrast="t1",
    )
    middle = (np.array(shape) - 1) / 2 * HEAD.spacing_mm
    taken = dataclasses.replace(parameters.acquisition, width_mm=(0, 0, 0), parts=(1, 1, 1))
    appearance = dataclasses.replace(parameters.appearance, smooth=(0.0,) * len(TISSUES))
    corruption = Corruption(gamma=1.2, noise=0.04, noise_seed=1)
    parameters = dataclasses.replace(
        parameters.at(middle.tolist()),
        acquisition=taken,
        corruption=corruption,
        appearance=appearance,
        stripping=stripping,
        mean=0.0,
        scale=1.0,
    )
    image, _ = render(HEAD, parameters, torch.zeros(200, dtype=torch.int16))
    air = 1 - HEAD.counts.sum() / np.prod(shape)
    share = air / (1 - air)
    mean, deviation = expected_moments(HEAD, appearance, corruption, stripping, air=share)
    assert mean == pytest.approx(float(image.mean()), rel=0.06)
    assert deviation == pytest.approx(float(image.std()), rel=0.06)


def test_more_air_lowers_the_mean() -> None:
    appearance = sample_appearance(np.random.default_rng(0), CONFIG, "t1")
    much = expected_moments(HEAD, appearance, Corruption(), air=3)[0]
    little = expected_moments(HEAD, appearance, Corruption(), air=0.1)[0]
    assert 0 < much < little


@given(
    st.tuples(*[st.floats(0.4, 7)] * 3),
    st.tuples(*[st.integers(1, 60)] * 3),
    st.tuples(*[st.floats(0.3, 2)] * 3),
    st.integers(5_000, 500_000),
)
@settings(max_examples=80, deadline=None)
def test_sampling_grids_cover_each_other(
    spacing: tuple[float, ...],
    shape: tuple[int, ...],
    width: tuple[float, ...],
    most: int,
) -> None:
    taken = [s * f for s, f in zip(spacing, (1.0, 1.7, 1.2), strict=True)]
    taken[0] = spacing[0]
    scan = scan_grid(shape, spacing, taken)
    assert scan.shape[0] == shape[0]
    widths = [s * w for s, w in zip(taken, width, strict=True)]
    parts = choose_parts(scan, widths, most)
    fine = fine_grid(scan, parts, widths)
    assert max(parts) == 1 or np.prod(fine.shape) <= most
    working = SamplingGrid(shape, spacing)
    for axis in range(3):
        assert scan.axis(axis)[-1] >= working.axis(axis)[-1] - 1e-9
        assert fine.axis(axis)[-1] >= scan.axis(axis)[-1] - 1e-9
        assert fine.spacing_mm[axis] * parts[axis] == pytest.approx(taken[axis])
        assert np.allclose(fine.axis(axis), -fine.axis(axis)[::-1])
