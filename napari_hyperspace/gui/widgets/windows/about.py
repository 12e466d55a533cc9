"""The actions of the menu Help that are about the program."""

from __future__ import annotations

from collections.abc import Callable

from qtpy import API_NAME, QT_VERSION
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QWidget

from napari_hyperspace.gui.controllers.about import AboutController
from napari_hyperspace.gui.widgets.parts.tool_button import MenuButton
from napari_hyperspace.gui.widgets.windows.text import TextDialog, copy_text

_COPIED = "Diagnostics copied. They contain no names and no paths; paste them into the report."


def add_about_actions(
    menu: MenuButton,
    controller: AboutController,
    parent: QWidget,
    say: Callable[[str], None],
) -> None:
    """Add "Copy diagnostics" and "About" to a menu.

    Parameters
    ----------
    menu
        The menu.
    controller
        Makes the texts.
    parent
        The dock.
    say
        Shows a message.
    """

    def copy() -> None:
        copy_text(controller.diagnostics(window_facts(parent)))
        say(_COPIED)

    def about() -> None:
        TextDialog("About HyperSpace", controller.about(), "hyperspace.about", parent).show()

    menu.add_separator()
    menu.add(
        "Copy diagnostics",
        "diagnostics",
        "Copy versions, machine and settings for a report of a defect; no names, no paths",
        copy,
    )
    menu.add("About…", "about", "Version, licenses and sources of the bundled models", about)


def window_facts(widget: QWidget) -> dict[str, str]:
    """Return what a window runs in."""
    screen = widget.screen()
    size = None if screen is None else screen.size()
    return {
        "Qt": f"{QT_VERSION} ({API_NAME}), {QGuiApplication.platformName()}",
        "screen": "unknown" if size is None else f"{size.width()} × {size.height()}",
        "scale": f"{widget.devicePixelRatioF():g}",
        "dock": f"{widget.width()} × {widget.height()}",
    }
