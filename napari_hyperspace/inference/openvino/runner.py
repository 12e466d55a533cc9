"""Run a baked network with OpenVINO; a run can be canceled within a network."""

from __future__ import annotations

import importlib.util
import threading
import weakref
from collections import OrderedDict
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from napari_hyperspace.core.errors import Cancelled, ShouldStop
from napari_hyperspace.inference.openvino.graph import openvino_graph

if TYPE_CHECKING:
    import openvino

__all__ = ["OpenVinoRunner", "is_available"]

_POLL_MS = 5
_MOST_COMPILED = 4  # each holds a copy of the weights
_HINTS = {torch.float32: "f32", torch.bfloat16: "bf16"}

_Key = tuple[int, tuple[int, ...], torch.dtype, int]
_compiled: OrderedDict[_Key, tuple[weakref.ref[nn.Module], openvino.CompiledModel]] = OrderedDict()
_LOCK = threading.Lock()


@cache
def is_available() -> bool:
    """Return whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


class OpenVinoRunner:
    """A network compiled by OpenVINO, which can be stopped within a run.

    The network is compiled for each shape of the image, which takes some tenths of a second, and
    kept for later runs. Memory for maps is freed when the runner is closed.

    Parameters
    ----------
    network
        Plain network (B, C, *S) → (B, K, *S) on the CPU, in eval mode.
    dtype
        Type of maps and products, float32 or bfloat16.
    n_dim
        Number of spatial dimensions; a 2-D network takes z as its batch axis.
    should_stop
        Called every few milliseconds.
    """

    def __init__(
        self,
        network: nn.Module,
        dtype: torch.dtype,
        n_dim: int,
        should_stop: ShouldStop | None = None,
    ) -> None:
        self._network = network
        self._dtype = dtype
        self._n_dim = n_dim
        self._should_stop = should_stop or (lambda: False)
        self._used: list[openvino.CompiledModel] = []

    def __call__(self, image: Tensor) -> Tensor:
        """(C, D, H, W) float32 → logits (K, D, H, W) float32.

        Raises
        ------
        Cancelled
            Once ``should_stop`` returns true.
        NotImplementedError
            If OpenVINO cannot run the network.
        """
        import openvino

        batch = image[None] if self._n_dim == 3 else image.movedim(1, 0)
        values = np.ascontiguousarray(batch.detach().cpu().numpy(), np.float32)
        compiled = _compile(self._network, values.shape, self._dtype)
        if compiled not in self._used:
            self._used.append(compiled)
        logits = np.empty(tuple(compiled.output(0).shape), np.float32)
        request = compiled.create_infer_request()
        request.set_input_tensor(openvino.Tensor(values, shared_memory=True))
        request.set_output_tensor(openvino.Tensor(logits, shared_memory=True))
        request.start_async()
        while not request.wait_for(_POLL_MS):
            if self._should_stop():
                request.cancel()
                _wait(request)
                raise Cancelled
        result = torch.from_numpy(logits)
        return result[0] if self._n_dim == 3 else result.movedim(0, 1)

    def close(self) -> None:
        """Free the memory for maps; the compiled network is kept."""
        for compiled in self._used:
            compiled.release_memory()
        self._used.clear()


def _wait(request: openvino.InferRequest) -> None:
    """Wait until a canceled request has ended: until then it writes to our arrays."""
    try:
        request.wait()
    except RuntimeError:  # it was canceled
        return


def _compile(
    network: nn.Module, shape: tuple[int, ...], dtype: torch.dtype
) -> openvino.CompiledModel:
    """Return the compiled network, a kept one if there is one."""
    threads = torch.get_num_threads()
    key = (id(network), shape, dtype, threads)
    with _LOCK:
        reference, compiled = _compiled.get(key, (None, None))
        if compiled is None or reference is None or reference() is not network:
            options = {
                "INFERENCE_PRECISION_HINT": _HINTS[dtype],
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
            }
            graph = openvino_graph(network, shape)
            try:
                compiled = _core().compile_model(graph, "CPU", options)
            except RuntimeError as error:  # not for this processor
                raise NotImplementedError(f"OpenVINO cannot compile the network: {error}") from None
            _compiled[key] = weakref.ref(network), compiled
            while len(_compiled) > _MOST_COMPILED:
                _compiled.popitem(last=False)
        _compiled.move_to_end(key)
        return compiled


@cache
def _core() -> openvino.Core:
    import openvino

    return openvino.Core()
