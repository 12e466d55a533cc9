"""The engine from scan to labels, against an oracle that interpolates every channel."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import nn

from napari_hyperspace.api.segment import segment, segment_steps
from napari_hyperspace.core.errors import Cancelled, HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.resample import resample_to_grid
from napari_hyperspace.core.volume import Laterality, Volume
from napari_hyperspace.inference.plan import working_spacing
from tests.models import FakeModel, local_network


def rotated_affine(spacing_mm, order=(2, 0, 1), flips=(1, -1, -1), angle=0.2):
    """An oblique affine whose array axes are permuted and flipped."""
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.eye(3)[:, list(order)] * flips * spacing_mm
    affine[:3, 3] = (-31.5, 12.25, 7)
    return affine


def scan(shape=(19, 14, 23), spacing_mm=(1.1, 2.3, 0.9), seed=0, **how):
    noise = np.random.default_rng(seed).standard_normal(shape)
    image = (100 + 40 * gaussian_filter(noise, 1)).astype(np.float32)
    return Volume(
        image, Grid(shape, rotated_affine(spacing_mm, **how)), "scan", {"path": "scan.nii"}
    )


def oracle(volumes, model, spacing_mm=None):
    """Whole volume, all channels at native size, by scipy; labels in the file's own order."""
    canonical = [v.canonical() for v in volumes]
    native = canonical[0].grid
    working = native.with_spacing(spacing_mm or native.spacing_mm)
    inputs = [
        resample_to_grid(
            v.with_array((v.array - v.array.mean(dtype=float)) / v.array.std(dtype=float)), working
        ).array
        for v in canonical
    ]
    with torch.no_grad():
        logits = model.network(working.spacing_mm)(torch.tensor(np.array(inputs))[None].float())[0]
    index = np.stack(np.meshgrid(*map(np.arange, native.shape), indexing="ij"), axis=-1)
    at = np.moveaxis(working.mm_to_index(native.index_to_mm(index)), -1, 0)
    full = [map_coordinates(c.double().numpy(), at, order=1, mode="nearest") for c in logits]
    labels = np.array(model.label_values)[np.argmax(full, axis=0)]
    ordered = np.sort(full, axis=0)
    orientation = volumes[0].grid.orientation
    return orientation.from_canonical(labels), orientation.from_canonical(
        ordered[-1] - ordered[-2] > 1e-4
    )


@pytest.fixture
def model():
    return FakeModel(lambda spacing: local_network())


@pytest.mark.parametrize(
    "spacing_mm",
    [None, (2.0, 1.0, 1.3), (0.7, 0.8, 0.6), (4.0, 3.0, 5.0), (1.0, 1.0, 40.0)],
    ids=["native", "mixed", "finer", "coarser", "one voxel along x"],
)
@pytest.mark.parametrize("tile_shape", [None, (9, 8, 7)], ids=["whole", "tiled"])
def test_labels_are_those_of_the_oracle(model, spacing_mm, tile_shape):
    volume = scan()
    if tile_shape is not None:  # without a receptive field, a tile's border changes nothing
        model = FakeModel(lambda spacing: local_network(kernel_size=1, seed=3))
    expected, clear = oracle([volume], model, spacing_mm)
    labels = segment(volume, model, spacing_mm, tile_shape=tile_shape, precision="fp32")
    assert labels.dtype == np.uint8
    assert labels.grid == volume.grid
    assert labels.array.flags.c_contiguous
    np.testing.assert_array_equal(labels.array[clear], expected[clear])
    assert clear.mean() > 0.99


def test_tiles_agree_with_the_whole_away_from_their_borders():
    """A receptive field of 5 voxels inside an overlap of 12: only faint weights see a border."""
    volume = scan((40, 24, 30), (1, 1, 1), order=(0, 1, 2), flips=(1, 1, 1), angle=0)
    model = FakeModel(lambda spacing: local_network())
    whole = segment(volume, model, precision="fp32").array
    tiled = segment(volume, model, precision="fp32", tile_shape=(24, 16, 24), overlap=0.5).array
    assert (whole != tiled).mean() < 5e-3


def test_label_values_names_and_metadata(model):
    model.label_values = (0, 205, 600)
    model.label_names = {205: "a", 600: "b"}
    model.label_colors = {205: "#010203", 600: "#040506"}
    model.label_sides = {205: Laterality("left", "c"), 600: Laterality("right", "c")}
    volume = scan()
    labels = segment(volume, model)
    assert labels.dtype == np.uint16
    assert set(np.unique(labels.array)) <= {0, 205, 600}
    assert labels.metadata["label_names"] == {205: "a", 600: "b"}
    assert labels.metadata["label_colors"] == {205: "#010203", 600: "#040506"}
    assert labels.metadata["label_sides"] == model.label_sides
    assert labels.metadata["path"] == "scan.nii"
    np.testing.assert_array_equal(labels.affine, volume.affine)


