"""The record that a segmentation leaves with its labels: it is enough to repeat it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_hyperspace import __version__
from napari_hyperspace.api.segment import segment, segment_steps
from napari_hyperspace.core.labels.postprocess import postprocess
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.volume import PostprocessingOptions, digest_of_labels
from napari_hyperspace.inference import execution
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.nets.base.localization import Localization
from tests.models import FakeModel, local_network
from tests.scans import scan


@pytest.fixture
def model():
    return FakeModel(lambda spacing: local_network(), trained_range_mm=((0.8, 3.0),) * 3)


def options_of(record):
    return InferenceOptions(
        device=record.device,
        outside=record.outside,
        tile_shape=record.tile_shape,
        overlap=record.overlap,
        precision=record.precision,
        allow_implausible=record.allow_implausible,
        localization_precision=record.localization_precision or None,
    )


def assert_repeatable(labels, volume, model):
    record = labels.metadata["record"]
    again = segment(volume, model, record.spacing_mm, options_of(record))
    np.testing.assert_array_equal(again.array, labels.array)
    kept = {"seconds": 0.0, "peak_bytes": 0}
    assert replace(again.metadata["record"], **kept) == replace(record, **kept)


def test_a_record_says_what_was_used_and_repeats_the_labels(model):
    volume = scan()
    labels = segment(volume, model, (9.0, 1.0, 1.3), outside="clamp", tile_shape=(9, 8, 7))
    record = labels.metadata["record"]
    assert record.model == "fake"
    assert record.model_digest == model.digest
    assert record.spacing_mm == (3.0, 1.0, 1.3)  # clamped
    assert record.precision != "auto"
    assert record.localization_precision == ""
    assert record.device == "cpu"
    assert (record.outside, record.tile_shape) == ("clamp", (9, 8, 7))
    assert record.labels_digest == digest_of_labels(labels.array)
    assert record.program_version == __version__
    assert record.torch_version == torch.__version__
    assert record.seconds > 0
    assert_repeatable(labels, volume, model)


def test_the_scans_own_spacing_is_recorded_bit_for_bit():
    model = FakeModel(lambda spacing: local_network())
    volume = scan()
    labels = segment(volume, model)
    assert labels.metadata["record"].spacing_mm == volume.grid.canonical().spacing_mm
    assert_repeatable(labels, volume, model)


def test_the_precision_of_the_first_pass_is_recorded_and_can_be_given():
    model = FakeModel(
        lambda spacing: local_network(),
        localization=Localization(4.0, 2.0, (20.0, 20.0, 20.0)),
    )
    volume = scan()
    labels = segment(volume, model, precision="fp32", localization_precision="bf16-channels-last")
    record = labels.metadata["record"]
    assert (record.precision, record.localization_precision) == ("fp32", "bf16-channels-last")
    assert record.labels_digest == digest_of_labels(labels.array)
    assert_repeatable(labels, volume, model)


def test_the_tiles_of_a_second_attempt_are_recorded(model, monkeypatch):
    real, calls = execution.NetworkRunner.__call__, itertools.count()

    def once_out_of_memory(self, image):
        if next(calls) == 0:
            raise torch.OutOfMemoryError("no memory")
        return real(self, image)

    volume = scan()
    monkeypatch.setattr(execution.NetworkRunner, "__call__", once_out_of_memory)
    labels = segment(volume, model, (1.0, 1.0, 1.0), precision="fp32")
    monkeypatch.undo()
    assert labels.metadata["record"].tile_shape is not None
    assert_repeatable(labels, volume, model)


def test_postprocessing_completes_the_record(model):
    volume = scan()
    result = run_to_end(segment_steps(volume, model, (1.0, 1.0, 1.0)))
    record = result.labels.metadata["record"]
    assert (record.seconds, record.peak_bytes) == (result.seconds, result.peak_bytes)
    cleaned = postprocess(result.labels, largest_component=True)
    cleaned = postprocess(cleaned, fill_holes_mm3=20.0)
    assert cleaned.metadata["record"] == replace(
        record,
        postprocessing=(
            PostprocessingOptions(largest_component=True),
            PostprocessingOptions(fill_holes_mm3=20.0),
        ),
        labels_digest=digest_of_labels(cleaned.array),
    )


def test_the_digest_of_labels_is_that_of_shape_and_values():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    digest = digest_of_labels(array)
    assert digest == digest_of_labels(array.astype(np.int64))
    assert digest == digest_of_labels(np.asfortranarray(array).astype(">u2"))
    assert digest != digest_of_labels(array.reshape(4, 3, 2))
    assert digest != digest_of_labels(array + 1)
    assert digest_of_labels(np.zeros((0, 1, 1), np.uint8))
