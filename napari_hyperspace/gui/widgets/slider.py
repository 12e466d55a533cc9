"""A slider over spacings: drawn on a logarithmic scale, answering in mm."""

from __future__ import annotations

import math

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import (
    QBrush,
    QFont,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
    QWheelEvent,
)
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_hyperspace.gui.models.state import LIMITS_MM, Scale
from napari_hyperspace.gui.widgets.theme import Colors, colors

_TICKS_MM = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
_HANDLE = 7.0
_GROOVE = 6.0
_MIDDLE = 14.0  # of the groove, from the top: that of the number beside it
_STEP = 1.02  # ratio of one key press or one notch of the wheel
_KEYS = {
    Qt.Key.Key_Left: -1,
    Qt.Key.Key_Down: -1,
    Qt.Key.Key_Right: 1,
    Qt.Key.Key_Up: 1,
    Qt.Key.Key_PageDown: -8,
    Qt.Key.Key_PageUp: 8,
}


class SpacingSlider(QWidget):
    """A spacing in mm on a logarithmic scale; trained and untrained zones, native ticks.

    A click moves the handle there; dragging, arrow and page keys and the wheel move it on.
    """

    valueChanged = Signal(float)
    """The value in mm, however it was changed."""
    moved = Signal(float)
    """The value in mm, changed by the user."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scale = Scale()
        self._value = 1.0
        self._colors = colors("dark")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def value(self) -> float:
        """Return the spacing in mm."""
        return self._value

    def setValue(self, spacing_mm: float) -> None:
        """Set the spacing in mm; a scale that ends before it grows to show it."""
        spacing_mm = min(max(float(spacing_mm), LIMITS_MM[0]), LIMITS_MM[1])
        self._scale = self._scale.reaching(spacing_mm)
        if spacing_mm != self._value:
            self._value = spacing_mm
            self.valueChanged.emit(spacing_mm)
        self.setAccessibleDescription(f"{spacing_mm:.3g} mm")
        self.update()

    def scale(self) -> Scale:
        """Return what the slider draws."""
        return self._scale

    def setScale(self, scale: Scale) -> None:
        """Draw another scale; the value stays."""
        self._scale = scale.reaching(self._value)
        self.update()

    def setColors(self, chosen: Colors) -> None:
        """Paint in other colors."""
        self._colors = chosen
        self.update()

    def sizeHint(self) -> QSize:
        """Return the wanted size."""
        return QSize(180, 38)

    def minimumSizeHint(self) -> QSize:
        """Return the smallest useful size."""
        return QSize(90, 38)

    def position_of(self, spacing_mm: float) -> float:
        """Return where a spacing is drawn, in pixels from the left."""
        return _HANDLE + 1 + self._scale.fraction(spacing_mm) * self._span

    @property
    def _span(self) -> float:
        return max(self.width() - 2 * (_HANDLE + 1), 1.0)

    def _spacing_at(self, x: float) -> float:
        fraction = min(max((x - _HANDLE - 1) / self._span, 0.0), 1.0)
        return float(f"{self._scale.spacing(fraction):.3g}")

    def _move(self, spacing_mm: float) -> None:
        if spacing_mm != self._value:
            self.setValue(spacing_mm)
            self.moved.emit(self._value)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Jump to where the user pressed."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._move(self._spacing_at(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Follow the mouse."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._move(self._spacing_at(event.position().x()))

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Step, but only once the slider has been chosen: a page that scrolls should not."""
        if self.hasFocus():
            self._step(event.angleDelta().y() / 120)
            event.accept()
        else:
            event.ignore()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Step by arrow and page keys."""
        steps = _KEYS.get(Qt.Key(event.key()))
        if steps is None:
            super().keyPressEvent(event)
        else:
            self._step(steps)

    def _step(self, steps: float) -> None:
        stepped = self._value * _STEP**steps
        self._move(float(f"{min(max(stepped, self._scale.low), self._scale.high):.3g}"))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw groove, zones, ticks and handle."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        middle = _MIDDLE
        self._paint_zones(painter, middle)
        self._paint_ticks(painter, middle)
        self._paint_native(painter, middle)
        self._paint_handle(painter, middle)

    def _paint_zones(self, painter: QPainter, middle: float) -> None:
        left, right = self.position_of(self._scale.low), self.position_of(self._scale.high)
        groove = QRectF(left, middle - _GROOVE / 2, right - left, _GROOVE)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QBrush(self._colors.groove, Qt.BrushStyle.BDiagPattern))
        painter.drawRoundedRect(groove, _GROOVE / 2, _GROOVE / 2)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(self._colors.groove, 1))
        painter.drawRoundedRect(groove, _GROOVE / 2, _GROOVE / 2)
        if self._scale.trained is not None:
            low, high = (self.position_of(end) for end in self._scale.trained)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(self._colors.accent)
            painter.drawRoundedRect(QRectF(low, groove.top(), high - low, _GROOVE), 3, 3)

    def _paint_ticks(self, painter: QPainter, middle: float) -> None:
        font = QFont(self.font())
        font.setPixelSize(10)
        painter.setFont(font)
        painter.setPen(self._colors.faint)
        metrics = painter.fontMetrics()
        free_from = -math.inf
        for tick in _TICKS_MM:
            if not self._scale.low <= tick <= self._scale.high:
                continue
            x, text = self.position_of(tick), f"{tick:g}"
            half = metrics.horizontalAdvance(text) / 2
            start = min(max(x - half, 0.0), self.width() - 2 * half)
            if start < free_from:
                continue
            painter.drawLine(QPointF(x, middle + 6), QPointF(x, middle + 9))
            painter.drawText(QPointF(start, middle + 20), text)
            free_from = start + 2 * half + 6

    def _paint_native(self, painter: QPainter, middle: float) -> None:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._colors.mark)
        for spacing in self._scale.native:
            x = self.position_of(spacing)
            painter.drawPolygon(
                QPolygonF(
                    [
                        QPointF(x - 4, 0.5),
                        QPointF(x + 4, 0.5),
                        QPointF(x, middle - _GROOVE / 2 - 0.5),
                    ]
                )
            )

    def _paint_handle(self, painter: QPainter, middle: float) -> None:
        known = self._scale.is_trained(self._value)
        ring = self._colors.accent if known else self._colors.bad
        if not self.isEnabled():
            ring = self._colors.faint
        painter.setPen(QPen(ring, 3 if self.hasFocus() else 2))
        painter.setBrush(self._colors.text)
        painter.drawEllipse(
            QPointF(self.position_of(self._value), middle), _HANDLE - 1, _HANDLE - 1
        )
