"""What chance decides about a synthetic pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.heads import head_array, volume
from training.config.fit import SpacingSection
from training.config.synthesis import ContrastShares, SynthesisSection
from training.sampling.augment import sample_spacing
from training.seeding import generator
from training.synthesis.appearance import draw_looks
from training.synthesis.heads import Head
from training.synthesis.parameters import Corruption, PairParameters, Stripping
from training.synthesis.render import render
from training.synthesis.sample import expected_moments, sample_pair
from training.synthesis.sampling_grid import SamplingGrid, choose_parts, fine_grid, scan_grid
from training.synthesis.tissues import CONTRAST_PRIORS, TISSUES

CONFIG = SynthesisSection()
HEAD = Head.from_volume("tiny", volume(head_array()))


def _draw(seed: int, **changes: object) -> PairParameters:
    config = SynthesisSection.model_validate(changes)
    return sample_pair(generator(seed, "sample", 0), config, HEAD, (1.3, 0.8, 2.0), (17, 20, 9))


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_draw_survives_json_and_depends_on_the_seed_alone(seed: int) -> None:
    draw = _draw(seed)
    assert PairParameters.from_json(draw.to_json()) == draw == _draw(seed)
    assert draw != _draw(seed + 1)


def test_parts_can_be_switched_off() -> None:
    for seed in range(30):
        draw = _draw(
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
        assert draw.stripping is None and draw.cut is None and not draw.geometry.flip
        assert np.array_equal(draw.geometry.matrix, np.eye(3)) and not draw.geometry.elastic_mm
        assert draw.acquisition.spacing_mm == draw.spacing_mm and not draw.corruption.noise


def test_limits_are_kept() -> None:
    draws = [_draw(seed) for seed in range(300)]
    scales = np.array([np.linalg.svd(d.geometry.matrix)[1] for d in draws])
    limit = CONFIG.scale * (1 + 2 * CONFIG.shear)
    assert scales.max() < limit and scales.min() > 1 / limit and scales.max() > 1.1
    factors = np.array([np.divide(d.acquisition.spacing_mm, d.spacing_mm) for d in draws])
    assert factors.min() == 1 and 1.5 < factors.max() <= CONFIG.coarse_factor
    assert {d.cut is None for d in draws} == {True, False}
    assert {d.looks.contrast for d in draws} == set(ContrastShares.model_fields)
    assert max(d.corruption.noise for d in draws) <= CONFIG.noise
    flips = np.mean([d.geometry.flip for d in draws])
    assert 0.35 < flips < 0.65


def test_patches_lie_near_the_brain() -> None:
    low, high = (index * HEAD.spacing_mm for index in HEAD.brain_box)
    for seed in range(100):
        center = np.array(_draw(seed, off_brain_probability=0).geometry.center_mm)
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
def test_laws_put_tissues_in_order(contrast: str, order: tuple[str, ...]) -> None:
    looks = [draw_looks(np.random.default_rng(i), CONFIG, contrast) for i in range(60)]
    assert {look.contrast for look in looks} == {contrast}
    means = np.mean([look.means for look in looks], axis=0)
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


def test_the_t1_law_agrees_with_a_real_template() -> None:
    """Brightness between the cortex's (0) and the white matter's (1), with the law's jitter."""
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
    law = CONTRAST_PRIORS["t1"].means
    far = {}
    for name, position in _IN_TEMPLATE.items():
        z, y, x = np.rint((inverse @ [*position, 1])[:3]).astype(int)
        there = (np.median(array[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2]) - grey) / (
            white - grey
        )
        here = (law[name] - law["cortex"]) / (law["white matter"] - law["cortex"])
        if abs(here - there) > 0.25:
            far[name] = (here, there)
    assert not far


def test_free_contrast_has_no_order_but_kin() -> None:
    looks = [draw_looks(np.random.default_rng(i), CONFIG, "free") for i in range(300)]
    means = np.array([look.means for look in looks])
    white, grey, cerebellar = (
        means[:, TISSUES.index(name)] for name in ("white matter", "cortex", "cerebellar grey")
    )
    assert 0.4 < np.mean(white > grey) < 0.6
    assert np.mean(np.abs(grey - cerebellar) < 0.1) > 1.5 * np.mean(np.abs(grey - white) < 0.1)
    assert not means[:, 0].any() and means.min() >= 0


