"""Scans of a few spacings, and models of physical kernels, in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

pytest.importorskip("lightning_fabric")
pytest.importorskip("monai")

import napari_hyperspace as hs
from napari_hyperspace.nets.model_file import read_card
from tests.training.conftest import config_values
from training.cli.card import describe
from training.config.fit import parse_config
from training.data import open_dataset
from training.data.labels import OUTSIDE
from training.evaluation.measure import Measurer, Settings
from training.evaluation.methods import Method
from training.fit.trainer import fit
from training.sampling.augment import bring_to
from training.sampling.batches import TrainingBatches
from training.sampling.parameters import sample_spacing
from training.seeding import generator

CLUSTERS = [[1, 1, 1], [3, 1, 1], [2, 2, 2]]
NETWORK = {
    "kind": "harmonic-unet",
    "out_channels": 3,
    "multiplicities": [4],
    "kernels": "free",
    "level_spacing_mm": [2],
    "kernel_mm": [3, 6],
    "radial_functions": 2,
    "max_degree": 1,
    "pooling": "average",
}


def clusters(**changes):
    spacing = {"range_mm": [[1, 3], [1, 2], [1, 2]], "clusters_mm": CLUSTERS, **changes}
    return parse_config({**config_values(), "spacing": spacing})


def batches(config, base: Path) -> TrainingBatches:
    dataset = open_dataset(config.data, base)
    names = [case.name for case in dataset.cases()][:4]
    return TrainingBatches(config, dataset.load(names, config.data.normalization.build()))


def test_one_of_the_clusters_is_drawn_for_each_step():
    config = clusters().spacing
    drawn = [sample_spacing(generator(0, "step", step), config) for step in range(60)]
    assert {tuple(spacing) for spacing in drawn} == {tuple(map(float, c)) for c in CLUSTERS}


def test_images_of_clusters_can_be_brought_to_one_spacing(dataset: Path):
    config = clusters(range_mm=[[1, 1]] * 3, resampled_mm=[1, 1, 1])
    for step in range(6):
        made, acquired = batches(config, dataset.parent), batches(clusters(), dataset.parent)
        batch, before = made[step], acquired[step]
        assert batch.spacing_mm == (1, 1, 1)
        shape = np.array(before.image.shape[2:]) * before.spacing_mm
        np.testing.assert_array_equal(batch.image.shape[2:], shape)
        assert batch.labels.shape[1:] == batch.image.shape[2:]
        if before.spacing_mm == (1, 1, 1):
            torch.testing.assert_close(batch.image, before.image)


def test_bringing_to_a_spacing_keeps_the_field_of_view():
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 3, (4, 6, 5)).astype(np.int16))
    labels[0, 0, 0] = OUTSIDE
    z, y, x = np.indices((4, 6, 5))
    image = torch.from_numpy((2.0 * z + y - 0.5 * x).astype(np.float32))[None]
    brought, nearest = bring_to(image, labels, (3, 1, 2), (1, 1, 1))
    assert nearest.shape == (12, 6, 10)
    np.testing.assert_array_equal(nearest, np.kron(labels, np.ones((3, 1, 2))))
    # A cubic kernel keeps what is linear, away from the borders.
    places = np.stack(
        [(np.indices((12, 6, 10))[i] + 0.5) / f - 0.5 for i, f in enumerate((3, 1, 2))]
    )
    exact = ndimage.map_coordinates(image[0].numpy(), places, order=1, mode="nearest")
    inside = (slice(6, 6), slice(1, 5), slice(4, 6))
    np.testing.assert_allclose(brought[0][inside], exact[inside], atol=1e-4)
    np.testing.assert_allclose(brought[0, 5:7, 2, 4:6], exact[5:7, 2, 4:6], atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"range_mm": [[1, 1]] * 3}, "does not hold"),
        ({"clusters_mm": [], "resampled_mm": [1, 1, 1]}, "what is resampled"),
        ({"resampled_mm": [0.5, 1, 1]}, "does not hold"),
    ],
)
def test_the_range_is_what_the_network_meets(changes, words):
    with pytest.raises(hs.HyperspaceError, match=words):
        clusters(**changes)


def test_networks_and_factories_must_fit():
    with pytest.raises(hs.HyperspaceError, match="go together"):
        parse_config({**config_values(), "network": NETWORK})


def test_a_model_of_physical_kernels_is_trained_evaluated_and_used(dataset: Path):
    values = config_values(training__steps=40, optimizer__warm_up_steps=4)
    values |= {"network": NETWORK, "factory": {"kind": "physical-kernels", "voxels": "integrated"}}
    values["validation"] = {"every_steps": 40, "report_spacings_mm": [[1, 1, 1], [2, 2, 2]]}
    out = dataset.parent / "physical"
    report = fit(parse_config(values), dataset.parent, out)
    assert report is not None
    assert report["mean_dice"] > 0.05
    text = (out / "report.md").read_text()
    assert "physical-kernels factory, free kernels in mm, features: 4 of degree 0." in text
    assert "free kernels in mm" in describe(read_card(out / "model.safetensors"))
    model = hs.load_model(out / "model.safetensors")
    config = parse_config(values)
    meter = Measurer(open_dataset(config.data, dataset.parent), Settings("cpu"))
    method = Method("RA", str(out / "model.safetensors"), "extrapolate")
    case = next(iter(open_dataset(config.data, dataset.parent).cases())).name
    for spacing in ((1.0, 1.0, 1.0), (0.5, 1.5, 2.0)):
        rows = meter.measure(case, spacing, [method])
        assert {row.model for row in rows} == {"RA"}
    assert model.network((1.0, 1.0, 1.0)) is not model.network((2.0, 1.0, 1.0))
