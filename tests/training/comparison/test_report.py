"""Reports: pages, figures and numbers, and those in docs/results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.training.comparison.conftest import (
    run_compare,
)
from training.comparison.config import load_comparison
from training.comparison.page import block
from training.comparison.report import SUMMARY, read_summary, report_blocks, report_figures

CONFIGS = Path(__file__).parents[3] / "training" / "configs"


def test_the_page_shows_every_table_and_figure(finished: Path) -> None:
    page = (finished / "runs" / "report.md").read_text()
    assert "# tiny run\n" in page and "## All" in page and "## One" in page
    assert "| HS-1 | done | 3 |" in page
    assert "| Dice, working grid | HS | AS | FS | FSNR | HS MaxRes |" in page
    assert "HS against AS, outside" in page
    for stem in ("main-1", "main-2", "one-1"):
        assert f"](report/{stem}.png)" in page
        assert (finished / "runs" / "report" / f"{stem}.png").stat().st_size < 60_000


def test_a_second_call_trains_and_measures_nothing(finished: Path) -> None:
    report, summary = (finished / "runs" / name for name in ("report.md", "report/summary.json.gz"))
    before = report.read_text(), summary.read_bytes()
    report.write_text(report.read_text().replace("# tiny run\n", "# My words\n\nAnd more.\n"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.evaluation.measure.Measurer.measure", None)
        patch.setattr("training.fit.trainer.fit", None)
        assert run_compare(finished / "compare.yaml", "--out", finished / "runs").exit_code == 0
    words = "# My words\n\nAnd more.\n"
    assert report.read_text() == before[0].replace("# tiny run\n", words)
    assert summary.read_bytes() == before[1]


@pytest.mark.parametrize("name", ["comparison", "ranks", "work", "clusters", "physical"])
def test_published_pages_show_the_published_numbers(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CONFIGS.parents[1])
    section = load_comparison(CONFIGS / f"hippocampus-{name}.yaml").section
    assert section.report is not None
    page = Path(section.report)
    folder = page.with_suffix("")
    summary = read_summary(folder / SUMMARY)
    text = page.read_text(encoding="utf-8")
    blocks = report_blocks(section, summary, folder)
    shown = [key for key in blocks if block(key, "").splitlines()[0] in text]
    assert "runs" in shown and len(shown) > 5
    assert [key for key in shown if block(key, blocks[key]) not in text] == []
    figures = {path.name for path in report_figures(section, summary, folder)}
    assert {path.name for path in folder.iterdir()} == {SUMMARY, *figures}


def test_results_are_small_and_their_links_resolve() -> None:
    folder = CONFIGS.parents[1] / "docs" / "results"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2e6
    for page in folder.glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert "://" in link or (page.parent / link).exists(), (page.name, link)
