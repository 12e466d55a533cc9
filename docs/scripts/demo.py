"""napari with a real scan segmented through the plug-in's own controls: what ``make run`` starts.

Opens the hippocampus sample, chooses the bundled model, clicks Run and waits for the labels. Writes
a screenshot, the scan and the segmentation (NIfTI) and the timings (JSON) into the output folder.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

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
    parser.add_argument("--sample", default="hippocampus", help="part of a sample image's name")
    parser.add_argument("--model", default="hippocampus", help="part of a model's name")
    parser.add_argument("--spacing", type=float, help="working spacing in mm; the scan's own")
    parser.add_argument("--stay", action="store_true", help="leave the window open")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    started = time.perf_counter()
    viewer = napari.Viewer()
    viewer.window.resize(1600, 1000)
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "HyperSpace")
    (scan,) = viewer.open_sample(PLUGIN, sample_key(options.sample))
    timings = {"ready_seconds": time.perf_counter() - started}

    choose(control(dock, "layer"), scan.name)
    choose(control(dock, "model"), options.model)
    if options.spacing is not None:
        control(dock, "spacing").setValue(options.spacing)
    run = control(dock, "run")
    estimate = control(dock, "estimate")
    wait_until(lambda: run.isEnabled() and estimate.text(), 60, "the cost is estimated")
    timings["estimate"] = estimate.text()

    clicked = time.perf_counter()
    QTest.mouseClick(run, CLICK)
    wait_until(run.isEnabled, 600, "the run is over")
    timings["click_to_labels_seconds"] = time.perf_counter() - clicked
    timings["message"] = control(dock, "message").text()
    labels = segmentation(viewer)
    if labels is None:
        sys.exit(f"there is no segmentation: {timings['message']}")
    timings["spacing_mm"] = control(dock, "spacing").value()
    values, voxels = np.unique(labels.data, return_counts=True)
    timings["voxels"] = dict(zip(values.tolist(), voxels.tolist(), strict=True))
    show_the_labels(viewer, labels)
    viewer.screenshot(options.output / "screenshot.png", canvas_only=False, flash=False)
    for layer, name in ((scan, "scan.nii.gz"), (labels, "segmentation.nii.gz")):
        if not layer.save(str(options.output / name), plugin=PLUGIN):
            sys.exit(f"{name} was not written")
    report = json.dumps(timings, indent=2, ensure_ascii=False)
    (options.output / "timings.json").write_text(f"{report}\n", encoding="utf-8")
    print(report)
    if options.stay:
        napari.run()
    viewer.close()


def sample_key(part: str) -> str:
    """Return the key of the sample image whose name contains ``part``."""
    from npe2 import PluginManager

    manifest = PluginManager.instance().get_manifest(PLUGIN)
    return next(s.key for s in manifest.contributions.sample_data if part in s.key)


def control(dock: QWidget, name: str) -> QWidget:
    """Return a control of the dock widget by the last part of its object name."""
    found = dock.findChild(QWidget, f"hyperspace.{name}")
    if found is None:
        sys.exit(f"the dock widget has no control named hyperspace.{name}")
    return found


def choose(box: QComboBox, part: str) -> None:
    """Choose the entry whose text contains ``part`` with the mouse."""
    entries = [box.itemText(i) for i in range(box.count())]
    row = next((i for i, entry in enumerate(entries) if part.lower() in entry.lower()), None)
    if row is None:
        sys.exit(f"{box.objectName()} offers {entries}, none of which is called {part}")
    QTest.mouseClick(box, CLICK)
    view = box.view()
    wait_until(view.isVisible, 10, "the list is open")
    index = box.model().index(row, box.modelColumn())
    view.scrollTo(index)
    QTest.mouseClick(view.viewport(), CLICK, pos=view.visualRect(index).center())
    # Closing the list by mouse alone needs a window manager in some styles.
    if view.isVisible():
        box.hidePopup()
    wait_until(lambda: box.currentIndex() == row, 10, f"{part} is chosen")


def segmentation(viewer: napari.Viewer) -> napari.layers.Labels | None:
    """Return the result, once there is one; previews don't count."""
    results = (layer for layer in viewer.layers if isinstance(layer, napari.layers.Labels))
    return next((layer for layer in results if "preview" not in layer.name.lower()), None)


def show_the_labels(viewer: napari.Viewer, labels: napari.layers.Labels) -> None:
    """Show the slice with most labelled voxels, as large as it fits."""
    first = viewer.dims.order[0]
    across = tuple(axis for axis in range(labels.ndim) if axis != first)
    fullest = int(np.argmax(np.count_nonzero(labels.data, axis=across)))
    viewer.dims.set_point(first, labels.translate[first] + fullest * labels.scale[first])
    viewer.fit_to_view()
    QTest.qWait(500)


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Let events run until a condition holds; end the program, saying what was waited for."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"after {seconds} s still waiting until {what}")
        QTest.qWait(20)


if __name__ == "__main__":
    main()
