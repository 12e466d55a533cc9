"""The napari plug-in: widgets → controller → {state, worker, convert} → core."""
