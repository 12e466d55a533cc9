"""The dialog that asks for the address of a model on the web."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QFormLayout, QLineEdit, QWidget

from napari_hyperspace.gui.widgets.parts.labels import PlainLabel

_NOTE = (
    "The checksum (SHA-256, 64 digits) is stated where the model is offered. With it, the file is "
    "exactly the one that was meant, and a download that was interrupted is continued. An http "
    "address needs one."
)


class WebAddressDialog(QDialog):
    """Asks for an address, a checksum and a name; deleted when it is closed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("hyperspace.web")
        self.setWindowTitle("Add a model from the web")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._url = self._line("url", "Address", "https://…/NAME.safetensors")
        self._sha256 = self._line("sha256", "SHA-256 checksum", "64 hexadecimal digits")
        self._name = self._line("name", "Name", "as the file in the address")
        note = PlainLabel(self, faint=True, name="hyperspace.web.note")
        note.setText(_NOTE)
        buttons = QDialogButtonBox(self)
        accept = buttons.addButton("Download", QDialogButtonBox.ButtonRole.AcceptRole)
        decline = buttons.addButton("Cancel", QDialogButtonBox.ButtonRole.RejectRole)
        assert accept is not None and decline is not None
        self._accept = accept
        for button, name, tip in (
            (accept, "accept", "Download the model and add it"),
            (decline, "cancel", "Add nothing"),
        ):
            button.setObjectName(f"hyperspace.web.{name}")
            button.setToolTip(tip)
            button.setAccessibleName(button.text())
            button.setAccessibleDescription(tip)
        accept.setEnabled(False)
        self._url.textChanged.connect(lambda text: self._accept.setEnabled(bool(text.strip())))
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        form = QFormLayout(self)
        form.addRow("Address", self._url)
        form.addRow("SHA-256", self._sha256)
        form.addRow("Name", self._name)
        form.addRow(note)
        form.addRow(buttons)
        self.resize(560, 200)

    def answer(self) -> tuple[str, str, str]:
        """Return address, checksum and name; the last two may be empty."""
        return self._url.text().strip(), self._sha256.text().strip(), self._name.text().strip()

    def _line(self, name: str, title: str, placeholder: str) -> QLineEdit:
        line = QLineEdit(self)
        line.setObjectName(f"hyperspace.web.{name}")
        line.setAccessibleName(title)
        line.setAccessibleDescription(placeholder)
        line.setPlaceholderText(placeholder)
        return line
