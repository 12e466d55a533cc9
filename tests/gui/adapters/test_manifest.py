"""The readers and writers that napari finds through the manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("napari")
from npe2 import PluginManager, PluginManifest

import napari_hyperspace

MANIFEST = PluginManifest.from_file(Path(napari_hyperspace.__file__).parent / "napari.yaml")


def test_readers_and_writers_are_found_by_file_name():
    manager = PluginManager()
    manager.register(MANIFEST)
    names = ["a.nii", "a.nii.gz", "b.NRRD", "c.mha", "c.mhd", "d.dcm"]
    for name in names:
        assert [one.command for one in manager.iter_compatible_readers(name)] == [
            "napari-hyperspace.read"
        ]
    assert list(manager.iter_compatible_readers("a.tif")) == []
    for kind in ("image", "labels"):
        for extension in (".nii", ".nii.gz", ".nrrd", ".mha"):
            writer, path = manager.get_writer(f"out{extension}", [kind])
            assert writer is not None and path == f"out{extension}"


def test_the_manifest_is_valid_and_its_commands_can_be_imported():
    MANIFEST.validate_imports()
    assert MANIFEST.name == "napari-hyperspace"
    assert MANIFEST.contributions.widgets[0].display_name == "HyperSpace"
    assert all(one.id.startswith(f"{MANIFEST.name}.") for one in MANIFEST.contributions.commands)


def test_readers_and_writers_cannot_be_run_from_the_command_palette():
    """They need a path, which napari's palette does not give them."""
    from app_model.expressions import parse_expression

    contributions = MANIFEST.contributions
    of_files = {one.command for one in (*contributions.readers, *contributions.writers)}
    for command in contributions.commands:
        enabled = command.enablement is None or parse_expression(command.enablement).eval({})
        assert bool(enabled) == (command.id not in of_files), command.id
