"""Pairs on request: which ones, from which maps, into which files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import ReportProgress
from training.config.base import Section, read_yaml
from training.config.data import DEFAULT_COLORS, LabelMapsSection, load_data_section
from training.config.errors import explain
from training.config.fit import SpacingSection, load_config
from training.config.synthesis import ContrastShares, SynthesisSection
from training.data import open_dataset
from training.data.label_maps import LabelMaps
from training.sampling.augment import sample_spacing
from training.sampling.contact_sheet import draw_sheet
from training.sampling.pairs import Pair, make_pair, read_draw, whole_head, write_pair
from training.seeding import generator
from training.synthesis.labeled_head import LabeledHead

CONTRASTS = tuple(ContrastShares.model_fields)
_SYNTHESIS = SynthesisSection()
_SPACINGS = SpacingSection(
    range_mm=((0.4, 7.0),) * 3, isotropic_probability=0.45, thick_slice_probability=0.3
)


class MapsFile(Section):
    """What a file that describes no network may say besides its section ``data``."""

    synthesis: SynthesisSection = _SYNTHESIS
    """How images are made."""
    spacing: SpacingSection = _SPACINGS
    """Their spacings."""


@dataclass(frozen=True)
class Maps:
    """Label maps and how images are made of them.

    Parameters
    ----------
    data
        The data set.
    synthesis, spacing
        What may happen.
    """

    data: LabelMaps
    synthesis: SynthesisSection = _SYNTHESIS
    spacing: SpacingSection = _SPACINGS

    def load(self, names: Sequence[str] | None = None) -> list[LabeledHead]:
        """Read maps; all of them where none are named."""
        if names is None:
            names = [case.name for case in self.data.cases()]
        return self.data.sources(names, self.data.section.normalization.build())

    @property
    def colors(self) -> list[str]:
        """Color of each label."""
        given = self.data.section.colors
        values = sorted(self.data.label_names)
        return [given.get(v, DEFAULT_COLORS[i % len(DEFAULT_COLORS)]) for i, v in enumerate(values)]


def open_label_maps(path: Path) -> Maps:
    """Open label maps that a user names: a folder of them, or a configuration.

    Raises
    ------
    HyperspaceError
        If the configuration describes other data, or a key of it is wrong.
    """
    if path.is_dir():
        return Maps(LabelMaps(path))
    section, base = load_data_section(path)
    if not isinstance(section, LabelMapsSection):
        raise HyperspaceError(
            "images are synthesised from label maps only",
            where=path,
            field="data.kind",
            found=section.kind,
            expected=get_args(LabelMapsSection.model_fields["kind"].annotation)[0],
        )
    data = open_dataset(section, base)
    assert isinstance(data, LabelMaps)
    values = read_yaml(path)
    if "network" in values:
        config, _ = load_config(path)
        return Maps(data, config.synthesis, config.spacing)
    own = {key: values[key] for key in MapsFile.model_fields if key in values}
    try:
        given = MapsFile.model_validate(own)
    except ValidationError as error:
        raise explain(error, MapsFile, path) from None
    return Maps(data, given.synthesis, given.spacing)


def check_contrast(contrast: str) -> str:
    """Return a kind of image.

    Raises
    ------
    HyperspaceError
        If there is none of this name.
    """
    if contrast not in CONTRASTS:
        raise HyperspaceError(
            "no such contrast is known",
            field="contrast",
            found=contrast,
            expected=", ".join(CONTRASTS),
        )
    return contrast


@dataclass(frozen=True)
class Wanted:
    """Which pairs to make.

    Parameters
    ----------
    number
        How many.
    spacings_mm
        Their spacings in turn; `None`: drawn.
    contrast
        Kind of image; `None`: drawn.
    size_mm
        Edge; `None`: the whole head.
    seed
        Seed of every draw.
    """

    number: int
    spacings_mm: Sequence[Triple] | None = None
    contrast: str | None = None
    size_mm: float | None = None
    seed: int = 0


def make_pairs(
    maps: Maps,
    out: Path,
    wanted: Wanted,
    *,
    again: Sequence[Path] = (),
    preview: bool = False,
    show: ReportProgress | None = None,
) -> list[Path]:
    """Make pairs and write them.

    Parameters
    ----------
    maps
        The label maps, taken in turn.
    out
        Folder for the files.
    wanted
        Which pairs; not looked at where some are to be made again.
    again
        Draws to make again instead.
    preview
        Whether to draw a contact sheet too, `preview.png`.
    show
        Told how far it is.

    Returns
    -------
    list of Path
        The files.
    """
    if wanted.contrast is not None:
        check_contrast(wanted.contrast)
    files: list[Path] = []
    pairs: list[Pair] = []
    count = len(again) or wanted.number
    names = [case.name for case in maps.data.cases()]
    sources = maps.load(names if again else names[: wanted.number])
    for number in range(count):
        if show is not None:
            show(number / count, f"pair {number + 1} of {count}")
        if again:
            source, draw = read_draw(again[number], sources)
            name = again[number].stem
        else:
            source = sources[number % len(sources)]
            if wanted.spacings_mm:
                spacing = wanted.spacings_mm[number % len(wanted.spacings_mm)]
            else:
                spacing = sample_spacing(generator(wanted.seed, "spacing", number), maps.spacing)
            draw = whole_head(
                source,
                maps.synthesis,
                spacing,
                (number,),
                seed=wanted.seed,
                contrast=wanted.contrast,
                size_mm=wanted.size_mm,
            )
            name = f"{source.name}-{number:03d}"
        pair = make_pair(source, draw, name)
        files += write_pair(pair, source, out, sorted(maps.data.label_names))
        pairs += [pair] if preview else []
    if preview:
        files.append(draw_sheet(pairs, maps.colors, out / "preview.png"))
    return files
