"""Files: scans in, label maps out.

NIfTI goes through nibabel, DICOM through SimpleITK; NRRD and MetaImage are read here, since their
usual readers hand over wrong voxels from a damaged stream, and written by SimpleITK.

Array order: a `Volume` that was read keeps its file's own order (i, j, k) with i the axis that
varies fastest in the file, whatever the format: nibabel's order, and the order in which NRRD and
MetaImage headers list their sizes. For DICOM, i runs along a row (over the columns), j down a
column (over the rows), k from slice to slice. The affine maps that index to RAS+ mm.
"""

from __future__ import annotations

from napari_hyperspace.io.api import list_series, read, write
from napari_hyperspace.io.labels import check_labels, check_pair
from napari_hyperspace.io.receipt import Receipt
from napari_hyperspace.io.series import Series

__all__ = ["Receipt", "Series", "check_labels", "check_pair", "list_series", "read", "write"]
