"""The section ``comparison`` of a configuration: methods, spacings, tables and figures."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from napari_hyperspace.core.errors import HyperspaceError
from training.config.base import ConfigSection, read_yaml
from training.config.errors import explain
from training.config.fit import FitConfig, parse_config, set_key
from training.config.spacing import Spacing
from training.evaluation.methods import Method
from training.evaluation.plan import NATIVE, Group, interval, parse_interval, segment_through


def _isotropic(values: Any) -> Any:
    """Expand a spacing given as one number for all axes."""
    return (values, values, values) if isinstance(values, (int, float)) else values


def _interval(text: str) -> str:
    try:
        parse_interval(text)
    except HyperspaceError as error:
        raise ValueError(str(error)) from None
    return text


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9. -]*$")]
Segment = Annotated[
    tuple[Annotated[Spacing, BeforeValidator(_isotropic)], ...], Field(min_length=2)
]


class MethodSection(ConfigSection):
    """A method to compare: networks, and how they are used."""

    about: str = ""
    """Short description."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Dotted keys of the configuration that its runs change, such as `{factory.rank: 2}`."""
    run: str | None = None
    """Method whose networks it uses; none: it is trained itself."""
    seeds: tuple[NonNegativeInt, ...] | None = None
    """Seeds of its runs if these are fewer than those of the tables; none: all."""
    guidance_only: bool = False
    """Of guided networks: the guidance itself, interpolated to the working grid, without them."""
    guidance_from: Annotated[str, Field(pattern=r"^([^@]+@[0-9]+(\.[0-9]+)?)?$")] = ""
    """Of guided networks: `MODEL@SPACING` segments each scan at this spacing, in mm, for the
    guidance; none: guidance is made from the true labels."""
    outside: Literal["clamp", "extrapolate"] = "extrapolate"
    """What it does outside the trained range: `clamp` resamples the image to the nearest trained
    spacing and the labels back, `extrapolate` runs the network at the spacing itself."""


class TableSection(ConfigSection):
    """A table, and figures, of some of the methods."""

    title: str
    """Heading."""
    methods: Annotated[tuple[str, ...], Field(min_length=1)]
    """Methods, in the order of the columns."""
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]
    """Seeds of their runs; results are pooled over them."""
    pairs: tuple[tuple[str, str], ...] = ()
    """Methods to test against each other."""


class ComparisonSection(ConfigSection):
    """A comparison of methods."""

    report: str | None = None
    """Markdown page of the report, relative to the working folder; its figures and numbers are
    written to a folder of the same name beside it. None: `report.md` in the folder of the runs."""
    methods: dict[Name, MethodSection]
    """Methods by name."""
    tables: dict[Annotated[str, Field(pattern=r"^[a-z0-9-]+$")], TableSection]
    """Tables by name."""
    segments: tuple[Segment, ...] = ()
    """Lines of spacings for the figures, in mm: one number for all axes, or z, y, x."""
    intervals: tuple[Annotated[str, AfterValidator(_interval)], ...] = ()
    """Intervals that spacings are sampled from: `0.8:5`, or one per axis `2:5,0.8:1.2,0.8:1.2`."""
    draws: PositiveInt = 10
    """Number of spacings sampled from each interval."""
    tile_shape: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    """Largest tile in voxels (z, y, x) of all networks, which is also stored in the models' cards;
    none: each model's own."""
    guidance_mm: Annotated[float, Field(gt=0)] | None = None
    """Spacing of the guidance of guided networks, in mm: the true labels on a grid of this spacing;
    none: the middle of the range of each network's training."""
    times: bool = True
    """Whether the report shows times. Runs are measured one after the other: if the machine does
    other work meanwhile, their times cannot be compared."""
    native: bool = True
    """Whether to measure also at each scan's own spacing."""

    @model_validator(mode="after")
    def _consistent(self) -> ComparisonSection:
        for name, method in self.methods.items():
            if method.run is None:
                if method.guidance_only:
                    raise ValueError(f"methods.{name}.guidance_only: needs `run`, a guided method")
                continue
            if method.set or method.seeds is not None:
                raise ValueError(f"methods.{name}: needs runs of its own or `run`, not both")
            if method.run not in self.methods or self.methods[method.run].run is not None:
                raise ValueError(f"methods.{name}.run: {method.run!r} is not a method with runs")
        for name, table in self.tables.items():
            for used in (*table.methods, *(m for pair in table.pairs for m in pair)):
                if used not in self.methods:
                    raise ValueError(f"tables.{name}: {used!r} is not a method")
            for used in (m for pair in table.pairs for m in pair):
                if used not in table.methods:
                    raise ValueError(f"tables.{name}.pairs: {used!r} is not in the table")
        return self

    def owner(self, method: str) -> str:
        """Return the method whose runs make the networks of a method."""
        return self.methods[method].run or method

    def seeds(self, table: TableSection, method: str) -> list[int]:
        """Return the seeds of the runs of a method in a table."""
        own = self.methods[self.owner(method)].seeds
        return [seed for seed in table.seeds if own is None or seed in own]

    def trained_by(self, owner: str) -> list[str]:
        """Return the methods that use the runs of a method, itself first."""
        users = [name for name in self.methods if self.owner(name) == owner]
        return sorted(users, key=lambda name: name != owner)

    def groups(self) -> list[Group]:
        """Return the spacings to measure at; the sampled ones are always the same."""
        sampled = [interval(parse_interval(text), self.draws, seed=0) for text in self.intervals]
        own = [NATIVE] if self.native else []
        return sampled + own + [segment_through(segment) for segment in self.segments]


