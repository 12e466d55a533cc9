"""Small icons, drawn in the colors of the theme."""

from __future__ import annotations

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPainterPath, QPen, QPixmap


def lock_icon(closed: bool, color: QColor) -> QIcon:
    """Draw a padlock."""
    pixmap = QPixmap(64, 64)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color)
    painter.drawRoundedRect(QRectF(12, 29, 40, 28), 5, 5)
    path = QPainterPath(QPointF(20, 30))
    path.lineTo(20, 22)
    path.arcTo(QRectF(20, 9, 24, 24), 180, -180)
    path.lineTo(44, 30 if closed else 20)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(color, 6))
    if not closed:
        painter.translate(16, -2)
    painter.drawPath(path)
    painter.end()
    return QIcon(pixmap)
