"""What the plug-in asks of the rest of the package, loaded when first asked."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any


class Services:
    """The package's own functions. Tests put others in their place."""

    def bundled_models(self) -> Mapping[str, Path]:
        """Return the models that come with the package: name → path."""
        from napari_hyperspace.nets.model_file import bundled_models

        return bundled_models()

    def load_model(self, name_or_path: str) -> Any:
        """Load a model; see `napari_hyperspace.load_model`."""
        from napari_hyperspace.nets.model_file import load_model

        return load_model(name_or_path)

    def read(self, path: str, **options: Any) -> Any:
        """Read a volume; see `napari_hyperspace.read`."""
        from napari_hyperspace.io import read

        return read(path, **options)

    def list_series(self, folder: str) -> Sequence[Any]:
        """List the DICOM series of a folder; see `napari_hyperspace.io.list_series`."""
        from napari_hyperspace.io import list_series

        return list_series(folder)

    def write(self, volume: Any, path: str) -> Any:
        """Write a volume, unless over the scan it came from; return the receipt."""
        from napari_hyperspace.gui.adapters.writers import write_volume

        return write_volume(volume, path)

    def segment_steps(self, *args: Any, **options: Any) -> Generator[Any, None, Any]:
        """Segment step by step; see `napari_hyperspace.segment_steps`."""
        from napari_hyperspace.api.segment import segment_steps

        return segment_steps(*args, **options)

    def postprocess(self, labels: Any, **options: Any) -> Any:
        """Clean a label map; see `napari_hyperspace.postprocess`."""
        from napari_hyperspace.core.postprocess import postprocess

        return postprocess(labels, **options)

    def settled_precision(
        self, model: Any, spacing_mm: tuple[float, float, float], device: str | None
    ) -> str:
        """Return the fastest precision known to keep the labels, without trying any: previews
        wait for nothing.
        """
        from napari_hyperspace.inference.execution import choose_device
        from napari_hyperspace.inference.precision import candidates, known_choice

        target = choose_device(device)
        known = known_choice(model, target, spacing_mm[-model.n_dim :])
        return known.precision if known is not None else candidates(target)[0]

    def estimate(self, *args: Any, **options: Any) -> Any:
        """Predict time and memory; see `napari_hyperspace.estimate`."""
        from napari_hyperspace.api.estimate import estimate

        return estimate(*args, **options)

    def estimate_curve(self, *args: Any, **options: Any) -> Sequence[Any]:
        """Predict time and memory at several spacings."""
        from napari_hyperspace.api.estimate import estimate_curve

        return estimate_curve(*args, **options)

    def spacing_for(self, *args: Any, **options: Any) -> tuple[float, float, float]:
        """Return the finest spacing within a budget; see `napari_hyperspace.spacing_for`."""
        from napari_hyperspace.api.estimate import spacing_for

        return spacing_for(*args, **options)

    def devices(self) -> list[tuple[str, str]]:
        """Return what can compute: (key, what to call it), the best first."""
        import torch

        found = [
            (f"cuda:{i}", f"CUDA {i}: {torch.cuda.get_device_name(i)}")
            for i in range(torch.cuda.device_count())
        ]
        return [*found, ("cpu", "CPU")]