def test_several_channels_on_one_grid():
    model = FakeModel(lambda spacing: local_network(channels=2), in_channels=2)
    volumes = [scan(seed=0), scan(seed=1)]
    expected, clear = oracle(volumes, model, (1.5, 1.4, 2))
    labels = segment(volumes, model, (1.5, 1.4, 2), precision="fp32").array
    np.testing.assert_array_equal(labels[clear], expected[clear])
    swapped = segment(volumes[::-1], model, (1.5, 1.4, 2), precision="fp32").array
    assert (swapped != labels).any()


def test_channels_of_other_number_or_grid_are_refused(model):
    with pytest.raises(HyperspaceError, match="another number of images") as caught:
        segment([scan(), scan()], model)
    assert (caught.value.found, caught.value.expected) == (2, 1)
    model.in_channels = 2
    other = scan(spacing_mm=(1.1, 2.3, 1.0))
    with pytest.raises(HyperspaceError, match="mm apart"):
        segment([scan(), other], model)


def test_two_dimensional_model_runs_slice_by_slice():
    model = FakeModel(lambda spacing: local_network(n_dim=2), n_dim=2)
    volume = scan((11, 14, 23), (1.1, 2.3, 0.9), order=(2, 1, 0), flips=(-1, -1, -1), angle=0)
    assert volume.grid.canonical().affine == pytest.approx(volume.affine)
    z_scored = (volume.array - volume.array.mean(dtype=float)) / volume.array.std(dtype=float)
    network = model.network((2.3, 0.9))
    expected = np.stack(
        [network(torch.tensor(s, dtype=torch.float32)[None, None])[0].argmax(0) for s in z_scored]
    )
    np.testing.assert_array_equal(segment(volume, model, precision="fp32").array, expected)
    assert model.asked[-1] == pytest.approx((2.3, 0.9))
    segment(volume, model, (1.5, 1.5), tile_shape=(8, 8))
    assert model.asked[-1] == (1.5, 1.5)


def test_network_is_asked_for_the_canonical_spacing(model):
    segment(scan(spacing_mm=(1.1, 2.3, 0.9)), model)
    assert set(model.asked) == {model.asked[0]}
    assert model.asked[0] == pytest.approx((1.1, 0.9, 2.3))  # array axes run along z, x, y


class TestSpacing:
    @pytest.fixture
    def model(self):
        return FakeModel(
            lambda spacing: local_network(), trained_range_mm=((0.8, 4), (0.8, 4), (1, 4))
        )

    def test_own_spacing_by_default(self, model):
        volume = scan(spacing_mm=(1.5, 2.5, 3.5))
        assert working_spacing(volume, model) == pytest.approx((1.5, 3.5, 2.5))
        assert working_spacing(volume.grid, model) == working_spacing(volume, model)

    def test_fault_19_outside_of_the_trained_range_is_refused(self, model):
        with pytest.raises(HyperspaceError, match="outside the range") as caught:
            segment(scan(), model, (2, 0.5, 9))
        message = str(caught.value)
        assert "2 × 0.5 × 9 mm" in message
        assert "0.8–4 × 0.8–4 × 1–4 mm" in message
        assert "2 × 0.8 × 4 mm" in message

    def test_clamp_goes_to_the_nearest_trained_spacing(self, model):
        assert working_spacing(scan(), model, (2, 0.5, 9), "clamp") == (2, 0.8, 4)
        segment(scan(), model, (2, 0.5, 9), outside="clamp")
        assert set(model.asked) == {(2, 0.8, 4)}

    def test_extrapolate_stays(self, model):
        assert working_spacing(scan(), model, (2, 0.5, 9), "extrapolate") == (2, 0.5, 9)

    def test_rounding_of_a_header_is_inside(self, model):
        near = (0.7999999, 4.0000001, 1)
        assert working_spacing(scan(), model, near) == near

    @pytest.mark.parametrize("bad", [(1, 1), (1, 1, 0), (1, 1, np.nan), 3])
    def test_what_is_no_spacing_is_refused(self, model, bad):
        with pytest.raises(HyperspaceError, match="spacing"):
            segment(scan(), model, bad)

    def test_unknown_rule_is_refused(self, model):
        with pytest.raises(HyperspaceError, match="rule"):
            segment(scan(), model, outside="maybe")


