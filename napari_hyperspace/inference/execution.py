"""Run a baked network: device, precision, and cancelling between layers.

A *precision* is a data type, a memory format, and the library that computes. All precisions compute
the same function; their speed depends on the device and differs by several times.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from napari_hyperspace.core.errors import Cancelled, HyperspaceError, HyperspaceWarning, ShouldStop
from napari_hyperspace.core.memory import keep_freed_blocks
from napari_hyperspace.inference.openvino.runner import OpenVinoRunner
from napari_hyperspace.inference.openvino.runner import is_available as openvino_is_available
from napari_hyperspace.nets.base.modules import copy_module, use_fast_mode


@dataclass(frozen=True)
class Precision:
    """A data type and a memory format to run a network in, and the library that runs it."""

    name: str
    dtype: torch.dtype
    channels_last: bool
    library: Literal["torch", "openvino"] = "torch"

    @property
    def is_reference(self) -> bool:
        """Whether its labels count as those of the network: other precisions may change some."""
        return self.dtype == torch.float32 and self.library == "torch"


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("fp32", torch.float32, False),
        Precision("fp32-channels-last", torch.float32, True),
        Precision("bf16-channels-last", torch.bfloat16, True),
        Precision("fp16-channels-last", torch.float16, True),
        Precision("openvino-fp32", torch.float32, True, "openvino"),
        Precision("openvino-bf16", torch.bfloat16, True, "openvino"),
    )
}


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Return the device to compute on; `None`: CUDA if available, else the CPU.

    If the device is not available, the CPU is returned with a `HyperspaceWarning`.

    Raises
    ------
    HyperspaceError
        If torch does not know this kind of device.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        requested = torch.device(device)
    except RuntimeError as error:
        raise HyperspaceError("unknown device", field="device", found=device) from error
    try:
        torch.empty(1, device=requested)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        warnings.warn(
            f"device {requested} is not available ({first_line(error)}): computing on the CPU",
            HyperspaceWarning,
            stacklevel=3,
        )
        return torch.device("cpu")
    return requested


def check_precision(name: str) -> None:
    """Raise a `HyperspaceError` if a precision is unknown, or its library is not installed."""
    if name == "auto":
        return
    if name not in PRECISIONS:
        raise HyperspaceError(
            "unknown precision",
            field="precision",
            found=name,
            expected=", ".join(("auto", *PRECISIONS)),
        )
    if PRECISIONS[name].library == "openvino" and not openvino_is_available():
        raise HyperspaceError(
            "this precision needs a package that is not installed",
            field="precision",
            found=name,
            fix='Run: pip install "napari-hyperspace[openvino]"',
        )


class _OneDnnConvolutions(TorchFunctionMode):
    """Runs fp32 3-D convolutions with oneDNN, in this thread and within the context.

    Without it, torch ignores the last axis when it decides whether a convolution is large enough
    for oneDNN, and runs most of them with ``slow_conv3d``: up to 18 times slower, with 27 times the
    memory.
    """

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        return (_convolve if func is torch.conv3d else func)(*args, **given)


def _convolve(
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    if isinstance(padding, str) or image.ndim != 5:
        return torch.conv3d(image, weight, bias, stride, padding, dilation, groups)
    three = [[n] * 3 if isinstance(n, int) else list(n) for n in (padding, stride, dilation)]
    if torch.is_grad_enabled() and (image.requires_grad or weight.requires_grad):
        apply: Any = _TrainedConvolution.apply  # not annotated
        trained: Tensor = apply(image, weight, bias, *three, groups)
        return trained
    onednn: Any = torch.mkldnn_convolution  # annotated for integers only
    result: Tensor = onednn(image, weight, bias, *three, groups)
    return result


# In one thread, torch uses oneDNN if batch × channels × depth × height is larger, or the batch is
# not smaller.
_ONEDNN_SIZE, _ONEDNN_BATCH = 20480, 16


class _TrainedConvolution(torch.autograd.Function):
    """A convolution by oneDNN whose gradients are computed by oneDNN, too.

    The batch is filled up with zeros until torch considers it large enough.
    """

    @staticmethod
    def forward(
        ctx: Any,
        image: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        padding: list[int],
        stride: list[int],
        dilation: list[int],
        groups: int,
    ) -> Tensor:
        ctx.save_for_backward(image, weight)
        ctx.options = (stride, padding, dilation, False, [0, 0, 0], groups)
        ctx.bias_shape = None if bias is None else list(bias.shape)
        onednn: Any = torch.mkldnn_convolution  # annotated for integers only
        result: Tensor = onednn(image, weight, bias, padding, stride, dilation, groups)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        n = image.shape[0]
        batch = min(_ONEDNN_SIZE // max(1, image[0, ..., 0].numel()) + 1, _ONEDNN_BATCH)
        if batch > n:
            fill = (0, 0) * (image.ndim - 1) + (0, batch - n)
            image, gradient = functional.pad(image, fill), functional.pad(gradient, fill)
        wanted = [*ctx.needs_input_grad[:2], ctx.bias_shape is not None]
        gradients = torch.ops.aten.convolution_backward(
            gradient, image, weight, ctx.bias_shape, *ctx.options, wanted
        )
        of_image, of_weight, of_bias = gradients
        if of_image is not None:
            of_image = of_image[:n]
        return of_image, of_weight, of_bias, None, None, None, None


def fast_convolutions(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Return a context, for the thread that computes, in which convolutions are fast."""
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if device.type == "cpu" and dtype == torch.float32 and available:
        return _OneDnnConvolutions()
    return nullcontext()


