"""Checksums of the files that contain weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["WeightsDigest", "digest_of"]


class WeightsDigest:
    """BLAKE2b of a header and tensors: of their names, types, shapes and bytes.

    Parameters
    ----------
    header
        The text that is stored with the tensors.
    """

    def __init__(self, header: str) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._add(header.encode())

    def add(self, name: str, tensor: Tensor) -> None:
        """Add a tensor in main memory. The order of tensors matters: sort them by name."""
        self._add(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        self._hash.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)

    def hexdigest(self) -> str:
        """Return the checksum of what was added."""
        return self._hash.hexdigest()

    def _add(self, text: bytes) -> None:
        self._hash.update(len(text).to_bytes(8, "little"))
        self._hash.update(text)


def digest_of(header: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the checksum of a header and its tensors."""
    digest = WeightsDigest(header)
    for name in sorted(tensors):
        digest.add(name, tensors[name])
    return digest.hexdigest()
