"""Measure the class-conditional model: answers to strokes, coarse masks, memory.

    python -m benchmarks.interaction [--model M] [--only strokes coarse memory]

A simulated user corrects held-out cases, from nothing and from the result of the model `brain`, and
plain methods get the same strokes. Results are written after each case, so that an interrupted run
leaves what it has measured. The same seed gives the same cases and the same strokes.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import napari_hyperspace as hs
from benchmarks.interaction import memory, report
from benchmarks.interaction.cases import (
    LOOP_STRUCTURES,
    REAL_HEADS,
    SYNTHETIC_MAPS,
    Labeled,
    hippocampi,
    loop_cases,
    real_heads,
    synthetic_heads,
)
from benchmarks.interaction.coarse import coarse_rows
from benchmarks.interaction.loop import Answer, Case, interact, replay
from benchmarks.interaction.methods import Fronts, Painting, RandomWalker, Refinement
from napari_hyperspace.core.files import write_text

PARTS = ("strokes", "coarse", "memory")
HEADS = (*REAL_HEADS, *SYNTHETIC_MAPS)


def main() -> None:
    """Run the parts that were asked for, and write a JSON file and a page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.interaction",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="refine", help="name or file of the model")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--cases", type=int, default=20, help="number of real hippocampi")
    parser.add_argument("--more", type=int, default=20, help="of these, with other ways to ask")
    parser.add_argument("--heads", nargs="*", choices=HEADS, default=HEADS, help="which heads")
    parser.add_argument(
        "--structures", nargs="+", choices=LOOP_STRUCTURES, default=LOOP_STRUCTURES, help="of heads"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of cases and synthetic images")
    parser.add_argument("--threads", type=int, help="threads of torch; default: its own")
    parser.add_argument("--json", type=Path, default=Path("docs/results/refine/summary.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/results/refine.md"))
    parser.add_argument("--page-only", action="store_true", help="write the page from the JSON")
    given = parser.parse_args()
    if not given.page_only:
        measure(given)
    report.write_page(json.loads(given.json.read_text(encoding="utf-8")), given.page)


def measure(given: argparse.Namespace) -> None:
    """Measure, and write the results after each case."""
    if given.threads:
        torch.set_num_threads(given.threads)
    model = hs.load_model(given.model)
    results: dict[str, Any] = {"interaction": [], "coarse": [], "memory": []}
    if given.json.exists():
        results |= json.loads(given.json.read_text(encoding="utf-8"))
    results |= {
        "model_digest": model.digest,
        "model_steps": model.card.training.get("steps"),
        "seed": given.seed,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}",
    }

    def save() -> None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        write_text(given.json, json.dumps(results, separators=(",", ":")) + "\n")

    for part, key in (("strokes", "interaction"), ("coarse", "coarse"), ("memory", "memory")):
        if part in given.only:
            results[key] = []
    brain = hs.load_model("brain")
    for source in _sources(given) if {"strokes", "coarse"} & set(given.only) else ():
        if "strokes" in given.only:
            for row in _strokes(source, model, brain, given):
                results["interaction"].append(row)
                save()
        if "coarse" in given.only:
            rows = [asdict(row) for row in coarse_rows(source, model)]
            results["coarse"] += rows
            save()
    if "memory" in given.only:
        results["memory"] = memory.run(given.model)
        save()


def _sources(given: argparse.Namespace) -> Iterator[Labeled]:
    yield from hippocampi(given.cases, given.seed)
    yield from real_heads([name for name in REAL_HEADS if name in given.heads])
    yield from synthetic_heads(
        [name for name in SYNTHETIC_MAPS if name in given.heads], seed=given.seed
    )


def _strokes(
    source: Labeled, model: hs.Model, brain: hs.Model, given: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Yield a row per structure, scenario and method."""
    walker, fresh, handed = RandomWalker(), Refinement(model), Refinement(model, hand_back=True)
    for case in loop_cases(source, given.structures):
        answers, strokes = interact(case, fresh)
        yield _row(case, "nothing", "model", answers)
        yield _row(case, "nothing", "fronts alone", interact(case, Fronts())[0])
        if source.group == "hippocampus MR" and given.more > 0:
            given.more -= 1
            yield _row(case, "nothing", "model, answers handed back", interact(case, handed)[0])
        same = replay(case, walker, strokes)
        yield _row(case, "nothing", "random walker, same strokes", same)
        own = interact(case, walker)[0]
        yield _row(case, "nothing", "random walker, its own strokes", own)
        yield _row(case, "nothing", "strokes alone", replay(case, Painting(), strokes))
    if source.group == "hippocampus MR":
        return  # `brain` needs more of the head than these scans show
    for case in loop_cases(source, given.structures, brain):
        answers, strokes = interact(case, handed)
        yield _row(case, "brain", "model", answers)
        same = replay(case, walker, strokes)
        yield _row(case, "brain", "random walker, same strokes", same)
        yield _row(case, "brain", "strokes alone", replay(case, Painting(), strokes))


def _row(case: Case, scenario: str, method: str, answers: list[Answer]) -> dict[str, Any]:
    row = {
        "scenario": scenario,
        "group": case.group,
        "name": case.name,
        "structure": case.structure,
        "held_out": case.held_out,
        "method": method,
        "answers": [asdict(answer) for answer in answers],
    }
    shown = ", ".join(f"{answer.strokes}: {answer.dice:.3f}" for answer in answers)
    print(f"{scenario:8} {case.name:18} {case.structure:12} {method:32} {shown}", flush=True)
    return row


if __name__ == "__main__":
    main()
