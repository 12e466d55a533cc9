"""The colors that our own painting takes from napari's theme."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtGui import QColor


@dataclass(frozen=True)
class Colors:
    """What each color is for."""

    text: QColor
    faint: QColor
    """Secondary text, axes."""
    groove: QColor
    """Where nothing was trained."""
    accent: QColor
    """The trained range, the curve, the main button."""
    on_accent: QColor
    """Text on the accent."""
    mark: QColor
    """The scan's own spacing."""
    good: QColor
    bad: QColor
    background: QColor
    button: QColor
    lifted: QColor
    """A button under the mouse."""


def colors(theme: str) -> Colors:
    """Return the colors for a theme of napari."""
    from napari.utils.theme import get_theme

    chosen = get_theme(theme)
    text, background = (QColor(chosen_.as_hex()) for chosen_ in (chosen.text, chosen.background))
    dark = background.lightness() < 128
    return Colors(
        text=text,
        faint=_mix(text, background, 0.42),
        groove=_mix(text, background, 0.78),
        accent=QColor("#5b8cff" if dark else "#2f5fd0"),
        on_accent=QColor("#ffffff"),
        mark=QColor("#f0b429" if dark else "#b7791f"),
        good=QColor("#5cc98b" if dark else "#1d7f4b"),
        bad=QColor("#ff7b72" if dark else "#c0281c"),
        background=background,
        button=QColor(chosen.primary.as_hex()),
        lifted=QColor(chosen.secondary.as_hex()),
    )


def _mix(one: QColor, other: QColor, share: float) -> QColor:
    """Return a color between two: ``share`` of the other in it."""
    pairs = zip(one.getRgb()[:3], other.getRgb()[:3], strict=True)
    return QColor(*(round(a * (1 - share) + b * share) for a, b in pairs))


def style_sheet(chosen: Colors, theme: str) -> str:
    """Return the style of what napari's own sheet leaves plain, in a theme of napari."""
    names = {
        "faint": chosen.faint,
        "text": chosen.text,
        "accent": chosen.accent,
        "groove": chosen.groove,
        "good": chosen.good,
        "warning": chosen.mark,
        "bad": chosen.bad,
        "on": chosen.on_accent,
        "button": chosen.button,
        "lifted": chosen.lifted,
        "hover": chosen.accent.lighter(112),
    }
    sheet = _SHEET.replace("@theme:", f"theme_{theme}:")  # where napari keeps its drawings
    for name, color in names.items():
        sheet = sheet.replace(f"@{name};", f"{color.name()};")
    return sheet


_SHEET = """
QLabel[heading="true"] { font-weight: 600; padding-top: 5px; }
QLabel[faint="true"] { color: @faint; }
QLabel[tone="good"] { color: @good; }
QLabel[tone="warning"] { color: @warning; }
QLabel[tone="error"] { color: @bad; }
QPushButton { padding: 4px 8px; }
QToolButton[style="text"] { background: @button; border-radius: 2px; padding: 4px 8px; }
QToolButton[style="text"]:hover { background: @lifted; }
QToolButton[style="text"]:disabled { color: @faint; }
QToolButton[style="text"]:checked { background: @accent; color: @on; }
QToolButton[style="section"] {
    background: transparent; font-weight: 600; padding: 5px 0px 2px 0px; text-align: left;
}
QToolButton[style="section"]:hover { background: @lifted; }
QTableWidget { background: transparent; border: none; }
QTableWidget::indicator {
    width: 12px; height: 12px; padding: 1px; border-radius: 2px; background: @button;
}
QTableWidget::indicator:checked { background: @accent; image: url("@theme:/check.svg"); }
QTableWidget::item { padding: 0px 4px; }
QTableWidget::item:selected { background: @lifted; color: @text; }
QHeaderView::section { background: transparent; border: none; padding: 2px 4px; color: @faint; }
QToolButton[objectName="hyperspace.open"] { padding-right: 20px; }
QToolButton::menu-button { border: none; width: 16px; }
QPushButton[objectName="hyperspace.run"]:enabled {
    background: @accent; color: @on; font-weight: 600;
}
QPushButton[objectName="hyperspace.run"]:enabled:hover { background: @hover; }
QLabel[objectName="hyperspace.estimate"] { font-weight: 600; }
QProgressBar { background: transparent; border: none; border-radius: 2px; }
QProgressBar::chunk { background: @accent; border-radius: 2px; }
"""
