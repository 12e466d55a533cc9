"""The curve of estimated time and measured accuracy over the working spacing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor, QFont
from qtpy.QtWidgets import QWidget

from napari_hyperspace.core.format import format_seconds
from napari_hyperspace.gui.widgets.parts.theme import Colors, colors

_TICKS_MM = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


class _SpacingAxis(pg.AxisItem):  # type: ignore[misc]  # pyqtgraph has no types
    """Ticks at round spacings in mm; the coordinate is the logarithm to base 10."""

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[None, list[float]]]:
        """Return the positions of the ticks."""
        return [(None, [float(v) for v in np.log10(_TICKS_MM) if low <= v <= high])]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: Any) -> list[str]:
        """Return their texts, the last one with its unit."""
        return [f"{10**v:g}" + (" mm" if v == values[-1] else "") for v in values]


class _TimeAxis(pg.AxisItem):  # type: ignore[misc]  # pyqtgraph has no types
    """Ticks at powers of ten of seconds, at most about four."""

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[None, list[float]]]:
        """Return the positions of the ticks."""
        powers = np.arange(np.ceil(low), np.floor(high) + 1)
        step = max(1, int(np.ceil(len(powers) / 4)))
        return [(None, powers[::step].tolist())]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: Any) -> list[str]:
        """Return their texts."""
        return [format_seconds(10.0**value).replace(".0 ", " ") for value in values]


class _DiceAxis(pg.AxisItem):  # type: ignore[misc]  # pyqtgraph has no types
    """Ticks at round values of Dice, at most about six."""

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[None, list[float]]]:
        """Return the positions of the ticks."""
        step = 0.05 if high - low < 0.25 else 0.1 if high - low < 0.5 else 0.2
        ticks = np.arange(np.ceil(low / step - 1e-6), np.floor(high / step + 1e-6) + 1) * step
        return [(None, ticks[ticks <= 1].tolist())]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: Any) -> list[str]:
        """Return their texts."""
        return [f"{value:.2f}" for value in values]


class CostCurve(pg.PlotWidget):  # type: ignore[misc]  # pyqtgraph has no types
    """Time over spacing, both logarithmic, and Dice on a second axis.

    The part that does not fit into memory has another color. Measurements of Dice are dots.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        self._dice_axis = _DiceAxis("right")
        axes = {
            "bottom": _SpacingAxis("bottom"),
            "left": _TimeAxis("left"),
            "right": self._dice_axis,
        }
        super().__init__(parent, background=None, axisItems=axes, enableMenu=False)
        plot = self.getPlotItem()
        plot.hideButtons()
        plot.setMouseEnabled(False, False)
        plot.getViewBox().setDefaultPadding(0.04)
        self.setMinimumHeight(96)
        self.setMaximumHeight(160)
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
        self._accuracy = pg.ViewBox(enableMenu=False)
        self._accuracy.setMouseEnabled(False, False)
        self._accuracy.setXLink(plot.getViewBox())
        plot.scene().addItem(self._accuracy)
        self._dice_axis.linkToView(self._accuracy)
        self._dice = pg.PlotDataItem(antialias=True, symbol="o", symbolSize=5)
        self._dice_point = pg.ScatterPlotItem(size=9)
        for item in (self._dice, self._dice_point):
            self._accuracy.addItem(item)
        plot.getViewBox().sigResized.connect(self._follow)
        self.setColors(colors("dark"))
        self.clear_curve()

    def sizeHint(self) -> QSize:
        """Return the preferred size."""
        return QSize(300, 132)

    def setColors(self, chosen: Colors) -> None:
        """Set the colors of the theme."""
        faint = pg.mkPen(chosen.faint)
        plain = (self.getPlotItem().getAxis(name) for name in ("bottom", "left"))
        for axis in (*plain, self._dice_axis):
            axis.setPen(faint)
            axis.setTextPen(pg.mkPen(chosen.good) if axis is self._dice_axis else faint)
            font = QFont(self.font())
            font.setPixelSize(10)
            axis.setTickFont(font)
            axis.setStyle(tickLength=4, tickTextOffset=3)
        self.getPlotItem().getAxis("left").setWidth(46)
        self.getPlotItem().getAxis("bottom").setHeight(20)
        self._dice_axis.setWidth(32)
        zone = QColor(chosen.accent)
        zone.setAlpha(38)
        self._trained.setBrush(zone)
        self._fits.setPen(pg.mkPen(chosen.accent, width=2))
        self._too_large.setPen(pg.mkPen(chosen.bad, width=2, style=Qt.PenStyle.DashLine))
        self._drop.setPen(pg.mkPen(chosen.faint, style=Qt.PenStyle.DotLine))
        self._point.setPen(pg.mkPen(chosen.accent, width=2))
        self._point.setBrush(chosen.text)
        self._text.setColor(chosen.text)
        self._joined_pen = pg.mkPen(chosen.good, width=1.5)
        self._dice.setSymbolBrush(chosen.good)
        self._dice.setSymbolPen(pg.mkPen(None))
        self._dice_point.setPen(pg.mkPen(chosen.good, width=2))
        self._dice_point.setBrush(chosen.text)

    def clear_curve(self) -> None:
        """Remove the curve, the point and the measurements."""
        for item in (self._fits, self._too_large, self._point):
            item.setData([], [])
        for item in (self._trained, self._drop, self._text):
            item.setVisible(False)
        self.setAccuracy((), False, None)

    def setCurve(
        self,
        spacings_mm: Sequence[float],
        seconds: Sequence[float],
        fits: Sequence[bool],
        trained: tuple[float, float] | None,
    ) -> None:
        """Show estimated times over spacings (geometric means in mm)."""
        x = np.log10(spacings_mm)
        y = np.log10(np.maximum(seconds, 1e-6))
        fitting = np.asarray(fits, dtype=bool)
        self._fits.setData(x, np.where(fitting, y, np.nan), connect="finite")
        # The dashed part starts at the last point of the solid one, so that there is no gap.
        beyond = ~fitting | np.append(~fitting[1:], False) | np.append(False, ~fitting[:-1])
        self._too_large.setData(x, np.where(beyond & ~fitting.all(), y, np.nan), connect="finite")
        self._trained.setVisible(trained is not None)
        if trained is not None:
            self._trained.setRegion(np.log10(trained))
        box = self.getPlotItem().getViewBox()
        box.setXRange(x.min(), x.max(), padding=0.02)
        box.setYRange(y.min(), y.max(), padding=0.12)
        self._place_text()

    def setPoint(self, spacing_mm: float, seconds: float) -> None:
        """Mark the current spacing and its estimated time."""
        x, y = float(np.log10(spacing_mm)), float(np.log10(max(seconds, 1e-6)))
        self._point.setData([x], [y])
        self._drop.setVisible(True)
        self._drop.setPos(x)
        self._text.setText(format_seconds(seconds))
        self._text.setPos(x, y)
        self._text.setVisible(True)
        self._place_text()

    def _place_text(self) -> None:
        """Put the text where the falling curve leaves room: below left or above right of it."""
        (left, right), (bottom, top) = self.getPlotItem().getViewBox().viewRange()
        x = (self._text.pos().x() - left) / (right - left)
        low = (self._text.pos().y() - bottom) / (top - bottom) < 0.25
        beside = 1.08 if (x > 0.2 and not low) or x > 0.8 else -0.08
        self._text.setAnchor((beside, 1.1 if low or x <= 0.2 else -0.1))

    def setAccuracy(
        self,
        measured: Sequence[tuple[float, float]],
        joined: bool,
        current: tuple[float, float] | None,
    ) -> None:
        """Show measured Dice at spacings in mm, joined by a line or not, and the expected Dice."""
        shown = [*measured, *([current] if current else ())]
        self._dice_axis.setVisible(bool(shown))
        self._accuracy.setVisible(bool(shown))
        for item, points in ((self._dice, measured), (self._dice_point, [current or ()])):
            x, y = np.array(points, dtype=float).reshape(-1, 2).T
            item.setData(np.log10(x), y)
        self._dice.setPen(self._joined_pen if joined else None)
        if shown:
            low, high = (limit(dice for _, dice in shown) for limit in (min, max))
            self._accuracy.setYRange(max(low - 0.05, 0), min(high + 0.05, 1.02), padding=0)

    def _follow(self) -> None:
        self._accuracy.setGeometry(self.getPlotItem().getViewBox().sceneBoundingRect())
