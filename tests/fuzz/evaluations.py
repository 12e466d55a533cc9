"""Files that evaluations and the synthesis of images write and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import mutations

_NAMES = {1: "front", 2: "back"}


def about() -> dict[str, Any]:
    """Return what an evaluation stores of itself."""
    return {
        "data": "Tiny",
        "labels": {str(value): name for value, name in _NAMES.items()},
        "settings": {"device": "cpu", "precision": "fp32", "tolerance_mm": None},
        "models": {
            "tiny": {"identity": "abc", "outside": "refuse", "applied": {"normalization": {}}}
        },
        "cases": {"case_0": "0123", "case_1": "4567"},
    }


def evaluation_files() -> dict[str, bytes]:
    """Return the folder of an evaluation with four rows."""
    from training.evaluation.rows import Row, to_csv, to_frame

    values: dict[str, Any] = {
        name: {"str": "x", "int": 1, "float": 0.5, "bool": True, "int | None": 7}[str(kind)]
        for name, kind in Row.__annotations__.items()
    }
    rows = [
        Row(**{**values, "model": "tiny", "case": case, "label": label, "label_name": name})
        for case in ("case_0", "case_1")
        for label, name in _NAMES.items()
    ]
    return {
        "evaluation/rows.csv": mutations.encoded(to_csv(to_frame(rows))),
        "evaluation/evaluation.json": mutations.encoded(json.dumps(about())),
    }


def open_evaluation(folder: Path) -> None:
    """Continue the evaluation, and summarize the rows that are kept."""
    from training.evaluation.evaluate import _kept

    with _kept(folder / "rows.csv", about(), len(_NAMES)) as rows:
        assert len(rows) % len(_NAMES) == 0
        rows.groupby("label")["dice_native"].mean()


class _Head:
    """The label map of the pair, made once."""

    source: Any = None


def _source() -> Any:
    if _Head.source is None:
        import torch

        from tests.training.heads import head_array, volume
        from training.synthesis.heads import Head
        from training.synthesis.labeled_head import LabeledHead
        from training.synthesis.tissues import IDS

        head = Head.from_volume("tiny", volume(head_array((19, 15, 17))))
        _Head.source = LabeledHead(head, torch.arange(len(IDS), dtype=torch.int16))
    return _Head.source


def pair_files() -> dict[str, bytes]:
    """Return the parameters of a pair."""
    from training.config.synthesis import SynthesisSection
    from training.sampling.pairs import fingerprint, sample_whole_head

    source = _source()
    parameters = sample_whole_head(source, SynthesisSection(), (2.0, 2.0, 2.0), (0,), size_mm=8)
    values = {
        "map": source.name,
        "fingerprint": fingerprint(source),
        "parameters": parameters.to_dict(),
    }
    return {"pair.json": mutations.encoded(json.dumps(values))}


def read_pair(path: Path) -> None:
    """Make the pair again."""
    from training.sampling.pairs import make_pair, read_parameters

    source, parameters = read_parameters(path, [_source()])
    pair = make_pair(source, parameters, "again")
    if pair.image.shape != pair.labels.shape or not np.isfinite(pair.image.affine).all():
        raise AssertionError("the pair contradicts itself")
