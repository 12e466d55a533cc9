"""U-Nets of physical kernels: radial functions times spherical harmonics, defined in mm."""
