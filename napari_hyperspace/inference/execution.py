"""Running a baked network: on which device, in which precision, and how to stop it.

A *precision* is a number type and a memory format. All precisions compute the same function; some
are several times faster on some devices.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from napari_hyperspace.core.errors import Cancelled, HyperspaceError, HyperspaceWarning, ShouldStop
from napari_hyperspace.core.memory import keep_freed_blocks
from napari_hyperspace.nets.base.modules import copied, prepared


@dataclass(frozen=True)
class Precision:
    """A number type and a memory format to run a network in."""

    name: str
    dtype: torch.dtype
    channels_last: bool


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("fp32", torch.float32, False),
        Precision("fp32-channels-last", torch.float32, True),
        Precision("bf16-channels-last", torch.bfloat16, True),
        Precision("fp16-channels-last", torch.float16, True),
    )
}


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Return the device to compute on; `None`: CUDA where there is one, else the CPU.

    A device that is not there becomes the CPU, with a `HyperspaceWarning`.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise HyperspaceError("no such kind of device", field="device", found=device) from error
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        warnings.warn(
            f"device {wanted} cannot be used ({first_line(error)}): computing on the CPU",
            HyperspaceWarning,
            stacklevel=3,
        )
        return torch.device("cpu")
    return wanted


def check_precision(name: str) -> None:
    """Refuse a precision that does not exist."""
    if name != "auto" and name not in PRECISIONS:
        raise HyperspaceError(
            "no such precision",
            field="precision",
            found=name,
            expected=", ".join(("auto", *PRECISIONS)),
        )


class _OneDnnConvolutions(TorchFunctionMode):
    """Sends fp32 3-D convolutions to oneDNN, in this thread and while it is entered.

    Left to itself, torch judges their size without the last axis and computes all but large ones
    by a general method (``slow_conv3d``): up to 18 times slower, with 27 times the memory.
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
    onednn: Any = torch.mkldnn_convolution  # typed for integers alone
    result: Tensor = onednn(image, weight, bias, *three, groups)
    return result


def fast_convolutions(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Return what to enter, in the thread that computes, for convolutions to be fast."""
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if device.type == "cpu" and dtype == torch.float32 and available:
        return _OneDnnConvolutions()
    return nullcontext()


class NetworkRunner:
    """A network in a precision of its own, that can be stopped between its layers.

    The network given is copied, never changed: others may be running it.

    Parameters
    ----------
    network
        Plain network (B, C, *S) → (B, K, *S).
    precision
        How to run it.
    device
        Where.
    n_dim
        Its spatial dimensions; a 2-D network takes z for its batch.
    should_stop
        Asked before every layer.
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
        self._network = prepared(copied(network, self._converted))
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


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; the rest of torch's is for programmers."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
