"""Spacing-adaptive segmentation: a model makes one network per voxel spacing.

Names are loaded on first use: ``import napari_hyperspace`` itself loads neither torch nor Qt.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_hyperspace.api.agreement import Agreement, agreement
    from napari_hyperspace.api.assessment.assess import assess, assess_steps, check_scan
    from napari_hyperspace.api.corrections.adapt import AdaptResult, adapt, adapt_steps
    from napari_hyperspace.api.corrections.box import refine_box
    from napari_hyperspace.api.corrections.refine import refine
    from napari_hyperspace.api.estimate import Estimate, estimate
    from napari_hyperspace.api.export_network import ExportedNetwork, export_network
    from napari_hyperspace.api.guidance import Guidance
    from napari_hyperspace.api.segment import segment, segment_steps
    from napari_hyperspace.api.spacing_search import spacing_for
    from napari_hyperspace.api.sweeps.result import SweepPoint, SweepSummary
    from napari_hyperspace.api.sweeps.sweep import Sweep, sweep
    from napari_hyperspace.core.errors import (
        Cancelled,
        HyperspaceError,
        HyperspaceWarning,
        OptionNeededError,
    )
    from napari_hyperspace.core.geometry import Grid
    from napari_hyperspace.core.labels.postprocess import postprocess
    from napari_hyperspace.core.volume import PostprocessingOptions, Record, Volume
    from napari_hyperspace.io import read, write
    from napari_hyperspace.io.labels import write_label_table
    from napari_hyperspace.nets.locations import bundled_models
    from napari_hyperspace.nets.model import Model
    from napari_hyperspace.nets.model_file import load_model, save_model
    from napari_hyperspace.quality.result import Quality, ScanCheck

    __version__: str

_MODULES = {
    "Cancelled": "core.errors",
    "HyperspaceError": "core.errors",
    "HyperspaceWarning": "core.errors",
    "OptionNeededError": "core.errors",
    "Agreement": "api.agreement",
    "agreement": "api.agreement",
    "assess": "api.assessment.assess",
    "assess_steps": "api.assessment.assess",
    "check_scan": "api.assessment.assess",
    "Quality": "quality.result",
    "ScanCheck": "quality.result",
    "Estimate": "api.estimate",
    "estimate": "api.estimate",
    "spacing_for": "api.spacing_search",
    "Grid": "core.geometry",
    "postprocess": "core.labels.postprocess",
    "ExportedNetwork": "api.export_network",
    "export_network": "api.export_network",
    "AdaptResult": "api.corrections.adapt",
    "adapt": "api.corrections.adapt",
    "adapt_steps": "api.corrections.adapt",
    "Guidance": "api.guidance",
    "refine": "api.corrections.refine",
    "refine_box": "api.corrections.box",
    "segment": "api.segment",
    "segment_steps": "api.segment",
    "Sweep": "api.sweeps.sweep",
    "sweep": "api.sweeps.sweep",
    "SweepPoint": "api.sweeps.result",
    "SweepSummary": "api.sweeps.result",
    "PostprocessingOptions": "core.volume",
    "Record": "core.volume",
    "Volume": "core.volume",
    "read": "io",
    "write": "io",
    "write_label_table": "io.labels",
    "Model": "nets.model",
    "bundled_models": "nets.locations",
    "load_model": "nets.model_file",
    "save_model": "nets.model_file",
}

__all__ = [
    "AdaptResult",
    "Agreement",
    "Cancelled",
    "Estimate",
    "ExportedNetwork",
    "Grid",
    "Guidance",
    "HyperspaceError",
    "HyperspaceWarning",
    "Model",
    "OptionNeededError",
    "PostprocessingOptions",
    "Quality",
    "Record",
    "ScanCheck",
    "Sweep",
    "SweepPoint",
    "SweepSummary",
    "Volume",
    "adapt",
    "adapt_steps",
    "agreement",
    "assess",
    "assess_steps",
    "bundled_models",
    "check_scan",
    "estimate",
    "export_network",
    "load_model",
    "postprocess",
    "read",
    "refine",
    "refine_box",
    "save_model",
    "segment",
    "segment_steps",
    "spacing_for",
    "sweep",
    "write",
    "write_label_table",
]


def _version() -> str:
    """Return the version of the installation; in a copy of the code without one, a placeholder."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("napari-hyperspace")
    except PackageNotFoundError:
        return "0+unknown"


def __getattr__(name: str) -> object:
    if name == "__version__":
        return globals().setdefault(name, _version())
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
