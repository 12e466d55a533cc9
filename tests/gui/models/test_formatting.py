"""Texts of the dock."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from napari_hyperspace.api.estimate import Estimate
from napari_hyperspace.gui.models.formatting import (
    describe_cost,
    describe_outcome,
    describe_totals,
    format_memory,
    format_ml,
    format_time,
    postprocessed_name,
)


def estimate(seconds=9.0, peak_bytes=1_400_000_000, free=8e9, probe_seconds=0.0, host=10):
    return Estimate(
        seconds + probe_seconds,
        peak_bytes,
        host,
        (1, 1, 1),
        (1.0, 1.0, 1.0),
        1,
        round(free),
        8_000_000_000,
        "fp32",
        probe_seconds,
    )


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (115_000, "under 0.1 GB"),
        (310e6, "0.3 GB"),
        (1.44e9, "1.4 GB"),
        (23_269e6, "23 GB"),
        (2.3e12, "2300 GB"),
    ],
)
def test_memory_is_in_gigabytes(n_bytes, text):
    assert format_memory(n_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.022, "under 1 s"), (2.0, "2 s"), (17.3, "17 s"), (200, "3 min 20 s")]
)
def test_time_is_in_seconds_and_minutes(seconds, text):
    assert format_time(seconds) == text


def test_a_busy_machine_is_mentioned_beside_the_estimate():
    assert describe_cost(estimate(), 1.2) == "about 9 s · 1.4 GB"
    assert describe_cost(estimate(), 2.04) == "about 9 s · 1.4 GB · machine busy: about 2 × longer"
    assert describe_cost(estimate(), 2.5).endswith("about 2.5 × longer")
    assert describe_cost(estimate(0.02, 10**6), 3.0) == "under 1 s · under 0.1 GB"


def test_a_cost_is_one_time_and_one_amount_of_memory():
    assert describe_cost(estimate()) == "about 9 s · 1.4 GB"
    assert describe_cost(estimate(0.02, 10**6)) == "under 1 s · under 0.1 GB"


def test_the_set_up_of_a_first_run_is_stated_apart():
    text = describe_cost(estimate(probe_seconds=24.0))
    assert text == "about 9 s · 1.4 GB · first run here: +24 s"


def test_too_little_memory_is_stated():
    assert describe_cost(estimate(free=1e9)) == "about 9 s · 1.4 GB · only 1.0 GB free"
    on_host = describe_cost(estimate(host=23 * 10**9))
    assert on_host == "about 9 s · 1.4 GB · 23 GB of main memory, only 8.0 GB free"


def result(seconds, peak_bytes, probe_seconds=0.0):
    return SimpleNamespace(seconds=seconds, peak_bytes=peak_bytes, probe_seconds=probe_seconds)


def test_an_outcome_is_amber_only_if_far_off():
    close = describe_outcome(estimate(), result(12.0, 1.6e9))
    assert close == ("Took 12 s · 1.6 GB; predicted 9 s · 1.4 GB.", "plain")
    assert describe_outcome(estimate(), result(19.0, 1.6e9))[1] == "warning"
    assert describe_outcome(estimate(), result(4.0, 1.6e9))[1] == "warning"
    assert describe_outcome(estimate(), result(9.0, 3e9))[1] == "warning"
    # Ten times as long, but nobody notices.
    assert describe_outcome(estimate(0.02, 10**6), result(0.2, 10**7))[1] == "plain"


def test_the_outcome_of_a_first_run_is_compared_without_its_set_up():
    text, tone = describe_outcome(estimate(probe_seconds=20.0), result(33.0, 1.4e9, 24.0))
    assert text == "Took 9 s · 1.4 GB, as predicted. Set-up of the first run here: 24 s."
    assert tone == "plain"


@pytest.mark.parametrize(
    ("ml", "text"),
    [
        *((0.0, "0"), (5.49e-5, "< 0.001"), (9.9e-4, "< 0.001"), (0.001, "0.001")),
        *(
            (0.0015, "0.0015"),
            (0.0312, "0.0312"),
            (0.6, "0.600"),
            (4.251, "4.25"),
            (1230.4, "1230"),
        ),
    ],
)
def test_volumes_have_no_exponents(ml, text):
    assert format_ml(ml) == text


def test_totals_of_structures():
    sided = [("left hippocampus", 3.0), ("right hippocampus", 3.5), ("brain stem", 20.0)]
    assert describe_totals(sided) == "Total 26.5 ml · left 3.00 ml · right 3.50 ml"
    brain = [("cortex", 500.0), ("white matter", 450.0), ("ventricles", 30.0), ("thalamus", 15.0)]
    assert describe_totals(brain) == "Total 995 ml · brain without fluid 965 ml"
    assert describe_totals([("anterior", 2.0), ("posterior", 1.5)]) == "Total 3.50 ml"
    assert describe_totals([("tumor", 2.0)]) == describe_totals([]) == ""


def test_the_name_of_post_processed_labels():
    assert postprocessed_name("brain 3 mm · T1") == "brain 3 mm, post-processed · T1"
    assert postprocessed_name("brain 3 mm, post-processed · T1 · b") == (
        "brain 3 mm, post-processed · T1 · b"
    )
    assert postprocessed_name("mine") == "mine, post-processed"
