"""Sizes that cannot work are refused before anything is allocated."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from tests.training.conftest import config_values
from training.config.fit import parse_config
from training.sampling import sizes

CASE = SimpleNamespace(grid=Grid.from_spacing((15, 12, 13), (1.0, 1.5, 1.25)))
HARMONIC = {
    "network": {
        "kind": "harmonic-unet",
        "multiplicities": [2],
        "kernels": "free",
        "level_spacing_mm": [2.5],
        "kernel_mm": [4.0, 8.0],
        "out_channels": 3,
    },
    "factory": {"kind": "physical-kernels"},
}


def check(**changes):
    sizes.check_sizes(parse_config(config_values(**changes)), [CASE], [CASE])


def ranges(low, high):
    return [[low, high]] * 3


@pytest.fixture(autouse=True)
def memory(monkeypatch):
    monkeypatch.setattr(sizes, "total_host_bytes", lambda: 16 << 30)


def test_small_runs_pass():
    check()
    check(**HARMONIC)
    check(spacing__range_mm=ranges(1.0, 900.0))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"spacing__range_mm": ranges(1e-6, 2.0)}, "spacing.range_mm"),
        ({"spacing__range_mm": ranges(0.01, 2.0), **HARMONIC}, "spacing.range_mm"),
        ({"validation__spacings_mm": [[1.5] * 3, [1e-6] * 3]}, "validation.spacings_mm"),
        ({"validation__spacings_mm": [[0.005] * 3]}, "validation.spacings_mm"),
        ({"validation__report_spacings_mm": [[0.005] * 3]}, "validation.report_spacings_mm"),
        (
            {
                "spacing__range_mm": ranges(0.9, 1000.0),
                "spacing__clusters_mm": [[999.0] * 3],
                "spacing__resampled_mm": [0.95] * 3,
                "training__batch_size": 64,
            },
            "spacing.resampled_mm",
        ),
        (
            {
                "spacing__range_mm": ranges(0.005, 2.0),
                "training__patch_shape": [1 << 20] * 3,
            },
            "training.patch_shape, training.batch_size",
        ),
    ],
)
def test_sizes_that_cannot_work_are_refused_with_key_and_fix(changes, field):
    with pytest.raises(HyperspaceError) as caught:
        check(**changes)
    assert caught.value.field == field
    assert caught.value.fix
    assert caught.value.expected


def test_patches_limit_what_is_needed():
    check(spacing__range_mm=ranges(0.005, 2.0), training__patch_shape=[96] * 3)
    check(
        spacing__range_mm=ranges(0.005, 2.0),
        training__patch_shape=[1 << 20] * 3,
        training__patch_mm=1.0,
    )
