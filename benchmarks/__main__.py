"""Run all benchmarks: ``python -m benchmarks [--json FILE] [--repeats N] [NAME …]``."""

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
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--repeats", type=int, default=3, help="runs per case")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    given = parser.parse_args()
    unknown = set(given.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"unknown benchmark: {', '.join(sorted(unknown))}")
    names = given.names or BENCHMARKS
    results: dict[str, object] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"
    }
    print(results["machine"], flush=True)
    if "bake" in names:
        print("\nMaking the weights of a network", flush=True)
        results["bake"] = weights = bake.run()
        print(bake.table(weights))
    if "harmonic" in names:
        print("\nKernels in mm, sampled once per spacing", flush=True)
        results["harmonic"] = networks = harmonic.run()
        print(harmonic.table(networks))
    if "engine" in names:
        print("\nThe engine compared with MONAI's sliding window", flush=True)
        results["engine"] = engine.run(given.repeats)
    if "estimate" in names:
        print("\nEstimated / measured", flush=True)
        rows = estimate.run(given.repeats)
        results["estimate"] = {"rows": rows, **estimate.summary(rows)}
        print(estimate.summary_text(rows))
    if "cancel" in names:
        print("\nTime from cancelling a run to its end", flush=True)
        results["cancel"] = cancel.run(given.repeats)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