def test_shares_of_contrasts() -> None:
    only = ContrastShares(free=0, t1=0, t2=2, pd=0, flair=0)
    config = SynthesisSection(contrasts=only)
    assert {draw_looks(np.random.default_rng(i), config).contrast for i in range(20)} == {"t2"}


def test_thinning_leaves_the_brain() -> None:
    looks = draw_looks(np.random.default_rng(0), CONFIG, "t1")
    thin = [looks.thinned(np.random.default_rng(i)) for i in range(40)]
    brain, bone = TISSUES.index("cortex"), TISSUES.index("skin")
    assert {look.means[brain] for look in thin} == {looks.means[brain]}
    assert {look.means[bone] for look in thin} == {looks.means[bone], 0.0}


@pytest.mark.parametrize("stripping", [None, Stripping(0.0), Stripping(0.0, keep_csf=False)])
def test_moments_are_those_of_the_whole_scan(stripping: Stripping | None) -> None:
    """Against the image itself, painted at the map's own spacing with nothing else done to it."""
    import dataclasses

    import torch

    shape = tuple(HEAD.shape)
    draw = sample_pair(
        generator(3, "sample", 0),
        SynthesisSection(elastic_mm=0, rotation_deg=0, scale=1, shear=0, coarse_probability=0),
        HEAD,
        HEAD.spacing_mm,
        shape,
        contrast="t1",
    )
    middle = (np.array(shape) - 1) / 2 * HEAD.spacing_mm
    taken = dataclasses.replace(draw.acquisition, width_mm=(0, 0, 0), parts=(1, 1, 1))
    looks = dataclasses.replace(draw.looks, smooth=(0.0,) * len(TISSUES))
    corruption = Corruption(gamma=1.2, noise=0.04, noise_seed=1)
    draw = dataclasses.replace(
        draw.at(middle.tolist()),
        acquisition=taken,
        corruption=corruption,
        looks=looks,
        stripping=stripping,
        mean=0.0,
        scale=1.0,
    )
    image, _ = render(HEAD, draw, torch.zeros(200, dtype=torch.int16))
    air = 1 - HEAD.counts.sum() / np.prod(shape)
    share = air / (1 - air)
    mean, deviation = expected_moments(HEAD, looks, corruption, stripping, air=share)
    assert mean == pytest.approx(float(image.mean()), rel=0.06)
    assert deviation == pytest.approx(float(image.std()), rel=0.06)


def test_more_air_lowers_the_mean() -> None:
    looks = draw_looks(np.random.default_rng(0), CONFIG, "t1")
    much = expected_moments(HEAD, looks, Corruption(), air=3)[0]
    little = expected_moments(HEAD, looks, Corruption(), air=0.1)[0]
    assert 0 < much < little


@given(
    st.tuples(*[st.floats(0.4, 7)] * 3),
    st.tuples(*[st.integers(1, 60)] * 3),
    st.tuples(*[st.floats(0.3, 2)] * 3),
    st.integers(5_000, 500_000),
)
@settings(max_examples=80, deadline=None)
def test_lattices_cover_each_other(
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


def test_thick_slices_lie_in_the_range() -> None:
    config = SpacingSection(
        range_mm=((0.5, 5.0), (0.4, 7.0), (0.4, 7.0)), thick_slice_probability=1
    )
    drawn = np.array([sample_spacing(generator(0, "step", i), config) for i in range(400)])
    thick = drawn >= 3 - 1e-9
    assert (thick.sum(axis=1) == 1).all() and thick.any(axis=0).all()
    assert drawn[:, 0].max() <= 5 + 1e-9 and drawn[:, 0].min() >= 0.5 - 1e-9
    assert drawn[~thick].max() <= 1.3 + 1e-9
    inplane = drawn[thick[:, 0]][:, 1:]
    assert np.allclose(inplane[:, 0], inplane[:, 1])
    never = config.model_copy(update={"thick_slice_probability": 0.0})
    assert sample_spacing(generator(0, "step", 1), never) != tuple(drawn[1])
