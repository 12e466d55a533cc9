"""The actions of the menu Result that hand a result on: as text, as a table, as a network."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtWidgets import QWidget

from napari_hyperspace.gui.controllers.results.export_network import ExportNetworkController
from napari_hyperspace.gui.controllers.results.reproduce import ReproduceController
from napari_hyperspace.gui.widgets.parts.dialogs import ask_path
from napari_hyperspace.gui.widgets.parts.tool_button import MenuButton

_TABLES = "BIDS table (*.tsv);;ITK-SNAP label descriptions (*.txt *.label)"
_NETWORKS = "ONNX (*.onnx);;PyTorch program (*.pt2)"


def add_handing_on_actions(
    menu: MenuButton,
    reproduce: ReproduceController,
    networks: ExportNetworkController,
    parent: QWidget,
    copy: Callable[[str], None],
) -> None:
    """Add what hands a result on to a menu.

    Parameters
    ----------
    menu
        The menu.
    reproduce, networks
        Make the texts and files.
    parent
        The dock.
    copy
        Puts a text on the clipboard.
    """

    def copied(text: str | None) -> None:
        if text is not None:
            copy(text)

    def save_table() -> None:
        suggestion = reproduce.suggest_table_path()
        if suggestion is None:
            return
        path = ask_path(parent, "Save label names", suggestion, _TABLES)
        if path is not None:
            reproduce.save_table(path)

    def export_network() -> None:
        choice = networks.choose()
        if choice is None:
            return
        path = ask_path(parent, "Export network", choice.suggestion, _NETWORKS)
        if path is not None:
            networks.export(choice, path)

    menu.add_separator()
    menu.add(
        "Copy as Python",
        "python",
        "Copy code that makes exactly these labels again",
        lambda: copied(reproduce.python()),
    )
    menu.add(
        "Copy as command",
        "command",
        "Copy a command that makes exactly these labels again",
        lambda: copied(reproduce.command()),
    )
    menu.add_separator()
    menu.add(
        "Save label names…",
        "names",
        "Save names and colors of the labels for other programs: BIDS or ITK-SNAP",
        save_table,
    )
    menu.add(
        "Export network…",
        "network",
        "Save the network of one spacing for other programs: ONNX or PyTorch",
        export_network,
    )
