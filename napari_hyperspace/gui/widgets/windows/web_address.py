"""The dialog that asks for the address of a model on the web."""

from __future__ import annotations

from magicgui.widgets import LineEdit
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QFormLayout, QLineEdit, QWidget

from napari_hyperspace.gui.widgets.parts.labels import PlainLabel
from napari_hyperspace.gui.widgets.windows.opening import set_tab_order

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
        self._url = _line("url", "Address", "https://…/NAME.safetensors")
        self._sha256 = _line("sha256", "SHA-256", "64 hexadecimal digits")
        self._name = _line("name", "Name", "as the file in the address")
        note = PlainLabel(self, faint=True, name="hyperspace.web.note")
        note.setText(_NOTE)
        buttons = QDialogButtonBox(self)
        accept = buttons.addButton("Download", QDialogButtonBox.ButtonRole.AcceptRole)
        decline = buttons.addButton("Cancel", QDialogButtonBox.ButtonRole.RejectRole)
        assert accept is not None and decline is not None
        for button, name, tip in (
            (accept, "accept", "Download the model and add it"),
            (decline, "cancel", "Add nothing"),
        ):
            button.setObjectName(f"hyperspace.web.{name}")
            button.setToolTip(tip)
            button.setAccessibleName(button.text())
            button.setAccessibleDescription(tip)
        accept.setEnabled(False)
        self._url.changed.connect(lambda text: accept.setEnabled(bool(text.strip())))
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        form = QFormLayout(self)
        for line in (self._url, self._sha256, self._name):
            form.addRow(line.label, line.native)
        form.addRow(note)
        form.addRow(buttons)
        set_tab_order(self._url.native, self._sha256.native, self._name.native, accept, decline)
        self._url.native.setFocus()
        self.resize(560, 200)

    def answer(self) -> tuple[str, str, str]:
        """Return address, checksum and name; the last two may be empty."""
        url, sha256, name = (line.value.strip() for line in (self._url, self._sha256, self._name))
        return url, sha256, name


def _line(name: str, label: str, placeholder: str) -> LineEdit:
    line = LineEdit(name=name, label=label)
    native = line.native
    assert isinstance(native, QLineEdit)
    native.setObjectName(f"hyperspace.web.{name}")
    native.setAccessibleName(label)
    native.setAccessibleDescription(placeholder)
    native.setPlaceholderText(placeholder)
    return line
