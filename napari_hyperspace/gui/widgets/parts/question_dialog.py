"""A dialog that asks a question, and one that lets the user choose one of several options."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QDialog, QDialogButtonBox, QLabel, QVBoxLayout, QWidget

_BUTTONS = (
    (QDialogButtonBox.StandardButton.Ok, "ok", "Use this answer"),
    (QDialogButtonBox.StandardButton.Cancel, "cancel", "Change nothing"),
)


class QuestionDialog(QDialog):
    """A question above the controls that answer it, and the buttons OK and Cancel.

    Parameters
    ----------
    title
        Title of the window.
    question
        Shown as plain text: paths and headers may contain markup.
    """

    def __init__(self, title: str, question: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("hyperspace.dialog")
        self.setWindowTitle(title)
        self.setAccessibleName(title)
        self.setAccessibleDescription(question)
        text = QLabel(question, self)
        text.setObjectName("hyperspace.dialog.question")
        text.setTextFormat(Qt.TextFormat.PlainText)
        text.setWordWrap(True)
        text.setMinimumWidth(360)
        self.buttons = QDialogButtonBox(self)
        for standard, name, tip in _BUTTONS:
            button = self.buttons.addButton(standard)
            assert button is not None
            button.setObjectName(f"hyperspace.dialog.{name}")
            button.setAccessibleName(button.text().replace("&", ""))
            button.setAccessibleDescription(tip)
        self.body = QVBoxLayout()
        column = QVBoxLayout(self)
        column.addWidget(text)
        column.addLayout(self.body)
        column.addWidget(self.buttons)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)


class ChoiceDialog(QuestionDialog):
    """Lets the user choose one option.

    Parameters
    ----------
    title, question
        As in `QuestionDialog`.
    options
        What to choose from; the first one is chosen initially.
    """

    def __init__(
        self, title: str, question: str, options: Sequence[str], parent: QWidget | None = None
    ) -> None:
        super().__init__(title, question, parent)
        self._options = QComboBox(self)
        self._options.setObjectName("hyperspace.dialog.options")
        self._options.setAccessibleName(title)
        self._options.setAccessibleDescription(question)
        self._options.addItems(list(options))
        self._options.setFocus()
        self.body.addWidget(self._options)

    def chosen(self) -> int:
        """Return the index of the chosen option."""
        return self._options.currentIndex()
