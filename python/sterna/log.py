"""What the C library logs, as records of `logging.getLogger("sterna")`.

C threads never call Python: their lines wait inside the library until the next call into it. Calls
that wait look for them at least once a second."""

from __future__ import annotations

import logging

from . import _core

logger = logging.getLogger("sterna")

_LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO}


def drain() -> None:
    """Hands over the lines that have come since the last call. Any thread."""
    for level, line in _core.take_log():
        logger.log(_LEVELS.get(level, logging.INFO), "%s", line)
