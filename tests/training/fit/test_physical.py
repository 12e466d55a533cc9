"""Training a model of physical kernels."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("lightning_fabric")
pytest.importorskip("monai")

import napari_hyperspace as hs
from napari_hyperspace.nets.model_file import read_card
from tests.training.conftest import config_values
from training.cli.card import describe
from training.config.fit import parse_config
from training.data import open_dataset
from training.evaluation.measure import Measurer, Settings
from training.evaluation.methods import Method
from training.fit.trainer import fit

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


def test_a_network_and_its_factory_must_fit() -> None:
    with pytest.raises(hs.HyperspaceError, match="go together"):
        parse_config({**config_values(), "network": NETWORK})


def test_a_model_of_physical_kernels_is_trained_evaluated_and_used(dataset: Path) -> None:
    values = config_values(training__steps=40, optimizer__warm_up_steps=4)
    values |= {"network": NETWORK, "factory": {"kind": "physical-kernels", "voxels": "integrated"}}
    values["validation"] = {"every_steps": 40, "report_spacings_mm": [[1, 1, 1], [2, 2, 2]]}
    out = dataset.parent / "physical"
    report = fit(parse_config(values), dataset.parent, out)
    assert report is not None
    assert report["mean_dice"] > 0.3
    text = (out / "report.md").read_text()
    assert "physical-kernels factory, free kernels in mm, features: 4 of degree 0." in text
    assert "free kernels in mm" in describe(read_card(out / "model.safetensors"))
    model = hs.load_model(out / "model.safetensors")
    config = parse_config(values)
    measurer = Measurer(open_dataset(config.data, dataset.parent), Settings("cpu"))
    method = Method("RA", str(out / "model.safetensors"), "extrapolate")
    case = next(iter(open_dataset(config.data, dataset.parent).cases())).name
    for spacing in ((1.0, 1.0, 1.0), (0.5, 1.5, 2.0)):
        rows = measurer.measure(case, spacing, [method])
        assert {row.model for row in rows} == {"RA"}
    assert model.network((1.0, 1.0, 1.0)) is not model.network((2.0, 1.0, 1.0))
