"""Data sets, labels and cases in configurations and on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.intensity import Normalization
from tests.training import layouts
from tests.training.conftest import config_values
from training.config.data import NNUNetSection, load_data_section
from training.config.fit import parse_config
from training.data import ADAPTERS, dataset_at, open_dataset
from training.data.decathlon import Decathlon
from training.data.nnunet import NNUNet
from training.data.published import Brats, Spider

NONE = Normalization("none")


def test_problems_of_excluded_cases_are_ignored(tmp_path: Path) -> None:
    layouts.nnunet(tmp_path)
    (tmp_path / "labelsTr/la_000.nii.gz").unlink()
    data = NNUNet(tmp_path, NNUNetSection(folder="", exclude=["*_000"]))
    assert [case.name for case in data.cases()] == ["la_001", "la_002"]


def _section(tmp_path: Path, **data: object) -> Path:
    path = tmp_path / "data.yaml"
    path.write_text(yaml.safe_dump({"data": data}))
    return path


def test_labels_of_a_layout_can_be_configured(tmp_path: Path) -> None:
    layouts.brats(tmp_path / "brats")
    path = _section(
        tmp_path, kind="brats", folder="brats", labels={1: "1-4", 0: []}, names={1: "whole tumour"}
    )
    data = dataset_at(path)
    assert data.label_names == {1: "whole tumour"}
    assert np.bincount(data.load(["BraTS2021_00000"], NONE)[0].labels.flatten())[1] == 3 + 4 + 5


def test_label_values_need_ids_and_names(tmp_path: Path) -> None:
    layouts.brats(tmp_path / "brats")
    path = _section(tmp_path, kind="brats", folder="brats", labels={1: [1, 4], 2: [2]})
    with pytest.raises(HyperspaceError, match=r"ids of \[1, 2\], names of \[1\]"):
        dataset_at(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"kind": "brats", "folder": "a", "labels": {1: [1, 4], 0: 4}}, r"more than once: \[4\]"),
        ({"kind": "brats", "folder": "a", "labels": {1: "9-4"}}, "first id of a span"),
        ({"kind": "brats", "folder": "a", "ignore": [-3]}, r"data\.ignore"),
        ({"kind": "spider", "folder": "a", "contrast": "t1"}, "did you mean contrasts"),
        ({"kind": "bratz", "folder": "a"}, "bratz"),
        ({"folder": "a", "sparse": "oblique"}, r"data\.sparse"),
    ],
)
def test_invalid_sections_are_refused(tmp_path: Path, data: dict[str, object], words: str) -> None:
    with pytest.raises(HyperspaceError, match=words):
        load_data_section(_section(tmp_path, **data))


def test_missing_sections_and_unknown_layouts_are_refused(tmp_path: Path) -> None:
    """Fault 52 of the list of bad inputs."""
    (tmp_path / "x.yaml").write_text("name: a\n")
    with pytest.raises(HyperspaceError, match="not describe a data set"):
        dataset_at(tmp_path / "x.yaml")
    (tmp_path / "empty").mkdir()
    with pytest.raises(HyperspaceError, match="bids-lesion"):
        dataset_at(tmp_path / "empty")
    with pytest.raises(HyperspaceError, match="does not exist"):
        Brats(tmp_path / "nothing")


def test_a_run_can_use_any_layout(tmp_path: Path, dataset: Path) -> None:
    layouts.spider(tmp_path / "spines")
    config = parse_config(config_values(data={"kind": "spider", "folder": "spines"}))
    assert isinstance(open_dataset(config.data, tmp_path), Spider)
    plain = json.loads(json.dumps(config.model_dump(mode="json")))
    assert parse_config(plain) == config
    plain = parse_config(config_values())
    assert isinstance(open_dataset(plain.data, tmp_path), Decathlon)
    assert isinstance(dataset_at(dataset), Decathlon)


def test_the_documented_sections_are_valid(tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "data-sets.md"
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    kinds = []
    for block in blocks:
        (tmp_path / "data.yaml").write_text(block)
        kinds.append(load_data_section(tmp_path / "data.yaml")[0].kind)
    assert kinds == ["brats", "pairs", "nnunet"]
    for adapter in ADAPTERS:
        assert f"| `{adapter.section_type(folder='').kind}`" in text
