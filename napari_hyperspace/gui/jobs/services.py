"""The functions of the package that the plug-in calls; each module is loaded when first used."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from napari_hyperspace._resources import REFINE_MODEL
from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.core.volume import PostprocessingOptions, Volume
from napari_hyperspace.gui.adapters.readers import ReadOptions
from napari_hyperspace.gui.jobs.correction_services import CorrectionServices

if TYPE_CHECKING:
    from napari_hyperspace.api.estimate import Estimate
    from napari_hyperspace.api.export_network import ExportedNetwork
    from napari_hyperspace.api.predict import BatchStep, Prediction
    from napari_hyperspace.api.segment import SegmentResult
    from napari_hyperspace.api.sweeps.sweep import Sweep
    from napari_hyperspace.inference.options import InferenceOptions
    from napari_hyperspace.inference.protocols import SpacingModel
    from napari_hyperspace.io import Receipt, Series
    from napari_hyperspace.nets.card import ModelCard
    from napari_hyperspace.nets.locations import InstalledModel
    from napari_hyperspace.nets.model import Model


class Services(CorrectionServices):
    """The package's own functions. Tests replace them by subclassing.

    All spacings are in canonical order (z, y, x), except that of `read`.
    """

    def bundled_models(self) -> Mapping[str, Path]:
        """Return the models that come with the package: name → path."""
        from napari_hyperspace.nets.locations import bundled_models

        return bundled_models()

    def added_models(self) -> Mapping[str, InstalledModel]:
        """Return the models that the user added and that are found by name."""
        from napari_hyperspace.nets.locations import installed_models

        return {k: one for k, one in installed_models().items() if one.origin != "bundled"}

    def read_card(self, name_or_path: str) -> ModelCard:
        """Return the card of a model, without its weights."""
        from napari_hyperspace.nets.model_file import read_card

        return read_card(name_or_path).card

    def add_model(self, path: str) -> InstalledModel:
        """Add a model file; see `napari_hyperspace.nets.library.add_model`."""
        from napari_hyperspace.nets.library import add_model

        return add_model(path)

    def add_models_of_folder(self, path: str) -> Sequence[InstalledModel]:
        """Add the models of a folder; see `napari_hyperspace.nets.library.add_folder`."""
        from napari_hyperspace.nets.library import add_folder

        return add_folder(path)

    def add_model_from_web_steps(
        self, url: str, sha256: str | None, name: str | None, should_stop: ShouldStop
    ) -> Generator[Progress, None, InstalledModel]:
        """Download a model; see `napari_hyperspace.nets.library.add_from_web_steps`."""
        from napari_hyperspace.nets.download import Source
        from napari_hyperspace.nets.library import add_from_web_steps

        source = Source(url, sha256)
        return (yield from add_from_web_steps(source, name, should_stop=should_stop))

    def remove_model(self, model: InstalledModel) -> None:
        """Delete a model that was added, or no longer use its folder."""
        from napari_hyperspace.nets.library import remove_folder, remove_model

        if model.origin == "folder":
            remove_folder(model.path.parent)
        else:
            remove_model(model.name)

    def load_model(self, name_or_path: str) -> Model:
        """Load a model; see `napari_hyperspace.load_model`."""
        from napari_hyperspace.nets.model_file import load_model

        return load_model(name_or_path)

    def diagnostics(self, more: Mapping[str, Mapping[str, str]]) -> str:
        """Return what a report of a defect needs; see `napari_hyperspace.support.diagnostics`."""
        from napari_hyperspace.support.diagnostics import collect_diagnostics, format_diagnostics

        return format_diagnostics(collect_diagnostics(more))

    def about(self) -> str:
        """Return what the program is; see `napari_hyperspace.support.about`."""
        from napari_hyperspace.support.about import about_text

        return about_text()

    def devices(self) -> list[tuple[str, str]]:
        """Return the devices: (key, name to show), the fastest first."""
        import torch

        found = [
            (f"cuda:{i}", f"CUDA {i}: {torch.cuda.get_device_name(i)}")
            for i in range(torch.cuda.device_count())
        ]
        return [*found, ("cpu", "CPU")]

    def read(self, path: str, **options: Unpack[ReadOptions]) -> Volume:
        """Read a volume; see `napari_hyperspace.read`."""
        from napari_hyperspace.io import read

        return read(path, **options)

    def list_series(self, folder: str) -> Sequence[Series]:
        """List the DICOM series of a folder; see `napari_hyperspace.io.list_series`."""
        from napari_hyperspace.io import list_series

        return list_series(folder)

    def write(self, volume: Volume, path: str) -> Receipt:
        """Write a volume; see `napari_hyperspace.gui.adapters.writers.write_volume`."""
        from napari_hyperspace.gui.adapters.writers import write_volume

        return write_volume(volume, path)

    def write_label_table(self, labels: Volume, path: str) -> Path:
        """Write names and colors of labels; see `napari_hyperspace.write_label_table`."""
        from napari_hyperspace.io.labels import write_label_table

        return write_label_table(labels, path)

    def export_network_steps(
        self, name_or_path: str, spacing_mm: Sequence[float], path: str, should_stop: ShouldStop
    ) -> Generator[Progress, None, ExportedNetwork]:
        """Export a network in a process of its own; see `api.export_process`."""
        from napari_hyperspace.api.export_process import export_in_process_steps

        return export_in_process_steps(name_or_path, spacing_mm, path, should_stop=should_stop)

    def estimate(
        self, grid: Grid, model: SpacingModel, spacing_mm: Triple, options: InferenceOptions
    ) -> Estimate:
        """Estimate time and memory; see `napari_hyperspace.estimate`."""
        from napari_hyperspace.api.estimate import estimate

        return estimate(grid, model, spacing_mm, options)

    def slowdown(self) -> float:
        """Return how many times as long work takes at present, because of other programs."""
        from napari_hyperspace.cost.load import current_slowdown

        return current_slowdown(wait=False)

    def estimate_curve(
        self,
        grid: Grid,
        model: SpacingModel,
        spacings: Sequence[Triple],
        options: InferenceOptions,
    ) -> Sequence[Estimate]:
        """Estimate time and memory at several spacings."""
        from napari_hyperspace.api.estimate import estimate_curve

        return estimate_curve(grid, model, spacings, options)

    def spacing_for(
        self,
        grid: Grid,
        model: SpacingModel,
        *,
        seconds: float,
        memory_bytes: int,
        device: str | None,
    ) -> Triple:
        """Return the finest spacing within a budget of later runs, without their first set-up.

        See `napari_hyperspace.spacing_for`.
        """
        from napari_hyperspace.api.spacing_search import spacing_for

        return spacing_for(
            grid, model, seconds=seconds, memory_bytes=memory_bytes, device=device, first_run=False
        )

    def segment_steps(
        self,
        volumes: Sequence[Volume],
        model: SpacingModel,
        spacing_mm: Triple,
        options: InferenceOptions,
        should_stop: ShouldStop,
    ) -> Generator[Progress, None, SegmentResult]:
        """Segment step by step; see `napari_hyperspace.segment_steps`."""
        from napari_hyperspace.api.segment import segment_steps

        return segment_steps(volumes, model, spacing_mm, options, should_stop=should_stop)

    def guide(
        self,
        volumes: Sequence[Volume],
        model: SpacingModel,
        options: InferenceOptions,
        should_stop: ShouldStop,
    ) -> SpacingModel:
        """Return a guided model with labels: those of its coarse pass, if it has one."""
        from napari_hyperspace.api.guidance import CoarselyGuidedModel
        from napari_hyperspace.api.segment import guide_steps
        from napari_hyperspace.core.progress import run_to_end

        if not isinstance(model, CoarselyGuidedModel):
            return model
        steps = guide_steps(volumes, model.model, model.coarse_pass, options, should_stop)
        return run_to_end(steps)[0]

    def sweep(
        self,
        volumes: Sequence[Volume],
        model: SpacingModel,
        *,
        range_mm: tuple[float, float],
        count: int,
        axis: str | None,
        fixed_mm: Triple,
        box: tuple[slice, slice, slice] | None,
        reference: Volume | None,
        postprocessing: PostprocessingOptions,
        options: InferenceOptions,
    ) -> Sweep:
        """Prepare a sweep over spacings; see `napari_hyperspace.sweep`."""
        from napari_hyperspace.api.sweeps.sweep import sweep

        return sweep(
            volumes,
            model,
            range_mm=range_mm,
            count=count,
            axis=axis,
            fixed_mm=fixed_mm,
            box=box,
            reference=reference,
            postprocessing=postprocessing,
            options=options,
        )

    def list_scans(self, source: str, target: str) -> list[tuple[Path, Path]]:
        """Return the scans of a folder; see `napari_hyperspace.api.predict.list_scans`."""
        from napari_hyperspace.api.predict import list_scans

        return list_scans(Path(source), Path(target))

    def write_batch_table(self, predictions: Sequence[Prediction], path: str) -> None:
        """Write results of several scans; see `napari_hyperspace.api.predict.table_of`."""
        from napari_hyperspace.api.predict import table_of
        from napari_hyperspace.core.files import write_text

        write_text(Path(path), table_of(predictions))

    def predict_all_steps(
        self,
        pairs: Sequence[tuple[Path, Path]],
        model: SpacingModel,
        *,
        spacing_mm: Triple | None,
        limits: tuple[float, int | None] | None,
        options: InferenceOptions,
        postprocessing: PostprocessingOptions,
        should_stop: ShouldStop,
    ) -> Iterator[BatchStep]:
        """Segment scans; see `napari_hyperspace.api.predict.predict_all_steps`.

        Parameters
        ----------
        limits
            Seconds and bytes of the budget per scan; `None`: no budget.
        """
        from napari_hyperspace.api.predict import ScanBudget, predict_all_steps

        return predict_all_steps(
            pairs,
            model,
            spacing_mm=spacing_mm,
            budget=None if limits is None else ScanBudget(*limits),
            options=options,
            postprocessing=postprocessing,
            should_stop=should_stop,
        )

    def postprocess(self, labels: Volume, options: PostprocessingOptions) -> Volume:
        """Clean a label map, and divide left and right; see `napari_hyperspace.postprocess`."""
        from napari_hyperspace.core.labels.postprocess import apply_postprocessing

        return apply_postprocessing(labels, options)

    def check_result(
        self,
        volumes: Sequence[Volume],
        labels: Volume,
        model: SpacingModel,
        should_stop: ShouldStop,
    ) -> tuple[str, ...]:
        """Return what speaks against a result: the warnings of `napari_hyperspace.assess`.

        There is no second opinion, which would take about as long as the run.
        """
        from napari_hyperspace.api.assessment.assess import assess_steps
        from napari_hyperspace.core.progress import run_to_end

        if model.head != "labels":
            return ()
        steps = assess_steps(volumes, labels, model, second_opinion=False, should_stop=should_stop)
        return run_to_end(steps).warnings

    def refiners(self) -> list[tuple[str, str]]:
        """Return the installed class-conditional models: (key, name), the bundled one first."""
        from napari_hyperspace.nets.locations import installed_models

        found = []
        for name in installed_models():
            with suppress(HyperspaceError):  # it is said where models are managed
                if self.read_card(name).head == "class-conditional":
                    found.append((name, name))
        return sorted(found, key=lambda entry: entry[0] != REFINE_MODEL)

    def settled_precision(self, model: SpacingModel, spacing_mm: Triple, device: str | None) -> str:
        """Return the fastest precision known so far, without measuring any.

        Previews use it: they must not wait for a measurement.
        """
        from napari_hyperspace.inference.execution import choose_device
        from napari_hyperspace.inference.precision import candidates, known_choice

        target = choose_device(device)
        known = known_choice(model, target, spacing_mm[-model.n_dim :])
        return known.precision if known is not None else candidates(target)[0]
