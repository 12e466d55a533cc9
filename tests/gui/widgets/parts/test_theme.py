"""Colors under each theme of napari."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pytestqt")

from napari_hyperspace.gui.widgets.parts.theme import colors


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_text_has_enough_contrast(theme):
    chosen = colors(theme)

    def contrast(one, other):
        def luminance(color):
            parts = np.array(color.getRgbF()[:3])
            linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
            return linear @ (0.2126, 0.7152, 0.0722)

        bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
        return (bright + 0.05) / (dim + 0.05)

    assert contrast(chosen.text, chosen.background) > 7
    assert contrast(chosen.faint, chosen.background) > 3
    assert contrast(chosen.good, chosen.background) > 3.5
    assert contrast(chosen.bad, chosen.background) > 3.5
    assert contrast(chosen.on_accent, chosen.accent) > 3
