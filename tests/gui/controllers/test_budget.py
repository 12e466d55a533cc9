"""Fitting the spacing to a budget."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")


def test_the_finest_spacing_within_a_budget_is_set(controller, view, services, qtbot):
    controller.budget.fit(10.0, None)
    qtbot.waitUntil(lambda: not controller.running)
    assert controller.choices.spacing_mm == (2.0, 1.5, 1.5)
    assert controller.choices.locked is False
    assert services.budgets == [(10.0, 8 * 10**9)]  # the free memory of the fake
    assert "finest spacing within 10 s" in view.last("message")[0]
    controller.budget.fit(1e-4, None)
    qtbot.waitUntil(lambda: not controller.running)
    assert view.last("message") == ("no trained spacing is that fast", "error")
    assert controller.choices.spacing_mm == (2.0, 1.5, 1.5)


def test_a_budget_is_limited_by_the_free_memory(controller, services, qtbot):
    free = 8 * 10**9  # of the fake
    for asked in (None, 2e9, 9e9):
        controller.budget.fit(10.0, asked)
        qtbot.waitUntil(lambda: not controller.running)
    assert services.budgets == [(10.0, free), (10.0, 2 * 10**9), (10.0, free)]
