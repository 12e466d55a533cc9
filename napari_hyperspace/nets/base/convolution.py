"""Convolution with a workaround for wrong bfloat16 gradients on CPUs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_THIN = 3  # voxels; measured: gradients of maps of 3 voxels and more along every axis are correct


def convolve(conv: nn.Module, image: Tensor) -> Tensor:
    """Apply a convolution: (B, C, *S) → (B, C', *S').

    Thin maps are convolved in float32 where autocast asks for bfloat16: for the gradient of the
    weights torch (2.13, oneDNN) then reads uninitialized memory on CPUs, and with strides writes
    out of bounds. Gradients are not finite, or the process crashes. Maps smaller than the kernel
    count as thin.
    """
    result: Tensor
    # Sizes are compared last: torch.export would restrict them to those of its example.
    if (
        torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and image.device.type == "cpu"
        and min(image.shape[2:]) < max((_THIN, *getattr(conv, "kernel_size", ())))
    ):
        with torch.autocast("cpu", enabled=False):
            result = conv(image.float())
    else:
        result = conv(image)
    return result
