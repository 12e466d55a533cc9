"""Plain U-Nets, and the factory with the same weights for all spacings."""
