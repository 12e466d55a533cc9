"""Label values that are hidden by a colormap of ours."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")
from napari.layers import Labels

from napari_hyperspace.gui.controllers.results.visibility import StructureVisibility


@pytest.fixture
def layer():
    return Labels(np.arange(4, dtype=np.uint8).reshape(1, 2, 2))


def alphas(layer):
    return [float(layer.get_color(value)[3]) for value in (1, 2, 3)]


def test_hidden_values_are_transparent_until_they_are_shown_again(layer):
    visibility, own = StructureVisibility(), layer.colormap
    visibility.set_visible(layer, (2, 3), False)
    visibility.paint(layer, {1, 2, 3})
    assert alphas(layer) == [1, 0, 0]
    assert visibility.hides(layer)
    assert visibility.own_colormap(layer) is own
    assert [visibility.is_visible(layer, (v,)) for v in (1, 2, 3)] == [True, False, False]
    visibility.set_visible(layer, (2, 3), True)
    visibility.paint(layer, {1, 2, 3})
    assert layer.colormap is own
    assert not visibility.hides(layer)


def test_a_structure_of_two_values_is_visible_if_one_of_them_is(layer):
    visibility = StructureVisibility()
    visibility.set_visible(layer, (2,), False)
    assert visibility.is_visible(layer, (1, 2))


def test_only_some_values_are_shown_besides_those_that_are_hidden(layer):
    visibility = StructureVisibility()
    visibility.set_visible(layer, (1,), False)
    visibility.paint(layer, {1, 2, 3}, only=(1, 2))
    assert alphas(layer) == [0, 1, 0]
    visibility.paint(layer, {1, 2, 3})
    assert alphas(layer) == [0, 1, 1]


def test_a_colormap_that_the_user_sets_meanwhile_is_kept(layer):
    visibility = StructureVisibility()
    visibility.set_visible(layer, (1,), False)
    visibility.paint(layer, {1, 2, 3})
    layer.colormap = chosen = Labels(layer.data).colormap
    assert not visibility.hides(layer)
    visibility.set_visible(layer, (1,), True)
    visibility.paint(layer, {1, 2, 3})
    assert layer.colormap is chosen


def test_each_layer_has_its_own_state(layer):
    visibility, other = StructureVisibility(), Labels(layer.data)
    visibility.set_visible(layer, (1,), False)
    assert visibility.is_visible(other, (1,))
