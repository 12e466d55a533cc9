"""Fitting the spacing to a budget."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("pytestqt")


def fit(controller, view, qtbot, *budget):
    controller.budget.fit(*budget)
    qtbot.waitUntil(lambda: not controller.running)
    return view.last("message")


def test_the_finest_spacing_within_a_budget_is_set(controller, view, services, qtbot):
    fit(controller, view, qtbot, 10.0, None)
    assert controller.choices.spacing_mm == (2.0, 1.5, 1.5)
    assert controller.choices.locked is False
    assert services.budgets == [(10.0, 8 * 10**9)]  # the free memory of the fake
    message = fit(controller, view, qtbot, 1e-4, None)
    assert message == ("no trained spacing is that fast", "error")
    assert controller.choices.spacing_mm == (2.0, 1.5, 1.5)


def test_a_budget_is_limited_by_the_free_memory(controller, view, services, qtbot):
    free = 8 * 10**9  # of the fake
    for asked in (None, 2e9, 9e9):
        fit(controller, view, qtbot, 10.0, asked)
    assert services.budgets == [(10.0, free), (10.0, 2 * 10**9), (10.0, free)]


def test_the_message_names_the_limit_that_a_finer_spacing_would_exceed(
    controller, view, services, qtbot
):
    plain = services._estimate

    def costly(grid, spacing_mm):
        """8 s and 6 GB at 2 × 1.5 × 1.5 mm, and 24 s of set-up, which no budget includes."""
        share = 4.5 / (spacing_mm[0] * spacing_mm[1] * spacing_mm[2])
        return replace(
            plain(grid, spacing_mm),
            seconds=8 * share + 24,
            peak_bytes=round(6e9 * share),
            probe_seconds=24.0,
        )

    services._estimate = costly
    spacing, cost = "2 × 1.5 × 1.5 mm", "(about 8 s · 6.0 GB)"
    best = f"{spacing} is the finest trained spacing within"
    assert fit(controller, view, qtbot, 8.1, None) == (f"{best} 8.1 s {cost}.", "plain")
    assert fit(controller, view, qtbot, 30.0, 6.1e9) == (f"{best} 6.1 GB {cost}.", "plain")
    costs = services._estimate
    services._estimate = lambda *args: replace(costs(*args), available_bytes=round(6.2e9))
    message = f"{best} the 6.2 GB of free memory {cost}."
    assert fit(controller, view, qtbot, 30.0, None) == (message, "plain")


def test_the_own_spacing_of_the_scan_has_no_limit(controller, view, services, qtbot):
    services.spacing_for = lambda *args, **budget: (1.0, 1.0, 1.0)
    text, _ = fit(controller, view, qtbot, 30.0, None)
    assert text == (
        "1 mm is within the budget (under 1 s · under 0.1 GB); finer gives no more detail."
    )
