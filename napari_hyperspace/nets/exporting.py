"""Writing a plain network as ONNX or as a program of torch.export, and running such a file."""

from __future__ import annotations

import importlib.util
import io
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.model import Model

__all__ = ["EXTENSIONS", "NetworkFormat", "check_format", "size_multiple", "write_network"]

NetworkFormat = Literal["onnx", "torch-export"]

EXTENSIONS: dict[NetworkFormat, str] = {"onnx": ".onnx", "torch-export": ".pt2"}
"""Extension of the file of each format."""

_PACKAGES: dict[NetworkFormat, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "torch-export": (),
}
_MOST_UNITS = 1024  # upper end of the sizes, in multiples: torch.export requires one
_LARGEST_MULTIPLE = 64  # sizes in larger multiples are of little use
_LARGEST_DENOMINATOR = 64
_SAME = 1e-5  # relative; spacings may come from single precision


def check_format(path: Path, format: NetworkFormat | None) -> NetworkFormat:
    """Return the format of a file, given or by its extension.

    Raises
    ------
    HyperspaceError
        If the extension does not fit, or a package that the format needs is not installed.
    """
    by_extension: dict[str, NetworkFormat] = {end: name for name, end in EXTENSIONS.items()}
    chosen = by_extension.get(path.suffix.lower())
    if chosen is None or format not in (None, chosen):
        raise HyperspaceError(
            "the extension is not that of the format",
            where=path,
            field="format",
            found=f"{path.suffix or 'no extension'}, {format or 'no format'}",
            expected=" or ".join(f"{end} for {name}" for name, end in EXTENSIONS.items()),
        )
    missing = [name for name in _PACKAGES[chosen] if importlib.util.find_spec(name) is None]
    if missing:
        raise HyperspaceError(
            f"the format {chosen} needs packages that are not installed",
            found=f"no {', '.join(missing)}",
            fix='Run: pip install "napari-hyperspace[export]"',
        )
    return chosen


def size_multiple(model: Model, spacing_mm: Sequence[float]) -> tuple[int, ...] | None:
    """Return what the sizes of an image must be multiples of for a network with free sizes.

    Then each level covers the image with a whole number of voxels, and no level is padded.

    Returns
    -------
    tuple
        One number per axis; `None` if there are no small ones.
    """
    multiple = [1] * len(spacing_mm)
    for level in model.architecture(spacing_mm).voxels:
        for axis, edge in enumerate(level):
            exact = Fraction(edge).limit_denominator(_LARGEST_DENOMINATOR)
            if abs(float(exact) - edge) > _SAME * edge:
                return None
            multiple[axis] = math.lcm(multiple[axis], exact.numerator)
    return tuple(multiple) if max(multiple) <= _LARGEST_MULTIPLE else None


def write_network(
    network: nn.Module,
    shape: Sequence[int],
    multiple: Sequence[int] | None,
    path: Path,
    format: NetworkFormat,
) -> Callable[[Tensor], Tensor]:
    """Export a network to a file; return a function that runs the file.

    Parameters
    ----------
    network
        On the CPU, in eval mode.
    shape
        (B, C, *S) of the example that is traced.
    multiple
        Batch and sizes are free, and the sizes multiples of these numbers; `None`: only images of
        ``shape``.
    path, format
        The file.
    """
    example = torch.zeros(tuple(shape))
    dimensions: Any = None
    if multiple is not None:
        units = [
            torch.export.Dim(f"units{i}", min=2, max=_MOST_UNITS) for i in range(len(multiple))
        ]
        sizes = [
            each * unit if each > 1 else unit for each, unit in zip(multiple, units, strict=True)
        ]
        batch = torch.export.Dim("batch", min=1, max=_MOST_UNITS)
        dimensions = ({0: batch, **dict(enumerate(sizes, start=2))},)
    with _quiet(), torch.no_grad():
        program = torch.export.export(network, (example,), dynamic_shapes=dimensions, strict=False)
        _forget_sources(program)
        if format == "torch-export":
            packed = io.BytesIO()  # saved to a path, the archive would contain its name
            torch.export.save(program, packed)
            path.write_bytes(packed.getbuffer())
            module = torch.export.load(path).module()
            return lambda image: module(image)
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=["image"],
            output_names=["logits"],
            external_data=False,
            verbose=False,
        )
    assert exported is not None
    exported.save(path)
    _simplify(path, multiple)
    return _onnx_runner(path)


def _forget_sources(program: torch.export.ExportedProgram) -> None:
    """Remove the lines of source code, with paths on this machine, and the example."""
    for module in program.graph_module.modules():
        graph = getattr(module, "graph", None)
        for node in () if graph is None else graph.nodes:
            node.meta.pop("stack_trace", None)
    program.example_inputs = None


def _simplify(path: Path, multiple: Sequence[int] | None) -> None:
    """Remove notes about the source code from an ONNX file, and name its free dimensions.

    The exporter states sizes of intermediate results and of the output that hold for its example
    only. Programs derive them themselves.
    """
    import onnx

    model = onnx.load(path)
    graph = model.graph
    del graph.value_info[:]
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
    for function in model.functions:
        del function.metadata_props[:]
        for node in function.node:
            del node.metadata_props[:]
    if multiple is not None:
        axes = zip(multiple, "zyx"[-len(multiple) :], strict=True)
        names = ["batch", "", *(f"{each}*{axis}" if each > 1 else axis for each, axis in axes)]
        for value in (*graph.input, *graph.output):
            dimensions = value.type.tensor_type.shape.dim
            for dimension, name in zip(dimensions, names, strict=True):
                if name:
                    dimension.dim_param = name
    onnx.save(model, path)


def _onnx_runner(path: Path) -> Callable[[Tensor], Tensor]:
    import onnx
    import onnxruntime

    onnx.checker.check_model(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(["logits"], {"image": image.numpy()})[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what torch's exporters tell their own developers."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
