"""A model's card as text."""

from __future__ import annotations

from collections.abc import Sequence

from napari_hyperspace.core.format import format_range, format_spacing
from napari_hyperspace.nets.base.quality import QualityConfig
from napari_hyperspace.nets.card import RealDice
from napari_hyperspace.nets.model_file import ModelHeader
from napari_hyperspace.nets.summary import describe_guidance
from training.cli.console import table
from training.evaluation.scores import SpacingScore, dice_table, markdown_table


def describe(header: ModelHeader) -> str:
    """Return the card of a model file as a table, with its Dice against spacing."""
    card, network = header.card, header.network
    ranges = card.trained_range_mm
    trained = f"{format_range(ranges)} (z, y, x)" if ranges else "not stated"
    summary = card.training
    rows: list[tuple[str, object]] = [
        ("name", card.name),
        ("description", card.description or "-"),
        ("labels", ", ".join(f"{label.value} {label.name}" for label in card.labels)),
        ("input", ", ".join(card.channel_names)),
        ("normalization", card.normalization.kind),
        ("trained range", trained),
        ("network", f"U-Net, {network.features}, {network.n_levels - 1} downs"),
        ("factory", header.factory.kind),
        ("license", card.license or "-"),
        ("citation", card.citation or "-"),
    ]
    if card.guidance is not None:
        rows.insert(4, ("guidance", describe_guidance(card.guidance)))
    if "steps" in summary:
        minutes = f"{summary.get('seconds', 0) / 60:.0f} minutes"
        rows.append(
            ("training", f"{summary['steps']} steps, {minutes}, {summary.get('data', '-')}")
        )
    if "started_from" in summary:
        before = summary["started_from"]
        minutes = f"{before.get('seconds', 0) / 60:.0f} minutes"
        rows.append(("started from", f"{before.get('steps', '?')} steps, {minutes}"))
    if "machine" in summary:
        rows.append(("machine", summary["machine"]))
    if card.quality is not None:
        rows.append(("quality", _expected(card.quality)))
    text = table(rows)
    scores = [
        SpacingScore((r.spacing_mm[0], r.spacing_mm[1], r.spacing_mm[2]), r.dice, r.cases or 0)
        for r in card.dice
        if len(r.spacing_mm) == 3
    ]
    parts = [text]
    if scores:
        parts.append(f"Dice on the working grid:\n\n{dice_table(scores)}")
    if card.real:
        parts.append(f"Dice on real scans, on their own grids:\n\n{_real_table(card.real)}")
    return "\n\n".join(parts)


def _expected(quality: QualityConfig) -> str:
    """Return what the card knows about good results, in words."""
    known = [f"ranges of {quality.cases} label maps"] if quality.structures else []
    if quality.calibration is not None:
        known.append(f"Dice calibrated on {quality.calibration.measured_on}")
    return "; ".join(known) or "nothing is known"


def _real_table(records: Sequence[RealDice]) -> str:
    """Return a Markdown table with a row per structure and a column per contrast and spacing."""
    names = list(dict.fromkeys(name for record in records for name in record.dice))
    header = [
        f"{one.contrast.upper()} {format_spacing(one.spacing_mm, unit=False, collapse=True)}"
        + (" (agreement)" if one.agreement else "")
        for one in records
    ]
    rows = [
        [name, *(f"{one.dice[name]:.3f}" if name in one.dice else "–" for one in records)]
        for name in names
    ]
    rows.append(["mean", *(f"{one.mean:.3f}" for one in records)])
    with_whom = dict.fromkeys(
        f"{'agreement with' if one.agreement else 'labels:'} {one.compared_with}" for one in records
    )
    table_text = markdown_table(["structure", *header], rows)
    return f"{table_text}\n\n{'; '.join(with_whom)}"
