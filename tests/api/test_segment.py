"""Labels of a scan, against a float64 oracle that interpolates every channel."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from napari_hyperspace.api.segment import segment, segment_steps
from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.volume import Laterality, Volume
from napari_hyperspace.inference.plan import working_spacing
from tests.models import FakeModel, local_network
from tests.scans import oracle, scan


@pytest.fixture
def model():
    return FakeModel(lambda spacing: local_network())


@pytest.mark.parametrize(
    "spacing_mm",
    [None, (2.0, 1.0, 1.3), (0.7, 0.8, 0.6), (4.0, 3.0, 5.0), (1.0, 1.0, 40.0)],
    ids=["native", "mixed", "finer", "coarser", "one voxel along x"],
)
@pytest.mark.parametrize("tile_shape", [None, (9, 8, 7)], ids=["whole", "tiled"])
def test_labels_equal_those_of_the_oracle(model, spacing_mm, tile_shape):
    volume = scan()
    if tile_shape is not None:  # voxel by voxel, so that borders of tiles change nothing
        model = FakeModel(lambda spacing: local_network(kernel_size=1, seed=3))
    expected, clear = oracle([volume], model, spacing_mm)
    labels = segment(volume, model, spacing_mm, tile_shape=tile_shape, precision="fp32")
    assert labels.dtype == np.uint8
    assert labels.grid == volume.grid
    assert labels.array.flags.c_contiguous
    np.testing.assert_array_equal(labels.array[clear], expected[clear])
    assert clear.mean() > 0.99


def test_tiles_agree_with_the_whole_away_from_their_borders():
    """With a receptive field of 5 voxels and an overlap of 12, only small weights see a border."""
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


def test_wrong_number_of_channels_or_another_grid_is_refused(model):
    with pytest.raises(HyperspaceError, match="wrong number of images") as caught:
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
    network = local_network(n_dim=2)

    class SliceBySlice(nn.Module):
        def forward(self, image):
            return network.to(image.dtype)(image[0].movedim(1, 0)).movedim(0, 1)[None]

    expected, clear = oracle([volume], FakeModel(lambda spacing: SliceBySlice()))
    labels = segment(volume, model, precision="fp32").array
    np.testing.assert_array_equal(labels[clear], expected[clear])
    assert clear.mean() > 0.99
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

    def test_spacing_outside_the_trained_range_is_refused(self, model):
        """Fault 19 of the list of bad inputs."""
        with pytest.raises(HyperspaceError, match="outside the range") as caught:
            segment(scan(), model, (2, 0.5, 9))
        message = str(caught.value)
        assert "2 × 0.5 × 9 mm" in message
        assert "0.8–4 × 0.8–4 × 1–4 mm" in message
        assert "2 × 0.8 × 4 mm" in message

    def test_clamp_uses_the_nearest_trained_spacing(self, model):
        assert working_spacing(scan(), model, (2, 0.5, 9), "clamp") == (2, 0.8, 4)
        segment(scan(), model, (2, 0.5, 9), outside="clamp")
        assert set(model.asked) == {(2, 0.8, 4)}

    def test_extrapolate_uses_the_requested_spacing(self, model):
        assert working_spacing(scan(), model, (2, 0.5, 9), "extrapolate") == (2, 0.5, 9)

    def test_rounding_of_a_header_is_inside_the_range(self, model):
        near = (0.7999999, 4.0000001, 1)
        assert working_spacing(scan(), model, near) == near

    @pytest.mark.parametrize("bad", [(1, 1), (1, 1, 0), (1, 1, np.nan), 3])
    def test_invalid_spacing_is_refused(self, model, bad):
        with pytest.raises(HyperspaceError, match="spacing"):
            segment(scan(), model, bad)

    def test_unknown_rule_is_refused(self, model):
        with pytest.raises(HyperspaceError, match="rule"):
            segment(scan(), model, outside="maybe")


def test_sheared_grid_is_resampled_with_a_warning(model):
    """Fault 17 of the list of bad inputs."""
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 0.5  # each slice is shifted by 0.5 mm along y
    straight = scan((20, 24, 12), (1, 1, 2), order=(0, 1, 2), flips=(1, 1, 1), angle=0)
    volume = Volume(straight.array, Grid((20, 24, 12), affine))
    with pytest.warns(HyperspaceWarning, match="sheared"):
        labels = segment(volume, model)
    assert labels.grid == volume.grid
    assert len(np.unique(labels.array)) == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_with_their_number(model, bad):
    """Fault 22 of the list of bad inputs."""
    volume = scan()
    array = volume.array.copy()
    array[3, 4, 5:8] = bad
    with pytest.raises(HyperspaceError, match=rf"3 of {array.size} voxels"):
        segment(volume.with_array(array), model)


def test_constant_image_gives_labels_and_a_warning(model):
    """Fault 25 of the list of bad inputs."""
    volume = scan()
    with pytest.warns(HyperspaceWarning, match="constant"):
        labels = segment(volume.with_array(np.full(volume.shape, 7, np.int16)), model)
    assert labels.shape == volume.shape


@pytest.mark.parametrize("shape", [(1, 14, 23), (19, 1, 1), (1, 1, 1), (3, 2, 5)])
@pytest.mark.parametrize("spacing_mm", [None, (3, 3, 3), (0.5, 0.5, 0.5)])
def test_scans_of_a_slice_or_a_few_voxels(model, shape, spacing_mm):
    """Fault 27 of the list of bad inputs."""
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


def test_input_is_not_changed_without_normalization(model):
    model.normalization = Normalization("none")
    volume = scan(order=(2, 1, 0), flips=(-1, -1, -1), angle=0)
    before = volume.array.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segment(volume, model)
    np.testing.assert_array_equal(volume.array, before)


def test_memory_does_not_grow_with_the_channels_times_the_native_size():
    """40 channels at native size would be 590 MB; the working grid and the sums are small."""
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
    assert run_to_end(steps).peak_bytes < 250e6
    assert np.prod(shape) * classes * 4 > 580e6
