"""Synthesis of training pairs from label maps: images of any contrast at any spacing."""
