"""What guides a segmentation: labels of a layer, or a coarse pass of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from napari_hyperspace.api.reproduce import ResultOrigin, ScanFile, scan_file
from napari_hyperspace.gui.adapters.layers import RESULT_KEY, to_volume

if TYPE_CHECKING:
    from napari_hyperspace.inference.protocols import SpacingModel


@dataclass(frozen=True, eq=False)
class GuidanceChoice:
    """What the user chose to guide a model; made on the main thread, used on any.

    Parameters
    ----------
    layer
        Data and attributes of a Labels layer; `None`: a coarse pass.
    coarse
        Key of the model of the coarse pass.
    spacing_mm
        Its spacing.
    """

    layer: tuple[NDArray[Any], Mapping[str, Any]] | None
    coarse: str = ""
    spacing_mm: float = 0.0
    _bound: dict[str, SpacingModel] = field(default_factory=dict, init=False, repr=False)

    def bind(self, model: SpacingModel, load: Callable[[str], SpacingModel]) -> SpacingModel:
        """Return a guided model with this guidance; not for the main thread.

        Parameters
        ----------
        model
            The guided model.
        load
            Loads the model of a coarse pass by its key.

        Raises
        ------
        HyperspaceError
            If a label, or the model of the coarse pass, does not fit.
        """
        from napari_hyperspace.api.guidance import CoarselyGuidedModel, Guidance, guided_by

        if model.digest not in self._bound:
            bound: SpacingModel
            if self.layer is None:
                guidance = Guidance(load(self.coarse), self.spacing_mm)
                bound = CoarselyGuidedModel(model, guidance)
            else:
                bound = guided_by(model, to_volume(*self.layer))
            self._bound[model.digest] = bound
        return self._bound[model.digest]

    def origin(self, model: str, scans: tuple[ScanFile, ...]) -> ResultOrigin:
        """Return the files that a result with this guidance was made from."""
        if self.layer is None:
            return ResultOrigin(model, scans, guidance_model=self.coarse)
        data, attributes = self.layer
        # The file in the metadata of a result is that of its scan.
        computed = RESULT_KEY in (attributes.get("metadata") or {})
        labels = ScanFile() if computed else scan_file(to_volume(data, attributes))
        return ResultOrigin(model, scans, guidance=labels)
