"""The log of a run with lines that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

from training.fit.run_folder import LogEntry, RunFolder


def test_damaged_lines_of_the_log_are_skipped(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    good: list[LogEntry] = [
        {"event": "training", "step": 1, "loss": 0.5, "seconds": 1.0},
        {"event": "validation", "step": 2, "dice": 0.25, "seconds": 1.0},
    ]
    bad = [
        "Größe".encode("latin-1"),
        b"\xff\xfe\x00",
        b"[1]",
        b"[" * 100_000,
        b"9" * 5_000,
        b'{"event": "training", "step": "x", "loss": 1, "seconds": 1}',
        b'{"event": "training", "step": 3, "seconds": 1}',
        b'{"event": "validation", "step": 3, "dice": 0.1, "seco',
    ]
    lines = [json.dumps(good[0]).encode(), *bad, json.dumps(good[1]).encode(), b""]
    run.log.write_bytes(b"\n".join(lines))
    assert run.entries() == good
    run.checkpoints.mkdir()
    run.rewind(1)
    assert run.log.read_text() == json.dumps(good[0]) + "\n"