def test_fault_17_sheared_grid_is_resampled_on_purpose(model):
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 0.5  # each slice lies half a millimetre further along y
    straight = scan((20, 24, 12), (1, 1, 2), order=(0, 1, 2), flips=(1, 1, 1), angle=0)
    volume = Volume(straight.array, Grid((20, 24, 12), affine))
    with pytest.warns(HyperspaceWarning, match="sheared"):
        labels = segment(volume, model)
    assert labels.grid == volume.grid
    assert len(np.unique(labels.array)) == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_fault_22_values_not_finite_are_counted(model, bad):
    volume = scan()
    array = volume.array.copy()
    array[3, 4, 5:8] = bad
    with pytest.raises(HyperspaceError, match=rf"3 of {array.size} voxels"):
        segment(volume.with_array(array), model)


def test_fault_25_constant_image_gives_labels_and_a_warning(model):
    volume = scan()
    with pytest.warns(HyperspaceWarning, match="constant"):
        labels = segment(volume.with_array(np.full(volume.shape, 7, np.int16)), model)
    assert labels.shape == volume.shape


@pytest.mark.parametrize("shape", [(1, 14, 23), (19, 1, 1), (1, 1, 1), (3, 2, 5)])
@pytest.mark.parametrize("spacing_mm", [None, (3, 3, 3), (0.5, 0.5, 0.5)])
def test_fault_27_slices_and_crumbs(model, shape, spacing_mm):
    volume = scan(shape)
    if volume.array.size == 1:
        with pytest.warns(HyperspaceWarning, match="constant"):
            assert segment(volume, model, spacing_mm).shape == shape
        return
    expected, clear = oracle([volume], model, spacing_mm)
    labels = segment(volume, model, spacing_mm, precision="fp32").array
    np.testing.assert_array_equal(labels[clear], expected[clear])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, ">i2", np.uint16, np.float64, bool])
def test_any_real_type_gives_the_same_labels(model, dtype):
    volume = scan()
    whole = np.round(volume.array).clip(0, 255)
    if dtype is bool:
        whole = whole > 100
    array = whole.astype(dtype)
    labels = segment(volume.with_array(array), model).array
    expected = segment(volume.with_array(array.astype(np.float32)), model).array
    np.testing.assert_array_equal(labels, expected)


def test_input_is_untouched_without_normalization(model):
    model.normalization = Normalization("none")
    volume = scan(order=(2, 1, 0), flips=(-1, -1, -1), angle=0)
    before = volume.array.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segment(volume, model)
    np.testing.assert_array_equal(volume.array, before)


class TestStopping:
    def test_stops_between_tiles(self, model):
        stop = threading.Event()
        steps = segment_steps(scan(), model, tile_shape=(8, 8, 8), should_stop=stop.is_set)
        messages = []
        with pytest.raises(Cancelled):
            for step in steps:
                messages.append(step.message)
                if step.message.startswith("tile 3"):
                    stop.set()
        assert messages[-1].startswith("tile 3 of ")

    def test_stops_while_the_image_is_prepared(self):
        stop = threading.Event()
        normalized = []

        class Slow(Normalization):
            def apply(self, array):
                normalized.append(array)
                stop.set()
                return super().apply(array)

        model = FakeModel(
            lambda s: local_network(channels=2), in_channels=2, normalization=Slow("none")
        )
        with pytest.raises(Cancelled):
            list(segment_steps([scan(), scan()], model, should_stop=stop.is_set))
        assert len(normalized) == 1

    def test_stops_between_layers(self):
        stop = threading.Event()
        reached = []

        class Recorder(nn.Module):
            def __init__(self, then_stop=False):
                super().__init__()
                self.then_stop = then_stop

            def forward(self, image):
                if not image.is_meta:  # counted, not run
                    reached.append(self.then_stop)
                if self.then_stop and not image.is_meta:
                    stop.set()
                return image.expand(-1, 3, -1, -1, -1)

            def __deepcopy__(self, memo):
                return type(self)(self.then_stop)

        network = nn.Sequential(Recorder(), Recorder(then_stop=True), Recorder(), Recorder())
        with pytest.raises(Cancelled):
            list(segment_steps(scan(), FakeModel(lambda s: network), should_stop=stop.is_set))
        assert reached == [False, True]

    def test_hooks_stay_out_of_the_shared_network(self):
        network = local_network()
        segment(scan(), FakeModel(lambda s: network))
        list(segment_steps(scan(), FakeModel(lambda s: network), should_stop=lambda: False))
        assert not any(module._forward_pre_hooks for module in network.modules())

    def test_progress_rises_to_the_end(self, model):
        steps = segment_steps(scan(), model, tile_shape=(8, 8, 8))
        fractions = []
        try:
            while True:
                fractions.append(next(steps).fraction)
        except StopIteration as end:
            result = end.value
        assert fractions == sorted(fractions)
        assert fractions[0] == 0
        assert 0.9 < fractions[-1] <= 1
        assert result.seconds > result.bake_seconds > 0
        assert result.device == "cpu"
        assert result.spacing_mm == pytest.approx((1.1, 0.9, 2.3))
        assert result.peak_bytes is None or result.peak_bytes >= 0


