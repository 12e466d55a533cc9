"""The benchmarks are imported from the checkout: they are not part of the package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

_PACKAGE = Path(__file__).parents[2] / "benchmarks" / "__init__.py"

if not _PACKAGE.exists():
    pytest.skip("the source distribution has no benchmarks", allow_module_level=True)
if "benchmarks" not in sys.modules:
    _SPEC = importlib.util.spec_from_file_location("benchmarks", _PACKAGE)
    assert _SPEC is not None and _SPEC.loader is not None
    sys.modules["benchmarks"] = importlib.util.module_from_spec(_SPEC)
    _SPEC.loader.exec_module(sys.modules["benchmarks"])
