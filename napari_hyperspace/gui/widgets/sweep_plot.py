"""The curves of a sweep over the working spacing: Dice, volumes, time and memory."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QImage, QKeyEvent, QPainter
from qtpy.QtSvg import QSvgGenerator
from qtpy.QtWidgets import QWidget

from napari_hyperspace.core.files import replacing
from napari_hyperspace.gui.models.sweep import StructureCurve, SweepCurves
from napari_hyperspace.gui.widgets.parts.theme import Colors, colors

_TICKS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)  # times powers of ten
_MIN_TICK_PX = 30
_LEFT = 52
_HEIGHTS = (110, 110, 74, 74)
_FOOT = 34  # more, for the axis below the last plot
_WIDE = 10  # ratio of volumes above which their axis is logarithmic
_PNG_SCALE = 3
_LONG_NAMES = 32  # characters, above which the names of the structures have no room
_SMALL_GB = 0.5  # below it, memory is in MB


class _MmAxis(pg.AxisItem):  # type: ignore[misc]  # pyqtgraph has no types
    """Ticks at round spacings in mm; the coordinate is the logarithm to base 10."""

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[None, list[float]]]:
        """Return the positions of the ticks, as many as there is room for."""
        powers = range(math.floor(low), math.ceil(high) + 1)
        places = [math.log10(one) + power for power in powers for one in _TICKS]
        inside = sorted({round(place, 9) for place in places if low <= place <= high})
        kept: list[float] = []
        for place in sorted(inside, key=lambda one: (_roughness(one), one)):
            gap = _MIN_TICK_PX / max(size, 1) * (high - low)
            if all(abs(place - other) >= gap for other in kept):
                kept.append(place)
        return [(None, sorted(kept))]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: Any) -> list[str]:
        """Return their texts."""
        return [f"{10**value:.3g}" for value in values]


def _roughness(place: float) -> int:
    """Return how round a spacing is; 0: 1, 2 or 5 times a power of ten."""
    mantissa = round(10 ** (place - math.floor(place + 1e-9)), 3)
    return 0 if mantissa in (1, 2, 5) else 1 if mantissa in (3, 4) else 2


class _ValueAxis(pg.AxisItem):  # type: ignore[misc]  # pyqtgraph has no types
    """A few ticks at round values; logarithmic if its plot is."""

    logarithmic = False

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[float, list[float]]]:
        """Return the positions of the ticks: two to five."""
        if not high > low:
            return []
        if self.logarithmic:
            powers = np.arange(math.ceil(low), math.floor(high) + 1)
            if len(powers) >= 2:
                return [(1.0, powers[:: max(1, math.ceil(len(powers) / 4))].tolist())]
        rough = (high - low) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(one * power for one in (1, 2, 5, 10) if one * power >= rough)
        first = math.ceil(low / step - 1e-6)
        return [(step, [i * step for i in range(first, math.floor(high / step + 1e-6) + 1)])]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:
        """Return their texts."""
        if self.logarithmic:
            return [f"{10**value:g}" for value in values]
        digits = max(0, -math.floor(math.log10(spacing) + 1e-9)) if spacing else 0
        return [f"{value:.{digits}f}" for value in values]


class SweepPlot(pg.GraphicsLayoutWidget):  # type: ignore[misc]  # pyqtgraph has no types
    """Four plots with one axis of spacings. A click, or the arrow keys, choose a spacing."""

    chosen = Signal(int)
    """Index of the spacing, the finest first."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.ci.layout.setSpacing(0)
        self.ci.layout.setContentsMargins(0, 0, 4, 0)
        self._curves: SweepCurves | None = None
        self._dots: list[dict[str, Any]] = []  # of the lines of one plot
        self._axes = [_ValueAxis("left") for _ in _HEIGHTS]
        self._plots: list[Any] = []
        for i, (axis, height) in enumerate(zip(self._axes, _HEIGHTS, strict=True)):
            plot = self.addPlot(
                i, 0, axisItems={"left": axis, "bottom": _MmAxis("bottom")}, enableMenu=False
            )
            last = i == len(_HEIGHTS) - 1
            plot.hideButtons()
            plot.setMouseEnabled(False, False)
            plot.getAxis("left").setWidth(_LEFT)
            for name in ("left", "bottom"):
                plot.getAxis(name).enableAutoSIPrefix(False)
            plot.getAxis("bottom").setHeight(_FOOT)
            plot.getAxis("bottom").setStyle(showValues=last)
            if not last:
                plot.getAxis("bottom").setHeight(5)
            plot.setMinimumHeight(height)
            self._plots.append(plot)
        self.setMinimumHeight(sum(_HEIGHTS) + _FOOT + 8)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.scene().sigMouseClicked.connect(self._clicked)
        self.setColors(colors("dark"))

    def sizeHint(self) -> QSize:
        """Return the preferred size."""
        return QSize(300, sum(_HEIGHTS) + _FOOT + 8)

    def wheelEvent(self, event: QEvent) -> None:
        """Leave the wheel to the page, which scrolls."""
        event.ignore()

    def setColors(self, chosen: Colors) -> None:
        """Set the colors of the theme."""
        self._colors = chosen
        self.setBackground(chosen.background)
        font = QFont(self.font())
        font.setPixelSize(10)
        for plot in self._plots:
            for name in ("bottom", "left"):
                axis = plot.getAxis(name)
                axis.setPen(pg.mkPen(chosen.groove))
                axis.setTextPen(pg.mkPen(chosen.faint))
                axis.setTickFont(font)
                axis.setStyle(tickLength=3, tickTextOffset=3)
        self._draw()

    def setCurves(self, curves: SweepCurves | None) -> None:
        """Show the finished spacings; `None`: there are none."""
        if curves != self._curves:
            self._curves = curves
            self._draw()

    # -- drawing -------------------------------------------------------------------------------

    def _draw(self) -> None:
        for plot in self._plots:
            plot.clear()
        curves = self._curves
        if curves is None or not curves.positions_mm:
            return
        x = np.log10(curves.positions_mm)
        low, high = (math.log10(end) for end in curves.ends_mm)
        if not high > low:
            low, high = low - 0.1, high + 0.1
        for plot in self._plots:
            plot.setXRange(min(low, x[0]), max(high, x[-1]), padding=0.04)
            self._mark(plot, curves, x)
        dice, volumes, seconds, memory = self._plots
        self._draw_dice(dice, curves, x)
        self._draw_volumes(volumes, curves, x)
        self._draw_cost(seconds, x, np.asarray(curves.seconds), "time (s)", 2)
        gigabytes = np.asarray(curves.gigabytes)
        if gigabytes.max() < _SMALL_GB:
            self._draw_cost(memory, x, 1000 * gigabytes, "memory (MB)", 3)
        else:
            self._draw_cost(memory, x, gigabytes, "memory (GB)", 3)
        along = f" along {curves.axis}" if curves.axis else ""
        style = {"color": self._colors.faint.name(), "font-size": "10px"}
        axis = self._plots[-1].getAxis("bottom")
        axis.setLabel(f"working spacing{along} (mm)", **style)
        axis.resizeEvent()  # centers the label

    def _mark(self, plot: Any, curves: SweepCurves, x: NDArray[np.float64]) -> None:
        """Shade the trained range, and mark the knee and the spacing that is shown."""
        if curves.trained is not None:
            zone = QColor(self._colors.accent)
            zone.setAlpha(30)
            shade = pg.LinearRegionItem(
                np.log10(curves.trained), movable=False, pen=pg.mkPen(None), brush=zone
            )
            shade.setZValue(-10)
            plot.addItem(shade, ignoreBounds=True)
        if curves.shown is not None:
            pen = pg.mkPen(self._colors.accent, width=1.5)
            plot.addItem(pg.InfiniteLine(x[curves.shown], pen=pen), ignoreBounds=True)
        if curves.knee is not None and len(x) > 1:  # dashes over the line, if both are the same
            pen = pg.mkPen(self._colors.mark, width=1.5, style=Qt.PenStyle.DashLine)
            plot.addItem(pg.InfiniteLine(x[curves.knee], pen=pen), ignoreBounds=True)

    def _draw_dice(self, plot: Any, curves: SweepCurves, x: NDArray[np.float64]) -> None:
        for one in curves.structures:
            self._draw_structure(plot, one, curves, x, np.asarray(one.dice))
        mean = np.asarray(curves.mean_dice)
        self._line(plot, x, mean, self._colors.text, 2)
        self._put_dots(plot)
        chosen = [one.dice for one in curves.structures if one.value in curves.emphasized]
        self._fit(plot, [mean, *map(np.asarray, chosen)], most=1.02)
        name = self._chosen_name(curves)
        self._title(plot, f"Dice with {curves.dice_with}: mean" + (f", {name}" if name else ""))

    def _draw_volumes(self, plot: Any, curves: SweepCurves, x: NDArray[np.float64]) -> None:
        chosen = [one for one in curves.structures if one.value in curves.emphasized]
        fitted = [np.asarray(one.volumes_ml) for one in chosen or curves.structures]
        positive = [value for one in fitted for value in one.tolist() if value > 0]
        wide = bool(positive) and max(positive) > _WIDE * min(positive) and not chosen
        self._axes[1].logarithmic = wide

        def scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.log10(np.where(values > 0, values, np.nan)) if wide else values

        for one in curves.structures:
            self._draw_structure(plot, one, curves, x, scaled(np.asarray(one.volumes_ml)))
        self._put_dots(plot)
        self._fit(plot, [scaled(one) for one in fitted], least=-math.inf if wide else 0.0)
        name = self._chosen_name(curves)
        names = ", ".join(one.name for one in curves.structures)
        if name or len(names) > _LONG_NAMES:
            self._title(plot, f"volume (ml): {name}" if name else "volume (ml), each structure")
        else:
            self._title(plot, "volume (ml):", curves.structures)

    def _draw_cost(
        self, plot: Any, x: NDArray[np.float64], y: NDArray[np.float64], title: str, index: int
    ) -> None:
        known = y[y > 0]
        wide = known.size > 0 and known.max() > _WIDE * known.min()
        self._axes[index].logarithmic = bool(wide)
        values = np.log10(np.where(y > 0, y, np.nan)) if wide else y
        self._line(plot, x, values, self._colors.text, 1.5)
        self._put_dots(plot)
        self._fit(plot, [values], least=-math.inf if wide else 0.0)
        self._title(plot, title)

    def _draw_structure(
        self,
        plot: Any,
        one: StructureCurve,
        curves: SweepCurves,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
    ) -> None:
        chosen = one.value in curves.emphasized
        color = QColor(one.color)
        if curves.emphasized and not chosen:
            color.setAlpha(70)
        self._line(plot, x, y, color, 2.5 if chosen else 1, points=chosen or not curves.emphasized)

    def _line(
        self,
        plot: Any,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        color: QColor,
        width: float,
        points: bool = True,
    ) -> None:
        if not np.isfinite(y).any():  # pyqtgraph warns of it
            return
        # Not a `PlotDataItem`: it computes its points again whenever it is added or a range is set.
        pen = pg.mkPen(color, width=width)
        plot.addItem(pg.PlotCurveItem(x, y, pen=pen, antialias=True, connect="finite"))
        if points:
            brush = pg.mkBrush(color)
            self._dots += [
                {"pos": place, "size": 4 + width, "brush": brush}
                for place in zip(x.tolist(), y.tolist(), strict=True)
                if math.isfinite(place[1])
            ]

    def _put_dots(self, plot: Any) -> None:
        """Draw the points of all lines of a plot: one item instead of one per line."""
        dots, self._dots = self._dots, []
        plot.addItem(pg.ScatterPlotItem(spots=dots, pen=None, antialias=True))

    def _fit(
        self,
        plot: Any,
        values: Sequence[NDArray[np.float64]],
        least: float = 0.0,
        most: float = math.inf,
    ) -> None:
        """Fit the vertical range to values, with room for the title."""
        known = np.concatenate([one[np.isfinite(one)] for one in values] or [np.zeros(0)])
        if not known.size:
            plot.setYRange(0, 1, padding=0)
            return
        low, high = float(known.min()), float(known.max())
        span = max(high - low, 0.02 * abs(high), 1e-3)
        bottom = max(low - 0.15 * span, least)
        plot.setYRange(bottom, min(high + 0.15 * span, most) + 0.3 * span, padding=0)

    def _title(self, plot: Any, text: str, structures: Sequence[StructureCurve] = ()) -> None:
        """Write a title in the upper left corner of a plot, with names in their colors."""
        names = "".join(
            f' <span style="color: {one.color}">●</span> {html.escape(one.name)}'
            for one in structures
        )
        color = self._colors.faint
        title = pg.TextItem(anchor=(0, 0))
        title.setHtml(f'<span style="color: {color.name()}">{html.escape(text)}{names}</span>')
        font = QFont(self.font())
        font.setPixelSize(11)
        title.setFont(font)
        (left, _), (_, top) = plot.getViewBox().viewRange()
        title.setPos(left, top)
        plot.addItem(title, ignoreBounds=True)

    def _chosen_name(self, curves: SweepCurves) -> str:
        return " + ".join(one.name for one in curves.structures if one.value in curves.emphasized)

    # -- choosing ------------------------------------------------------------------------------

    def _clicked(self, event: Any) -> None:
        curves = self._curves
        if curves is None or event.button() != Qt.MouseButton.LeftButton:
            return
        place: QPointF = event.scenePos()
        for plot in self._plots:
            if plot.sceneBoundingRect().contains(place):
                x = plot.getViewBox().mapSceneToView(place).x()
                distances = np.abs(np.log10(curves.positions_mm) - x)
                self.chosen.emit(int(distances.argmin()))
                return

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Choose the next finer or coarser spacing, or the first or last one."""
        curves = self._curves
        if curves is None:
            super().keyPressEvent(event)
            return
        last = len(curves.positions_mm) - 1
        shown = last if curves.shown is None else curves.shown
        keys = {
            Qt.Key.Key_Left: max(shown - 1, 0),
            Qt.Key.Key_Right: min(shown + 1, last),
            Qt.Key.Key_Home: 0,
            Qt.Key.Key_End: last,
        }
        index = keys.get(Qt.Key(event.key()))
        if index is None:
            super().keyPressEvent(event)
        elif index != curves.shown:
            self.chosen.emit(index)

    # -- export --------------------------------------------------------------------------------

    def save(self, path: str) -> None:
        """Write the plots as PNG or SVG, by the extension; atomically.

        Raises
        ------
        HyperspaceError
            If the file cannot be written.
        """
        with replacing(Path(path)) as temporary:
            if path.lower().endswith(".svg"):
                self._save_svg(temporary)
            else:
                if not self._image().save(str(temporary), "PNG"):
                    raise OSError("the image could not be encoded")

    def _image(self) -> QImage:
        size = self.size() * _PNG_SCALE
        image = QImage(size, QImage.Format.Format_ARGB32)
        image.fill(self._colors.background)
        painter = QPainter(image)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self.render(painter, QRectF(0, 0, size.width(), size.height()), self.rect())
        painter.end()
        return image

    def _save_svg(self, path: Path) -> None:
        generator = QSvgGenerator()
        generator.setFileName(str(path))
        generator.setSize(self.size())
        generator.setViewBox(self.rect())
        generator.setTitle("Sweep over working spacings")
        painter = QPainter(generator)
        painter.fillRect(self.rect(), self._colors.background)
        self.render(painter, QRectF(self.rect()), self.rect())
        painter.end()
