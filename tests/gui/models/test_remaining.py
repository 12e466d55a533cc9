"""Progress between the steps that a job reports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hyperspace.core.progress import Progress
from napari_hyperspace.gui.models.remaining import Remaining


def test_progress_moves_while_a_single_tile_runs():
    """A run of one tile reports 26 % and nothing more until it is done."""
    remaining = Remaining(100.0)
    remaining.report(Progress(0.0, "preparing", seconds_left=10.0), 100.0)
    remaining.report(Progress(0.26, "segmenting"), 101.0)
    shown = [remaining.at(100.0 + t) for t in (1, 4, 8)]
    assert [one.fraction for one in shown] == pytest.approx([0.095, 0.38, 0.76])
    assert [one.text for one in shown] == [
        "About 9 s left · segmenting",
        "About 6 s left · segmenting",
        "About 2 s left · segmenting",
    ]
    assert remaining.at(109.5).text == "Under 1 s left · segmenting"


def test_progress_beyond_the_estimate_moves_on_and_says_so():
    remaining = Remaining(0.0)
    remaining.report(Progress(0.0, "segmenting", seconds_left=10.0), 0.0)
    late, later = remaining.at(11.0), remaining.at(40.0)
    assert 0.95 < late.fraction < later.fraction < 1
    assert late.text == "Longer than estimated · segmenting"


def test_progress_without_an_estimate_is_what_was_reported():
    remaining = Remaining(0.0)
    assert remaining.at(3.0).fraction == 0 and remaining.at(3.0).text == ""
    remaining.report(Progress(0.5, "tile 2 of 4: of the second pass"), 4.0)
    assert remaining.at(9.0).fraction == 0.5
    assert remaining.at(9.0).text == "Tile 2 of 4"


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.none() | st.floats(0, 100), st.floats(0, 10)), max_size=20
    )
)
def test_progress_never_moves_back(steps):
    remaining, now, shown = Remaining(0.0), 0.0, [0.0]
    for fraction, seconds_left, wait in steps:
        remaining.report(Progress(fraction, "", seconds_left), now)
        now += wait
        shown.append(remaining.at(now).fraction)
    assert shown == sorted(shown)
    assert shown[-1] <= 1
