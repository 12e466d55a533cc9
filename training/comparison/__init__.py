"""Comparison: methods that differ in a few keys, trained alike, measured alike, in one report."""
