"""The napari plug-in: adapters ← models ← jobs ← controllers ← widgets."""
