"""Run every benchmark: ``python -m benchmarks [--json FILE] [--repeats N] [NAME …]``."""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import torch

from benchmarks import bake, cancel, engine, estimate, harmonic

BENCHMARKS = ("bake", "harmonic", "engine", "estimate", "cancel")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    given = parser.parse_args()
    unknown = set(given.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    names = given.names or BENCHMARKS
    figures: dict[str, object] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"
    }
    print(figures["machine"], flush=True)
    if "bake" in names:
        print("\nMaking a network's weights", flush=True)
        figures["bake"] = bake.run()
        print(bake.table(figures["bake"]))
    if "harmonic" in names:
        print("\nKernels in mm, realized once", flush=True)
        figures["harmonic"] = harmonic.run(given.repeats)
        print(harmonic.table(figures["harmonic"]))
    if "engine" in names:
        print("\nThe engine against MONAI's sliding window", flush=True)
        figures["engine"] = engine.run(given.repeats)
    if "estimate" in names:
        print("\nPredicted / measured", flush=True)
        rows = estimate.run(given.repeats)
        figures["estimate"] = {"cases": rows, **estimate.summary(rows)}
        print(
            "median error: time {median_time_error:.0%}, memory {median_memory_error:.0%}, "
            "over {cases} cases".format(**estimate.summary(rows))
        )
    if "cancel" in names:
        print("\nFrom cancelling to the end of a run", flush=True)
        figures["cancel"] = cancel.run(given.repeats)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
