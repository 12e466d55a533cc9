"""Export the network of one spacing for other programs: ONNX, or a program of torch.export.

The file contains the network alone: an image, normalized and in canonical order, becomes logits. A
JSON file beside it states what a program needs to know to run it. Before the files are moved into
place, the exported network is run and compared with the one that was exported.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_hyperspace import __version__
from napari_hyperspace.core.errors import Cancelled, HyperspaceError, ShouldStop
from napari_hyperspace.core.files import replacing, resolved
from napari_hyperspace.core.geometry import check_spacing
from napari_hyperspace.core.progress import Progress, run_to_end
from napari_hyperspace.inference.execution import PRECISIONS, NetworkRunner, first_line
from napari_hyperspace.nets.exporting import (
    NetworkFormat,
    check_format,
    size_multiple,
    write_network,
)
from napari_hyperspace.nets.model import Model

__all__ = ["ExportedNetwork", "NetworkFormat", "export_network", "export_network_steps"]

_SIDE_VERSION = 1
_DEFAULT_EDGE = {2: 512, 3: 128}
_SMALL_EDGE = 24  # of the image that float64 is computed on
_SAFETY = 16  # of the error of single precision: programs add up in other orders
_MAX_DIFFERENCE = 1e-3  # fraction of labels that may differ, where logits are nearly equal
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class ExportedNetwork:
    """The files of an exported network, and how well it agrees with the one exported.

    Parameters
    ----------
    path, side_path
        The network, and the JSON file beside it.
    format
        Format of the network.
    dynamic
        Whether it accepts any batch and any size that is a multiple of ``size_multiple``, from
        ``smallest_size``; otherwise only images of ``shape``.
    shape
        ``(B, C, *S)``: the only shape, or the one that it was exported with.
    size_multiple, smallest_size
        Per axis of space, canonical order.
    error, error_bound
        Largest difference of a logit, and the largest that was accepted.
    labels_differing
        Fraction of voxels with another label.
    """

    path: Path
    side_path: Path
    format: NetworkFormat
    dynamic: bool
    shape: tuple[int, ...]
    size_multiple: tuple[int, ...]
    smallest_size: tuple[int, ...]
    error: float
    error_bound: float
    labels_differing: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "path": str(self.path), "side_path": str(self.side_path)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> ExportedNetwork:
        """Return what `to_dict` was made from; lists of JSON become tuples."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in plain.items()
        }
        for name in ("path", "side_path"):
            values[name] = Path(values[name])
        return cls(**values)

    def __str__(self) -> str:
        if self.dynamic:
            multiples = " × ".join(map(str, self.size_multiple))
            sizes = f"any batch, sizes in multiples of {multiples}"
        else:
            sizes = f"only images of {' × '.join(map(str, self.shape))} (B, C, then space)"
        return (
            f"{self.path}: {sizes}; logits within {self.error:.1e} "
            f"(accepted: {self.error_bound:.1e}); described in {self.side_path.name}"
        )


def export_network(
    model: Model,
    spacing_mm: Sequence[float],
    path: str | Path,
    *,
    format: NetworkFormat | None = None,
    size: Sequence[int] | None = None,
) -> ExportedNetwork:
    """Export the network of one spacing; use `export_network_steps` for progress.

    Parameters
    ----------
    model, spacing_mm, path, format, size
        As in `export_network_steps`.
    """
    return run_to_end(export_network_steps(model, spacing_mm, path, format=format, size=size))


