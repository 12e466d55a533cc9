"""Segments a real scan in napari through the plug-in's own controls; ``make run`` starts this.

Opens a sample, chooses a bundled model, clicks Run and waits for the labels, once per spacing.
Writes a screenshot, the scan and the segmentation (NIfTI), the table of structures (CSV) and the
timings (JSON) into the output folder. The first and the last of several results are compared.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QComboBox, QWidget

PLUGIN = "napari-hyperspace"
CLICK = Qt.MouseButton.LeftButton


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("run-output"))
    parser.add_argument(
        "--sample", help="part of a sample image's name; by default one that fits the model"
    )
    parser.add_argument(
        "--model", help="part of a model's name; by default the plug-in's own choice"
    )
    parser.add_argument(
        "--spacing", type=float, nargs="+", help="working spacings in mm; by default the scan's own"
    )
    parser.add_argument("--stay", action="store_true", help="leave the window open")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    started = time.perf_counter()
    viewer = napari.Viewer()
    viewer.window.resize(1600, 1000)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "HyperSpace")
    if options.model is not None:
        choose(control(dock, "model"), options.model)
    of_hippocampus = "hippocampus" in control(dock, "model").currentText()
    sample = options.sample or ("mni152_hippocampus" if of_hippocampus else "mni152")
    (scan,) = viewer.open_sample(PLUGIN, sample_key(sample))
    timings: dict[str, Any] = {"ready_seconds": time.perf_counter() - started}
    choose(control(dock, "layer"), scan.name)

    results = [segment(viewer, dock, spacing) for spacing in options.spacing or [None]]
    labels, first = results[0]
    timings |= first
    if len(results) > 1:
        timings["further"] = [facts for _, facts in results[1:]]
    show_labels(viewer, dock, [layer for layer, _ in results])
    controllers = dock.controller
    wait_until(
        lambda: controllers.structures.is_idle and controllers.live.is_idle, 60, "all is shown"
    )
    QTest.qWait(500)
    viewer.screenshot(options.output / "screenshot.png", canvas_only=False, flash=False)
    for layer, name in ((scan, "scan.nii.gz"), (labels, "segmentation.nii.gz")):
        if not layer.save(str(options.output / name), plugin=PLUGIN):
            sys.exit(f"{name} was not written")
    dock.controller.structures.export(str(options.output / "structures.csv"))
    report = json.dumps(timings, indent=2, ensure_ascii=False)
    (options.output / "timings.json").write_text(f"{report}\n", encoding="utf-8")
    print(report)
    if options.stay:
        napari.run()
    viewer.close()


def segment(
    viewer: napari.Viewer, dock: QWidget, spacing: float | None
) -> tuple[napari.layers.Labels, dict[str, Any]]:
    """Click Run and wait; return the labels, and the estimated and measured times."""
    if spacing is not None:
        control(dock, "spacing").setValue(spacing)
    run, estimate, table = (control(dock, name) for name in ("run", "estimate", "structures.table"))
    structures = dock.controller.structures
    # The previous estimate is shown for a moment, then that there is none yet: it ends in "…".
    QTest.qWait(500)
    # The first estimate measures the machine.
    live = dock.controller.live
    wait_until(
        lambda: run.isEnabled() and live.is_idle and estimate.text().partition("GB")[1],
        180,
        "the cost is estimated",
    )
    facts: dict[str, Any] = {"estimate": estimate.text()}
    before = len(segmentations(viewer))
    clicked = time.perf_counter()
    QTest.mouseClick(run, CLICK)
    wait_until(run.isEnabled, 1800, "the run is over")
    facts["click_to_labels_seconds"] = time.perf_counter() - clicked
    facts["message"] = control(dock, "message").text()
    found = segmentations(viewer)
    if len(found) == before:
        sys.exit(f"there is no segmentation: {facts['message']}")
    labels = next(one for one in found if one is viewer.layers.selection.active)
    wait_until(lambda: table.rowCount() and structures.is_idle, 60, "volumes are measured")
    facts["spacing_mm"] = control(dock, "spacing").value()
    values, voxels = np.unique(labels.data, return_counts=True)
    facts["voxels"] = dict(zip(values.tolist(), voxels.tolist(), strict=True))
    return labels, facts


def sample_key(part: str) -> str:
    """Return the key of the sample image with this name, or else of one that contains it."""
    from npe2 import PluginManager

    manifest = PluginManager.instance().get_manifest(PLUGIN)
    keys = [sample.key for sample in manifest.contributions.sample_data]
    return part if part in keys else next(key for key in keys if part in key)


def control(dock: QWidget, name: str) -> QWidget:
    """Return a control of the dock widget by the last part of its object name."""
    found = dock.findChild(QWidget, f"hyperspace.{name}")
    if found is None:
        sys.exit(f"the dock widget has no control named hyperspace.{name}")
    return found


def choose(box: QComboBox, part: str) -> None:
    """Open the list; choose the entry ``part``, or else the shortest that contains it."""
    entries = [box.itemText(i) for i in range(box.count())]
    matches = [i for i, entry in enumerate(entries) if part.lower() in entry.lower()]
    row = min(matches, key=lambda i: len(entries[i]), default=None)
    if row is None:
        sys.exit(f"{box.objectName()} offers {entries}; none of them contains {part}")
    QTest.mouseClick(box, CLICK)
    view = box.view()
    wait_until(view.isVisible, 10, "the list is open")
    index = box.model().index(row, box.modelColumn())
    # By keyboard: the positions of the entries while the list opens differ between styles.
    view.setCurrentIndex(index)
    QTest.keyClick(view, Qt.Key.Key_Return)
    if view.isVisible():
        box.hidePopup()
    wait_until(lambda: box.currentIndex() == row, 10, f"{part} is chosen")


def segmentations(viewer: napari.Viewer) -> list[napari.layers.Labels]:
    """Return the Labels layers except previews."""
    results = (layer for layer in viewer.layers if isinstance(layer, napari.layers.Labels))
    return [layer for layer in results if "preview" not in layer.name.lower()]


def show_labels(viewer: napari.Viewer, dock: QWidget, results: list[napari.layers.Labels]) -> None:
    """Show the slice with most labeled voxels, and compare the first result with the last."""
    labels, first = results[0], viewer.dims.order[0]
    across = tuple(axis for axis in range(labels.ndim) if axis != first)
    fullest = int(np.argmax(np.count_nonzero(labels.data, axis=across)))
    if len(results) > 1:
        comparison = dock.controller.comparison
        comparison.compare(results[0], results[-1])
        wait_until(lambda: comparison.is_idle, 60, "the results are compared")
    else:
        viewer.fit_to_view()
    viewer.dims.set_point(first, labels.translate[first] + fullest * labels.scale[first])
    QTest.qWait(500)


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Process events until a condition holds; exit with a message if that takes too long."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"after {seconds} s still waiting until {what}")
        QTest.qWait(20)


if __name__ == "__main__":
    main()
