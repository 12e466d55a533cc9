"""The loop of `benchmarks.interaction`, its plain methods, and its tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("skimage")

from dataclasses import asdict

import napari_hyperspace as hs
from benchmarks.interaction import report
from benchmarks.interaction.cases import Labeled, loop_cases, nearer, one_side
from benchmarks.interaction.coarse import coarse_labels, coarse_rows, upsampled
from benchmarks.interaction.loop import COUNTS, Case, dice, interact, replay
from benchmarks.interaction.memory import balls
from benchmarks.interaction.methods import Fronts, Painting, RandomWalker, Refinement
from tests.models import linear_model

STEPS = (1.0, 1.5, 1.0)
MASK = linear_model(mask=1.0, offset=-0.5)  # its answer is the rough mask


def ball(center: tuple[float, ...], radius: float) -> np.ndarray:
    axes = [np.arange(n) * step for n, step in zip((32, 24, 36), STEPS, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return np.linalg.norm(points - center, axis=-1) <= radius


TRUTH = ball((16, 18, 18), 8)


def case(start: np.ndarray | None = None) -> Case:
    noise = np.random.default_rng(0).normal(0, 0.1, TRUTH.shape)
    scan = hs.Volume((TRUTH + noise).astype(np.float32), hs.Grid.from_spacing(TRUTH.shape, STEPS))
    return Case("scan", "phantoms", "ball", True, scan, TRUTH, start)


def test_strokes_alone_count_painted_voxels_only() -> None:
    answers, strokes = interact(case(), Painting())
    assert [answer.strokes for answer in answers] == list(COUNTS)
    assert all(stroke.adds for stroke in strokes) and len(strokes) == 10
    painted = np.any([stroke.voxels for stroke in strokes], axis=0)
    assert answers[-1].dice == dice(painted, TRUTH)
    assert answers[-1].dice_unpainted == 0


def test_the_random_walker_finds_a_bright_ball() -> None:
    answers, strokes = interact(case(), RandomWalker(), (0, 1, 3))
    assert answers[0].dice == 0 and answers[1].dice > 0.9
    same = replay(case(), RandomWalker(), strokes, (0, 1, 3))
    assert [each.dice for each in same] == [each.dice for each in answers]


def test_a_result_is_corrected_near_the_strokes() -> None:
    start = TRUTH | ball((16, 18, 30), 4)
    walker = RandomWalker()
    answers, strokes = interact(case(start), walker, (0, 1))
    assert not strokes[0].adds
    assert answers[0].dice == dice(start, TRUTH) and answers[1].dice > answers[0].dice
    kept, _ = interact(case(start), Painting(), (1,))
    assert answers[1].dice > kept[0].dice > answers[0].dice


def test_the_model_gets_strokes_and_the_result_or_the_answer_before() -> None:
    """Margins that repeat the mask, or the strokes: all that is found is what was given."""
    start = TRUTH & ball((16, 18, 14), 8)
    painted = ball((16, 18, 24), 2) & TRUTH
    nothing = TRUTH & False
    scan = case().scan
    copied = Refinement(MASK).answer(scan, start, nothing, painted, nothing)
    assert np.array_equal(copied, start | painted)
    handed = Refinement(MASK, hand_back=True).answer(scan, None, start, painted, nothing)
    assert np.array_equal(handed, copied)
    drawn = linear_model(include=1.0, offset=-0.5)
    alone = Refinement(drawn).answer(scan, None, nothing, painted, nothing)
    assert alone[painted].all() and alone.sum() > painted.sum()  # grown by the fronts
    reached = RandomWalker().answer(scan, None, nothing, painted, nothing)
    assert reached.sum() > painted.sum()
    front = Fronts().answer(scan, None, nothing, painted, nothing)
    masked = Refinement(MASK).answer(scan, None, nothing, painted, nothing)
    # Their boxes differ by some voxels, and so does the border that is outside.
    assert dice(front, masked) > 0.9 and front.sum() > painted.sum()


def test_a_right_answer_stays_what_it_is() -> None:
    answers, strokes = interact(case(TRUTH), Painting())
    assert not strokes and [answer.dice for answer in answers] == [1.0] * len(COUNTS)


def test_structures_are_divided_into_sides() -> None:
    left, right = ball((16, 18, 8), 6), ball((16, 18, 28), 5)
    speck = ball((16, 18, 19.5), 0.5)
    mine, other = one_side(left | right | speck, STEPS)
    assert np.array_equal(mine, left) and np.array_equal(other, right | speck)
    assert np.array_equal(nearer(left | right, left, right), left)
    labels = 11 * (left | right).astype(np.uint8)
    source = Labeled("scan", "phantoms", case().scan, labels, {"hippocampus": 11})
    (found,) = loop_cases(source)
    assert found.held_out and np.array_equal(found.truth, left)


def test_coarse_masks_are_measured_beside_their_interpolation() -> None:
    scan = hs.Volume(case().scan.array, hs.Grid.from_spacing(TRUTH.shape, (1.0, 1.0, 1.0)))
    source = Labeled("scan", "phantoms", scan, 3 * TRUTH.astype(np.uint8), {"ball": 3})
    coarse = coarse_labels(source, [3], 2.0)
    assert coarse.spacing_mm == pytest.approx((2.0, 2.0, 2.0))
    assert coarse.grid.field_of_view_mm == pytest.approx(scan.grid.field_of_view_mm)
    smooth = upsampled(coarse, scan, [3]) == 3
    rows = list(coarse_rows(source, MASK, (0.9, 2.0)))
    assert [(row.coarse_mm, row.method) for row in rows] == [
        (2.0, "model"),
        (2.0, "mask upsampled, no network"),
    ]
    assert rows[1].dice == dice(smooth, TRUTH) > 0.85
    assert rows[0].dice == rows[1].dice, "this model repeats the mask"


def test_the_page_has_every_table(tmp_path: Path) -> None:
    answers, _ = interact(case(), Painting())
    row = {
        "scenario": "nothing",
        "group": "phantoms",
        "name": "scan",
        "structure": "ball",
        "held_out": True,
        "method": "model",
        "answers": [asdict(answer) for answer in answers],
    }
    coarse = {**row, "coarse_mm": 2.0, "dice": 0.9, "hd95_mm": 1.25, "seconds": 0.5}
    memory = {"structures": 7, "seconds": 1.0, "peak_bytes": 5e6, "logits_bytes": 8e6}
    results = {
        "interaction": [row],
        "coarse": [coarse],
        "memory": [memory],
        "model_digest": "0" * 64,
        "model_steps": 7,
        "machine": "a machine",
        "seed": 0,
    }
    page = tmp_path / "refine.md"
    report.write_page(results, page)
    text = page.read_text(encoding="utf-8")
    assert "| phantoms | ball, held out | 1 | model | 0.900 / 1.25 |" in text
    assert "| 7 | 5 | 1.0 | 8 |" in text
    assert "| scans | structures | n | method | 1 stroke | 3 strokes |" in text
    page.write_text(f"Said by hand.\n\n{text}", encoding="utf-8")
    report.write_page({**results, "memory": []}, page)
    again = page.read_text(encoding="utf-8")
    assert again.startswith("Said by hand.") and "| 7 | 5 |" not in again


def test_the_phantom_has_as_many_structures_as_asked() -> None:
    scan = hs.Volume(
        np.zeros((160, 160, 160), np.int16), hs.Grid.from_spacing((160,) * 3, (1,) * 3)
    )
    counts = np.bincount(balls(scan, 100).array.ravel())[1:]
    assert len(counts) == 100 and len(set(counts.tolist())) == 1


def test_strokes_that_take_away_leave_the_rest_of_a_result() -> None:
    """A small structure lies near every stroke: its inside stays a seed of the random walker."""
    start = TRUTH | ball((16, 18, 27), 3)
    answers, strokes = interact(case(start), RandomWalker(), (0, 1))
    assert not strokes[0].adds
    assert answers[1].dice > max(answers[0].dice, 0.9)


def test_differences_are_paired_and_have_an_interval() -> None:
    """All differences of 0.1: so is their mean, and both ends of its interval."""
    rows = [
        {
            "group": "crops",
            "structure": "hippocampus",
            "held_out": True,
            "method": method,
            "answers": [{"strokes": n, "dice": 0.5 + i / 50 + gain} for n in COUNTS],
        }
        for i in range(6)
        for method, gain in (("model", 0.1), ("fronts alone", 0.0), ("something else", 0.3))
    ]
    table = report.difference_table(rows)
    assert table.count("+0.100 (+0.100 to +0.100)") == len(COUNTS) - 1
    assert "something else" not in table
    assert report.difference_table(rows[:6]) == "Too few structures."
    low, high = report.bootstrap_interval([0.0, 0.1, 0.2, 0.3, 0.4])
    assert 0 < low < 0.2 < high < 0.4
