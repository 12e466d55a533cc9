"""Makes the pictures of the guide about corrections, like ``guide_pictures``.

They need a class-conditional model; without one there are no pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from demo import CLICK, control, wait_until
from guide_pictures import Session
from qtpy.QtCore import QPoint
from qtpy.QtTest import QTest

from napari_hyperspace.gui.adapters.viewer import camera_of

_ZOOM = 6


def drag(session: Session, places: Sequence[tuple[float, float]]) -> None:
    """Drag the mouse over positions of the shown plane, in the viewer's world (y, x)."""
    native = session.viewer.window._qt_viewer.canvas.native
    camera = camera_of(session.viewer)
    middle_y, middle_x = camera.center[-2:]
    points = [
        QPoint(
            round(native.width() / 2 + (x - middle_x) * camera.zoom),
            round(native.height() / 2 + (y - middle_y) * camera.zoom),
        )
        for y, x in places
    ]
    QTest.mousePress(native, CLICK, pos=points[0])
    for point in points[1:]:
        QTest.mouseMove(native, point)
        QTest.qWait(20)
    QTest.mouseRelease(native, CLICK, pos=points[-1])


def painting(session: Session) -> bool:
    """Paint a ventricle on one slice; return whether there is a model that answers."""
    dock, viewer = session.dock, session.viewer
    controller = dock.controller.corrections.painting
    session.toggle("correct")
    wait_until(lambda: controller.state.possible is not None, 300, "the models are known")
    if not controller.state.possible:
        return False
    center = session.scan.extent.world.mean(axis=0)
    viewer.dims.set_point(0, center[0])
    camera_of(viewer).zoom = _ZOOM
    QTest.mouseClick(control(dock, "correct.paint"), CLICK)
    wait_until(lambda: controller.is_idle, 300, "the model is ready")
    layer = controller.layer
    drag(session, [(center[1] - 22 + i, center[2] - 8 - 0.25 * i) for i in range(24)])
    wait_until(lambda: "Answered" in controller.state.hint, 300, "the answer is there")
    session.picture("answer")
    layer.undo()
    session.picture("paint")
    QTest.mouseClick(control(dock, "correct.paint"), CLICK)
    viewer.layers.remove(layer)
    return True


def box(session: Session) -> None:
    """Refine a box of a coarse result."""
    dock, viewer = session.dock, session.viewer
    labels = session.segment(3.0)
    center = session.scan.extent.world.mean(axis=0)
    viewer.dims.set_point(0, center[0] + 17)  # through the thalamus
    session.scroll_to("correct")
    QTest.mouseClick(control(dock, "correct.draw"), CLICK)
    drag(session, [(center[1] - 20 + i, center[2] - 20 + i) for i in range(0, 41, 4)])
    refine = control(dock, "correct.refine")
    wait_until(refine.isEnabled, 120, "the box can be refined")
    viewer.layers.selection.active = labels
    session.picture("box")
    QTest.mouseClick(refine, CLICK)
    wait_until(lambda: dock.controller.running, 60, "the box is being refined")
    wait_until(lambda: not dock.controller.running, 900, "the box is refined")
    session.picture("box-refined")


def adapting(session: Session) -> None:
    """Fix a result by strokes, and adapt the model to it."""
    dock, viewer = session.dock, session.viewer
    controller = dock.controller.corrections
    labels = session.segment(2.0)
    session.toggle("correct")
    wait_until(lambda: controller.painting.state.possible is not None, 300, "the models are known")
    viewer.layers.selection.active = labels
    labels.selected_label = 1
    QTest.mouseClick(control(dock, "correct.fix"), CLICK)
    wait_until(lambda: controller.painting.is_idle, 300, "the model is ready")
    where = np.argwhere(labels.data == 1)
    middle = where.mean(axis=0)
    slice_ = round(middle[0])
    section = where[where[:, 0] == slice_]
    viewer.dims.set_point(0, labels.data_to_world((slice_, 0, 0))[0])
    labels.brush_size = 3
    left = section[section[:, 2].argmin()]
    y, x = labels.data_to_world(left)[-2:]
    drag(session, [(y - 3 + i / 2, x - 1) for i in range(13)])  # along the border, a little outside
    wait_until(lambda: "Answered" in controller.painting.state.hint, 300, "the answer is there")
    session.picture("fixed")
    QTest.mouseClick(control(dock, "correct.fix"), CLICK)
    viewer.layers.selection.active = labels
    adapt = control(dock, "correct.adapt")
    wait_until(adapt.isEnabled, 60, "the model can be adapted")
    control(dock, "page").parent().parent().ensureWidgetVisible(adapt)
    QTest.mouseClick(adapt, CLICK)
    wait_until(lambda: dock.controller.running, 60, "the model is being adapted")
    wait_until(lambda: not dock.controller.running, 900, "the model is adapted")
    control(dock, "page").parent().parent().ensureWidgetVisible(control(dock, "correct.discard"))
    session.picture("adapted")
    QTest.mouseClick(control(dock, "correct.before"), CLICK)
    QTest.qWait(500)
    QTest.mouseClick(control(dock, "correct.discard"), CLICK)


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    session = Session(folder, "mni152", "brain")
    if painting(session):
        box(session)
        session.close()
        session = Session(folder, "hippocampus", "hippocampus")
        adapting(session)
    session.close()


if __name__ == "__main__":
    main()
