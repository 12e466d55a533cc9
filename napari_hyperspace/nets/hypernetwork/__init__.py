"""Hypernetworks: the weights of a plain U-Net as a function of the spacing."""
