"""Class-conditional networks whose answer is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.models import FakeModel


@pytest.fixture
def linear_model() -> Callable[..., FakeModel]:
    """Make a class-conditional model whose margin is a weighted sum of its channels."""

    def make_model(
        image: float = 0.0,
        mask: float = 0.0,
        include: float = 0.0,
        exclude: float = 0.0,
        offset: float = 0.0,
    ) -> FakeModel:
        def make(spacing_mm: tuple[float, ...]) -> nn.Module:
            network = nn.Conv3d(4, 2, 1)
            network.weight.data.zero_()
            network.weight.data[1, :, 0, 0, 0] = torch.tensor([image, mask, include, exclude])
            network.bias.data = torch.tensor([0.0, offset])
            return network

        return FakeModel(
            make,
            head="class-conditional",
            in_channels=4,
            channel_names=("image", "rough mask", "voxels inside", "voxels outside"),
            out_channels=2,
            label_values=(0, 1),
            label_names={1: "structure"},
            label_colors={1: "#ff0000"},
        )

    return make_model
