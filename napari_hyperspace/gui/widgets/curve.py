"""The estimated time over the working spacing, and measured Dice in a strip above it."""

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
_LEFT = 58  # width of the axes on the left, so that both plots have the same scale below
_STRIP = 52
_PLOT = 122


class _SpacingAxis(pg.AxisItem):  # type: ignore[misc]  # pyqtgraph has no types
    """Ticks at round spacings in mm; the coordinate is the logarithm to base 10."""

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[None, list[float]]]:
        """Return the positions of the ticks."""
        return [(None, [float(v) for v in np.log10(_TICKS_MM) if low <= v <= high])]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: Any) -> list[str]:
        """Return their texts."""
        return [f"{10**v:g}" for v in values]


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
    """Ticks at round values of Dice, two or three."""

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[None, list[float]]]:
        """Return the positions of the ticks."""
        step = 0.05 if high - low < 0.15 else 0.1 if high - low < 0.3 else 0.2
        ticks = np.arange(np.ceil(low / step - 1e-6), np.floor(high / step + 1e-6) + 1) * step
        return [(None, ticks[ticks <= 1].tolist())]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: Any) -> list[str]:
        """Return their texts."""
        return [f"{value:.2f}" for value in values]


class CostCurve(pg.GraphicsLayoutWidget):  # type: ignore[misc]  # pyqtgraph has no types
    """Time over spacing, both logarithmic; measurements of Dice are dots in a strip above.

    The part that does not fit into memory has another color.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Time and Dice over the working spacing")
        self.ci.layout.setContentsMargins(0, 5, 6, 0)  # room for half a tick text at the top
        self.ci.layout.setSpacing(2)
        self._strip = self._add_plot(0, {"left": _DiceAxis("left")})
        self._plot = self._add_plot(
            1, {"left": _TimeAxis("left"), "bottom": _SpacingAxis("bottom")}
        )
        self._strip.setXLink(self._plot)
        self._strip.hideAxis("bottom")
        self._trained = pg.LinearRegionItem(movable=False, pen=pg.mkPen(None))
        self._trained.setZValue(-10)
        self._fits = pg.PlotDataItem(antialias=True)
        self._too_large = pg.PlotDataItem(antialias=True)
        self._drop = pg.InfiniteLine(angle=90)
        self._point = pg.ScatterPlotItem(size=11)
        for item in (self._trained, self._fits, self._too_large, self._drop, self._point):
            self._plot.addItem(item, ignoreBounds=item in (self._trained, self._drop))
        self._dice = pg.PlotDataItem(antialias=True, symbol="o", symbolSize=5)
        self._dice_point = pg.ScatterPlotItem(size=9)
        self._dice_drop = pg.InfiniteLine(angle=90)
        for item in (self._dice, self._dice_point, self._dice_drop):
            self._strip.addItem(item, ignoreBounds=item is self._dice_drop)
        self.setColors(colors("dark"))
        self.clear_curve()

    def _add_plot(self, row: int, axes: dict[str, Any]) -> Any:
        plot = self.addPlot(row=row, col=0, axisItems=axes, enableMenu=False)
        plot.hideButtons()
        plot.setMouseEnabled(False, False)
        plot.getViewBox().setDefaultPadding(0.04)
        return plot

    def sizeHint(self) -> QSize:
        """Return the preferred size."""
        return QSize(300, _PLOT + (_STRIP if self._strip.isVisible() else 0))

    def setColors(self, chosen: Colors) -> None:
        """Set the colors of the theme."""
        # Explicitly: a viewport keeps the background of the theme that it was first shown in.
        self.setBackground(chosen.background)
        font = QFont(self.font())
        font.setPixelSize(10)
        label = {"color": chosen.faint.name(), "font-size": "10px"}
        bottom, time = self._plot.getAxis("bottom"), self._plot.getAxis("left")
        dice = self._strip.getAxis("left")
        for axis, text in ((bottom, "working spacing (mm)"), (time, "time"), (dice, "Dice")):
            axis.setPen(pg.mkPen(chosen.faint))
            axis.setTextPen(pg.mkPen(chosen.faint))
            axis.setTickFont(font)
            axis.setStyle(tickLength=4, tickTextOffset=3)
            axis.enableAutoSIPrefix(False)  # "(x0.001)" in the label
            axis.setLabel(text, **label)
        for axis in (time, dice):
            axis.setWidth(_LEFT)
        bottom.setHeight(38)
        zone = QColor(chosen.accent)
        zone.setAlpha(38)
        self._trained.setBrush(zone)
        self._fits.setPen(pg.mkPen(chosen.accent, width=2))
        self._too_large.setPen(pg.mkPen(chosen.bad, width=2, style=Qt.PenStyle.DashLine))
        for line in (self._drop, self._dice_drop):
            line.setPen(pg.mkPen(chosen.faint, style=Qt.PenStyle.DotLine))
        self._point.setPen(pg.mkPen(chosen.accent, width=2))
        self._point.setBrush(chosen.text)
        self._joined_pen = pg.mkPen(chosen.faint, width=1.5)
        self._dice.setSymbolBrush(chosen.faint)
        self._dice.setSymbolPen(pg.mkPen(None))
        self._dice_point.setPen(pg.mkPen(chosen.faint, width=2))
        self._dice_point.setBrush(chosen.text)

    def clear_curve(self) -> None:
        """Remove the curve, the point and the measurements."""
        for item in (self._fits, self._too_large, self._point):
            item.setData([], [])
        for item in (self._trained, self._drop, self._dice_drop):
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
        box = self._plot.getViewBox()
        box.setXRange(x.min(), x.max(), padding=0.02)
        box.setYRange(y.min(), y.max(), padding=0.12)

    def setPoint(self, spacing_mm: float, seconds: float) -> None:
        """Mark the current spacing and its estimated time."""
        x, y = float(np.log10(spacing_mm)), float(np.log10(max(seconds, 1e-6)))
        self._point.setData([x], [y])
        for line in (self._drop, self._dice_drop):
            line.setVisible(True)
            line.setPos(x)

    def setAccuracy(
        self,
        measured: Sequence[tuple[float, float]],
        joined: bool,
        current: tuple[float, float] | None,
    ) -> None:
        """Show measured Dice at spacings in mm, joined by a line or not, and the expected Dice."""
        shown = [*measured, *([current] if current else ())]
        self._strip.setVisible(bool(shown))
        for item, points in ((self._dice, measured), (self._dice_point, [current or ()])):
            x, y = np.array(points, dtype=float).reshape(-1, 2).T
            item.setData(np.log10(x), y)
        self._dice.setPen(self._joined_pen if joined else None)
        if shown:
            low, high = (limit(dice for _, dice in shown) for limit in (min, max))
            self._strip.getViewBox().setYRange(
                max(low - 0.05, 0), min(high + 0.05, 1.02), padding=0
            )
        self.ci.layout.setRowFixedHeight(0, _STRIP if shown else 0)
        self.setFixedHeight(self.sizeHint().height())
        self.updateGeometry()
