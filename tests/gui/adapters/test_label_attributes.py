"""Colors of labels on a gray scan."""

from __future__ import annotations

import pytest

pytest.importorskip("napari")

from napari_hyperspace.core.labels.sides import colors_of_sides
from napari_hyperspace.core.volume import Laterality
from napari_hyperspace.gui.adapters.label_attributes import visible_colors


def test_gray_labels_get_a_color_that_no_other_label_has():
    colors = {1: "#cd3e4e", 2: "#f5f5f5", 3: "#e69f00", 4: "#808080", 5: "#dcf8a4"}
    seen = visible_colors(colors)
    assert list(seen) == list(colors)
    assert {value: seen[value] for value in (1, 3, 5)} == {1: "#cd3e4e", 3: "#e69f00", 5: "#dcf8a4"}
    assert len(set(seen.values())) == 5
    for color in seen.values():
        channels = bytes.fromhex(color[1:])
        assert max(channels) - min(channels) > 50


def test_gray_counterparts_get_shades_of_one_color():
    colors = {1002: "#f5f5f5", 2002: "#878787", 1001: "#cd3e4e", 2001: "#e28b95", 9: "#909090"}
    sides = {
        1002: Laterality("left", "white matter"),
        2002: Laterality("right", "white matter"),
        1001: Laterality("left", "cortex"),
        2001: Laterality("right", "cortex"),
        9: Laterality(None, "ventricles"),
    }
    seen = visible_colors(colors, sides)
    assert seen[1001] == "#cd3e4e" and seen[2001] == "#e28b95"
    assert (seen[1002], seen[2002]) == colors_of_sides(seen[1002])
    assert len(set(seen.values())) == 5
    assert seen == visible_colors(dict(reversed(colors.items())), sides)


@pytest.mark.parametrize("colors", [{}, {1: "#cd3e4e"}, {3: "#ffffff"}])
def test_colors_are_kept_if_there_is_none_to_replace(colors):
    assert visible_colors(colors).keys() == colors.keys()


def test_the_white_matter_of_the_bundled_model_is_not_white():
    hs = pytest.importorskip("napari_hyperspace")
    if "brain" not in hs.bundled_models():
        pytest.skip("the model is not in this checkout")
    model = hs.load_model("brain")
    seen = visible_colors(model.label_colors)
    white = next(value for value, name in model.label_names.items() if name == "white matter")
    assert seen[white] != model.label_colors[white]
    assert sum(seen[value] != color for value, color in model.label_colors.items()) == 1
