"""The model file: a safetensors file with the weights of a model, its configuration and its card.

The file's metadata has the key ``hyperspace``: JSON with ``format_version``, ``network``,
``factory`` and ``card``. The key ``hyperspace-digest`` is a checksum of that text and the tensors;
files without it are accepted. The tensors are the factory's state, in float32 or float16. Nothing
in the file can be executed.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from napari_hyperspace import __version__
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import check_regular, write_bytes
from napari_hyperspace.nets.base.config import Config
from napari_hyperspace.nets.build import FactoryConfig, NetworkConfig, build_factory
from napari_hyperspace.nets.card import ModelCard
from napari_hyperspace.nets.digest import WeightsDigest, digest_of
from napari_hyperspace.nets.former import present_state, stored_state
from napari_hyperspace.nets.locations import find_model
from napari_hyperspace.nets.model import Model

FORMAT_VERSION = 1
_KEY = "hyperspace"
_DIGEST_KEY = "hyperspace-digest"
_UNKNOWN_KEY = "If a newer version wrote the file: pip install --upgrade napari-hyperspace"
_MAX_HEADER_BYTES = 16 << 20
_DTYPES = {"float32": torch.float32, "float16": torch.float16}
_STORED = ("F32", "F16")  # their names in safetensors


class ModelHeader(Config):
    """The JSON part of a model file."""

    format_version: Annotated[int, Field(strict=True, ge=1)] = FORMAT_VERSION
    network: NetworkConfig
    factory: FactoryConfig
    card: ModelCard


def load_model(name_or_path: str | os.PathLike[str], *, digest: str | None = None) -> Model:
    """Load a model.

    Parameters
    ----------
    name_or_path
        Path to a model file, or name of an installed model: a bundled one, one of the user's own
        (``hyperspace models add``), or one in a further folder.
    digest
        `Model.digest` of the model that is expected, as stated in the record of a result.

    Raises
    ------
    HyperspaceError
        If there is no such model, or the file is not a valid model file: it is not safetensors, was
        written by a newer version, does not match its checksum, or a tensor is missing, unexpected,
        of the wrong shape, or not finite; or if it is another model than expected.
    """
    path = find_model(name_or_path)
    model = _load(path)
    if digest is not None and model.digest != digest:
        raise HyperspaceError(
            "this is another model than the one expected: it would make other labels",
            where=path,
            field="digest",
            found=model.digest,
            expected=digest,
            fix="Use the model file that the result was made with",
        )
    return model


def _load(path: Path) -> Model:
    header, stored, metadata = _read_header(path)
    if header.network.kind == "harmonic-unet":
        import e3nn.o3  # noqa: F401  # torch 2.8 cannot import it while a device is set
    try:
        with torch.device("meta"):
            factory = build_factory(header.network, header.factory)
        expected = stored_state(factory, stored)
    except (ValueError, RuntimeError) as error:  # integer overflow of sizes
        raise HyperspaceError(str(error).partition("\n")[0], where=path, field="factory") from error
    _compare(path, expected, stored)
    state: dict[str, Tensor] = {}
    digest = WeightsDigest(metadata[_KEY])
    with safe_open(path, framework="pt") as file:
        for name, like in sorted(expected.items()):
            tensor = file.get_tensor(name)
            digest.add(name, tensor)
            if not torch.isfinite(tensor).all():
                raise HyperspaceError(
                    "the tensor has values that are not finite", where=path, field=name
                )
            # Copied from the mapped file to aligned memory: rounding depends on the alignment.
            state[name] = tensor.to(like.dtype, copy=True)
    # A damaged name of the checksum must not look like a file without one.
    others = metadata.keys() - {_KEY, _DIGEST_KEY}
    misnamed = _DIGEST_KEY not in metadata and get_close_matches(_DIGEST_KEY, others, cutoff=0.9)
    if misnamed or metadata.get(_DIGEST_KEY, digest.hexdigest()) != digest.hexdigest():
        raise HyperspaceError(
            "the file is damaged: its content does not match its checksum",
            where=path,
            field=_DIGEST_KEY,
            found=digest.hexdigest(),
            expected=metadata.get(_DIGEST_KEY),
            fix="Get the file again",
        )
    factory.load_state_dict(present_state(factory, state), assign=True)
    try:
        return Model(factory, header.card)
    except HyperspaceError as error:
        raise error.replace(where=path) from error


def read_card(name_or_path: str | os.PathLike[str]) -> ModelHeader:
    """Read the JSON part of a model file, without its tensors and the checksum.

    Raises as `load_model`.
    """
    return _read_header(find_model(name_or_path))[0]


def save_model(model: Model, path: str | os.PathLike[str], *, dtype: str = "float32") -> Path:
    """Write a model file; after any failure an existing file is unchanged.

    Parameters
    ----------
    model
        The model to write.
    path
        File to write; an existing file is replaced once the new one is complete.
    dtype
        ``"float32"``, or ``"float16"`` for half the size.

    Raises
    ------
    HyperspaceError
        If a tensor has values that are not finite in this precision, the precision is unknown, or
        the file cannot be written; see also `check_model_target`.
    """
    target = Path(path)
    check_model_target(target)
    if dtype not in _DTYPES:
        raise HyperspaceError(
            "unknown precision of the weights",
            where=target,
            field="dtype",
            found=dtype,
            expected=" or ".join(_DTYPES),
        )
    header = ModelHeader(
        network=model.factory.network_config, factory=model.factory.config, card=model.card
    )
    state = {}
    for name, tensor in model.factory.state_dict().items():
        kept = tensor.detach().cpu().contiguous()
        state[name] = kept.to(_DTYPES[dtype]) if kept.is_floating_point() else kept
        if not torch.isfinite(state[name]).all():
            raise HyperspaceError(
                "the tensor has values that are not finite in this precision",
                where=target,
                field=name,
            )
    try:
        text = header.model_dump_json()
    except ValueError as error:
        raise HyperspaceError(
            "the card contains a text that cannot be stored", where=target, found=error
        ) from error
    write_bytes(target, save(state, {_KEY: text, _DIGEST_KEY: digest_of(text, state)}))
    return target


def check_model_target(path: str | os.PathLike[str]) -> None:
    """Check that a model file may be written to a path: nothing but a model file is replaced.

    Raises
    ------
    HyperspaceError
        If the extension is not ``.safetensors``, or there is a file that is not a model file, such
        as a checkpoint of a training.
    """
    target = Path(path)
    if target.suffix != ".safetensors":
        raise HyperspaceError(
            "the name of a model file must end in .safetensors",
            where=target,
            field="extension",
            found=target.suffix or "none",
        )
    try:
        if not target.exists():
            return
    except (OSError, ValueError) as error:
        raise HyperspaceError(
            "the path is not valid or not accessible",
            where=target,
            found=getattr(error, "strerror", None) or str(error),
            fix="Choose another name or folder",
        ) from error
    try:
        _read_header(target)
    except HyperspaceError as error:
        raise HyperspaceError(
            "there is a file that is not a model file, and it is not replaced",
            where=target,
            found=error.problem,
            fix="Choose another name, or delete the file first",
        ) from error


@dataclass(frozen=True)
class _Stored:
    """Shape and type of a tensor in a file."""

    shape: tuple[int, ...]
    dtype: str


def _read_header(path: Path) -> tuple[ModelHeader, dict[str, _Stored], dict[str, str]]:
    """Read and check the JSON part; read the shapes and types of the tensors, and the metadata."""
    _refuse_foreign(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            stored = {
                name: _Stored(tuple(each.get_shape()), each.get_dtype())
                for name, each in slices.items()
            }
    except (SafetensorError, OSError) as error:
        raise HyperspaceError(
            f"not a valid safetensors file: {error}", where=path, fix="Get the file again"
        ) from error
    if _KEY not in metadata:
        raise HyperspaceError(
            "a safetensors file, but not a model of this program",
            where=path,
            field="metadata",
            found=", ".join(sorted(metadata)) or "no metadata",
            expected=f"the key {_KEY!r}",
        )
    return _parse_header(path, metadata[_KEY]), stored, metadata


def _refuse_foreign(path: Path) -> None:
    """Refuse pickles, and headers longer than the file, before anything is parsed."""
    try:
        check_regular(path)
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(8)
    except OSError as error:
        raise HyperspaceError(
            "the model file cannot be read", where=path, found=error.strerror or str(error)
        ) from error
    if start.startswith((b"PK", b"\x80")) and not start[2:].startswith(b"\0\0"):
        raise HyperspaceError(
            "this is a PyTorch checkpoint: a pickle, which can execute code when it is read",
            where=path,
            expected="a .safetensors model file",
            fix="Convert it with: hyperspace import-checkpoint IN.pt OUT.safetensors",
        )
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
    if length > min(size - 8, _MAX_HEADER_BYTES):
        raise HyperspaceError(
            "not a valid safetensors file: its header is longer than the file",
            where=path,
            found=f"{size} bytes",
            fix="Get the file again",
        )


def _parse_header(path: Path, text: str) -> ModelHeader:
    try:
        raw: object = json.loads(text)
        version = raw.get("format_version") if isinstance(raw, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise HyperspaceError(
                "the model file was written by a newer version of this program",
                where=path,
                field="format_version",
                found=f"format {version}",
                expected=f"format {FORMAT_VERSION}, read by napari-hyperspace {__version__}",
                fix="Update: pip install --upgrade napari-hyperspace",
            )
        return TypeAdapter(ModelHeader).validate_json(text)
    except (ValueError, RecursionError) as error:  # also numbers of more than 4300 digits
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise HyperspaceError(
                first["msg"],
                where=path,
                field=place or _KEY,
                fix=_UNKNOWN_KEY if first["type"] == "extra_forbidden" else None,
            ) from error
        raise HyperspaceError(f"unreadable metadata: {error}", where=path, field=_KEY) from error


def _compare(path: Path, expected: dict[str, Tensor], found: dict[str, _Stored]) -> None:
    """Check names, shapes and types of all tensors before any is loaded."""
    for name in sorted(expected.keys() | found.keys()):
        wanted = tuple(expected[name].shape) if name in expected else None
        there = found[name].shape if name in found else None
        if there != wanted:
            raise HyperspaceError(
                "the tensors do not fit the configuration in the file",
                where=path,
                field=name,
                found=there or "no such tensor",
                expected=wanted or "no such tensor",
            )
        if expected[name].is_floating_point() and found[name].dtype not in _STORED:
            raise HyperspaceError(
                "unsupported type of a tensor",
                where=path,
                field=name,
                found=found[name].dtype,
                expected=" or ".join(_STORED),
            )
