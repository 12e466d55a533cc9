"""The user applies post-processing to labels that exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.volume import PostprocessingOptions, VolumeMetadata
from napari_hyperspace.gui.adapters.label_attributes import label_attributes
from napari_hyperspace.gui.adapters.layers import RESULT_KEY, LayerData, take, to_volume
from napari_hyperspace.gui.adapters.viewer import add_layer
from napari_hyperspace.gui.jobs.runner import JobRunner, Steps
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.formatting import describe_postprocessing, postprocessed_name
from napari_hyperspace.gui.models.view import View

_KEPT = ("name", "scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
_LOOK = ("opacity", "colormap", "features", "blending")


@dataclass(frozen=True, eq=False)
class _Cleaned:
    """The layer of cleaned labels, and what was done; `None`: nothing had to be done."""

    layer: LayerData | None
    text: str


class PostprocessingController:
    """Makes a new layer of cleaned labels. The former one stays, hidden.

    Parameters
    ----------
    viewer
        napari's viewer.
    view
        Shows messages.
    services
        Post-process.
    choices
        The options.
    runner
        Runs the job.
    chosen
        Returns the Labels layer whose structures are listed.
    """

    def __init__(
        self,
        viewer: Any,
        view: View,
        services: Services,
        choices: Choices,
        runner: JobRunner,
        chosen: Callable[[], Any],
    ) -> None:
        self._viewer = viewer
        self._view = view
        self._services = services
        self._choices = choices
        self._runner = runner
        self._chosen = chosen

    def apply(self) -> None:
        """Apply the chosen options to the chosen labels, unless a job is running."""
        layer = self._chosen()
        if self._runner.running:
            return
        if layer is None:
            self._view.show_message("There are no labels to post-process.", "warning")
            return
        options = self._choices.postprocessing()
        if options == PostprocessingOptions():
            self._view.show_message("Choose what to do to the labels first.", "warning")
            return
        data, attributes, _ = layer.as_layer_data_tuple()
        try:
            volume = to_volume(data, attributes)
            orientation = take(layer).placement.orientation
        except HyperspaceError as error:
            self._view.show_message(str(error), "error")
            return

        def steps(should_stop: ShouldStop) -> Steps[_Cleaned]:
            yield from ()
            cleaned = self._services.postprocess(volume, options)
            done = cleaned.metadata.get("postprocessing", ())
            new = done[len(volume.metadata.get("postprocessing", ())) :]
            if not any(step["changed_mm3"] for step in new):
                return _Cleaned(None, "")
            divided = cleaned.metadata.get("label_names") != volume.metadata.get("label_names")
            made = _attributes(attributes, cleaned.metadata, divided=divided)
            array = orientation.to_canonical(cleaned.array).copy()
            return _Cleaned((array, made, "labels"), describe_postprocessing(new).strip())

        def finished(outcome: _Cleaned) -> None:
            if outcome.layer is None:
                self._view.show_message("Nothing had to be changed.", "good")
                return
            layer.visible = False
            add_layer(self._viewer, outcome.layer)
            self._view.show_message(outcome.text, "good")

        self._runner.start(steps, finished, f"Post-processing {layer.name}")


def _attributes(
    former: Mapping[str, Any], metadata: VolumeMetadata, *, divided: bool
) -> dict[str, Any]:
    """Return the attributes of the new layer: those of the former one, and what was done.

    Parameters
    ----------
    former, metadata
        Attributes of the former layer; metadata of the new labels.
    divided
        Whether left and right got names and colors of their own.
    """
    result = cast(VolumeMetadata, dict(former["metadata"].get(RESULT_KEY, {})))
    result["postprocessing"] = metadata.get("postprocessing", ())
    if "record" in metadata:
        result["record"] = metadata["record"]
    look = {}
    if divided:
        names, colors = metadata.get("label_names", {}), metadata.get("label_colors", {})
        look = label_attributes(names, colors)
        result["label_sides"] = metadata.get("label_sides", {})
    return {
        **{name: former[name] for name in (*_KEPT, *_LOOK) if name in former},
        **look,
        "name": postprocessed_name(former["name"]),
        "metadata": {**former["metadata"], RESULT_KEY: result},
    }
