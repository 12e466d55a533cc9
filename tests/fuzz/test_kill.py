"""A few kills of each command, and that the harness finds a writer that is not atomic."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("lightning_fabric", reason="needs the extra train")
pytest.importorskip("pandas")
if os.name != "posix":
    pytest.skip("without fork, each child takes seconds to start", allow_module_level=True)

from tests.fuzz import kill, kill_targets

SLOWEST = {"compare", "fit-workers"}
"""Left to `make fuzz`."""


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> kill.Campaign:
    monkeypatch.setenv(kill.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return kill.Campaign(12, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(kill.TARGETS.keys() - SLOWEST))
def test_a_killed_command_leaves_whole_files_and_completes(
    campaign: kill.Campaign, name: str
) -> None:
    for index in range(2):
        assert campaign.case(name, index) == []
    assert campaign.outcomes.total() >= 2
    assert campaign.report() == campaign.table()


@pytest.mark.slow
def test_a_writer_that_is_not_atomic_is_found(
    campaign: kill.Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kill.TARGETS, "in-place", kill_targets.FAULTY)
    found = [campaign.case("in-place", index) for index in range(3)]
    assert any("plain.bin is not whole" in each for each in found)
    assert "python -m tests.fuzz.kill --case in-place:12:" in campaign.report()
