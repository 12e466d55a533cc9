"""Opening OME-Zarr images, and reading one level of them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.io.base.decoded import Decoded
from napari_hyperspace.io.base.files import check_memory, is_folder, look_up
from napari_hyperspace.io.base.streams import Layout, choose_block
from napari_hyperspace.io.base.text import shortened
from napari_hyperspace.io.ome_zarr.metadata import (
    VERSIONS,
    ImageMetadata,
    check_levels,
    label_colors,
    read_metadata,
)

if TYPE_CHECKING:
    import zarr

ZIP_SUFFIXES = (".zarr.zip", ".ozx")
"""How the names of zip files that contain an image end."""

_METADATA_FILES = ("zarr.json", ".zgroup", ".zattrs", ".zarray")
_DEEPEST = 4  # groups between an image and the array of one of its levels
# What may be applied to chunks of foreign files. Others may run code, such as pickle.
_CODECS = frozenset(
    {
        *("bytes", "transpose", "sharding_indexed", "crc32c", "crc32", "adler32", "fletcher32"),
        *("blosc", "zstd", "gzip", "zlib", "lz4", "lzma", "bz2", "shuffle", "delta"),
    }
)


def is_ome_zarr(path: Path) -> bool:
    """Whether a path is a folder with metadata of zarr, or named like a zip file of one."""
    if is_folder(path):
        return any(look_up(path / name) is not None for name in _METADATA_FILES)
    return path.name.lower().endswith(ZIP_SUFFIXES)


def decode(
    path: Path, *, volume: int | None = None, spacing_mm: Sequence[float] | None = None
) -> Decoded:
    """Read an image, or one of its levels if the path is that of its array.

    Parameters
    ----------
    path
        Folder of an image, folder of a level inside, or a zip file of an image: the finest level.
    volume
        Which volume of an image with channels or times, or 0 to take a 2-D image as one slice.
    spacing_mm
        As in `napari_hyperspace.io.read`.
    """
    with _errors_of(path):
        group, level_path = _image_of(path)
        attributes = group.attrs.asdict()
        image = read_metadata(attributes, path)
        if image is None:
            raise _no_image(group, path)
        level = _level_index(image, level_path, path)
        shapes = [_array(group, image.levels[i].path, path).shape for i in {0, level}]
        array = _array(group, image.levels[level].path, path)
        _check_array(array, image, path)
        check_levels(image, level, (shapes[0], array.shape), path)
        is_labels, colors = label_colors(attributes)
        voxels = _read_block(array, image, volume, path)
    affine, oriented, units = image.affine(level, path, spacing_mm)
    notes = [] if oriented else ["the orientation is unknown: the axes have none"]
    return Decoded(
        voxels,
        affine,
        path,
        "ome-zarr",
        image.name or image_stem(path),
        notes=notes,
        orientation_unknown=not oriented,
        units_stated=units,
        is_labels=is_labels and voxels.dtype.kind in "iu",
        label_colors=colors if is_labels else {},
    )


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Raise what zarr raises as the error of a file that cannot be read."""
    try:
        import zarr  # noqa: F401
    except ImportError as error:
        raise HyperspaceError(
            "reading OME-Zarr needs the package zarr",
            where=path,
            fix="pip install napari-hyperspace[zarr]",
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of zarr, about formats that are still being specified
            yield
    except (HyperspaceError, MemoryError):
        raise
    except Exception as error:  # decoders raise errors of their own kinds
        raise HyperspaceError(
            "the image cannot be read", where=path, found=shortened(str(error) or repr(error))
        ) from error


def _image_of(path: Path) -> tuple[zarr.Group, str]:
    """Return the group of an image, and the path of a level in it: empty for the image itself."""
    import zarr

    if not is_folder(path):
        return zarr.open_group(zarr.storage.ZipStore(path, mode="r"), mode="r"), ""
    node = zarr.open(path, mode="r")
    if isinstance(node, zarr.Group):
        return node, ""
    inside = [path.name]
    for parent in list(path.parents)[:_DEEPEST]:
        if is_ome_zarr(parent):
            group = zarr.open(parent, mode="r")
            if isinstance(group, zarr.Group) and read_metadata(group.attrs.asdict(), parent):
                return group, "/".join(inside)
        inside.insert(0, parent.name)
    raise HyperspaceError(
        "this is an array of zarr, not an image of OME-Zarr: its spacing is not known",
        where=path,
        fix="Open the folder of the image",
    )


def _no_image(group: zarr.Group, path: Path) -> HyperspaceError:
    """Return the error for a group that is no image, with the images inside of it."""
    found: dict[str, Any] = group.attrs.asdict()
    ome = found.get("ome")
    kind = "a plate" if "plate" in (ome if isinstance(ome, Mapping) else found) else "a group"
    folders = sorted(path.iterdir()) if is_folder(path) else []
    inside = ", ".join([each.name for each in folders if is_ome_zarr(each)][:5])
    return HyperspaceError(
        f"this is {kind} and not an image",
        where=path,
        expected=f"an image of OME-Zarr {' or '.join(VERSIONS)}",
        fix=f"Open one of the images inside ({inside})" if inside else "",
    )


def _level_index(image: ImageMetadata, level_path: str, path: Path) -> int:
    paths = [level.path.strip("/") for level in image.levels]
    if not level_path:
        return 0
    if level_path not in paths:
        raise HyperspaceError(
            "this array is no level of the image",
            where=path,
            found=level_path,
            expected=", ".join(paths),
        )
    return paths.index(level_path)


def _array(group: zarr.Group, name: str, path: Path) -> zarr.Array[Any]:
    import zarr

    node = group.get(name)
    if not isinstance(node, zarr.Array):
        raise HyperspaceError("the image lacks the array of a level", where=path, found=name)
    return node


def _check_array(array: zarr.Array[Any], image: ImageMetadata, path: Path) -> None:
    """Raise an error for values that are not numbers, and for codecs that are not known."""
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise HyperspaceError(
            "the values cannot be segmented",
            where=path,
            field="data type",
            found=shortened(str(array.dtype)),
            expected="integers or real numbers of up to 64 bits",
        )
    unknown = sorted(set(_codecs(array.metadata.to_dict())) - _CODECS)
    if unknown:
        raise HyperspaceError(
            "a codec is not accepted, because it is unknown or may run code",
            where=path,
            field="codecs",
            found=shortened(", ".join(unknown)),
            expected=", ".join(sorted(_CODECS)),
        )
    if len(array.shape) != len(image.axes) or 0 in array.shape:
        raise HyperspaceError(
            "the array does not have the axes of the image",
            where=path,
            field="shape",
            found="×".join(map(str, array.shape)),
            expected=", ".join(image.axes),
        )


def _codecs(node: Any) -> Iterator[str]:
    """Yield the names of all codecs in the metadata of an array, nested ones included."""
    if isinstance(node, Mapping):
        for key in ("codecs", "filters", "index_codecs"):
            for codec in node.get(key) or ():
                yield _codec_name(codec)
                yield from _codecs(_plain(codec).get("configuration"))
        if node.get("compressor") is not None:
            yield _codec_name(node["compressor"])


def _plain(codec: Any) -> dict[str, Any]:
    """Return the description of a codec, which zarr may have made an object of."""
    if isinstance(codec, Mapping):
        return dict(codec)
    for name in ("to_dict", "get_config"):
        if hasattr(codec, name):
            return dict(getattr(codec, name)())
    return {}


def _codec_name(codec: Any) -> str:
    found = _plain(codec)
    return str(found.get("name") or found.get("id") or type(codec).__name__).split(".")[-1]


def _read_block(
    array: zarr.Array[Any], image: ImageMetadata, volume: int | None, path: Path
) -> NDArray[Any]:
    """Return one volume, its spatial axes in the order of the file."""
    spatial = image.spatial
    others = [i for i in range(len(array.shape)) if i not in spatial]
    sizes = tuple(array.shape[i] for i in spatial)
    count = math.prod(array.shape[i] for i in others)
    shape = (*sizes, count) if count > 1 else sizes
    chosen = choose_block(Layout(shape, array.dtype), volume, path)
    check_memory(math.prod(sizes) * array.dtype.itemsize, path)
    place = np.unravel_index(chosen, [array.shape[i] for i in others]) if others else ()
    index: list[int | slice] = [slice(None)] * len(array.shape)
    for axis, at in zip(others, place, strict=True):
        index[axis] = int(at)
    voxels = np.asarray(array[tuple(index)])
    if len(spatial) == 2:
        voxels = voxels[None]
    return np.ascontiguousarray(voxels, voxels.dtype.newbyteorder("="))


def image_stem(path: Path) -> str:
    """Return the name of an image without its extensions."""
    name = path.name
    for suffix in (".zip", ".ozx", ".zarr", ".ome"):
        name = name.removesuffix(suffix)
    return name or path.name
