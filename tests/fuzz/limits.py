"""The limits of a case. A case over one of them is a finding."""

from __future__ import annotations

CPU_S = 20.0
"""Processor time of the child and its own children: a busy machine decides nothing."""

BLOCKED_S = 600.0
"""Time in which hardly any processor time is spent: the case waits for something."""

MEMORY_BYTES = 1 << 30
"""Memory that a case maps, beyond what the child has: the files have a few kB."""

PICKLE_MEMORY_BYTES = 6 << 30
"""The same for the process that unpickles, which imports torch and limits itself to 4 GB more."""

LONGEST_MESSAGE = 15_000
"""Characters of a refusal."""
