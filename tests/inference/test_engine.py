"""A run continues with less memory, on the CPU or in fp32 where an attempt fails."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from torch import nn

from napari_hyperspace.api.segment import segment, segment_steps
from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.progress import run_to_end
from tests.models import FakeModel, local_network
from tests.scans import scan


@pytest.fixture
def model():
    return FakeModel(lambda spacing: local_network())


def exhausted_above(voxels, calls):
    """A network that runs out of memory unless tiles are small."""

    class Hungry(nn.Module):
        def forward(self, image):
            if not image.is_meta:
                calls.append(tuple(image.shape[2:]))
            if image[0, 0].numel() > voxels:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")
            return torch.cat([image, -image, image * 0], dim=1)

    return Hungry()


def test_out_of_memory_takes_smaller_tiles():
    """Fault 55 of the list of bad inputs."""
    calls = []
    volume = scan((32, 32, 32), (1, 1, 1), order=(0, 1, 2), flips=(1, 1, 1), angle=0)
    labels = segment(volume, FakeModel(lambda s: exhausted_above(16**3, calls)), precision="fp32")
    assert calls[0] == (32, 32, 32)
    assert set(calls[1:]) == {(16, 16, 16)}
    array = volume.array.astype(np.float64)
    z_score = (array - array.mean()) / array.std()
    clear = abs(z_score) > 1e-5  # the sign is that of the image, but for the rounding of its mean
    np.testing.assert_array_equal(labels.array[clear], (z_score < 0)[clear])
    assert clear.mean() > 0.99


def test_not_enough_memory_for_any_tile_is_an_error():
    """Fault 55 of the list of bad inputs, where nothing fits."""
    with pytest.raises(HyperspaceError, match="CUDA out of memory") as caught:
        segment(scan(), FakeModel(lambda s: exhausted_above(0, [])))
    assert "coarser" in str(caught.value)
    assert "\nmore" not in str(caught.value)


def test_other_runtime_errors_are_raised():
    class Broken(nn.Module):
        def forward(self, image):
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        segment(scan(), FakeModel(lambda s: Broken()))


def test_network_whose_output_is_nan_is_refused():
    """Fault 50 of the list of bad inputs."""

    class Nan(nn.Module):
        def forward(self, image):
            return image.expand(-1, 3, -1, -1, -1) * float("nan")

    with pytest.raises(HyperspaceError, match="not finite"):
        segment(scan(), FakeModel(lambda s: Nan()), precision="fp32")


def test_overflow_in_a_short_type_is_run_again_in_fp32():
    class Large(nn.Module):
        def forward(self, image):
            big = image * 1e30 * 1e30 if image.dtype != torch.float32 else image
            return torch.cat([big, -image, image * 0], dim=1)

    model = FakeModel(lambda s: Large())
    result = run_to_end(segment_steps(scan(), model, precision="bf16-channels-last"))
    assert result.precision == "fp32-channels-last"


def test_unavailable_device_is_replaced_by_the_cpu_with_a_warning(model):
    """Fault 59 of the list of bad inputs."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.warns(HyperspaceWarning, match="computing on the CPU") as caught:
        labels = segment(scan(), model, device="cuda", precision="fp32")
    assert len(caught) == 1
    expected = segment(scan(), model, precision="fp32").array
    np.testing.assert_array_equal(labels.array, expected)


def test_lost_device_is_replaced_by_the_cpu_with_a_warning(model, monkeypatch):
    """Fault 58. The meta device stands for a GPU: it fails as soon as values are needed."""
    monkeypatch.setattr(
        "napari_hyperspace.api.one_pass.choose_device", lambda device: torch.device("meta")
    )
    with pytest.warns(HyperspaceWarning, match="meta failed .*computing on the CPU"):
        labels = segment(scan(), model, precision="fp32")
    monkeypatch.undo()
    np.testing.assert_array_equal(labels.array, segment(scan(), model, precision="fp32").array)


def test_unknown_device_and_precision_are_refused(model):
    with pytest.raises(HyperspaceError, match="device"):
        segment(scan(), model, device="abacus")
    with pytest.raises(HyperspaceError, match="precision"):
        segment(scan(), model, precision="fp8")


@pytest.mark.parametrize(
    ("exhausted", "precision"),
    [(True, "fp32"), (False, "bf16-channels-last")],
    ids=["out of memory", "overflow in a short type"],
)
def test_memory_of_a_failed_attempt_is_freed_before_the_next(exhausted, precision):
    made: list[weakref.ref] = []
    alive: list[bool] = []

    class Failing(nn.Module):
        def forward(self, image):
            if image.is_meta:
                return image.expand(-1, 3, -1, -1, -1)
            alive.extend(each() is not None for each in made)
            maps = image.expand(-1, 3, -1, -1, -1).clone()
            if not made:
                made.extend((weakref.ref(maps), weakref.ref(self)))
                if exhausted:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                maps = maps.mul_(float("inf"))
            return maps

    model = FakeModel(lambda spacing: Failing())
    messages = [step.message for step in segment_steps(scan(), model, precision=precision)]
    assert any(message.startswith("trying again (") for message in messages)
    assert alive and not any(alive)


def test_the_set_up_of_a_first_run_is_a_step_of_its_own(model):
    """It may take longer than all tiles, and a second run at this spacing skips it."""
    setting_up = [
        [step.message for step in segment_steps(scan(), model) if "set-up" in step.message]
        for _ in range(2)
    ]
    assert setting_up == [["set-up: finding the fastest precision, once"], []]