def exhausted_above(voxels, calls):
    """A network that a device's memory holds only in small tiles."""

    class Hungry(nn.Module):
        def forward(self, image):
            if not image.is_meta:
                calls.append(tuple(image.shape[2:]))
            if image[0, 0].numel() > voxels:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")
            return torch.cat([image, -image, image * 0], dim=1)

    return Hungry()


def test_fault_55_out_of_memory_takes_smaller_tiles():
    calls = []
    volume = scan((32, 32, 32), (1, 1, 1), order=(0, 1, 2), flips=(1, 1, 1), angle=0)
    labels = segment(volume, FakeModel(lambda s: exhausted_above(16**3, calls)), precision="fp32")
    assert calls[0] == (32, 32, 32)
    assert set(calls[1:]) == {(16, 16, 16)}
    z_score = (volume.canonical().array - volume.array.mean()) / volume.array.std()
    expected = np.where(z_score >= 0, 0, 1)
    assert (volume.canonical().with_array(expected).array == labels.canonical().array).all()


def test_fault_55_when_nothing_fits_says_so():
    with pytest.raises(HyperspaceError, match="CUDA out of memory") as caught:
        segment(scan(), FakeModel(lambda s: exhausted_above(0, [])))
    assert "coarser" in str(caught.value)
    assert "\nmore" not in str(caught.value)


def test_other_runtime_errors_are_not_taken_for_lack_of_memory():
    class Broken(nn.Module):
        def forward(self, image):
            raise RuntimeError("a fault of our own")

    with pytest.raises(RuntimeError, match="fault of our own"):
        segment(scan(), FakeModel(lambda s: Broken()))


def test_fault_50_network_that_gives_nan_is_refused():
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

    steps = segment_steps(scan(), FakeModel(lambda s: Large()), precision="bf16-channels-last")
    try:
        while True:
            next(steps)
    except StopIteration as end:
        assert end.value.precision == "fp32-channels-last"


def test_fault_59_missing_device_becomes_the_cpu_and_says_so(model):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.warns(HyperspaceWarning, match="computing on the CPU"):
        labels = segment(scan(), model, device="cuda")
    np.testing.assert_array_equal(labels.array, segment(scan(), model).array)


def test_fault_58_lost_device_becomes_the_cpu_and_says_so(model, monkeypatch):
    """The meta device stands in for a GPU: everything on it fails as soon as values are wanted."""
    monkeypatch.setattr(
        "napari_hyperspace.api.segment.choose_device", lambda device: torch.device("meta")
    )
    with pytest.warns(HyperspaceWarning, match="meta failed .*computing on the CPU"):
        labels = segment(scan(), model, precision="fp32")
    monkeypatch.undo()
    np.testing.assert_array_equal(labels.array, segment(scan(), model, precision="fp32").array)


def test_unknown_device_and_form_are_refused(model):
    with pytest.raises(HyperspaceError, match="device"):
        segment(scan(), model, device="abacus")
    with pytest.raises(HyperspaceError, match="precision"):
        segment(scan(), model, precision="fp8")


def test_memory_does_not_grow_with_the_channels_times_the_native_size():
    """40 channels at native size would be 590 MB; working grid and slab stay small."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("resident memory is read from /proc")
    classes = 40
    model = FakeModel(
        lambda s: nn.Conv3d(1, classes, 1), out_channels=classes, label_values=tuple(range(classes))
    )
    shape = (144, 160, 160)
    ramp = np.indices(shape).sum(axis=0).astype(np.uint8)
    volume = Volume(ramp, Grid.from_spacing(shape, (1, 1, 1)))
    steps = segment_steps(volume, model, (4, 4, 4), tile_shape=(16, 16, 16))
    try:
        while True:
            next(steps)
    except StopIteration as end:
        assert end.value.peak_bytes < 250e6
        assert np.prod(shape) * classes * 4 > 580e6


def test_threads_do_not_disturb_each_other(model):
    expected = segment(scan(), model, (2, 1, 1.3)).array
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(segment(scan(), model, (2, 1, 1.3)).array))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for labels in results:
        np.testing.assert_array_equal(labels, expected)


def test_no_global_state_is_left_behind(model):
    before = torch.get_num_threads(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    for _ in segment_steps(scan(), model, tile_shape=(8, 8, 8)):
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()
    assert before == (
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
    )
