"""Convolution in training, around a fault of bfloat16 on processors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_THIN = 3  # voxels; measured: maps of 3 voxels and more along every axis are right


def convolve(conv: nn.Module, image: Tensor) -> Tensor:
    """Apply a convolution: (B, C, *S) → (B, C', *S').

    On thin maps autocast to bfloat16 is left for float32. There the weights' gradient that torch
    (2.13, oneDNN) computes on a processor reads memory that was never written, and with strides
    writes beyond its own: gradients that are not finite at best, a crash at worst. Kernels larger
    than the map count as the same.
    """
    result: Tensor
    least = max((_THIN, *getattr(conv, "kernel_size", ())))
    thin = image.device.type == "cpu" and min(image.shape[2:]) < least
    if thin and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            result = conv(image.float())
    else:
        result = conv(image)
    return result
