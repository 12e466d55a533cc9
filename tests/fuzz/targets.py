"""All targets of the mutation driver, by name; their modules are imported when they are needed."""

from __future__ import annotations

from importlib import import_module

from tests.fuzz.case import Target
from tests.fuzz.faults import FAULTS

TARGETS: dict[str, str] = {
    **dict.fromkeys(("nifti", "nifti-gz", "nifti-pair"), "nifti"),
    **dict.fromkeys(("nrrd", "seg-nrrd", "nhdr", "mha", "mhd"), "text_formats"),
    **dict.fromkeys(("dicom-file", "dicom-folder"), "dicom"),
    **dict.fromkeys(("ome-zarr", "ome-zarr-level", "ome-zarr-zip"), "zarrs"),
    **dict.fromkeys(("model", "hostile-model", "checkpoint", "unpickle"), "models"),
    **dict.fromkeys(("import-checkpoint",), "models"),
    **dict.fromkeys(("configuration", "override", "rates", "table"), "settings"),
    **dict.fromkeys(("command-line",), "commands"),
}
"""Name of the module of each target: torch takes seconds to import, and a reader does without."""


def target_type(name: str) -> type[Target]:
    """Return the class of a target, or of a fault."""
    if name in FAULTS:
        return FAULTS[name]
    module = import_module(f"tests.fuzz.{TARGETS[name]}")
    found: dict[str, type[Target]] = {target.name: target for target in module.TARGET_TYPES}
    return found[name]
