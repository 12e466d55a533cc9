"""Convert the tensors of a pickled checkpoint into a safetensors file, in a process of its own.

Run as a script by `napari_hyperspace.nets.import_checkpoint`, isolated from the environment
(``python -I``): ``unpickle.py IN.pt OUT.safetensors FOLDER...`` with the folders to import from.
Nothing of this package is imported.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_NESTED = ("model", "state_dict", "model_state_dict")
_CPU_S = 600
_OUTPUT = 2  # size of the tensors relative to the file's
_MEMORY = 8  # memory relative to the file's size
_MARGIN = 4 << 30  # bytes


def tensors_of(loaded: object) -> dict[str, torch.Tensor]:
    """Return the state dict in the contents of a checkpoint."""
    import torch

    for key in _NESTED:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not loaded:
        raise SystemExit("it contains no state dict")
    for name, tensor in loaded.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise SystemExit(f"{name!r} is a {type(tensor).__name__}, not a tensor")
    return {name: tensor.detach().clone().contiguous() for name, tensor in loaded.items()}


def limit_resources(n_bytes: int) -> None:
    """Limit time, memory and output for a file of this size, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    import psutil

    mapped = psutil.Process().memory_info().vms
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, _CPU_S),
        (resource.RLIMIT_FSIZE, _OUTPUT * n_bytes + _MARGIN),
        (resource.RLIMIT_AS, mapped + _MEMORY * n_bytes + _MARGIN),
    ):
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        with contextlib.suppress(OSError, ValueError):  # not every system has every limit
            resource.setrlimit(kind, (limit, hard))


def main(source: str, target: str) -> None:
    """Convert one file."""
    import torch
    from safetensors.torch import save_file

    limit_resources(os.path.getsize(source))
    try:
        loaded = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds; the words are for the user
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            raise SystemExit(f"it contains {refused[1]}, which is not a tensor") from None
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SystemExit(f"it is not a checkpoint of PyTorch: {lines[0]}") from None
    save_file(tensors_of(loaded), target)


if __name__ == "__main__":
    sys.path += sys.argv[3:]
    main(*sys.argv[1:3])
