"""Blending of label maps at the border of a box."""

from __future__ import annotations

import numpy as np

from napari_hyperspace.api.corrections.merge import border_weights, merge_labels

STEPS = (1.0, 2.0, 0.5)


def test_weights_are_one_inside_and_fall_towards_faces_inside_of_the_scan():
    box = (slice(0, 20), slice(4, 24), slice(10, 60))
    weights = border_weights(box, (30, 24, 80), STEPS, band_mm=4.0)
    assert weights.shape == (20, 20, 50)
    assert (weights[:14, 4:, 9:-9] == 1).all()  # neither at the first face nor at the second's end
    assert (weights[0, 19, 9:-9] == 1).all()
    along = weights[5, 10, :9]
    assert (np.diff(along) > 0).all()
    assert 0 < along[0] < 0.05
    assert weights[19, 10, 25] < 0.1


def test_without_a_band_the_answer_replaces_everything():
    box = (slice(2, 6),) * 3
    weights = border_weights(box, (9, 9, 9), (1, 1, 1), band_mm=0.0)
    present, answer = np.zeros((4, 4, 4), np.uint8), np.full((4, 4, 4), 3, np.uint8)
    assert np.array_equal(merge_labels(present, answer, weights, (1, 1, 1)), answer)


def test_weights_of_zero_and_one_choose_one_map_and_agreement_stays(rng):
    present, answer = rng.integers(0, 4, (2, 7, 8, 9)).astype(np.uint8)
    zeros, ones = np.zeros(present.shape, np.float32), np.ones(present.shape, np.float32)
    assert np.array_equal(merge_labels(present, answer, zeros, STEPS), present)
    assert np.array_equal(merge_labels(present, answer, ones, STEPS), answer)
    half = np.full(present.shape, 0.5, np.float32)
    same = present == answer
    assert np.array_equal(merge_labels(present, answer, half, STEPS)[same], present[same])


def test_a_surface_passes_gradually_from_one_place_to_another():
    """Two half-spaces, 6 voxels apart: the surface moves by one weight's share of it."""
    x = np.arange(40)
    present = np.broadcast_to(x < 12, (5, 30, 40)).astype(np.uint8)
    answer = np.broadcast_to(x < 18, (5, 30, 40)).astype(np.uint8)
    along = np.linspace(0, 1, 30, dtype=np.float32)
    weights = np.broadcast_to(along[:, None], present.shape).copy()
    merged = merge_labels(present, answer, weights, (1.0, 1.0, 1.0))
    surface = merged[2].sum(axis=1)
    assert np.array_equal(surface, np.clip(np.round(12 + 6 * along - 1e-6), 12, 18))
    assert np.abs(np.diff(surface)).max() == 1


def test_no_voxel_gets_a_label_that_neither_map_has_there(rng):
    present, answer = rng.integers(0, 6, (2, 8, 9, 10)).astype(np.uint8)
    weights = rng.uniform(0, 1, present.shape).astype(np.float32)
    merged = merge_labels(present, answer, weights, STEPS)
    assert ((merged == present) | (merged == answer)).all()
    assert (merged != present).any() and (merged != answer).any()
