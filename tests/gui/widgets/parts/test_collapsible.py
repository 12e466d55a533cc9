"""A section that collapses under its heading."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")
from qtpy.QtWidgets import QLineEdit, QPushButton, QTableWidget

from napari_hyperspace.gui.widgets.parts.collapsible import CollapsibleSection


@pytest.fixture
def section(qtbot):
    section = CollapsibleSection("Options", "hyperspace.options")
    qtbot.addWidget(section)
    section.column.addWidget(QLineEdit())
    section.resize(300, 400)
    section.show()
    return section


def test_a_collapsed_section_hides_its_content_from_the_eye_and_the_tab_key(section, click):
    button = section.findChild(QPushButton, "hyperspace.options.toggle")
    line = section.findChild(QLineEdit)
    assert button.text() == "Options"
    assert not line.isVisible() and not section.isExpanded()
    click(button)
    assert line.isVisible() and section.isExpanded()
    click(button)
    assert not line.isVisible()


def test_the_content_grows_with_the_section(section, qtbot):
    """`QCollapsible` limits the height of its content; ours takes the free height."""
    table = QTableWidget(30, 1)
    section.column.addWidget(table, 1)
    section.expand(animate=False)
    qtbot.waitUntil(lambda: table.height() > 250)
    section.resize(300, 700)
    qtbot.waitUntil(lambda: table.height() > 550)
