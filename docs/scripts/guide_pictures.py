"""Makes the pictures of the guide from the running program; ``make picture`` starts this.

Each picture is a screenshot of napari's window while one task of the guide is done through the
plug-in's own controls, on the sample images.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import napari
import numpy as np
from demo import CLICK, PLUGIN, choose, control, sample_key, segment, wait_until
from qtpy.QtCore import QTimer
from qtpy.QtGui import QAction
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QWidget

SIZE = (1440, 900)
TALL = 1150  # for a section with all its curves


class Session:
    """A napari window with a sample image, the dock open and a model chosen.

    Parameters
    ----------
    folder
        Where pictures are written.
    sample, model
        Part of the sample image's name, and of the model's.
    """

    def __init__(self, folder: Path, sample: str, model: str) -> None:
        self.folder = folder
        self.viewer = napari.Viewer()
        self.viewer.window.resize(*SIZE)
        _, self.dock = self.viewer.window.add_plugin_dock_widget(PLUGIN, "HyperSpace")
        choose(control(self.dock, "model"), model)
        (self.scan,) = self.viewer.open_sample(PLUGIN, sample_key(sample))
        choose(control(self.dock, "layer"), self.scan.name)

    def segment(self, spacing_mm: float) -> napari.layers.Labels:
        """Run at a spacing and show the slice with most labels."""
        labels, _ = segment(self.viewer, self.dock, spacing_mm)
        axis = self.viewer.dims.order[0]
        across = tuple(i for i in range(labels.ndim) if i != axis)
        fullest = int(np.argmax(np.count_nonzero(labels.data, axis=across)))
        point = labels.translate[axis] + fullest * labels.scale[axis]
        self.viewer.dims.set_point(axis, point)
        return labels

    def toggle(self, section: str) -> None:
        """Open or close a section of the dock, and scroll to it."""
        QTest.mouseClick(control(self.dock, f"{section}.toggle"), CLICK)
        QTest.qWait(300)
        self.scroll_to(section)

    def scroll_to(self, section: str) -> None:
        """Scroll the dock until a section is at its top, if it is long enough."""
        area = control(self.dock, "page").parent().parent()
        area.verticalScrollBar().setValue(control(self.dock, section).y())

    def picture(self, name: str) -> None:
        """Write a screenshot of the whole window."""
        QTest.qWait(800)
        path = self.folder / f"{name}.png"
        self.viewer.screenshot(path, canvas_only=False, flash=False)
        print(path)

    def window_picture(self, name: str) -> None:
        """Write a picture of a window that the dock has opened."""
        QTest.qWait(800)
        path = self.folder / f"{name}.png"
        control(self.dock, name).grab().save(str(path))
        print(path)

    def message_picture(self, name: str, folder: str) -> None:
        """Wait for the end of a job, and write a screenshot without a path of this machine."""
        wait_until(lambda: not self.dock.controller.running, 300, "the job is over")
        QTest.qWait(500)
        message = control(self.dock, "message")
        message.setText(message.text().replace(folder, "/data"))
        self.picture(name)

    def dialog_picture(self, name: str) -> None:
        """Write a picture of the open dialog, and decline it."""
        dialog = self.dock.findChild(QWidget, "hyperspace.dialog")
        dialog.grab().save(str(self.folder / f"{name}.png"))
        print(self.folder / f"{name}.png")
        QTest.mouseClick(control(dialog, "dialog.cancel"), CLICK)

    def close(self) -> None:
        """Close the window."""
        self.viewer.close()


def tuning(folder: Path) -> None:
    """Cost and accuracy, and a sweep with its knee."""
    session = Session(folder, "mni152_hippocampus", "hippocampus")
    dock = session.dock
    session.segment(2.0)
    session.toggle("cost")
    session.picture("cost")
    session.toggle("cost")
    session.toggle("sweep")
    for name, value in (("low", 1.0), ("high", 4.0), ("count", 7)):
        control(dock, f"sweep.{name}").setValue(value)
    sweep = dock.controller.sweep
    start = control(dock, "sweep.start")
    wait_until(lambda: start.isEnabled() and sweep.is_idle, 60, "the sweep can be started")
    QTest.mouseClick(start, CLICK)
    wait_until(lambda: dock.controller.running, 30, "the sweep runs")
    wait_until(lambda: not dock.controller.running, 600, "the sweep is over")
    QTest.mouseClick(control(dock, "sweep.use_knee"), CLICK)
    session.viewer.window.resize(SIZE[0], TALL)
    QTest.qWait(800)
    session.scroll_to("sweep")
    session.picture("sweep")
    session.close()


def comparing(folder: Path) -> None:
    """Two results beside each other, and three planes."""
    session = Session(folder, "mni152_hippocampus", "hippocampus")
    dock, controller = session.dock, session.dock.controller
    fine, coarse = session.segment(1.0), session.segment(3.0)
    controller.comparison.compare(fine, coarse)
    wait_until(lambda: controller.comparison.is_idle, 60, "the results are compared")
    session.picture("compare")
    controller.comparison.leave()
    QTest.mouseClick(control(dock, "planes"), CLICK)
    session.picture("planes")
    session.close()


def handing_on(folder: Path) -> None:
    """A result is saved and opened again, and the export of its network is asked for."""
    with TemporaryDirectory() as temporary:
        saved = Path(temporary, "labels.nii.gz")
        session = Session(folder, "mni152_hippocampus", "hippocampus")
        dock = session.dock
        session.segment(1.0)
        dock.ask_save_path = lambda suggestion: str(saved)
        QTest.mouseClick(control(dock, "save"), CLICK)
        session.message_picture("saved", temporary)
        session.close()

        session = Session(folder, "mni152_hippocampus", "hippocampus")
        dock = session.dock
        dock.controller.files.open(str(saved))
        session.message_picture("reopened", temporary)
        QTimer.singleShot(500, lambda: session.dialog_picture("export"))
        dock.findChild(QAction, "hyperspace.result.network").trigger()
        session.close()


def other_windows(folder: Path) -> None:
    """The window of the models, and that of a batch with a damaged scan."""
    session = Session(folder, "mni152_hippocampus", "hippocampus")
    chooser = control(session.dock, "model")
    chooser.setCurrentIndex(chooser.findText("Manage models…"))
    session.window_picture("models")
    with TemporaryDirectory() as scans:
        source = Path(scans, "scans")
        source.mkdir()
        for number in (1, 2, 4):
            session.scan.save(str(source / f"subject-{number:02d}.nii.gz"), plugin=PLUGIN)
        (source / "subject-03.nii.gz").write_bytes(b"damaged")
        session.dock.findChild(QAction, "hyperspace.open.batch").trigger()
        control(session.dock, "batch.source").setText(str(source))
        choose(control(session.dock, "batch.policy"), "the same")
        control(session.dock, "batch.spacing").setText("1,1,1.5")
        run = control(session.dock, "batch.run")
        QTest.mouseClick(run, CLICK)
        wait_until(lambda: session.dock.controller.running, 30, "the batch runs")
        wait_until(lambda: not session.dock.controller.running, 300, "the batch is over")
        for name in ("source", "target"):  # without the path of this machine
            line = control(session.dock, f"batch.{name}")
            line.setText(f"/data/{Path(line.text()).name}")
        session.window_picture("batch")
    session.close()


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    tuning(folder)
    comparing(folder)
    handing_on(folder)
    other_windows(folder)


if __name__ == "__main__":
    main()
