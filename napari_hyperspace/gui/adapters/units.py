"""The units of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_hyperspace.core.geometry import Triple


def units_mm(units: Any) -> tuple[Triple, str]:
    """Return the length of each world axis's unit in mm, and a note for the user.

    Units that are not lengths, such as pixels, are taken as mm; the note says so, and is empty
    otherwise.

    Parameters
    ----------
    units
        The units of a layer: pint's units or their names, one or one per axis; or `None`.
    """
    import pint

    if units is None:
        return (1.0, 1.0, 1.0), "The layer has no units: its scale is taken as mm."
    if isinstance(units, str) or not isinstance(units, Sequence):
        units = (units,) * 3
    registry = pint.get_application_registry()  # type: ignore[no-untyped-call]
    try:
        a, b, c = (float(registry.Quantity(1, str(unit)).to("mm").magnitude) for unit in units)
    except pint.PintError:
        shown = ", ".join(sorted({str(unit) for unit in units}))
        return (1.0, 1.0, 1.0), f"The layer's units are {shown}: its scale is taken as mm."
    return (a, b, c), ""