def export_network_steps(
    model: Model,
    spacing_mm: Sequence[float],
    path: str | Path,
    *,
    format: NetworkFormat | None = None,
    size: Sequence[int] | None = None,
    should_stop: ShouldStop | None = None,
) -> Generator[Progress, None, ExportedNetwork]:
    """Export the network of one spacing step by step.

    Batch and sizes of the image are free where the architecture allows it; see `size_multiple`.
    Otherwise, or with ``size``, one shape is exported.

    Parameters
    ----------
    model
        Makes the network.
    spacing_mm
        In canonical order (z, y, x), one number per dimension of the network.
    path
        File to write, replaced atomically; ``path`` with ``.json`` added describes it.
    format
        ``"onnx"`` or ``"torch-export"``; `None`: by the extension, ``.onnx`` or ``.pt2``.
    size
        Export only this size of the image, in voxels, canonical order.
    should_stop
        Called between the steps.

    Yields
    ------
    Progress
        Before each step.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    HyperspaceError
        If a package is missing, the network cannot be exported, or the exported network makes
        other logits.
    """
    target = resolved(path)
    chosen = check_format(target, format)
    spacing = check_spacing(spacing_mm, model.n_dim)
    _check_size(size, model)
    stop = should_stop or (lambda: False)

    def check() -> None:
        if stop():
            raise Cancelled

    yield Progress(0.0, "making the network")
    # The export would be that of a GPU otherwise.
    network = copy.deepcopy(model.network(spacing, "cpu"))
    multiple = size_multiple(model, spacing)
    attempts = [(_free_shape(model, multiple), True)] if multiple and size is None else []
    attempts.append((_fixed_shape(model, spacing, size), False))
    with replacing(target) as temporary, replacing(side_path(target)) as side:
        for place, (shape, dynamic) in enumerate(attempts):
            check()
            yield Progress(0.1 + 0.4 * place, "exporting the network")
            free = multiple if dynamic else None
            try:
                run = write_network(network, shape, free, temporary, chosen)
            except Exception as problem:  # torch's exporters raise many types
                if dynamic:
                    continue  # one shape may work
                raise HyperspaceError(
                    "the network cannot be exported", where=target, found=first_line(problem)
                ) from problem
            check()
            yield Progress(0.5 + 0.4 * place, "running the exported network")
            images = [_image(model, shape)]
            if multiple and dynamic:  # the shape it was exported with, and a larger one
                larger = (each * (6 - place) for place, each in enumerate(multiple))
                images.append(_image(model, (1, shape[1], *larger)))
            error, bound, differing = _compare(model, network, run, images, stop)
            if error <= bound and differing <= _MAX_DIFFERENCE:
                break
            if not dynamic:
                raise HyperspaceError(
                    "the exported network makes other logits",
                    where=target,
                    found=f"a difference of {error:.2g}",
                    expected=f"at most {bound:.2g}",
                )
        exported = ExportedNetwork(
            target,
            side_path(target),
            chosen,
            dynamic,
            shape,
            multiple if dynamic and multiple else tuple(1 for _ in spacing),
            tuple(2 * each for each in multiple) if dynamic and multiple else shape[2:],
            error,
            bound,
            differing,
        )
        side.write_text(json.dumps(_description(model, spacing, exported), indent=1) + "\n")
    return exported


def _check_size(size: Sequence[int] | None, model: Model) -> None:
    if size is not None and (len(size) != model.n_dim or min(size) < 1):
        raise HyperspaceError(
            f"the size of the images of this model must be {model.n_dim} positive numbers",
            field="size",
            found=tuple(size),
        )


def side_path(target: Path) -> Path:
    """Return the path of the file that describes an exported network."""
    return target.with_name(f"{target.name}.json")


def _free_shape(model: Model, multiple: Sequence[int]) -> tuple[int, ...]:
    """Return a small shape with different sizes, for a network whose sizes are free."""
    return (2, model.in_channels, *(each * (2 + place) for place, each in enumerate(multiple)))


def _fixed_shape(
    model: Model, spacing_mm: Sequence[float], size: Sequence[int] | None
) -> tuple[int, ...]:
    """Return the only shape: the given size, or that of a usual tile or localized box."""
    if size is None:
        edges = list(model.tile_shape or [_DEFAULT_EDGE[model.n_dim]] * model.n_dim)
        limits = [model.tile_mm]
        if model.localization is not None:
            limits.append(model.localization.extent_mm[-model.n_dim :])
        for limit in limits:
            if limit is not None:
                edges = [
                    min(edge, max(1, round(extent / step)))
                    for edge, extent, step in zip(edges, limit, spacing_mm, strict=True)
                ]
        size = edges
    return (1, model.in_channels, *map(int, size))


