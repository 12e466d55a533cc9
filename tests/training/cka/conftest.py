from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from napari_hyperspace.core.intensity import Normalization
from training.data.base import Case
from training.data.decathlon import Decathlon


class LoadRecorder(Decathlon):
    """Records how many cases are read at once."""

    def load(self, names: Sequence[str], normalization: Normalization) -> list[Case]:
        self.loads = [*getattr(self, "loads", []), len(names)]
        return super().load(names, normalization)


@pytest.fixture
def data(make_dataset: Callable[..., Path]) -> LoadRecorder:
    return LoadRecorder(make_dataset(n_cases=9))


@pytest.fixture
def names(data: LoadRecorder) -> list[str]:
    return [case.name for case in data.cases()]
