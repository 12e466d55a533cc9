"""Reading scans and writing label maps, one file per format family.

NIfTI uses nibabel, DICOM SimpleITK and pydicom. NRRD and MetaImage are read without ITK, which
returns wrong voxels from damaged streams, and written by SimpleITK.

Array order: a `Volume` that was read keeps its file's own order (i, j, k). In most formats, i is
the axis that varies fastest in the file: nibabel's order, and the order in which NRRD and MetaImage
headers list their sizes. For DICOM, i runs along a row (over the columns), j down a
column (over the rows), k from slice to slice. OME-Zarr arrays keep the order of their axes, usually
(z, y, x), where x varies fastest. The affine maps that index to RAS+ mm.
"""

from __future__ import annotations

from napari_hyperspace.io.api import Receipt, list_series, read, write
from napari_hyperspace.io.labels import check_labels, check_pair
from napari_hyperspace.io.series import Series

__all__ = ["Receipt", "Series", "check_labels", "check_pair", "list_series", "read", "write"]
