"""Run the property tests with fresh random examples, and the mutation driver, for a given time.

    python -m tests.fuzz --seconds 600
    python -m tests.fuzz --seed 12345 tests/io    # with a seed that was printed before
    python -m tests.fuzz --mutations --targets nrrd mha --cases 1000
    python -m tests.fuzz --case nrrd:12345:678 --keep FOLDER

The first three tenths of the time are for the property tests: each round runs every hypothesis test
once with its own seed, which is printed. A failure ends the search; its example then becomes an
``@example`` of the test that found it. Two tenths are for `tests.fuzz.kill`, which kills commands
while they write. In the rest of the time, files and arguments are damaged at
random and given to the program in a child process. A case depends on its target, the seed and its
number alone. A finding is an error that the program does not declare, a crash, a warning or output
of a library, a case over a limit of time or memory, a file that is left behind or changed, and a
result that cannot be right.

The exit status is 1 if there is a finding, or the status of pytest if a property test fails.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz import limits
from tests.fuzz.child import Child
from tests.fuzz.driver import Campaign
from tests.fuzz.targets import TARGETS

COMMAND = (
    *(sys.executable, "-m", "pytest", "-q", "-x", "-m", "hypothesis", "-p", "no:cacheprovider"),
    "--hypothesis-profile=fuzz",
)
_PROPERTIES_SHARE = 0.3
_KILLS_SHARE = 0.2


def say(text: str) -> None:
    """Print on stderr; stdout is for the result."""
    print(text, file=sys.stderr, flush=True)


def properties(seed: int, tests: list[str]) -> int:
    """Run one round of the property tests; return pytest's exit code."""
    say(f"fuzz: property tests with seed {seed}")
    command = [*COMMAND, f"--hypothesis-seed={seed}", *tests]
    return subprocess.run(command, check=False, stdout=sys.stderr).returncode


def search_properties(seconds: float, seed: int | None, tests: list[str]) -> tuple[int, int]:
    """Run rounds until the time is over or a test fails; return how many, and the exit code."""
    started, rounds = time.monotonic(), 0
    while not rounds or (seed is None and time.monotonic() - started < seconds):
        drawn = secrets.randbits(32) if seed is None else seed
        code = properties(drawn, tests)
        if code:
            say(
                f"fuzz: failed with seed {drawn}; repeat it with `python -m tests.fuzz "
                f"--properties --seed {drawn}`, add the example to the test as @example"
            )
            return rounds, code
        rounds += 1
    return rounds, 0


def search_kills(seconds: float, seed: int) -> int:
    """Kill commands for a time; return the exit status."""
    command = [sys.executable, "-m", "tests.fuzz.kill", "--seed", str(seed)]
    return subprocess.run(
        [*command, "--seconds", str(seconds)], check=False, stdout=sys.stderr
    ).returncode


def run_case(text: str, keep: Path | None, child: Child) -> int:
    """Run one case, given as TARGET:SEED:INDEX; return the exit status."""
    target, seed, index = text.rsplit(":", 2)
    campaign = Campaign(int(seed), [target], keep, report=lambda _: None)
    answer = child.run(target, int(seed), int(index))
    print(json.dumps(answer, indent=1, ensure_ascii=False))
    if keep is not None:
        campaign.keep_files(child, f"{target}-{seed}-{index}")
    return int(answer["outcome"] == "finding")


def main() -> int:
    """Search as the options say; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=600, help="time for everything")
    parser.add_argument("--seed", type=int, help="one round, and cases, with this seed")
    parser.add_argument("--properties", action="store_true", help="only the property tests")
    parser.add_argument("--mutations", action="store_true", help="only the mutation driver")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, metavar="TARGET", default=None)
    parser.add_argument("--cases", type=int, help="so many cases of each target, without a limit")
    parser.add_argument("--case", help="run one case again: TARGET:SEED:INDEX")
    parser.add_argument("--keep", type=Path, help="folder for the files of findings")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("tests", nargs="*", default=["tests"], help="property tests to search")
    options = parser.parse_args()
    if options.case:
        with Child() as child:
            return run_case(options.case, options.keep, child)
    rounds, code, started = 0, 0, time.monotonic()
    if not options.mutations:
        share = 1.0 if options.properties else _PROPERTIES_SHARE
        rounds, code = search_properties(options.seconds * share, options.seed, options.tests)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    everything = not (options.properties or options.mutations or options.targets or code)
    killed = search_kills(options.seconds * _KILLS_SHARE, seed) if everything else 0
    campaign = Campaign(seed, options.targets or list(TARGETS), options.keep, report=say)
    if not options.properties and not code:
        say(
            f"fuzz: mutations with seed {seed}; limits of a case: {limits.CPU_S:g} s of processor "
            f"time, {limits.MEMORY_BYTES >> 20} MB"
        )
        if options.cases is not None:
            with Child() as child:
                for name in campaign.targets:
                    campaign.run_cases(name, range(options.cases), child)
        else:
            campaign.run_for(options.seconds - (time.monotonic() - started))
    result = {
        "property_rounds": rounds,
        "property_status": code,
        "kill_status": killed,
        **campaign.to_dict(),
    }
    if options.json:
        print(json.dumps(result, indent=1, ensure_ascii=False))
    else:
        print(f"property tests: {rounds} rounds without a failure")
        print(campaign.table())
        for found in campaign.distinct():
            print(found)
    return code or killed or int(bool(campaign.found))


if __name__ == "__main__":
    sys.exit(main())
