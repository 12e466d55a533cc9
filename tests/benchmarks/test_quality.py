"""The gallery of wrong inputs, and the page about it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.__main__ import assessed
from benchmarks.quality.gallery import (
    ARTIFICIAL,
    Entry,
    artificial,
    inverted,
    lying,
    scaled,
    upside_down,
    windowed,
)
from benchmarks.quality.page import page
from tests.scans import scan


def test_wrong_inputs_differ_from_the_scan_in_one_way():
    image = scan()
    turned = upside_down(image)
    assert turned.grid == image.grid
    canonical, after = image.canonical().array, turned.canonical().array
    assert np.array_equal(after, canonical[::-1, ::-1])
    lain = lying(image)
    assert np.array_equal(lain.array, image.canonical().array)
    assert np.array_equal(lain.canonical().array, image.canonical().array.transpose(1, 0, 2))
    assert scaled(image, 2).spacing_mm == pytest.approx([2 * s for s in image.spacing_mm])
    assert np.allclose(inverted(image).array + image.array, image.array.max())
    shown = windowed(image, 80, 120).array
    assert shown.min() >= 0 and shown.max() <= 255


@pytest.mark.parametrize("kind", ARTIFICIAL)
def test_artificial_scans_are_the_same_each_time(kind):
    assert np.array_equal(artificial(kind, 12, 3.0).array, artificial(kind, 12, 3.0).array)


def test_rows_become_a_page(make_model):
    image = scan()
    empty = image.with_array(np.zeros(image.shape, np.float32))
    entries = [
        Entry("tiny", "scan", "a", True, lambda: image, lambda: _labels(image)),
        Entry("tiny", "empty", "b", False, lambda: empty),
    ]
    rows = {each.key: assessed(each, make_model()) for each in entries}
    assert rows["tiny: empty: b"]["level"] == "implausible"
    assert "estimated" in rows["tiny: scan: a"] and "true" not in rows["tiny: empty: b"]
    rows["tiny: scan: a"] |= {"structures": {"one": [0.8, 0.7]}, "true": 0.7}
    rows["tiny: scan: a"] |= {"estimated_of_known": 0.8, "interval": (0.6, 0.9)}
    text = page(rows, {"tiny": {"other_half": [["", 0.8, 0.7], ["blur", 0.4, 0.5]]}})
    assert (
        "| empty | 1 | 1 | – | – | 1 | – | all voxels of the scan have the same value, 0 |" in text
    )
    assert "| tiny, scan | 1 | 0.700 | 0.800 | 0.100 | – | 1 of 1 |" in text
    assert "| tiny, blur | 1 | 0.500 | 0.400 | 0.100 | – |" in text


def _labels(image):
    names = {1: "structure 1", 2: "structure 2"}
    array = np.zeros(image.shape, np.int16)
    array[5:9, 4:8, 6:12] = 1
    return image.with_array(array, metadata={"label_names": names})
