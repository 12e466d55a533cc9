"""CKA over the cases of a data set."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.intensity import Normalization
from training.cka.activations import activations
from training.cka.blocks import cut_block
from training.cka.layers import common_period
from training.cka.measure import _batches, measure_cka
from training.cka.result import CKASettings
from training.cka.similarity import linear_cka

SMALL = CKASettings(
    start_mm=(1, 1, 1), stop_mm=(2, 2, 2), steps=2, box_mm=8.0, margin_mm=2.0, batch=8
)


def test_maps_agree_with_the_definition(data, names, make_model):
    models = [make_model(seed=1), make_model(seed=2)]
    names = names[:7]  # one batch, so that the direct computation gives the same
    result = measure_cka(models, data, names, SMALL)
    assert result.spacings_mm == [(1, 1, 1), (2, 2, 2)]
    assert result.reference == 0
    cases = data.load(names, models[0].normalization)

    def layers(model, spacing):
        period = common_period(result.layers[0])
        blocks = [cut_block(case, spacing, (8.0, 8.0, 8.0), 2.0, period) for case in cases]
        network = model.network(spacing)
        kept = [
            activations(network, result.layers[0], block.image, block.center, block.extent)
            for block in blocks
        ]
        return [np.stack([x.numpy() for x in column]) for column in zip(*kept, strict=True)]

    fine, coarse = (layers(models[0], spacing) for spacing in result.spacings_mm)
    other = layers(models[1], (2, 2, 2))
    for cka, rows, columns in (
        (result.within[0][1], coarse, coarse),
        (result.between[0][1], fine, coarse),
        (result.across[1], coarse, other),
    ):
        for i, j in ((0, 0), (3, 8), (8, 3), (-1, 2)):
            expected = linear_cka(rows[i], columns[j], unbiased=True)
            # The activations are equal; sums in float64 differ by rounding.
            assert cka[i, j] == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(np.diagonal(result.within[1][0]), 1, atol=1e-12)
    np.testing.assert_allclose(result.between[0][0], result.within[0][0], atol=1e-12)
    expected = (result.within[0][1] - result.within[0][0]) / 1.0
    np.testing.assert_allclose(result.within_slope(0), expected, atol=1e-12)


def test_equal_weights_are_similar_and_other_weights_are_not(data, names, make_model):
    model = make_model(seed=1)
    same = measure_cka([model, make_model(seed=1)], data, names, SMALL)
    np.testing.assert_allclose(np.diagonal(same.across[0]), 1, atol=1e-9)
    other = measure_cka([model, make_model(seed=2)], data, names, SMALL)
    assert (np.diagonal(other.across[0])[2:] < 0.999).all()


def test_cases_are_read_in_batches(data, names, tiny_model):
    reported = []
    measure_cka([tiny_model], data, names, SMALL, report=lambda *step: reported.append(step))
    assert data.loads == [1] * 9 + [5, 4]
    fractions = [fraction for fraction, _ in reported]
    assert fractions == sorted(fractions)
    assert reported[-1] == (1.0, "done")


def test_the_box_is_reduced_to_the_smallest_scan_with_a_warning(data, names, tiny_model):
    settings = CKASettings((1, 1, 1), (2, 2, 2), steps=1, batch=8)
    # Scans of 15–17 × 12 × 12–13 voxels of 1 × 1.25 × 1.5 mm along x, z, y.
    with pytest.warns(HyperspaceWarning, match=r"15 × 18 × 15 mm \(z, y, x\)"):
        result = measure_cka([tiny_model], data, names[:5], settings)
    assert result.conditions.box_mm == [15, 18, 15]


def test_no_batch_falls_below_four_examples():
    for n in range(4, 60):
        for batch in (8, 9, 16):
            sizes = [
                len(part) for part in _batches([*map(str, range(n))], CKASettings(batch=batch))
            ]
            assert sum(sizes) == n
            assert 4 <= min(sizes) <= max(sizes) <= batch


def test_models_and_cases_that_do_not_fit_are_refused(data, names, make_model):
    model = make_model()
    with pytest.raises(HyperspaceError, match="numbers of channels"):
        measure_cka([make_model(in_channels=2)], data, names, SMALL)
    with pytest.raises(HyperspaceError, match="numbers of axes"):
        measure_cka([make_model(n_dim=2)], data, names, SMALL)
    with pytest.raises(HyperspaceError, match="one model or two"):
        measure_cka([model] * 3, data, names, SMALL)
    for few in (names[:3], [names[0]] * 5):
        with pytest.raises(HyperspaceError, match="at least four"):
            measure_cka([model], data, few, SMALL)
    with pytest.raises(HyperspaceError, match="unknown device"):
        measure_cka([model], data, names, SMALL, device="notes.txt/x")


def test_spacings_outside_the_trained_range_give_a_warning(data, names, make_model):
    model = make_model(range_mm=(0.8, 1.5))
    with pytest.warns(
        HyperspaceWarning, match="1 of 2 spacings are outside of the trained range of 0.8–1.5 mm"
    ):
        measure_cka([model], data, names[:4], SMALL)


def test_a_spacing_at_the_end_of_the_trained_range_gives_no_warning(data, names, make_model):
    """A spacing of 0.79999 mm in the header of a scan is 0.8 mm."""
    settings = CKASettings(
        (0.79999,) * 3, (1.50001,) * 3, steps=2, reference_mm=(0.8,) * 3, box_mm=8.0, margin_mm=2.0
    )
    measure_cka([make_model(range_mm=(0.8, 1.5))], data, names[:4], settings)


def test_each_model_has_its_own_normalization(data, names, make_model):
    z_score = make_model(seed=1)
    window = make_model(seed=1, normalization={"kind": "window", "lower": 80.0, "upper": 180.0})
    assert window.normalization == Normalization("window", 80.0, 180.0)
    result = measure_cka([z_score, window], data, names[:4], SMALL)
    assert np.diagonal(result.across[0])[-1] < 1 - 1e-6
