"""The functions of the package that correct labels; each module is loaded when first used."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from napari_hyperspace.core.errors import ShouldStop
from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.core.volume import Volume

if TYPE_CHECKING:
    from napari_hyperspace.api.corrections.adapt import AdaptResult
    from napari_hyperspace.api.corrections.box import BoxResult
    from napari_hyperspace.api.corrections.strokes import Corrected
    from napari_hyperspace.inference.options import InferenceOptions, Outside
    from napari_hyperspace.inference.protocols import SpacingModel
    from napari_hyperspace.nets.locations import InstalledModel
    from napari_hyperspace.nets.model import Model

PaintedArrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any] | None]
"""Present labels, voxels inside, voxels outside, and a rough mask, of a part of a scan."""


class CorrectionServices:
    """The part of `Services` that corrects labels and models."""

    def answer_spacing(
        self, grid: Grid, model: SpacingModel, finest_mm: float, most_voxels: int
    ) -> Triple:
        """Return the spacing of a quick answer; see `api.corrections.strokes.answer_spacing`."""
        from napari_hyperspace.api.corrections.strokes import answer_spacing

        return answer_spacing(grid, model, finest_mm, most_voxels)

    def correct_steps(
        self,
        volume: Volume,
        strokes: PaintedArrays,
        values: Sequence[int],
        model: SpacingModel,
        spacing_mm: Triple,
        options: InferenceOptions,
        *,
        kept: tuple[slice, slice, slice] | None,
        protect_others: bool,
        should_stop: ShouldStop,
    ) -> Generator[Progress, None, Corrected]:
        """Segment around strokes; see `napari_hyperspace.api.corrections.strokes.correct_steps`.

        Parameters
        ----------
        strokes
            Present labels, voxels inside, voxels outside, and a rough mask.
        """
        from napari_hyperspace.api.corrections.strokes import Strokes, correct_steps

        present, include, exclude, rough = strokes
        return correct_steps(
            volume,
            Strokes(
                volume.with_array(present),
                volume.with_array(include),
                volume.with_array(exclude),
                None if rough is None else volume.with_array(rough),
            ),
            values,
            model,
            spacing_mm,
            options,
            kept=kept,
            protect_others=protect_others,
            should_stop=should_stop,
        )

    def box_with_context(
        self, box: tuple[slice, slice, slice], grid: Grid, model: SpacingModel, spacing_mm: Triple
    ) -> Grid:
        """Return the grid that a model sees; see `api.corrections.box.box_with_context`."""
        from napari_hyperspace.api.corrections.box import box_with_context

        seen = box_with_context(box, grid, model, spacing_mm)
        return grid.crop([each.start for each in seen], [each.stop - each.start for each in seen])

    def refine_box_steps(
        self,
        volumes: Sequence[Volume],
        labels: Volume,
        model: SpacingModel,
        box: tuple[slice, slice, slice],
        spacing_mm: Triple,
        options: InferenceOptions,
        should_stop: ShouldStop,
    ) -> Generator[Progress, None, BoxResult]:
        """Refine labels in a box; see `napari_hyperspace.refine_box`."""
        from napari_hyperspace.api.corrections.box import refine_box_steps

        return refine_box_steps(
            volumes, labels, model, box, spacing_mm, options, should_stop=should_stop
        )

    def adapt_steps(
        self,
        model: Model,
        volumes: Sequence[Volume],
        corrected: Volume,
        spacing_mm: Triple,
        *,
        device: str | None,
        outside: Outside,
        should_stop: ShouldStop,
    ) -> Generator[Progress, None, AdaptResult]:
        """Adapt a model to corrected labels; see `napari_hyperspace.adapt`."""
        from napari_hyperspace.api.corrections.adapt import adapt_steps

        return adapt_steps(
            model,
            volumes,
            corrected,
            spacing_mm,
            device=device,
            outside=outside,
            should_stop=should_stop,
        )

    def keep_model(self, model: Model) -> InstalledModel:
        """Save a model among the user's own, under its name or a similar one that is free."""
        from napari_hyperspace.nets.library import add_model
        from napari_hyperspace.nets.locations import installed_models
        from napari_hyperspace.nets.model_file import save_model

        taken = installed_models()
        names = (model.name, *(f"{model.name} {number}" for number in range(2, 1000)))
        name = next(each for each in names if each not in taken)
        with TemporaryDirectory() as folder:
            return add_model(save_model(model, Path(folder, f"{name}.safetensors")), name)
