"""A model: a factory of networks, and the card that describes it."""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import nn

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import check_spacing
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.volume import Laterality
from napari_hyperspace.nets.base.architecture import Architecture
from napari_hyperspace.nets.base.config import Range
from napari_hyperspace.nets.base.factory import Factory
from napari_hyperspace.nets.base.guidance import GivenGuidance, GuidanceChannels
from napari_hyperspace.nets.base.localization import Localization
from napari_hyperspace.nets.card import ModelCard
from napari_hyperspace.nets.digest import digest_of

_CACHED_NETWORKS = 8
_CARD_FIELDS_OF_LABELS = (
    *("normalization", "axis_order", "trained_range_mm", "tile_shape", "tile_mm", "localization"),
    *("head", "guidance"),
)


class Model:
    """Makes the plain network of any spacing, and describes its input and output.

    Parameters
    ----------
    factory
        The model owns it from now on: it is set to eval mode and frozen.
    card
        Its classes, channels and dimensions must be those of the factory's networks.

    Raises
    ------
    HyperspaceError
        If card and networks differ in classes, channels or dimensions.
    """

    def __init__(self, factory: Factory, card: ModelCard) -> None:
        network = factory.network_config
        for what, found, expected in (
            ("classes (background included)", 1 + len(card.labels), network.out_channels),
            ("input channels", len(card.channel_names), network.in_channels),
            ("axes in trained_range_mm", len(card.trained_range_mm or ()), network.n_dim),
            ("axes in tile_shape", len(card.tile_shape or ()), network.n_dim),
            ("axes in tile_mm", len(card.tile_mm or ()), network.n_dim),
        ):
            if found != expected and not ("axes" in what and found == 0):
                raise HyperspaceError(
                    f"card and network differ in the number of {what}",
                    where=card.name,
                    found=f"{found} in the card",
                    expected=f"{expected} as in the network",
                )
        if card.head == "class-conditional" and (network.out_channels, network.n_dim) != (2, 3):
            raise HyperspaceError(
                "a class-conditional model has two classes, in three dimensions",
                where=card.name,
                found=f"{network.out_channels} classes, {network.n_dim} dimensions",
            )
        if card.guidance is not None:
            _check_guided(card)
        self.card = card
        self.factory = factory.eval().requires_grad_(False)
        self._device = next(factory.parameters()).device
        self._factories: dict[torch.device, Factory] = {self._device: self.factory}
        self._networks: OrderedDict[tuple[object, ...], nn.Module] = OrderedDict()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        labels = ", ".join(self.label_names.values())
        return f"<Model {self.name!r}: {labels}; trained range {self.trained_range_mm} mm>"

    @property
    def name(self) -> str:
        """What to call it."""
        return self.card.name

    @property
    def head(self) -> str:
        """What the output is, as in `ModelCard.head`."""
        return self.card.head

    @property
    def n_dim(self) -> int:
        """3, or 2 for a model that works slice by slice in the plane (y, x)."""
        return self.factory.network_config.n_dim

    @property
    def in_channels(self) -> int:
        """Number of channels that its networks see."""
        return self.factory.network_config.in_channels

    @property
    def image_channels(self) -> int:
        """Number of images it wants, all on one grid; the other channels are its guidance."""
        return self.in_channels - (self.out_channels if self.card.guidance else 0)

    @property
    def guidance(self) -> GuidanceChannels | None:
        """The channels of guidance after the images; `None`: the model is not guided."""
        return self.card.guidance.build() if self.card.guidance else None

    @property
    def given_guidance(self) -> GivenGuidance | None:
        """`None`: guidance belongs to a scan; see `napari_hyperspace.inference.guidance`."""
        return None

    @property
    def out_channels(self) -> int:
        """Number of classes, background included."""
        return self.factory.network_config.out_channels

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Description of each input image."""
        return self.card.channel_names

    @property
    def label_values(self) -> tuple[int, ...]:
        """Value in the label map of each output channel; the first is 0, the background."""
        return (0, *(label.value for label in self.card.labels))

    @property
    def label_names(self) -> Mapping[int, str]:
        """Name of each label value, without the background."""
        return {label.value: label.name for label in self.card.labels}

    @property
    def label_colors(self) -> Mapping[int, str]:
        """Color of each label value as ``"#rrggbb"``, without the background."""
        return {label.value: label.color for label in self.card.labels}

    @property
    def label_sides(self) -> Mapping[int, Laterality]:
        """Side of the body of each label value, without the background."""
        return {label.value: label.laterality for label in self.card.labels}

    @property
    def trained_range_mm(self) -> tuple[Range, ...] | None:
        """Smallest and largest trained spacing in mm, per axis (z, y, x); `None`: unknown."""
        return self.card.trained_range_mm

    @property
    def normalization(self) -> Normalization:
        """How its input is normalized."""
        return self.card.normalization.build()

    @property
    def tile_shape(self) -> tuple[int, ...] | None:
        """Largest tile in voxels (z, y, x); `None`: no limit by the model."""
        return self.card.tile_shape

    @property
    def tile_mm(self) -> tuple[float, ...] | None:
        """Largest tile in mm (z, y, x), in addition to that in voxels; `None`: no limit."""
        return self.card.tile_mm

    @property
    def localization(self) -> Localization | None:
        """Parameters of a coarse first pass; `None`: the whole scan is segmented."""
        return self.card.localization.build() if self.card.localization else None

    @cached_property
    def identity(self) -> str:
        """Digest of configuration and weights; equal for models that make equal networks."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(self.factory.network_config.model_dump_json().encode())
        digest.update(self.factory.config.model_dump_json().encode())
        for name, tensor in sorted(self.factory.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().view(torch.uint8).numpy())
        return digest.hexdigest()

    @cached_property
    def digest(self) -> str:
        """Digest of everything that labels depend on: configuration, weights, input, label values.

        The same for a model file in float16 and its copy in float32. Name, description, license,
        names and colors of the labels, training and accuracy are not part of it.
        """
        configs = (self.factory.network_config, self.factory.config)
        settings = {
            # Without defaults, so that a field of a later version does not change it.
            "configs": [each.model_dump(mode="json", exclude_defaults=True) for each in configs],
            "kinds": [each.model_dump(include={"kind"}) for each in configs],
            "card": self.card.model_dump(
                mode="json", exclude_defaults=True, include=set(_CARD_FIELDS_OF_LABELS)
            ),
            "values": self.label_values,
            "sides": {value: each.side for value, each in self.label_sides.items()},
        }
        state = {name: tensor.cpu() for name, tensor in self.factory.state_dict().items()}
        return digest_of(json.dumps(settings, sort_keys=True), state)

    def architecture(self, spacing_mm: Sequence[float]) -> Architecture:
        """Return the part of the architecture of a spacing's network that depends on it."""
        return self.factory.architecture(spacing_mm)

    def skeleton(self, spacing_mm: Sequence[float]) -> nn.Module:
        """Return the network of a spacing on torch's meta device: no weights, made quickly."""
        return self.factory.skeleton(spacing_mm)

    def network(
        self, spacing_mm: Sequence[float], device: str | torch.device | None = None
    ) -> nn.Module:
        """Make the plain network of a spacing, or return it from the cache.

        Thread-safe. Treat the network as read-only: other callers may use the same one.

        Parameters
        ----------
        spacing_mm
            In canonical order (z, y, x), one number per dimension of the network. Any positive
            finite spacing, inside or outside of the trained range.
        device
            Device to make and keep it on; `None`: the one the model was loaded on.

        Returns
        -------
        nn.Module
            Image ``(B, in_channels, *S)`` → logits ``(B, out_channels, *S)``; eval mode, no
            autograd.

        Raises
        ------
        HyperspaceError
            If the spacing is not positive and finite, or the weights made for it are not finite.
        """
        spacing = check_spacing(spacing_mm, self.n_dim)
        place = self._device if device is None else _resolved(device)
        key = (spacing, place)
        with self._lock:
            network = self._networks.get(key)
            if network is None:
                network = self._factory_on(place).bake(spacing)
                self._networks[key] = network
                if len(self._networks) > _CACHED_NETWORKS:
                    self._networks.popitem(last=False)
            self._networks.move_to_end(key)
        return network

    def _factory_on(self, device: torch.device) -> Factory:
        if device not in self._factories:
            self._factories[device] = copy.deepcopy(self.factory).to(device)
        return self._factories[device]


def _check_guided(card: ModelCard) -> None:
    """Check that the channels of a guided model are images and one per class."""
    images = len(card.channel_names) - len(card.labels) - 1
    if card.head != "labels" or images < 1:
        raise HyperspaceError(
            "a guided model segments labels, and has one channel per class after the images",
            where=card.name,
            field="guidance",
            found=f"{len(card.channel_names)} channels, head {card.head}",
            expected=f"at least {len(card.labels) + 2} channels, head labels",
        )


def _resolved(device: str | torch.device) -> torch.device:
    """Return the device with its index, so that "cuda" and "cuda:0" are one key."""
    place = torch.device(device)
    return torch.empty(0, device=place).device if place.type != "cpu" else place
