"""Figures along a segment of spacings."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from training.evaluation.figures import Curves, Means, draw_segment, save_small_figure, trained_zone
from training.evaluation.plan import segment_between


def test_trained_zone_on_a_segment() -> None:
    isotropic = segment_between((1.0, 1.0, 1.0), (5.0, 5.0, 5.0), 3).spacings_mm
    assert trained_zone([(2.0, 4.0), (0.5, 3.0), (2.0, 9.0)], isotropic) == (0.25, 0.5)
    assert trained_zone([(6.0, 7.0)] * 3, isotropic) is None
    along_z = segment_between((5.0, 1.0, 1.0), (1.0, 1.0, 1.0), 3).spacings_mm
    assert trained_zone([(2.0, 4.0), (0.5, 3.0), (0.5, 3.0)], along_z) == (0.25, 0.75)
    assert trained_zone([(2.0, 4.0), (2.0, 3.0), (0.5, 3.0)], along_z) is None


def test_a_small_figure_shows_the_curves(tmp_path: Path) -> None:
    spacings = segment_between((1.0, 1.0, 1.0), (5.0, 5.0, 5.0), 3).spacings_mm
    metrics = ("dice_working", "dice_native", "seconds_working", "peak_bytes_working")
    means: list[Means] = [
        {"A": dict.fromkeys(metrics, 0.5 + i / 10), "A MaxRes": dict.fromkeys(metrics)}
        for i in range(3)
    ]
    ranges = {"A": [(1.0, 3.0)] * 3, "A MaxRes": [(1.0, 3.0)] * 3}
    curves = Curves("title", spacings, means, ranges)
    assert curves.of("A", "dice_native") == [0.5, 0.6, 0.7]
    assert all(math.isnan(value) for value in curves.of("A MaxRes", "dice_native"))
    figure = draw_segment(curves)
    (axes, *_) = figure.axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    np.testing.assert_array_equal(lines["A"].get_data(), [[1, 3, 5], [0.5, 0.6, 0.7]])
    assert lines["A MaxRes"].get_linestyle() == ":"
    assert len(draw_segment(curves, times=False).axes) == 3
    save_small_figure(figure, tmp_path / "a.png")
    save_small_figure(draw_segment(curves), tmp_path / "b.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P" and image.size == (950, 700)
    assert (tmp_path / "a.png").stat().st_size < 40_000
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
