"""The mutation driver: a fixed number of cases of every target, and that it finds faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("lightning_fabric")
pytest.importorskip("monai")

from tests.fuzz.__main__ import run_case
from tests.fuzz.case import digest
from tests.fuzz.child import Child
from tests.fuzz.driver import Campaign
from tests.fuzz.faults import FAULTS
from tests.fuzz.targets import TARGETS, target_type

SEED = 20240707
# Fewer of those that take longer than a few milliseconds each.
CASES = {
    **dict.fromkeys(("hostile-model", "configuration", "table", "rates"), range(80)),
    "import-checkpoint": range(3),
    # Without the undamaged commands that train, evaluate and import.
    "command-line": [*range(9), *range(13, 28)],
}
_CASES = 120


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with Child() as started:
        yield started


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found_in_the_first_cases(target: str, child: Child, tmp_path: Path) -> None:
    campaign = Campaign(SEED, [target], keep=tmp_path / "kept", report=lambda _: None)
    tally = campaign.run_cases(target, CASES.get(target, range(_CASES)), child)
    assert not campaign.found, "\n".join(map(str, campaign.distinct()))
    assert tally.refused, "no case was refused"
    assert tally.accepted or target_type(target).sound_is_refused, "no case was accepted"


@pytest.mark.parametrize("target", TARGETS)
def test_a_case_is_a_function_of_target_seed_and_index(target: str, child: Child) -> None:
    """Also in another process, so that a finding can be repeated."""
    here = target_type(target)()
    here.prepare()
    for index in (0, here.n_sound, here.n_sound + 1, here.n_sound + 2):
        case = here.case(SEED, index)
        assert child.describe(target, SEED, index) == digest(case)
    assert digest(here.case(SEED + 1, index)) != digest(case)


@pytest.fixture(scope="module")
def short() -> Iterator[Child]:
    """A child with a limit that is reached at once."""
    with Child(cpu_s=0.5) as started:
        yield started


def test_the_driver_finds_a_case_that_waits() -> None:
    with Child(blocked_s=2.0) as child:
        answer = child.run("fault: blocked", SEED, 1)
    assert (answer["outcome"], answer["kind"]) == ("finding", "blocked")


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "fault: blocked"])
def test_the_driver_finds_each_kind_of_fault(name: str, short: Child, tmp_path: Path) -> None:
    campaign = Campaign(SEED, [name], keep=tmp_path / "kept", report=lambda _: None)
    tally = campaign.run_cases(name, (0, 1), short)
    assert (tally.accepted, tally.findings) == (1, 1)
    (found,) = campaign.found
    expected = {"left in tmp": "left behind", "exit": "undeclared"}
    kind = name.removeprefix("fault: ")
    assert found.kind == expected.get(kind, kind)
    assert found.command == f"python -m tests.fuzz --case '{name}:{SEED}:1'"
    assert (tmp_path / "kept" / f"{name}-{SEED}-1" / "files" / "a.txt").exists()
    assert f"| {name} | 2 | 0 | 1 | 1 |" in campaign.table()


def test_the_program_repeats_a_case_and_ends_with_its_status(
    short: Child, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_case(f"nrrd:{SEED}:0", tmp_path, short) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "accepted"
    assert (tmp_path / f"nrrd-{SEED}-0" / "files" / "scan.nrrd").exists()
    assert run_case(f"fault: wrong:{SEED}:1", tmp_path, short) == 1
    assert json.loads(capsys.readouterr().out)["kind"] == "wrong"


def test_the_security_page_has_the_counts_of_every_target() -> None:
    page = Path(__file__).parents[2] / "SECURITY.md"
    if not page.exists():
        pytest.skip("not a checkout")
    text = page.read_text(encoding="utf-8")
    for target in TARGETS:
        assert f"\n| {target} | " in text, target
