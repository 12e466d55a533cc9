"""Make synthetic pairs from label maps and write them to files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import resolved
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import ReportProgress
from training.config.base import ConfigSection, read_yaml
from training.config.data import DEFAULT_COLORS, LabelMapsSection, load_data_section
from training.config.errors import explain
from training.config.fit import load_config
from training.config.spacing import SpacingSection
from training.config.synthesis import ContrastShares, SynthesisSection
from training.data import open_dataset
from training.data.label_maps import LabelMaps
from training.sampling.contact_sheet import write_contact_sheet
from training.sampling.pairs import (
    SyntheticPair,
    make_pair,
    pair_files,
    read_parameters,
    sample_whole_head,
    write_pair,
)
from training.sampling.parameters import sample_spacing
from training.seeding import generator
from training.synthesis.labeled_head import LabeledHead

CONTRASTS = tuple(ContrastShares.model_fields)
_SYNTHESIS = SynthesisSection()
_SPACINGS = SpacingSection(
    range_mm=((0.4, 7.0),) * 3, isotropic_probability=0.45, thick_slice_probability=0.3
)


class SynthesisFile(ConfigSection):
    """Sections that a file without a network may have besides ``data``."""

    synthesis: SynthesisSection = _SYNTHESIS
    """Ranges of the random parameters of the images."""
    spacing: SpacingSection = _SPACINGS
    """Spacings of the images."""


@dataclass(frozen=True)
class SynthesisInput:
    """Label maps, and how images are made from them.

    Parameters
    ----------
    data
        The data set.
    synthesis, spacing
        Ranges of the random parameters.
    """

    data: LabelMaps
    synthesis: SynthesisSection = _SYNTHESIS
    spacing: SpacingSection = _SPACINGS

    def load(self, names: Sequence[str] | None = None) -> list[LabeledHead]:
        """Read the maps of these names; `None`: all."""
        if names is None:
            names = [case.name for case in self.data.cases()]
        return self.data.sources(names, self.data.section.normalization.build())

    @property
    def colors(self) -> list[str]:
        """Color of each label."""
        given = self.data.section.colors
        values = sorted(self.data.label_names)
        return [given.get(v, DEFAULT_COLORS[i % len(DEFAULT_COLORS)]) for i, v in enumerate(values)]


def open_label_maps(path: Path) -> SynthesisInput:
    """Open a folder of label maps, or a configuration that describes one.

    Raises
    ------
    HyperspaceError
        If the configuration describes other data or is not valid.
    """
    if os.path.isdir(path):  # false for a name that is too long, too
        return SynthesisInput(LabelMaps(path))
    section, base = load_data_section(path)
    if not isinstance(section, LabelMapsSection):
        raise HyperspaceError(
            "images can be synthesized only from label maps",
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
        return SynthesisInput(data, config.synthesis, config.spacing)
    own = {key: values[key] for key in SynthesisFile.model_fields if key in values}
    try:
        given = SynthesisFile.model_validate(own)
    except ValidationError as error:
        raise explain(error, SynthesisFile, path) from None
    return SynthesisInput(data, given.synthesis, given.spacing)


def check_contrast(contrast: str) -> str:
    """Check the name of a kind of image, and return it.

    Raises
    ------
    HyperspaceError
        If it is unknown.
    """
    if contrast not in CONTRASTS:
        raise HyperspaceError(
            "unknown contrast",
            field="contrast",
            found=contrast,
            expected=", ".join(CONTRASTS),
        )
    return contrast


@dataclass(frozen=True)
class PairRequest:
    """The pairs to make.

    Parameters
    ----------
    number
        Number of pairs.
    spacings_mm
        Spacings of the pairs, used in turn; `None`: random.
    contrast
        Kind of image; `None`: random.
    size_mm
        Edge of a cube around the center of the brain; `None`: the whole head.
    seed
        Seed of all random parameters.
    """

    number: int
    spacings_mm: Sequence[Triple] | None = None
    contrast: str | None = None
    size_mm: float | None = None
    seed: int = 0


def make_pairs(
    maps: SynthesisInput,
    out: Path,
    request: PairRequest,
    *,
    again: Sequence[Path] = (),
    preview: bool = False,
    show: ReportProgress | None = None,
) -> list[Path]:
    """Make pairs and write them.

    Parameters
    ----------
    maps
        The label maps, used in turn.
    out
        Folder for the files.
    request
        The pairs to make; ignored if `again` is given.
    again
        JSON files of pairs to make again.
    preview
        Whether to write a contact sheet, `preview.png`.
    show
        Called with the progress.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    HyperspaceError
        If a pair would replace a label map that it is made from, or it cannot be made.
    """
    if request.contrast is not None:
        check_contrast(request.contrast)
    files: list[Path] = []
    pairs: list[SyntheticPair] = []
    count = len(again) or request.number
    names = [case.name for case in maps.data.cases()]
    sources = maps.load(names if again else names[: request.number])
    stems = [
        again[number].stem if again else f"{sources[number % len(sources)].name}-{number:03d}"
        for number in range(count)
    ]
    _check_targets(out, stems, maps.data)
    for number, name in enumerate(stems):
        if show is not None:
            show(number / count, f"pair {number + 1} of {count}")
        if again:
            source, parameters = read_parameters(again[number], sources)
        else:
            source = sources[number % len(sources)]
            if request.spacings_mm:
                spacing = request.spacings_mm[number % len(request.spacings_mm)]
            else:
                spacing = sample_spacing(generator(request.seed, "spacing", number), maps.spacing)
            parameters = sample_whole_head(
                source,
                maps.synthesis,
                spacing,
                (number,),
                seed=request.seed,
                contrast=request.contrast,
                size_mm=request.size_mm,
            )
        pair = make_pair(source, parameters, name)
        files += write_pair(pair, source, out, sorted(maps.data.label_names))
        pairs += [pair] if preview else []
    if preview:
        files.append(write_contact_sheet(pairs, maps.colors, out / "preview.png"))
    return files


def _check_targets(out: Path, stems: Sequence[str], data: LabelMaps) -> None:
    """Refuse to replace one of the label maps by a pair."""
    own = {resolved(case.label) for case in data.cases()}
    for stem in stems:
        for path in pair_files(out, stem):
            if resolved(path) in own:
                raise HyperspaceError(
                    "the pair would replace one of the label maps",
                    where=path,
                    fix="Choose another folder",
                )
