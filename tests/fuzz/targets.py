"""All targets of the mutation driver, by name."""

from __future__ import annotations

from tests.fuzz.case import Target
from tests.fuzz.models import MODELS
from tests.fuzz.readers import READERS

TARGETS: dict[str, type[Target]] = {target.name: target for target in (*READERS, *MODELS)}
