"""The configurations of networks and factories that exist, and how a factory is built from them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Field, Tag

from napari_hyperspace.nets.base.factory import Factory
from napari_hyperspace.nets.harmonic.config import HarmonicUNetConfig, PhysicalKernelsConfig
from napari_hyperspace.nets.harmonic.factory import HarmonicFactory
from napari_hyperspace.nets.hypernetwork.config import HypernetworkConfig
from napari_hyperspace.nets.hypernetwork.factory import Hypernetwork
from napari_hyperspace.nets.plain.config import ConstantConfig, UNetConfig
from napari_hyperspace.nets.plain.factory import ConstantFactory


def _network_kind(value: object) -> str:
    """Return the kind of a network; a configuration without a kind is a U-Net's."""
    if isinstance(value, dict):
        return str(value.get("kind", "unet"))
    return str(getattr(value, "kind", None))


NetworkConfig = Annotated[
    Annotated[UNetConfig, Tag("unet")] | Annotated[HarmonicUNetConfig, Tag("harmonic-unet")],
    Discriminator(_network_kind),
]
FactoryConfig = Annotated[
    HypernetworkConfig | ConstantConfig | PhysicalKernelsConfig, Field(discriminator="kind")
]


def check_pair(network: NetworkConfig, factory: FactoryConfig) -> None:
    """Check that a factory of this kind can make networks of this kind.

    Raises
    ------
    ValueError
        If it cannot.
    """
    if isinstance(network, HarmonicUNetConfig) != isinstance(factory, PhysicalKernelsConfig):
        raise ValueError(
            f"a factory of kind {factory.kind} cannot make a network of kind {network.kind}: "
            "harmonic-unet and physical-kernels go together"
        )


def build_factory(network: NetworkConfig, factory: FactoryConfig) -> Factory:
    """Build the factory that a configuration describes, with initial weights.

    Raises
    ------
    ValueError
        If such a factory cannot make such networks.
    """
    check_pair(network, factory)
    if isinstance(network, HarmonicUNetConfig) and isinstance(factory, PhysicalKernelsConfig):
        return HarmonicFactory(network, factory)
    assert isinstance(network, UNetConfig)
    if isinstance(factory, HypernetworkConfig):
        return Hypernetwork(network, factory)
    return ConstantFactory(network)
