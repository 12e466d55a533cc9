"""The guide in short, and the list of shortcuts."""

from __future__ import annotations

import html
from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QTextBrowser, QVBoxLayout, QWidget

_GUIDE = """
# HyperSpace in short

1. **Open a scan** with *Open…*, by drag and drop, or try *File ▸ Open Sample ▸ HyperSpace*. A wrong
   voxel size is corrected with *Spacing…*.
2. **Choose a model.** The line below it says what it segments and at which spacings it was trained.
3. **Choose the working spacing**, the voxel size at which the network sees the scan. Coarser is
   faster; structures thinner than two voxels get lost. The triangle on the slider is the scan's own
   spacing, the colored part is the trained range, the hatched parts are outside of it. Open the
   lock for one spacing per axis.
4. **Run.** The line below the slider says how long it will take and how much memory it needs.
   The first run at about a spacing also finds the fastest way to compute on this machine: that
   time is given apart, and later runs skip it.
5. **Save…** writes the labels on the scan's own grid, whatever the working spacing. The message is
   green if the file was read again and is identical, with its geometry.

# What helps

- **Live preview** segments a box around the center of the view while you drag the slider. The box
  is outlined. It is never smaller than what the model needs to be reliable: if that takes longer
  than the time allowed, the panel says so instead.
- **Cost and accuracy** shows the time over all spacings, the Dice of the model on validation data
  (your scan may differ from them), and *Fit to budget*: the finest trained spacing within a time
  and an amount of memory.
- **Result** compares results and hands them on.
- Colors of messages: amber is a warning, red an error, green something that was verified.
"""


class GuideDialog(QDialog):
    """Shows formatted text of the program; deleted when it is closed.

    Parameters
    ----------
    title
        Title of the window.
    name
        The objectName; that of the text is ``NAME.text``.
    """

    def __init__(self, title: str, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.text = QTextBrowser(self)
        self.text.setObjectName(f"{name}.text")
        self.text.setAccessibleName(title)
        self.text.setAccessibleDescription("Text to read; it cannot be edited")
        self.text.setTabChangesFocus(True)
        column = QVBoxLayout(self)
        column.addWidget(self.text)
        self.resize(560, 620)


def show_guide(parent: QWidget) -> None:
    """Show the guide."""
    dialog = GuideDialog("HyperSpace: guide", "hyperspace.guide", parent)
    dialog.text.setMarkdown(_GUIDE)
    dialog.show()


def show_shortcuts(parent: QWidget, shortcuts: Sequence[tuple[str, str]]) -> None:
    """Show the keys and what they do."""
    dialog = GuideDialog("HyperSpace: shortcuts", "hyperspace.shortcuts", parent)
    rows = "".join(
        f"<tr><td><b>{html.escape(keys)}</b></td><td>&nbsp;&nbsp;</td><td>{html.escape(what)}</td></tr>"
        for keys, what in shortcuts
    )
    dialog.text.setHtml(
        f"<table>{rows}</table><p>Tab and Shift+Tab go through the controls; arrow and page keys "
        "move a slider that has the focus; the space bar presses a button.</p>"
    )
    dialog.resize(480, 320)
    dialog.show()
