"""The layers of a sweep: the labels of one of its spacings, and the stability map."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.api.reproduce import ResultOrigin, scan_file
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.volume import VolumeMetadata
from napari_hyperspace.gui.adapters.layers import IMAGE_KEY, ORIGIN_KEY, LayerData
from napari_hyperspace.gui.adapters.regions import stability_layer_data
from napari_hyperspace.gui.adapters.viewer import add_layer, hide_results
from napari_hyperspace.gui.jobs.sweep import SweepReport
from napari_hyperspace.gui.jobs.worker import Lane, Stop
from napari_hyperspace.gui.models.view import View


class SweepLayers:
    """Shows the spacings of a sweep in one Labels layer. Main thread only.

    A sweep keeps its label maps compressed, usually 1 to 4 % of a byte per voxel each and never
    more than their own size. Only the one that is shown is expanded, off the main thread.

    Parameters
    ----------
    viewer
        napari's viewer.
    view
        Shows messages.

    Attributes
    ----------
    layer
        The Labels layer whose labels are swapped; `None`: there is none, or the user has painted
        on it, so that it is left alone.
    """

    def __init__(self, viewer: Any, view: View) -> None:
        self._viewer = viewer
        self._view = view
        self._expanding, self._maps = Lane(), Lane()
        self._scan: Any = None
        self.layer: Any = None

    def close(self) -> None:
        """Stop all work, and disconnect from the layer."""
        self._expanding.close()
        self._maps.close()
        self._leave()

    @property
    def is_idle(self) -> bool:
        """Whether everything is shown that was asked for."""
        return self._expanding.is_idle and self._maps.is_idle

    def begin(self, scan: Any) -> None:
        """Show the sweep of an image layer from now on; the labels of another scan stay."""
        self._expanding.cancel()
        self._maps.cancel()
        if scan is not self._scan:
            self._leave()
        self._scan = scan

    def show_labels(self, report: SweepReport, index: int, *, reveal: bool) -> None:
        """Show the labels of a spacing.

        Parameters
        ----------
        report
            The sweep.
        index
            Index of the spacing in its summary.
        reveal
            Show the layer if it is hidden, instead of other results of the scan.
        """

        def steps(stop: Stop) -> Iterator[LayerData]:
            yield _labels_layer(report, index)

        self._expanding.submit(steps, lambda data: self._put_labels(data, reveal), self._fail)

    def _put_labels(self, data: LayerData, reveal: bool) -> None:
        array, attributes, _ = data
        attributes["metadata"][IMAGE_KEY] = weakref.ref(self._scan)
        layer = self.layer
        if layer is not None and layer in self._viewer.layers:
            layer.metadata = attributes["metadata"]
            layer.name = attributes["name"]
            layer.data = array
            if reveal and not layer.visible:
                hide_results(self._viewer, self._scan)
                layer.visible = True
            return
        if self._scan not in self._viewer.layers:
            self._view.show_message("The scan of this sweep is no longer open.", "warning")
            return
        hide_results(self._viewer, self._scan)
        self._leave()
        self.layer = add_layer(self._viewer, data)
        self.layer.events.paint.connect(self._leave)

    def _leave(self, event: Any = None) -> None:
        """Leave the present Labels layer to the user."""
        if self.layer is not None:
            self.layer.events.paint.disconnect(self._leave)
            self.layer = None

    def show_stability(self, report: SweepReport) -> None:
        """Add the stability map of the finished spacings as an Image layer."""
        source, count = report.request.sources[0], len(report.summary.points)

        def steps(stop: Stop) -> Iterator[LayerData]:
            share: NDArray[np.float32] = report.sweep.stability(stop).array
            yield stability_layer_data(source, share, f"stability · {source.name}")

        self._maps.submit(steps, lambda data: self._put_map(data, count), self._fail)

    def _put_map(self, data: LayerData, count: int) -> None:
        name, present = data[1]["name"], self._viewer.layers
        layer = next((one for one in present if one.name == name), None)
        if layer is not None and layer.data.shape == data[0].shape:
            layer.data = data[0]
            layer.visible = True
        else:
            add_layer(self._viewer, data)
        self._view.show_message(
            f"Stability map: bright where the {count} spacings disagree. The value under the mouse "
            "is the share of them that agree on the label."
        )

    def _fail(self, error: Exception) -> None:
        self._view.show_message(str(error), "error")


def _labels_layer(report: SweepReport, index: int) -> LayerData:
    """Return the Labels layer of a spacing, with the record of a run at it."""
    request, point = report.request, report.summary.points[index]
    labels, source = point.labels(), request.sources[0]
    model = report.sweep.model_name
    facts: VolumeMetadata = {
        "model": model,
        "working_spacing_mm": point.spacing_mm,
        "postprocessing": labels.metadata.get("postprocessing", ()),
    }
    record = labels.metadata.get("record")
    if record is not None:
        facts["record"] = replace(
            record,
            predicted_seconds=point.predicted.seconds,
            predicted_peak_bytes=point.predicted.peak_bytes,
        )
    spacing = format_spacing(point.spacing_mm, collapse=True, digits=3)
    names = labels.metadata.get("label_names", report.summary.label_names)
    colors = labels.metadata.get("label_colors", report.summary.label_colors)
    name = f"{model} {spacing}, sweep · {source.name}"
    data, attributes, kind = source.result_layer_data(labels, name, names, colors, facts)
    volumes = [each.volume() for each in request.sources]
    attributes["metadata"][ORIGIN_KEY] = ResultOrigin(
        request.choices.model, tuple(scan_file(volume) for volume in volumes)
    )
    return data, attributes, kind
