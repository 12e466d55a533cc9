"""Networks of physical kernels: radial functions × spherical harmonics, defined in mm."""
