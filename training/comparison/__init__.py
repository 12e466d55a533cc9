"""Comparisons: methods that differ in a few keys, trained and evaluated in the same way."""
