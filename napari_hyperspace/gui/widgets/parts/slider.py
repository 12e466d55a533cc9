"""A slider for spacings: its scale is logarithmic, its value is in mm."""

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

from napari_hyperspace.gui.models.scales import Scale
from napari_hyperspace.gui.models.spacings import LIMITS_MM
from napari_hyperspace.gui.widgets.parts.theme import Colors, colors

_TICKS_MM = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
_HANDLE = 7.0
_GROOVE = 6.0
_MIDDLE = 14.0  # of the groove, from the top; aligned with the spin box beside the slider
_STEP = 1.02  # ratio of one key press or one notch of the wheel
_KEYS: dict[int, int] = {
    Qt.Key.Key_Left: -1,
    Qt.Key.Key_Down: -1,
    Qt.Key.Key_Right: 1,
    Qt.Key.Key_Up: 1,
    Qt.Key.Key_PageDown: -8,
    Qt.Key.Key_PageUp: 8,
}


class SpacingSlider(QWidget):
    """A spacing in mm on a logarithmic scale, with the trained range and the native spacing.

    The user sets the value by clicking, dragging, the arrow and page keys, or the wheel.
    """

    valueChanged = Signal(float)
    """The new value in mm, set by the user or by `setValue`."""
    moved = Signal(float)
    """The new value in mm, set by the user."""

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
        """Set the spacing in mm; the scale is extended to include it if necessary."""
        spacing_mm = min(max(float(spacing_mm), LIMITS_MM[0]), LIMITS_MM[1])
        self._scale = self._scale.reaching(spacing_mm)
        if spacing_mm != self._value:
            self._value = spacing_mm
            self.valueChanged.emit(spacing_mm)
        self.setAccessibleDescription(f"{spacing_mm:.3g} mm")
        self.update()

    def scale(self) -> Scale:
        """Return the scale."""
        return self._scale

    def setScale(self, scale: Scale) -> None:
        """Set the scale; the value stays, and the scale is extended to include it if necessary."""
        self._scale = scale.reaching(self._value)
        self.update()

    def setColors(self, chosen: Colors) -> None:
        """Set the colors of the theme."""
        self._colors = chosen
        self.update()

    def sizeHint(self) -> QSize:
        """Return the preferred size."""
        return QSize(180, 38)

    def minimumSizeHint(self) -> QSize:
        """Return the smallest useful size."""
        return QSize(90, 38)

    def position_of(self, spacing_mm: float) -> float:
        """Return the position of a spacing, in pixels from the left."""
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

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Move the handle to the mouse."""
        if event is not None and event.button() == Qt.MouseButton.LeftButton:
            self._move(self._spacing_at(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Move the handle with the mouse."""
        if event is not None and event.buttons() & Qt.MouseButton.LeftButton:
            self._move(self._spacing_at(event.position().x()))

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Step, but only with keyboard focus, so that scrolling the dock changes no spacing."""
        if event is None:
            return
        if self.hasFocus():
            self._step(event.angleDelta().y() / 120)
            event.accept()
        else:
            event.ignore()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Step by arrow and page keys."""
        steps = None if event is None else _KEYS.get(event.key())
        if steps is None:
            super().keyPressEvent(event)
        else:
            self._step(steps)

    def _step(self, steps: float) -> None:
        stepped = self._value * _STEP**steps
        self._move(float(f"{min(max(stepped, self._scale.low), self._scale.high):.3g}"))

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Paint the groove with the trained range, the ticks, the marks and the handle."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_groove(painter)
        self._paint_ticks(painter)
        self._paint_native(painter)
        self._paint_handle(painter)

    def _paint_groove(self, painter: QPainter) -> None:
        left, right = self.position_of(self._scale.low), self.position_of(self._scale.high)
        groove = QRectF(left, _MIDDLE - _GROOVE / 2, right - left, _GROOVE)
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

    def _paint_ticks(self, painter: QPainter) -> None:
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
            painter.drawLine(QPointF(x, _MIDDLE + 6), QPointF(x, _MIDDLE + 9))
            painter.drawText(QPointF(start, _MIDDLE + 20), text)
            free_from = start + 2 * half + 6

    def _paint_native(self, painter: QPainter) -> None:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._colors.mark)
        for spacing in self._scale.native:
            x = self.position_of(spacing)
            painter.drawPolygon(
                QPolygonF(
                    [
                        QPointF(x - 4, 0.5),
                        QPointF(x + 4, 0.5),
                        QPointF(x, _MIDDLE - _GROOVE / 2 - 0.5),
                    ]
                )
            )

    def _paint_handle(self, painter: QPainter) -> None:
        trained = self._scale.is_trained(self._value)
        ring = self._colors.accent if trained else self._colors.bad
        if not self.isEnabled():
            ring = self._colors.faint
        painter.setPen(QPen(ring, 3 if self.hasFocus() else 2))
        painter.setBrush(self._colors.text)
        painter.drawEllipse(
            QPointF(self.position_of(self._value), _MIDDLE), _HANDLE - 1, _HANDLE - 1
        )
