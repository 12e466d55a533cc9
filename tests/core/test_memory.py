"""Free memory within the limit of a container, and the peak of what a block of code allocates."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from napari_hyperspace.core import memory

CPU = torch.device("cpu")
FREE = 10_000


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make the files that a container's limit is read from; the system has 10 000 bytes free."""
    free = psutil.virtual_memory()._replace(available=FREE)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)

    def make(**files: object) -> None:
        for name, text in files.items():
            (tmp_path / f"memory.{name}").write_text(f"{text}\n", encoding="ascii")

    return make


def test_without_a_container_the_system_counts(container):
    assert memory.container_limit_bytes() is None
    assert memory.available_host_bytes() == memory.available_bytes(CPU) == FREE


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"max": 4000, "current": 1500}, 2500),
        ({"max": 4000, "current": 1500, "stat": "anon 900\ninactive_file 600\nfile 7"}, 3100),
        ({"max": 4000, "current": 1500, "stat": "anon 900"}, 2500),
        ({"max": 4000, "current": 1500, "stat": "inactive_file many"}, 2500),
        ({"max": 4000, "current": 4100}, 0),
        ({"max": 2 * FREE, "current": 0}, FREE),
        ({"max": "max", "current": 1500}, FREE),
        ({"max": 4000}, FREE),
    ],
)
def test_the_limit_of_a_container_counts_if_it_is_lower(container, files, expected):
    container(**files)
    assert memory.available_host_bytes() == expected
    assert memory.available_bytes(CPU) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="others do not limit the address space")
def test_the_limit_of_the_address_space_counts_if_it_is_lower(container, monkeypatch):
    import resource

    mapped = psutil.Process().memory_info().vms
    limit = mapped + FREE // 2
    monkeypatch.setattr(memory.psutil.Process, "memory_info", lambda _: SimpleNamespace(vms=mapped))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, resource.RLIM_INFINITY))
    assert memory.available_host_bytes() == FREE // 2
    monkeypatch.setattr(resource, "getrlimit", lambda _: (mapped - 1, resource.RLIM_INFINITY))
    assert memory.available_host_bytes() == 0


def test_this_machine_has_some_memory_free():
    total = psutil.virtual_memory().total
    assert 0 < memory.available_host_bytes() <= total
    assert 0 < memory.resident_bytes() <= total


def test_the_peak_counts_memory_that_was_freed_again():
    n_bytes = 100 << 20
    with memory.PeakMemory(CPU) as peak:
        block = np.ones(n_bytes, np.uint8)  # written to, so that it is resident
        assert peak.peak_bytes >= 0.9 * n_bytes
        del block
    assert 0.9 * n_bytes <= peak.peak_bytes < 10 * n_bytes


def test_keeping_freed_blocks_allocates_nothing():
    before = memory.resident_bytes()
    memory.keep_freed_blocks()
    assert memory.resident_bytes() - before < memory.MAPPED / 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_has_its_own_memory():
    device = torch.device("cuda")
    free = memory.available_bytes(device)
    assert 0 < free <= torch.cuda.get_device_properties(device).total_memory
    with memory.PeakMemory(device) as peak:
        torch.ones(1 << 20, device=device)
    assert peak.peak_bytes >= 4 << 20
