"""OME-Zarr 0.4 and 0.5 (zarr formats 2 and 3), in folders and zip files, decoded by zarr."""
