from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.conftest import write_dataset


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an uninterrupted run with the configuration of `config_values`."""
    pytest.importorskip("lightning_fabric")
    pytest.importorskip("monai")
    from tests.training.fit.runs import train

    base = tmp_path_factory.mktemp("unbroken")
    write_dataset(base / "tiny")
    train(base)
    return base / "run"
