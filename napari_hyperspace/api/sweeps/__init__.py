"""Several working spacings of one scan, and how their results differ."""
