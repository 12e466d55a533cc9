"""All targets of the mutation driver, by name."""

from __future__ import annotations

from tests.fuzz.case import Target
from tests.fuzz.commands import COMMANDS
from tests.fuzz.models import MODELS
from tests.fuzz.readers import READERS
from tests.fuzz.settings import SETTINGS

TARGETS: dict[str, type[Target]] = {
    target.name: target for target in (*READERS, *MODELS, *SETTINGS, *COMMANDS)
}