def _image(model: Model, shape: Sequence[int]) -> Tensor:
    """Return smooth random values, as a normalized scan has, with noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn([*shape[:2], *(max(1, n // 4) for n in shape[2:])], generator=generator)
    mode = "trilinear" if model.n_dim == 3 else "bilinear"
    image = nn.functional.interpolate(coarse, size=tuple(shape[2:]), mode=mode)
    image = image + 0.1 * torch.randn(tuple(shape), generator=generator)
    return (
        image if model.normalization.kind in ("z-score", "none") else image.clamp(-2, 2) / 4 + 0.5
    )


def _compare(
    model: Model,
    network: nn.Module,
    run: Callable[[Tensor], Tensor],
    images: Sequence[Tensor],
    stop: ShouldStop,
) -> tuple[float, float, float]:
    """Return the largest error of a logit, the largest accepted, and the part of other labels.

    The accepted error is a multiple of that of single precision, which is measured against double
    precision on a small image: double precision of a large one would take minutes.
    """
    runner = NetworkRunner(network, PRECISIONS["fp32"], _CPU, model.n_dim, stop)
    small = images[0][:1]
    for axis in range(2, small.ndim):
        small = small.narrow(axis, 0, min(small.shape[axis], _SMALL_EDGE))
    with torch.no_grad():
        exact = copy.deepcopy(network).double()(small.double())
        rounding = float((_run(runner, model, small) - exact).abs().max() / exact.abs().max())
        eps = torch.finfo(torch.float32).eps
        worst, bound, differing = 0.0, math.inf, 0.0
        for image in images:
            expected, found = _run(runner, model, image), run(image)
            if found.shape != expected.shape or not torch.isfinite(found).all():
                return math.inf, 0.0, 1.0
            accepted = _SAFETY * max(rounding, eps) * float(expected.abs().max())
            worst = max(worst, float((found - expected).abs().max()))
            bound = min(bound, accepted)
            other = found.argmax(1) != expected.argmax(1)
            differing = max(differing, float(other.float().mean()))
    return worst, bound, differing


def _run(runner: NetworkRunner, model: Model, image: Tensor) -> Tensor:
    """Run the network on a batch (B, C, *S)."""
    if model.n_dim == 2:  # the runner takes z as the batch
        return runner(image.movedim(0, 1)).movedim(1, 0)
    return torch.stack([runner(each) for each in image])


def _description(
    model: Model, spacing_mm: Sequence[float], exported: ExportedNetwork
) -> dict[str, Any]:
    """Return the content of the JSON file: what a program needs to run the network."""
    card = model.card
    axes = "zyx"[-model.n_dim :]
    return {
        "format": "napari-hyperspace network",
        "version": _SIDE_VERSION,
        "file": exported.path.name,
        "file_format": exported.format,
        "model": model.name,
        "model_digest": model.digest,
        "program_version": __version__,
        "torch_version": str(torch.__version__),
        "spacing_mm": list(spacing_mm),
        "axes": list(axes),
        "axis_directions": [
            {"z": "inferior", "y": "posterior", "x": "left"}[axis] for axis in axes
        ],
        "input": {
            "name": "image",
            "type": "float32",
            "dimensions": ["batch", "channel", *axes],
            "channels": list(model.channel_names),
            "normalization": card.normalization.model_dump(mode="json"),
        },
        "output": {
            "name": "logits",
            "type": "float32",
            "dimensions": ["batch", "class", *axes],
            "label_values": list(model.label_values),
            "label_names": {str(value): name for value, name in model.label_names.items()},
            "label_colors": {str(value): color for value, color in model.label_colors.items()},
        },
        "shapes": {
            "dynamic": exported.dynamic,
            "shape": None if exported.dynamic else list(exported.shape),
            "size_multiple": list(exported.size_multiple),
            "smallest_size": list(exported.smallest_size),
        },
        "trained_range_mm": model.trained_range_mm,
        "localization": None if card.localization is None else card.localization.model_dump(),
        "license": card.license,
        "citation": card.citation,
        "check": {
            "error": exported.error,
            "error_bound": exported.error_bound,
            "labels_differing": exported.labels_differing,
        },
    }
