"""Which configurations of networks and factories there are, and the factory that each describes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from napari_hyperspace.nets.base.factory import Factory
from napari_hyperspace.nets.harmonic.config import HarmonicUNetConfig, PhysicalKernelsConfig
from napari_hyperspace.nets.harmonic.factory import HarmonicFactory
from napari_hyperspace.nets.hypernetwork.config import HypernetworkConfig
from napari_hyperspace.nets.hypernetwork.factory import Hypernetwork
from napari_hyperspace.nets.plain.config import ConstantConfig, UNetConfig
from napari_hyperspace.nets.plain.factory import ConstantFactory


def _network_kind(value: Any) -> str:
    """Return the kind of a network, which configurations may leave out for a U-Net."""
    kind = value.get("kind", "unet") if isinstance(value, dict) else value.kind
    return str(kind)


NetworkConfig = Annotated[
    Annotated[UNetConfig, Tag("unet")] | Annotated[HarmonicUNetConfig, Tag("harmonic-unet")],
    Discriminator(_network_kind),
]
FactoryConfig = Annotated[
    HypernetworkConfig | ConstantConfig | PhysicalKernelsConfig, Field(discriminator="kind")
]


def check_pair(network: NetworkConfig, factory: FactoryConfig) -> None:
    """Check that a factory makes such networks.

    Raises
    ------
    ValueError
        If it does not.
    """
    if isinstance(network, HarmonicUNetConfig) != isinstance(factory, PhysicalKernelsConfig):
        raise ValueError(
            f"a factory of kind {factory.kind} makes no network of kind {network.kind}: "
            "harmonic-unet and physical-kernels go together"
        )


def build_factory(network: NetworkConfig, factory: FactoryConfig) -> Factory:
    """Make the factory that a configuration describes, freshly initialized.

    Raises
    ------
    ValueError
        If such a factory does not make such networks.
    """
    check_pair(network, factory)
    if isinstance(network, HarmonicUNetConfig) and isinstance(factory, PhysicalKernelsConfig):
        return HarmonicFactory(network, factory)
    assert isinstance(network, UNetConfig)
    if isinstance(factory, HypernetworkConfig):
        return Hypernetwork(network, factory)
    return ConstantFactory(network)
