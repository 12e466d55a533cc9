"""Does one corrected scan improve a model on further scans, also at other spacings?

    python -m benchmarks.adapt

Scans that were not used to train the bundled model `hippocampus` are changed so that the model is
worse on them: another contrast, or other conventions of drawing. The model is adapted to one of
them at 2 mm and judged on twenty others at 1, 2 and 3 mm, on their own grids. The same is done with
all weights of the factory, and with a plain network, which the factory made for 2 mm. Every result
is written when it is known, so that an interrupted run continues.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

import napari_hyperspace as hs
from benchmarks.adapt_page import write_page
from napari_hyperspace.api.corrections.adapt import SPREAD, AdaptedWeights
from napari_hyperspace.core.files import write_text
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.nets.build import build_factory
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.plain.config import ConstantConfig, UNetConfig
from napari_hyperspace.nets.plain.factory import LayeredFactory, layer_key

ADAPTED_AT = 2.0
SPACINGS = (1.0, 2.0, 3.0)
SEEDS = 3
SCANS = 20
OUTLINE_MM = 1.0
BOUNDARY_MM = 4.0
UNCHANGED = "unchanged"

SPLIT = Path(__file__).parents[1] / "training" / "configs" / "splits" / "hippocampus.json"

Pair = tuple[Volume, Volume]


def inverted(image: Volume, labels: Volume) -> Pair:
    """Return the negative of an image, between its 0.5th and 99.5th percentile."""
    values = image.array.astype(np.float32)
    low, high = np.percentile(values, [0.5, 99.5])
    return image.with_array(np.clip((high - values) / (high - low), 0, 1)), labels


def outlined(image: Volume, labels: Volume) -> Pair:
    """Return labels whose outline is moved outwards."""
    distance, nearest = ndimage.distance_transform_edt(
        labels.array == 0, sampling=labels.spacing_mm, return_indices=True
    )
    near = labels.array[tuple(nearest)]
    return image, labels.with_array(np.where(distance <= OUTLINE_MM, near, 0).astype(np.uint8))


def divided(image: Volume, labels: Volume) -> Pair:
    """Return labels whose boundary between the two parts is moved backwards."""
    distance = ndimage.distance_transform_edt(labels.array != 1, sampling=labels.spacing_mm)
    moved = (labels.array == 2) & (distance <= BOUNDARY_MM)
    return image, labels.with_array(np.where(moved, 1, labels.array).astype(np.uint8))


def unchanged(image: Volume, labels: Volume) -> Pair:
    """Return both as they are."""
    return image, labels


KINDS: dict[str, Callable[[Volume, Volume], Pair]] = {
    "contrast": inverted,
    "outline": outlined,
    "boundary": divided,
}


@dataclass(frozen=True)
class Row:
    """Mean Dice of each scan, by one model at one spacing.

    Parameters
    ----------
    kind
        How the scan was changed that the model was adapted to.
    scored_on
        `kind`, or `UNCHANGED`: the scans and their labels as they are.
    dice
        In the order of the scans.
    """

    kind: str
    method: str
    seed: int
    scored_on: str
    spacing_mm: float
    dice: list[float]


def plain_model(model: Model) -> Model:
    """Return a model that makes the same network for every spacing: that of `ADAPTED_AT`."""
    config, made_by = model.factory.network_config, model.factory
    assert isinstance(config, UNetConfig) and isinstance(made_by, LayeredFactory)
    factory = build_factory(config, ConstantConfig())
    weights = made_by.layer_weights((ADAPTED_AT,) * 3)
    state = {f"layers.{layer_key(layer)}": each.clone() for layer, each in weights.items()}
    factory.load_state_dict(state, strict=False)
    return Model(factory, model.card)


# What is made of the model, the spread, and what is fine-tuned; the plain network is meant for one
# spacing.
METHODS: dict[str, tuple[Callable[[Model], Model], float, AdaptedWeights]] = {
    "adapted": (lambda model: model, SPREAD, "common"),
    "plain": (plain_model, 1.0, "all"),
    "all weights": (lambda model: model, SPREAD, "all"),
}


def mean_dice(found: NDArray[np.integer], truth: NDArray[np.integer]) -> float:
    """Return the mean Dice of the two labels."""
    pairs = [(found == value, truth == value) for value in (1, 2)]
    return float(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]))


@cache
def changed_pair(data: Path, name: str, kind: str) -> Pair:
    """Return a scan of a data set and its labels, changed."""
    image, labels = (
        hs.read(data / folder / f"{name}.nii.gz") for folder in ("imagesTr", "labelsTr")
    )
    return KINDS.get(kind, unchanged)(image, labels)


class Study:
    """The measurements, stored as they are made.

    Parameters
    ----------
    data
        Folder of the data set.
    names
        Scans that the model was not trained on: one per seed to adapt to, then those to judge on.
    path
        The JSON file.
    """

    def __init__(self, data: Path, names: list[str], path: Path) -> None:
        self.model = hs.load_model("hippocampus")
        self.path = path
        self.scans = names[SEEDS : SEEDS + SCANS]
        self.adapted_to = names[:SEEDS]
        self._data = data
        stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.rows = [Row(**row) for row in stored.get("rows", [])]
        self.runs: list[dict[str, object]] = stored.get("runs", [])

    def pair(self, name: str, kind: str) -> Pair:
        """Return a scan and its labels, changed."""
        return changed_pair(self._data, name, kind)

    def measure(self) -> None:
        """Measure what is not stored yet."""
        done = {(row.kind, row.method, row.seed) for row in self.rows}
        for kind in (*KINDS, UNCHANGED):
            if (kind, "bundled", 0) not in done:
                self._add(self._scores(self.model, kind, "bundled", 0, [(kind, SPACINGS)]))
        for method in METHODS:
            for seed in range(SEEDS):
                for kind in KINDS:
                    if (kind, method, seed) not in done:
                        self._adapt(kind, method, seed)

    def _adapt(self, kind: str, method: str, seed: int) -> None:
        started, cpu = time.perf_counter(), time.process_time()
        made, spread, weights = METHODS[method]
        steps = hs.adapt_steps(
            made(self.model),
            *self.pair(self.adapted_to[seed], kind),
            (ADAPTED_AT,) * 3,
            seconds=None,
            spread=spread,
            weights=weights,
            seed=seed,
        )
        result = run_to_end(steps)
        run = {
            "kind": kind,
            "method": method,
            "seed": seed,
            "adapted_to": self.adapted_to[seed],
            "steps": result.steps,
            "seconds": round(time.perf_counter() - started, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "dice_before": round(result.mean_dice_before, 5),
            "dice_after": round(result.mean_dice_after, 5),
        }
        self.runs.append(run)
        parts: list[tuple[str, tuple[float, ...]]] = [(kind, SPACINGS)]
        if method == "adapted":
            parts.append((UNCHANGED, (ADAPTED_AT,)))
        self._add(self._scores(result.model, kind, method, seed, parts))

    def _scores(
        self,
        model: Model,
        kind: str,
        method: str,
        seed: int,
        parts: list[tuple[str, tuple[float, ...]]],
    ) -> Iterator[Row]:
        for scored_on, spacings in parts:
            for spacing in spacings:
                dice = [self._score(model, name, scored_on, spacing) for name in self.scans]
                yield Row(kind, method, seed, scored_on, spacing, dice)

    def _score(self, model: Model, name: str, kind: str, spacing: float) -> float:
        image, labels = self.pair(name, kind)
        found = hs.segment(image, model, (spacing,) * 3, precision="fp32-channels-last")
        return round(mean_dice(found.array, labels.array), 5)

    def _add(self, rows: Iterator[Row]) -> None:
        new = list(rows)
        self.rows += new
        first = new[0]
        own = [row.dice for row in new if row.scored_on == first.kind]
        print(first.kind, first.method, first.seed, f"{np.mean(own):.3f}", flush=True)
        values = {
            "machine": f"{platform.machine()}, threads: {torch.get_num_threads()}, "
            f"torch {torch.__version__}",
            "adapted_to": self.adapted_to,
            "scans": self.scans,
            "runs": self.runs,
            "rows": [asdict(row) for row in self.rows],
        }
        write_text(self.path, json.dumps(values, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.adapt",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="data set; default: $HYPERSPACE_DATA/hippocampus")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--json", type=Path, default=Path("docs/results/adapt/summary.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/results/adapt.md"))
    parser.add_argument("--page-only", action="store_true", help="write the page from the JSON")
    given = parser.parse_args()
    if not given.page_only:
        torch.set_num_threads(given.threads)
        warnings.simplefilter("ignore", hs.HyperspaceWarning)
        data = given.data or Path(os.environ["HYPERSPACE_DATA"]) / "hippocampus"
        split = json.loads(SPLIT.read_text(encoding="utf-8"))
        given.json.parent.mkdir(parents=True, exist_ok=True)
        Study(data, split["validation"], given.json).measure()
    write_page(json.loads(given.json.read_text(encoding="utf-8")), given.page)


if __name__ == "__main__":
    main()
