"""Which networks are averaged: spacings in the trained range, and mirrored images."""

from __future__ import annotations

import pytest

from napari_hyperspace.core.volume import Laterality
from napari_hyperspace.inference.best.members import Member, members_at, mirrored_classes
from tests.models import FakeModel

NATIVE = (1.0, 1.0, 1.0)


def _model(**changes: object) -> FakeModel:
    return FakeModel(lambda _: None, **changes)  # type: ignore[arg-type, return-value]


def test_four_spacings_each_with_the_mirrored_image() -> None:
    members = members_at(_model(), (2.0, 1.0, 1.0), NATIVE)
    assert members[:2] == [Member((2, 1, 1), False), Member((2, 1, 1), True)]
    assert [one.mirrored for one in members] == [False, True] * 4
    factors = [one.spacing_mm[0] / 2 for one in members[::2]]
    assert len(set(factors)) == 4 and factors[0] == 1 and min(factors) < 1 < max(factors)
    for one in members:
        assert one.spacing_mm[0] == pytest.approx(2 * one.spacing_mm[1])


def test_spacings_stay_in_the_trained_range_and_are_not_repeated() -> None:
    narrow = _model(trained_range_mm=((1.0, 2.0),) * 3)
    spacings = [one.spacing_mm for one in members_at(narrow, (2.0, 2.0, 2.0), NATIVE)][::2]
    assert spacings == [(2, 2, 2), (1.8, 1.8, 1.8)]
    outside = [one.spacing_mm for one in members_at(narrow, (3.0,) * 3, NATIVE, "extrapolate")][::2]
    assert outside[0] == (3, 3, 3) and len(outside) == 4
    single = _model(trained_range_mm=((1.0, 1.0),) * 3)
    assert members_at(single, (1.0, 1.0, 1.0), NATIVE) == [
        Member((1, 1, 1), False),
        Member((1, 1, 1), True),
    ]


def test_a_coarse_axis_that_needs_no_resampling_keeps_its_spacing() -> None:
    thick = [one.spacing_mm for one in members_at(_model(), (4.0, 1.0, 1.0), (4.0, 1.0, 1.0))]
    assert {z for z, _, _ in thick} == {4.0} and len(set(thick)) == 4
    assert {one.spacing_mm for one in members_at(_model(), (3.0,) * 3, (3.0,) * 3)} == {(3.0,) * 3}
    # Resampled anyway, or fine.
    for working, native in ((3.0, 1.0), (1.5, 1.5)):
        members = members_at(_model(), (working,) * 3, (native,) * 3)
        assert len({one.spacing_mm for one in members}) == 4


def test_a_2d_model_keeps_its_slices() -> None:
    spacings = {one.spacing_mm for one in members_at(_model(n_dim=2), (5.0, 1.0, 1.0), NATIVE)}
    assert {z for z, _, _ in spacings} == {5.0} and len(spacings) == 4


def test_sides_change_places_in_the_mirrored_image() -> None:
    left, right = Laterality("left", "one"), Laterality("right", "one")
    values = (0, 5, 9, 3)
    middle = {9: Laterality(None, "two")}
    model = _model(label_values=values, label_sides={5: left, 3: right, **middle})
    assert mirrored_classes(model) == [0, 3, 2, 1]
    assert mirrored_classes(_model(label_sides={1: middle[9], 2: middle[9]})) == [0, 1, 2]
    # A structure on one side only cannot be found in the mirrored image.
    one_sided = _model(label_values=values, label_sides={5: left, **middle})
    assert mirrored_classes(one_sided) is None
    assert [one.mirrored for one in members_at(one_sided, (1.0, 1.0, 1.0), NATIVE)] == [False] * 4
