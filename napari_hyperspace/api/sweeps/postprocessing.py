"""Post-processing in a sweep: the same at each spacing."""

from __future__ import annotations

from collections.abc import Mapping

from napari_hyperspace.core.labels.postprocess import apply_postprocessing
from napari_hyperspace.core.labels.sides import describe_sides
from napari_hyperspace.core.volume import PostprocessingOptions, Volume, VolumeMetadata
from napari_hyperspace.inference.protocols import SpacingModel

__all__ = ["labels_after", "postprocessed"]


def postprocessed(labels: Volume, options: PostprocessingOptions) -> Volume:
    """Return the labels of a spacing, post-processed; empty ones as they are."""
    if options == PostprocessingOptions() or not labels.array.any():
        return labels
    return apply_postprocessing(labels, options)


def labels_after(
    model: SpacingModel, options: PostprocessingOptions
) -> tuple[Mapping[int, str], Mapping[int, str]]:
    """Return names and colors of the labels of a model after post-processing."""
    metadata: VolumeMetadata = {
        "label_names": model.label_names,
        "label_colors": model.label_colors,
        "label_sides": model.label_sides,
    }
    if options.split_sides:
        metadata = describe_sides(metadata)
    return metadata["label_names"], metadata["label_colors"]
