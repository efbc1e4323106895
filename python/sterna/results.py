"""What writing calls give back."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass, field

SKIPPED_MAX = 10_000  # listed of one call; `counts` has them all
_NOT_STORED = ("conflict", "no image", "empty", "unreadable", "too big", "bad field")

log = logging.getLogger("sterna")


@dataclass(frozen=True)
class Skipped:
    """An input that is not in the store as it was given."""

    outcome: str  # "conflict", "no image", "empty", "unreadable", "too big", "bad field"
    path: str
    why: str = ""
    id: uuid.UUID | None = None


@dataclass(frozen=True)
class WriteResult:
    """What an ingest, a writer or a copy did.

    `added` of a copy: copied now or by an earlier call that did not come to its end."""

    run: int  # the run that it made; 0: nothing was new
    counts: dict[str, int]  # samples by outcome
    bytes: int  # read and stored
    seconds: float
    skipped: list[Skipped] = field(default_factory=list, repr=False)  # the first SKIPPED_MAX

    @property
    def added(self) -> int:
        return self.counts.get("added", 0)

    @property
    def unchanged(self) -> int:
        return self.counts.get("unchanged", 0)

    @property
    def replaced(self) -> int:
        return self.counts.get("replaced", 0)

    @property
    def conflicts(self) -> int:
        return self.counts.get("conflict", 0)

    @property
    def n_skipped(self) -> int:
        """Inputs that are not in the store as they were given, conflicts among them."""
        return sum(self.counts.get(outcome, 0) for outcome in _NOT_STORED)


@dataclass(frozen=True)
class IngestResult(WriteResult):
    metadata_unmatched: int = 0  # rows of the metadata that match no file


@dataclass(frozen=True)
class CopyResult(WriteResult):
    samples: int = 0  # chosen
    read: int = 0  # samples whose bytes were read


class SkippedList:
    """Collects what was skipped, up to a bound."""

    def __init__(self) -> None:
        self.items: list[Skipped] = []

    def add(self, skipped: Skipped) -> None:
        if skipped.outcome in _NOT_STORED and len(self.items) < SKIPPED_MAX:
            self.items.append(skipped)


def tell_skipped(result: WriteResult, to: str) -> None:
    """One warning in the log, if anything was skipped: nobody may look at the result."""
    if result.n_skipped == 0:
        return
    reasons = ", ".join(
        f"{n} {outcome}" for outcome, n in result.counts.items() if n and outcome in _NOT_STORED
    )
    first = result.skipped[0]
    log.warning(
        "%s: %d inputs were skipped (%s), first %s%s%s; the result's `skipped` lists them",
        to, result.n_skipped, reasons, first.path or first.id, ": " if first.why else "", first.why,
    )
