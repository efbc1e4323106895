"""Amounts of memory, as the command takes and prints them."""

from __future__ import annotations

import re

from .errors import InvalidError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kmgtp]?)(i?)b?", re.IGNORECASE)
_MOST = 2**64 - 1


def parse_size(size: int | str | None, what: str = "size") -> int:
    """Bytes of a size such as 4096, "4G" (10^9 each) or "4GiB" (2^30 each); 0 for None.

    Raises InvalidError, which names `what`."""
    if size is None:
        return 0
    if isinstance(size, int) and not isinstance(size, bool):
        n = size
    else:
        match = _SIZE.fullmatch(size) if isinstance(size, str) else None
        if not match or (match[3] and not match[2]):
            raise InvalidError(f"{what}: {size!r} is no size, such as 4096, '500MB' or '4GiB'")
        unit = (1024 if match[3] else 1000) ** " kmgtp".index(match[2].lower() or " ")
        n = int(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit
    if not 0 <= n <= _MOST:
        raise InvalidError(f"{what}: {size!r} is out of range")
    return n


def size_text(n: float) -> str:
    """About three digits and a unit: "412 MB"."""
    unit = 0
    while n >= 999.5 and unit < 5:
        n /= 1000
        unit += 1
    digits = 0 if unit == 0 or n >= 99.95 else 1 if n >= 9.995 else 2
    return f"{n:.{digits}f} {('B', 'kB', 'MB', 'GB', 'TB', 'PB')[unit]}"
