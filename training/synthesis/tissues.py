"""The ids of whole-head label maps, their tissues, and usual intensities of these tissues.

Ids of the brain are those of FreeSurfer. Ids above 500 are extra-cerebral tissues, in the
alphabetical order of the atlas of SimNIBS-CHARM (arteries … optic nerves); position and size of
these structures in the maps agree with that atlas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Tissue → (left, right) pairs of ids. Both sides of a tissue have the same intensities.
_SIDED: dict[str, tuple[tuple[int, int], ...]] = {
    "white matter": ((2, 41), (25, 57), (78, 79)),
    "cortex": ((3, 42),),
    "csf": ((4, 43), (5, 44)),
    "cerebellar white": ((7, 46),),
    "cerebellar grey": ((8, 47),),
    "thalamus": ((10, 49),),
    "caudate": ((11, 50),),
    "putamen": ((12, 51),),
    "pallidum": ((13, 52),),
    "hippocampus": ((17, 53),),
    "amygdala": ((18, 54),),
    "accumbens": ((26, 58),),
    "ventral diencephalon": ((28, 60),),
    "vessel": ((30, 62),),
    "choroid plexus": ((31, 63), (136, 163), (137, 164)),
}
# Tissue → ids of structures that are not split into left and right.
_MIDDLE: dict[str, tuple[int, ...]] = {
    "air": (0,),
    "white matter": (77, 251, 252, 253, 254, 255),
    "csf": (14, 15, 24, 72),
    "brain stem": (16,),
    "chiasm": (85,),
    "artery": (502,),
    "eye": (506,),
    "soft tissue": (507,),
    "eye muscle": (508,),
    "mucosa": (509,),
    "skin": (511,),
    "spinal cord": (512,),
    "vein": (514,),
    "cortical bone": (515,),
    "cancellous bone": (516,),
    "optic nerve": (530,),
}
EXTERNAL_CSF = 24

_OF_ID = {i: name for name, ids in _MIDDLE.items() for i in ids} | {
    i: name for name, pairs in _SIDED.items() for pair in pairs for i in pair
}
IDS: tuple[int, ...] = tuple(sorted(_OF_ID))
"""Every id that a label map may contain; the position of an id is its generation class."""
TISSUES: tuple[str, ...] = tuple(dict.fromkeys([*_MIDDLE, *_SIDED]))
"""All tissues; `TISSUES[0]` is air."""
TISSUE_OF_CLASS: tuple[int, ...] = tuple(TISSUES.index(_OF_ID[i]) for i in IDS)
"""Tissue of each generation class."""
_MIRROR = {i: i for i in IDS}
for _pairs in _SIDED.values():
    for _left, _right in _pairs:
        _MIRROR |= {_left: _right, _right: _left}
MIRROR: tuple[int, ...] = tuple(IDS.index(_MIRROR[i]) for i in IDS)
"""For each generation class, that of the same structure on the other side."""

EXTRA_CEREBRAL = frozenset(
    [
        "artery",
        "eye",
        "soft tissue",
        "eye muscle",
        "mucosa",
        "skin",
        "spinal cord",
        "vein",
        "cortical bone",
        "cancellous bone",
        "optic nerve",
    ]
)
INSIDE: tuple[bool, ...] = tuple(_OF_ID[i] not in {"air", *EXTRA_CEREBRAL} for i in IDS)
"""Whether a generation class lies inside the skull and is kept by skull stripping."""
BRAIN: tuple[bool, ...] = tuple(
    inside and i != EXTERNAL_CSF for i, inside in zip(IDS, INSIDE, strict=True)
)
"""Whether a generation class belongs to the brain, including the ventricles."""


@dataclass(frozen=True)
class ContrastPrior:
    """Usual mean intensity of each tissue in one kind of image, from 0 (air) to about 1."""

    means: Mapping[str, float]


def _prior(values: str) -> ContrastPrior:
    means = dict(zip(_PRIOR_ORDER, map(float, values.split()), strict=True))
    missing = set(TISSUES) - {"air"} - set(means)
    assert not missing, missing
    return ContrastPrior(means)


_PRIOR_ORDER = [
    "csf",
    "cortex",
    "white matter",
    "thalamus",
    "caudate",
    "putamen",
    "pallidum",
    "accumbens",
    "hippocampus",
    "amygdala",
    "ventral diencephalon",
    "brain stem",
    "cerebellar grey",
    "cerebellar white",
    "choroid plexus",
    "vessel",
    "chiasm",
    "artery",
    "eye",
    "soft tissue",
    "eye muscle",
    "mucosa",
    "skin",
    "spinal cord",
    "vein",
    "cortical bone",
    "cancellous bone",
    "optic nerve",
]
# csf ctx wm thal caud put pall acc hipp amyg vdc stem cbg cbw plexus vessel chiasm | artery eye
# soft muscle mucosa skin cord vein bone marrow nerve
CONTRAST_PRIORS: dict[str, ContrastPrior] = {
    "t1": _prior(
        ".14 .46 .78 .63 .51 .57 .69 .47 .47 .47 .65 .62 .47 .68 .34 .40 .70"
        " .45 .18 .45 .42 .42 .72 .66 .38 .10 .62 .55"
    ),
    "t2": _prior(
        ".98 .56 .36 .44 .50 .46 .30 .52 .58 .57 .37 .40 .54 .36 .80 .60 .40"
        " .15 .95 .28 .30 .60 .52 .42 .25 .06 .40 .45"
    ),
    "pd": _prior(
        ".74 .84 .66 .75 .80 .77 .66 .81 .84 .84 .70 .70 .82 .66 .80 .70 .68"
        " .30 .72 .60 .66 .75 .70 .68 .40 .08 .55 .66"
    ),
    "flair": _prior(
        ".10 .64 .47 .55 .60 .57 .44 .62 .67 .67 .50 .50 .60 .46 .40 .35 .48"
        " .18 .12 .34 .34 .55 .50 .48 .25 .06 .40 .42"
    ),
}
