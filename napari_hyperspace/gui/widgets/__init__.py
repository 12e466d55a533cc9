"""Widgets: layout and signals only."""