class ComparisonFile(ConfigSection):
    """The section of a configuration that only the command `compare` reads."""

    comparison: ComparisonSection
    """The comparison."""


@dataclass(frozen=True)
class Comparison:
    """A configuration file that describes a comparison.

    Parameters
    ----------
    path
        The file.
    section
        Its section ``comparison``.
    values
        The rest of the file: the configuration that all runs share.
    """

    path: Path
    section: ComparisonSection
    values: dict[str, Any]

    @property
    def base(self) -> Path:
        """Folder that relative paths start from."""
        return self.path.absolute().parent

    def shared(self) -> FitConfig:
        """Return the configuration that all runs share, without the changes of the methods."""
        return parse_config(copy.deepcopy(self.values), where=self.path)

    def config(self, method: str, seed: int) -> FitConfig:
        """Return the configuration of a method's run.

        Raises
        ------
        HyperspaceError
            If the method sets a key that is unknown or of a wrong type.
        """
        values = copy.deepcopy(self.values)
        for key, value in self.section.methods[method].set.items():
            set_key(values, key, copy.deepcopy(value))
        values |= {"name": f"{values.get('name', '')}-{method}-{seed}", "seed": seed}
        return parse_config(values, where=f"{self.path} (comparison.methods.{method})")

    def runs(self) -> list[tuple[str, int]]:
        """Return method and seed of each run that the tables need, without duplicates."""
        owners = [m for m in self.section.methods if self.section.owner(m) == m]
        wanted = {
            (self.section.owner(method), seed)
            for table in self.section.tables.values()
            for method in table.methods
            for seed in self.section.seeds(table, method)
        }
        return sorted(wanted, key=lambda run: (owners.index(run[0]), run[1]))

    def used(self, owner: str, model: Path) -> list[Method]:
        """Return the methods that use the model file of a run."""
        return [
            Method(name, str(model), method.outside, method.guidance_only, method.guidance_from)
            for name in self.section.trained_by(owner)
            for method in [self.section.methods[name]]
        ]


def load_comparison(path: str | os.PathLike[str]) -> Comparison:
    """Read a configuration with a section ``comparison``.

    Raises
    ------
    HyperspaceError
        If the file cannot be read, has no such section, or a key of it is invalid, or if the split
        of cases depends on the seed.
    """
    values = read_yaml(path)
    section = values.pop("comparison", None)
    if section is None:
        raise HyperspaceError(
            "the configuration has no section `comparison`", where=path, fix="Add that section"
        )
    try:
        parsed = ComparisonFile.model_validate({"comparison": section}).comparison
    except ValidationError as error:
        raise explain(error, ComparisonFile, path) from None
    found = Comparison(Path(path), parsed, values)
    if found.shared().data.split is None:
        raise HyperspaceError(
            "without a split file, each seed would have its own validation cases",
            where=path,
            field="data.split",
            fix="Name a split file in the configuration",
        )
    return found
