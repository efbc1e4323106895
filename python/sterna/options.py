"""What a loader was told, checked, and as the C library takes it. It knows nothing of epochs."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from . import ranks
from .errors import InvalidError
from .ranks import Place
from .sizes import parse_size

BATCH_SIZE = 256
_WHOLE = (
    "batch_size", "global_batch", "seed", "epochs", "rank", "world_size", "max_errors", "threads",
    "request_timeout_ms", "max_attempts",
)  # fmt: skip
_WORDS = {
    "order": ("strict", "arrival"),
    "uneven": ("pad", "drop", "exact"),
    "on_error": ("raise", "substitute", "mask"),
}
_POSITIVE = (
    "batch_size", "global_batch", "epochs", "threads", "request_timeout_ms", "max_attempts",
)  # fmt: skip


class Options:
    """The arguments of a loader by name. InvalidError for one that cannot be, or contradicts
    another."""

    def __init__(self, arguments: Mapping[str, Any]):
        self.arguments = dict(arguments)
        for name in _WHOLE:
            if self[name] is not None:
                self.arguments[name] = whole(self[name], name)
        for name in ("memory", "max_rate"):
            if not isinstance(self[name], (str, type(None))):
                self.arguments[name] = whole(self[name], name)
        for name in _POSITIVE:
            if self[name] is not None and self[name] < 1:
                raise InvalidError(f"{name}={self[name]}: at least 1, or None")
        for name, words in _WORDS.items():
            if self[name] not in words:
                raise InvalidError(f"{name}={self[name]!r}: one of {', '.join(words)}")
        for name in ("fields", "columns"):
            if isinstance(self[name], str):
                raise InvalidError(f"{name}={self[name]!r}: give a list of names")
        if self["batch_size"] is not None and self["global_batch"] is not None:
            raise InvalidError("give batch_size (of each rank) or global_batch (of all), not both")
        if self["drop_last"] and self["uneven"] == "exact":
            raise InvalidError('drop_last=True is uneven="drop", which contradicts uneven="exact"')
        if self["max_errors"] is not None and self["on_error"] == "raise":
            raise InvalidError('max_errors needs on_error="substitute" or "mask"')
        self.columns = tuple(self["columns"])
        self.memory_bytes = parse_size(self["memory"], "memory")
        self.max_rate_bytes_s = parse_size(self["max_rate"], "max_rate")
        self.expected_hash = self._hash()

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def _hash(self) -> bytes | None:
        text = self["expect_selection"]
        try:
            return None if text is None else bytes.fromhex(text)
        except ValueError:
            raise InvalidError(f"expect_selection: {text!r} is no hash in hex") from None

    @property
    def uneven(self) -> Any:
        return "drop" if self["drop_last"] else self["uneven"]

    def place(self) -> Place:
        """Which rank of how many, as of now."""
        return ranks.detect(self["rank"], self["world_size"])

    def batch_size(self, place: Place) -> int:
        """Rows of a batch on each rank."""
        total = self["global_batch"]
        if total is None:
            return self["batch_size"] or BATCH_SIZE
        if total % place.world_size != 0:
            raise InvalidError(
                f"global_batch={total} cannot be divided among {place.world_size} ranks: choose a "
                "multiple"
            )
        return total // place.world_size

    def plan(self, place: Place, seed: int) -> dict[str, Any]:
        """What decides which sample is in which batch."""
        return {
            "batch_size": self.batch_size(place),
            "seed": seed,
            "shuffle": self["shuffle"],
            "uneven": self.uneven,
            "rank": place.rank,
            "world_size": place.world_size,
        }

    def core(self, place: Place, seed: int) -> dict[str, Any]:
        """All of it."""
        return {
            **self.plan(place, seed),
            "order": self["order"],
            "fields": None if self["fields"] is None else list(self["fields"]),
            "memory_bytes": self.memory_bytes,
            "on_error": self["on_error"],
            "max_errors": self["max_errors"],
            "threads": self["threads"] or 0,
            "max_rate": self.max_rate_bytes_s,
            "request_timeout_ms": self["request_timeout_ms"] or 0,
            "max_attempts": self["max_attempts"] or 0,
            "expect_selection": self.expected_hash,
        }

    def steps(self, n: int, place: Place) -> int:
        """Batches of an epoch of n samples on one rank."""
        return steps(n, self.batch_size(place), place, self.uneven)

    def __str__(self) -> str:
        """Those that are not as they always are."""
        defaults = {"columns": (), "shuffle": True, "order": "strict", "uneven": "pad",
                    "drop_last": False, "on_error": "raise"}  # fmt: skip
        shown = dict(self.arguments)
        if shown["batch_size"] is None and shown["global_batch"] is None:
            shown["batch_size"] = BATCH_SIZE
        return ", ".join(
            f"{name}={value!r}" for name, value in shown.items() if value != defaults.get(name)
        )


def whole(value: Any, name: str) -> int:
    """An int of whatever counts as one, such as numpy's; InvalidError names what it is."""
    try:
        return operator.index(value)
    except TypeError:
        raise InvalidError(f"{name}={value!r} is no whole number") from None


def steps(n: int, batch_size: int, place: Place, uneven: str) -> int:
    whole, rest = divmod(n, batch_size * place.world_size)
    if uneven == "drop":
        return whole
    if uneven == "pad":
        return whole + (1 if rest else 0)
    rows = (n - place.rank + place.world_size - 1) // place.world_size
    return -(-rows // batch_size)
