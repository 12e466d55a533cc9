"""Colors, icons and style sheet that follow napari's theme."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtGui import QColor, QIcon


@dataclass(frozen=True)
class Colors:
    """The colors of the dock under one theme.

    Parameters
    ----------
    theme
        The name of napari's theme.
    faint
        Secondary text and axes.
    groove
        The part of a slider outside the trained range.
    accent, on_accent
        The trained range, the curve and the main button; text on them.
    mark
        The scan's own spacing.
    lifted
        A button under the mouse.
    """

    theme: str
    text: QColor
    faint: QColor
    groove: QColor
    accent: QColor
    on_accent: QColor
    mark: QColor
    good: QColor
    bad: QColor
    background: QColor
    button: QColor
    lifted: QColor

    def icon(self, name: str) -> QIcon:
        """Return one of napari's icons in the color of the theme."""
        # napari's main window registers this search path; its own style sheets use it too.
        return QIcon(f"theme_{self.theme}:/{name}.svg")


def colors(theme: str) -> Colors:
    """Return the colors under a theme of napari."""
    from napari.utils.theme import get_theme

    chosen = get_theme(theme)
    text, background = (QColor(color.as_hex()) for color in (chosen.text, chosen.background))
    dark = background.lightness() < 128
    return Colors(
        theme=theme,
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
    """Return a color between two, with ``share`` of the other."""
    red, green, blue = (
        round(a * (1 - share) + b * share)
        for a, b in (
            (one.red(), other.red()),
            (one.green(), other.green()),
            (one.blue(), other.blue()),
        )
    )
    return QColor(red, green, blue)


def style_sheet(chosen: Colors) -> str:
    """Return the style sheet of the dock, which extends napari's."""
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
        "done": _mix(chosen.accent, chosen.background, 0.5),  # readable beneath text
    }
    sheet = _SHEET.replace("@theme:", f"theme_{chosen.theme}:")  # search path of napari's icons
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
QCollapsible { padding: 0px; }
QPushButton[style="section"] {
    background: transparent; font-weight: 600; padding: 5px 0px 2px 5px;
}
QPushButton[style="section"]:hover { background: @lifted; }
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
QPushButton, QToolButton, QComboBox, QAbstractSpinBox, QCheckBox, QTableWidget, QListWidget,
QPlainTextEdit, QTextBrowser { border: 1px solid transparent; }
QPushButton:focus, QToolButton:focus, QComboBox:focus, QAbstractSpinBox:focus, QCheckBox:focus,
QTableWidget:focus, QListWidget:focus, QPlainTextEdit:focus,
QTextBrowser:focus { border: 1px solid @accent; }
QPushButton[objectName="hyperspace.run"]:focus { border-color: @text; }
QProgressBar {
    background: transparent; border: none; border-radius: 2px; color: @text; text-align: center;
}
QProgressBar::chunk { background: @done; border-radius: 2px; }
"""
