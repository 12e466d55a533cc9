"""The section of a configuration that describes a data set, one class per layout."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.structures import LABEL_COLORS
from napari_hyperspace.nets.card import HexColor, NormalizationConfig
from training.config.base import ConfigSection, read_yaml
from training.config.errors import explain

Plane = Literal["axial", "coronal", "sagittal"]
Contrast = Literal["t1", "t2", "t2_SPACE"]
_MAX_SPAN = 1 << 20


def _expand(ids: Any) -> list[Any]:
    """Convert ``4``, ``[1, 4]`` or ``["1-25", 100]`` to a list of ids."""
    if not isinstance(ids, (list, tuple)):
        ids = [ids]
    expanded: list[Any] = []
    for item in ids:
        first, dash, last = item.partition("-") if isinstance(item, str) else ("", "", "")
        if dash and first.strip().isdigit() and last.strip().isdigit():
            if int(first) > int(last):
                raise ValueError(f"the first id of a span must be the smaller one, not {item}")
            span = range(int(first), int(last) + 1)
            if len(span) > _MAX_SPAN:
                raise ValueError(f"a span may have at most {_MAX_SPAN} ids, not {item}")
            expanded += span
        else:
            expanded.append(item)
    return expanded


Ids = Annotated[tuple[NonNegativeInt, ...], BeforeValidator(_expand)]
LabelMap = dict[NonNegativeInt, Ids]


DEFAULT_COLORS = LABEL_COLORS


class DataSection(ConfigSection):
    """Keys of the sections of all layouts."""

    former_keys: ClassVar[Mapping[str, str]] = {"normalisation": "normalization"}

    kind: str = ""
    """Layout of the data set."""
    folder: str
    """Folder of the data set: `${HYPERSPACE_DATA}/…`, or relative to the configuration file."""
    split: str | None = None
    """JSON file that lists the cases for training and for validation; none: a random split that
    depends on the seed."""
    validation_cases: PositiveInt = 10
    """Number of validation cases if there is no split file."""
    exclude: tuple[str, ...] = ()
    """Names of cases to leave out; `*` and `?` match any text and any character."""
    labels: LabelMap | None = None
    """Ids in the files for each label value, such as `{0: [2], 1: [1, 4]}` or `{1: 1-25}`; ids that
    are not listed are refused. None: those of the layout."""
    ignore: Ids = ()
    """Ids in the files of voxels whose label is unknown; losses and scores ignore them."""
    sparse: Plane | None = None
    """Plane in which only some slices are labeled: in slices of this plane without any label, the
    labels are unknown."""
    names: dict[PositiveInt, str] = Field(default_factory=dict)
    """Name of a label value; default: the name in the data set."""
    colors: dict[PositiveInt, HexColor] = Field(default_factory=dict)
    """Color of a label value as `#rrggbb`."""
    paired: tuple[PositiveInt, ...] = ()
    """Label values of structures on both sides of the body, which can be divided into left and
    right after a segmentation."""
    normalization: NormalizationConfig = NormalizationConfig()
    """Intensity normalization, stored in the model."""

    @model_validator(mode="after")
    def _ids_once(self) -> DataSection:
        listed = [*self.ignore, *(i for ids in (self.labels or {}).values() for i in ids)]
        twice = sorted(i for i, count in Counter(listed).items() if count > 1)
        if twice:
            raise ValueError(f"labels: ids are listed more than once: {twice}")
        return self


class DecathlonSection(DataSection):
    """A data set in the layout of the Medical Segmentation Decathlon (`dataset.json`)."""

    kind: Literal["decathlon"] = "decathlon"
    """Layout of the data set."""


class NNUNetSection(DataSection):
    """A data set in the raw layout of nnU-Net (`dataset.json`, `imagesTr`, `labelsTr`)."""

    kind: Literal["nnunet"] = "nnunet"
    """Layout of the data set."""


class PairsSection(DataSection):
    """A table of images and label maps; `names` lists the label values."""

    kind: Literal["pairs"] = "pairs"
    """Layout of the data set."""
    table: str = "cases.csv"
    """CSV file in the folder, with the columns `image` (or several that start with `image`),
    `label`, and optionally `name` and `subject`; paths are relative to the folder."""


class BratsSection(DataSection):
    """BRATS 2021: one folder per case."""

    kind: Literal["brats"] = "brats"
    """Layout of the data set."""


class SpiderSection(DataSection):
    """SPIDER: lumbar spines, `images/N_t1.mha` and `masks/N_t1.mha`."""

    kind: Literal["spider"] = "spider"
    """Layout of the data set."""
    contrasts: Annotated[tuple[Contrast, ...], Field(min_length=1)] = ("t1", "t2")
    """Contrasts to use; each image is a case with one channel."""


class MMWHSSection(DataSection):
    """MM-WHS 2017: whole hearts, `…_image.nii.gz` and `…_label.nii.gz`."""

    kind: Literal["mm-whs"] = "mm-whs"
    """Layout of the data set."""
    modality: Literal["mr", "ct"] = "mr"
    """Modality to use."""


class LesionSection(DataSection):
    """Lesions in FLAIR images in BIDS layout, with masks next to the images or in `derivatives`."""

    kind: Literal["bids-lesion"] = "bids-lesion"
    """Layout of the data set."""
    mask: str = "*lesion*"
    """Pattern of the file names of masks, not case-sensitive. If an image has several masks, use a
    narrower pattern such as `*lesion*rater1*`."""


class LabelMapsSection(DataSection):
    """Label maps of whole heads, for synthetic images; ids of the brain as in FreeSurfer. Ids that
    `labels` does not list are background.
    """

    kind: Literal["label-maps"] = "label-maps"
    """Layout of the data set."""
    pattern: str = "*.nii.gz"
    """Pattern of the file names."""

    @model_validator(mode="after")
    def _can_be_synthesized(self) -> LabelMapsSection:
        if self.normalization.kind != "z-score":
            raise ValueError("normalization: synthetic images support only z-score")
        if self.sparse is not None:
            raise ValueError("sparse: synthetic images need complete label maps")
        return self


def _with_kind(values: Any) -> Any:
    """Use the layout of the Decathlon if none is given."""
    return {"kind": "decathlon", **values} if isinstance(values, dict) else values


AnyDataSection = Annotated[
    DecathlonSection
    | NNUNetSection
    | PairsSection
    | BratsSection
    | SpiderSection
    | MMWHSSection
    | LesionSection
    | LabelMapsSection,
    Field(discriminator="kind"),
    BeforeValidator(_with_kind),
]


class DataFile(ConfigSection):
    """The part of a file that describes a data set."""

    data: AnyDataSection
    """The data set."""


def load_data_section(path: str | os.PathLike[str]) -> tuple[DataSection, Path]:
    """Read the section ``data`` of a configuration, or of a file with no other section.

    Returns
    -------
    tuple
        The section, and the folder that its relative paths start from.

    Raises
    ------
    HyperspaceError
        If the file cannot be read or the section is not valid; other sections are ignored.
    """
    values = read_yaml(path)
    if "data" not in values:
        raise HyperspaceError(
            "the file does not describe a data set", where=path, fix="Add a section `data:`"
        )
    try:
        section = DataFile.model_validate({"data": values["data"]}).data
    except ValidationError as error:
        raise explain(error, DataFile, path) from None
    return section, Path(path).absolute().parent
