"""Freed memory stays with the process."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import numpy as np, psutil
from training.fit.processes import keep_freed_memory

if sys.argv[1] == "keep" and not keep_freed_memory():
    print("not here")
    raise SystemExit
held = psutil.Process().memory_info
np.ones(100, np.float32)
before = held().rss
block = np.ones(100 << 20, np.uint8)
del block
print((held().rss - before) >> 20)
"""


def megabytes_left(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
    )
    if "not here" in done.stdout:
        pytest.skip("this C library has no such settings")
    return int(done.stdout)


def test_a_large_freed_block_is_kept():
    assert megabytes_left("keep") > 90
    assert megabytes_left("default") < 10
