"""The cost curve: predicted time against working spacing, with the current point on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor, QFont
from qtpy.QtWidgets import QWidget

from napari_hyperspace.gui import texts
from napari_hyperspace.gui.widgets.theme import Colours, colours

_TICKS_MM = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


class _SpacingAxis(pg.AxisItem):
    """Spacings in mm at round numbers; the axis itself is the logarithm to base 10."""

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[None, list[float]]]:
        """Place the ticks."""
        return [(None, [float(v) for v in np.log10(_TICKS_MM) if low <= v <= high])]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: Any) -> list[str]:
        """Write them, the last one with its unit."""
        return [f"{10**v:g}" + (" mm" if v == values[-1] else "") for v in values]


class _TimeAxis(pg.AxisItem):
    """Times at powers of ten; few enough to be read."""

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[None, list[float]]]:
        """Place the ticks."""
        powers = np.arange(np.ceil(low), np.floor(high) + 1)
        step = max(1, int(np.ceil(len(powers) / 4)))
        return [(None, powers[::step].tolist())]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: Any) -> list[str]:
        """Write them."""
        return [texts.duration(10.0**value).replace(".0 ", " ") for value in values]


class CostCurve(pg.PlotWidget):
    """Time over spacing, both logarithmic; what does not fit into memory in another colour."""

    def __init__(self, parent: QWidget | None = None) -> None:
        axes = {"bottom": _SpacingAxis("bottom"), "left": _TimeAxis("left")}
        super().__init__(parent, background=None, axisItems=axes, enableMenu=False)
        plot = self.getPlotItem()
        plot.hideButtons()
        plot.setMouseEnabled(False, False)
        plot.getViewBox().setDefaultPadding(0.04)
        self.setMinimumHeight(96)
        self._trained = pg.LinearRegionItem(movable=False, pen=pg.mkPen(None))
        self._trained.setZValue(-10)
        self._fits = pg.PlotDataItem(antialias=True)
        self._too_large = pg.PlotDataItem(antialias=True)
        self._drop = pg.InfiniteLine(angle=90)
        self._point = pg.ScatterPlotItem(size=11)
        self._text = pg.TextItem(anchor=(0, 1))
        for item in (
            self._trained,
            self._fits,
            self._too_large,
            self._drop,
            self._point,
            self._text,
        ):
            plot.addItem(item, ignoreBounds=item in (self._trained, self._drop, self._text))
        self.setColours(colours("dark"))
        self.clear_curve()

    def sizeHint(self) -> QSize:
        """Return the wanted size."""
        return QSize(300, 132)

    def setColours(self, chosen: Colours) -> None:
        """Paint in other colours."""
        faint = pg.mkPen(chosen.faint)
        for name in ("bottom", "left"):
            axis = self.getPlotItem().getAxis(name)
            axis.setPen(faint)
            axis.setTextPen(faint)
            font = QFont(self.font())
            font.setPixelSize(10)
            axis.setTickFont(font)
            axis.setStyle(tickLength=4, tickTextOffset=3)
        self.getPlotItem().getAxis("left").setWidth(46)
        self.getPlotItem().getAxis("bottom").setHeight(20)
        zone = QColor(chosen.accent)
        zone.setAlpha(38)
        self._trained.setBrush(zone)
        self._fits.setPen(pg.mkPen(chosen.accent, width=2))
        self._too_large.setPen(pg.mkPen(chosen.bad, width=2, style=Qt.PenStyle.DashLine))
        self._drop.setPen(pg.mkPen(chosen.faint, style=Qt.PenStyle.DotLine))
        self._point.setPen(pg.mkPen(chosen.accent, width=2))
        self._point.setBrush(chosen.text)
        self._text.setColor(chosen.text)

    def clear_curve(self) -> None:
        """Show no curve."""
        for item in (self._fits, self._too_large, self._point):
            item.setData([], [])
        for item in (self._trained, self._drop, self._text):
            item.setVisible(False)

    def setCurve(
        self,
        spacings_mm: Sequence[float],
        seconds: Sequence[float],
        fits: Sequence[bool],
        trained: tuple[float, float] | None,
    ) -> None:
        """Show predicted times over spacings, all isotropic equivalents in mm."""
        x = np.log10(spacings_mm)
        y = np.log10(np.maximum(seconds, 1e-6))
        fitting = np.asarray(fits, dtype=bool)
        self._fits.setData(x, np.where(fitting, y, np.nan), connect="finite")
        # The dashed part begins where the other ends, so that no gap is left between them.
        beyond = ~fitting | np.append(~fitting[1:], False) | np.append(False, ~fitting[:-1])
        self._too_large.setData(x, np.where(beyond & ~fitting.all(), y, np.nan), connect="finite")
        self._trained.setVisible(trained is not None)
        if trained is not None:
            self._trained.setRegion(np.log10(trained))
        box = self.getPlotItem().getViewBox()
        box.setXRange(x.min(), x.max(), padding=0.02)
        box.setYRange(y.min(), y.max(), padding=0.12)

    def setPoint(self, spacing_mm: float, seconds: float) -> None:
        """Show where the current spacing lies."""
        x, y = float(np.log10(spacing_mm)), float(np.log10(max(seconds, 1e-6)))
        self._point.setData([x], [y])
        self._drop.setVisible(True)
        self._drop.setPos(x)
        (left, right), _ = self.getPlotItem().getViewBox().viewRange()
        self._text.setAnchor((1.08, 1.1) if x > (left + right) / 2 else (-0.08, 1.1))
        self._text.setText(texts.duration(seconds))
        self._text.setPos(x, y)
        self._text.setVisible(True)
