"""Running a baked network: on which device, in which form, and how to stop it.

A *form* is a number type and a memory format. All forms compute the same function; some are several
times faster on some devices.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from napari_hyperspace.core.cost import prepared
from napari_hyperspace.core.errors import Cancelled, HyperspaceError, HyperspaceWarning

ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class Form:
    """A number type and a memory format to run a network in."""

    name: str
    dtype: torch.dtype
    channels_last: bool


FORMS = {
    form.name: form
    for form in (
        Form("fp32", torch.float32, False),
        Form("fp32-channels-last", torch.float32, True),
        Form("bf16-channels-last", torch.bfloat16, True),
        Form("fp16-channels-last", torch.float16, True),
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


def check_form(name: str) -> None:
    """Refuse a form that does not exist."""
    if name != "auto" and name not in FORMS:
        raise HyperspaceError(
            "no such form", field="form", found=name, expected=", ".join(("auto", *FORMS))
        )


class Runner:
    """A network in a form of its own, that can be stopped between its layers.

    The network given is copied, never changed: others may be running it.

    Parameters
    ----------
    network
        Plain network (B, C, *S) → (B, K, *S).
    form
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
        form: Form,
        device: torch.device,
        n_dim: int,
        should_stop: ShouldStop | None = None,
    ) -> None:
        self.form = form
        self.device = device
        self._n_dim = n_dim
        self._format = torch.contiguous_format
        if form.channels_last:
            self._format = torch.channels_last_3d if n_dim == 3 else torch.channels_last
        self._network = prepared(copy.deepcopy(network)).to(device, form.dtype)
        if form.channels_last:
            self._network = self._network.to(memory_format=self._format)  # type: ignore[call-overload]
        if should_stop is not None:

            def stop_if_asked(*_: Any) -> None:
                if should_stop():
                    raise Cancelled

            for module in self._network.modules():
                module.register_forward_pre_hook(stop_if_asked)

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        """(C, D, H, W) float32, on any device → logits (K, D, H, W) on the runner's device."""
        batch = image[None] if self._n_dim == 3 else image.movedim(1, 0)
        batch = batch.to(self.device, self.form.dtype).contiguous(memory_format=self._format)
        logits: Tensor = self._network(batch)
        return logits[0] if self._n_dim == 3 else logits.movedim(0, 1)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; the rest of torch's is for programmers."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
