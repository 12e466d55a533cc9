"""Training pairs from label maps alone: images of any contrast at any spacing."""