class NetworkRunner:
    """A copy of a network in a given precision that can be stopped between its layers.

    The network itself is not changed: other threads may be running it.

    Parameters
    ----------
    network
        Plain network (B, C, *S) → (B, K, *S).
    precision
        Data type and memory format to run it in.
    device
        Where to run it.
    n_dim
        Number of spatial dimensions; a 2-D network takes z as its batch axis.
    should_stop
        Called before each layer.
    """

    def __init__(
        self,
        network: nn.Module,
        precision: Precision,
        device: torch.device,
        n_dim: int,
        should_stop: ShouldStop | None = None,
    ) -> None:
        self.precision = precision
        self.device = device
        self._n_dim = n_dim
        self._format = torch.contiguous_format
        if precision.channels_last:
            self._format = torch.channels_last_3d if n_dim == 3 else torch.channels_last
        if device.type == "cpu":
            keep_freed_blocks()
        self._network = use_fast_mode(copy_module(network, self._converted))
        if should_stop is not None:

            def stop_if_asked(*_: Any) -> None:
                if should_stop():
                    raise Cancelled

            for module in self._network.modules():
                module.register_forward_pre_hook(stop_if_asked)

    def _converted(self, tensor: Tensor) -> Tensor:
        dtype = self.precision.dtype if tensor.is_floating_point() else tensor.dtype
        layout = self._format if tensor.ndim == self._n_dim + 2 else torch.contiguous_format
        return tensor.detach().to(self.device, dtype, memory_format=layout)

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        """(C, D, H, W) float32, on any device → logits (K, D, H, W) on the runner's device."""
        batch = image[None] if self._n_dim == 3 else image.movedim(1, 0)
        batch = batch.to(self.device, self.precision.dtype).contiguous(memory_format=self._format)
        with fast_convolutions(self.device, self.precision.dtype):
            logits: Tensor = self._network(batch)
        return logits[0] if self._n_dim == 3 else logits.movedim(0, 1)


class Runner(Protocol):
    """Runs a network; see `NetworkRunner`."""

    def __call__(self, image: Tensor) -> Tensor:
        """(C, D, H, W) float32 → logits (K, D, H, W)."""


@contextmanager
def network_runner(
    network: nn.Module,
    precision: Precision,
    device: torch.device,
    n_dim: int,
    should_stop: ShouldStop | None = None,
) -> Iterator[Runner]:
    """Return a runner for a context, at whose end its memory is freed.

    Parameters
    ----------
    network, precision, device, n_dim, should_stop
        As in `NetworkRunner`.

    Raises
    ------
    HyperspaceError
        If the precision does not run on this device.
    NotImplementedError
        On the first run, if the library of the precision cannot run the network.
    """
    if precision.library == "torch":
        yield NetworkRunner(network, precision, device, n_dim, should_stop)
        return
    if device.type != "cpu":
        raise HyperspaceError(
            f"the precision {precision.name} runs on CPUs only",
            field="device",
            found=str(device),
            fix="Choose the device cpu, or another precision",
        )
    runner = OpenVinoRunner(network, precision.dtype, n_dim, should_stop)
    try:
        yield runner
    finally:
        runner.close()


def clock(device: torch.device) -> float:
    """Return the time in seconds, after the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message: torch adds a stack trace below it."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
