"""The table of first runs."""

from __future__ import annotations

from benchmarks.first_run import table


def one(predicted, taken, **others):
    facts = {"set_up_s": 6.0, "probe_s": 4.0, "predicted_probe_s": 5.0, "slowdown": 1.0}
    sizes = {"predicted_MB": 110.0, "taken_MB": 100.0}
    return {"predicted_s": predicted, "taken_s": taken, **facts, **sizes, **others}


def test_the_table_has_medians_over_the_series():
    series = [[one(2.0, 4.0), one(3.9, 3.0)], [one(3.0, 4.0), one(4.0, 4.0)]]
    series.append([one(6.0, 4.0), one(4.4, 4.0)])
    lines = table(series).splitlines()
    assert lines[1].split() == ["1", "3.00", "4.00", "50%", "110", "100", "10%"]
    assert lines[2].split() == ["2", "4.00", "4.00", "10%", "110", "100", "10%"]
    assert "took 6.0 s" in lines[3] and "4.0 s, predicted 5.0 s" in lines[3]
    assert lines[4].startswith("the last runs differ from their median by 0%")
