"""Run the property tests with fresh random examples for a given time.

    python -m tests.fuzz --seconds 600
    python -m tests.fuzz --seed 12345      # one round, with a seed that was printed before

Each round runs every hypothesis test once with its own seed, which is printed. A failure ends the
search; its example then becomes an ``@example`` of the test that found it.
"""

from __future__ import annotations

import argparse
import secrets
import subprocess
import sys
import time

COMMAND = (
    *(sys.executable, "-m", "pytest", "-q", "-x", "-m", "hypothesis", "-p", "no:cacheprovider"),
    "--hypothesis-profile=fuzz",
)


def run(seed: int, tests: list[str]) -> int:
    """Run one round; return pytest's exit code."""
    print(f"fuzz: seed {seed}", flush=True)
    return subprocess.run([*COMMAND, f"--hypothesis-seed={seed}", *tests], check=False).returncode


def main() -> int:
    """Run rounds until the time is over or a test fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="time for all rounds")
    parser.add_argument("--seed", type=int, help="run one round with this seed")
    parser.add_argument("tests", nargs="*", default=["tests"], help="files or folders to search")
    options = parser.parse_args()
    if options.seed is not None:
        return run(options.seed, options.tests)
    started, rounds = time.monotonic(), 0
    while time.monotonic() - started < options.seconds:
        seed = secrets.randbits(32)
        code = run(seed, options.tests)
        if code:
            print(
                f"fuzz: failed with seed {seed}; repeat it with "
                f"`python -m tests.fuzz --seed {seed}`, add the example to the test as @example"
            )
            return code
        rounds += 1
    print(f"fuzz: {rounds} rounds without a failure")
    return 0


if __name__ == "__main__":
    sys.exit(main())
