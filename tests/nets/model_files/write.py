"""Write small model files by the code of an earlier commit, and their logits in float64.

    mkdir CODE && git archive COMMIT napari_hyperspace | tar -x -C CODE
    python tests/nets/model_files/write.py CODE COMMIT FORM...
    python tests/nets/model_files/write.py CODE COMMIT --logits-of FILE...

The code of the commit must be able to run with the installed versions of its requirements.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
LOGITS = HERE / "logits.safetensors"
SPACING_MM = (1.0, 1.5, 2.0)
RANGE_MM = ((0.5, 4.0),) * 3


def image(n_dim):
    """Return the image that logits are computed of."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn((1, 1, *(6, 4, 4)[:n_dim]), generator=generator, dtype=torch.float64)


def logits(model):
    """Return the logits of a model, of weights made in float64."""
    network = model.factory.double().bake(SPACING_MM[: model.n_dim]).double()
    with torch.no_grad():
        return network(image(model.n_dim)).contiguous()


def write(commit, form):
    """Write a model file with random weights."""
    network, factory = configurations(form)
    torch.manual_seed(1)
    made = find("build_factory", "build", "hypernetwork", "factory")(network, factory)
    generator = torch.Generator().manual_seed(2)
    for name, tensor in made.state_dict().items():
        if "running_var" in name:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif tensor.is_floating_point():
            with torch.no_grad():
                tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.2)
    model = find("Model", "model")(made, card(form, network.n_dim))
    half = {"dtype": "float16"} if form == "half" else {}
    path = HERE / f"{commit}-{form}.safetensors"
    find("save_model", "model_file")(model, path, **half)
    return path


def configurations(form):
    """Return the configurations of network and factory."""
    unet = find("UNetConfig", "plain.config", "config")
    hypernetwork = find("HypernetworkConfig", "hypernetwork.config", "config")
    small = {"channels": 2, "convs_per_level": 1, "out_channels": 3}
    hyper = hypernetwork(range_mm=RANGE_MM, rank=2, hidden=(3,))
    if form in ("hypernetwork", "half"):
        return unet(**small, strides=((2, 2, 2),)), hyper
    if form == "released":
        return unet(**small, strides=((2, 2, 2),)), hypernetwork.paper((4, 4))
    if form == "levels":
        levels = {**small, "level_spacing_mm": (2.5, 5.0), "convs_per_level": (1, 2, 1)}
        return unet(**levels), hyper
    if form == "plane":
        flat = unet(**small, n_dim=2, strides=((2, 2), (2, 2)), max_channels=3, up_kernel="stride")
        return flat, hypernetwork(range_mm=RANGE_MM[:2], rank=2, hidden=(3,))
    if form == "constant":
        plain = unet(
            **small,
            strides=((2, 2, 2),),
            **{"norm": "batch", "down": "max-pool", "up": "linear", "stem": False},
            **{"final_kernel_size": 1, "order": "conv-norm-act", "activation": "leaky-relu"},
        )
        return plain, find("ConstantConfig", "plain.config", "config")()
    kernels = {} if form == "steerable" else {"kernels": form, "pooling": "average"}
    network = find("HarmonicUNetConfig", "harmonic.config")(
        multiplicities=(2, 1) if form == "steerable" else (2,),
        level_spacing_mm=(2.5,),
        kernel_mm=(4.0, 8.0),
        **{"radial_functions": 2, "max_degree": 1, "convs_per_level": 1, "out_channels": 3},
        **kernels,
    )
    physical = find("PhysicalKernelsConfig", "harmonic.config")
    return network, physical(**({"voxels": "integrated"} if kernels else {}))


def card(form, n_dim):
    """Return a card with a value in each field that the commit has."""
    model_card = find("ModelCard", "card")
    known = model_card.model_fields
    names = {
        "normalisation": "normalization" if "normalization" in known else "normalisation",
        "licence": "license" if "license" in known else "licence",
        "search": "localization" if "localization" in known else "search",
    }
    values = {
        "name": form,
        "labels": [
            {"value": 3, "name": "left hippocampus", "color": "#e69f00"},
            {"value": 7, "name": "right hippocampus"},
        ],
        names["normalisation"]: {"kind": "percentile", "lower": 1.0, "upper": 99.0},
        "trained_range_mm": RANGE_MM[:n_dim],
        "tile_shape": (48,) * n_dim,
        names["licence"]: "CC0",
        "training": {"seed": 1},
        "dice": [{"spacing_mm": (1.0,) * n_dim, "dice": {"left hippocampus": 0.5}, "mean": 0.5}],
    }
    if names["search"] in known and n_dim == 3:
        extent = {"spacing_mm": 4.0, "margin_mm": 6.0, "extent_mm": (90.0, 80.0, 70.0)}
        values[names["search"]] = extent
    if "tile_mm" in known:
        values["tile_mm"] = (64.0,) * n_dim
    return model_card.model_validate(values)


def find(name, *modules):
    """Return a name of the package, from the first of the modules that has it."""
    for module in modules:
        try:
            return getattr(import_module(f"napari_hyperspace.nets.{module}"), name)
        except (ModuleNotFoundError, AttributeError):
            continue
    raise SystemExit(f"{name} does not exist in this commit")


def main():
    """Write model files or logits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("code", type=Path)
    parser.add_argument("commit")
    parser.add_argument("forms", nargs="*")
    parser.add_argument("--logits-of", nargs="*", type=Path, default=[])
    options = parser.parse_args()
    sys.path.insert(0, str(options.code.resolve()))
    written = [write(options.commit, form) for form in options.forms] + options.logits_of
    known = load_file(LOGITS) if LOGITS.exists() else {}
    load = find("load_model", "model_file")
    known |= {path.stem: logits(load(path)) for path in written}
    save_file(known, LOGITS)


if __name__ == "__main__":
    main()
