"""Evaluation: every case at every working spacing, on the working grid and on the native one."""
