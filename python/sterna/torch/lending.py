"""Memory of torch's that the C loader fills without a copy: given ahead, each for one batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import torch

from sterna import _core, errors

from .parcel import memory_of

FIRST = 2  # buffers given when a loader is opened; later one for each batch that is handed out
SPARE = 1.1  # capacity of a buffer: so many times the largest batch so far


class Lender:
    """Gives buffers to a C loader and finds its batches in them. Batches that were read before
    there was a buffer, or did not fit, lie elsewhere. All that is lent is at most as much as the
    loader's own budget, beside that.

    `empty(n_bytes)` makes a buffer: uint8[n_bytes], at a multiple of 64."""

    def __init__(self, empty: Callable[[int], torch.Tensor]) -> None:
        self._empty = empty
        self._core: _core.Loader | None = None
        self._lent: deque[torch.Tensor] = deque()  # in the order in which batches take them
        self._capacity = self._bound = 0

    def begin(self, core: _core.Loader, batch_bytes: float) -> None:
        """For a loader just opened, whose batches have about so many bytes."""
        self._core = core
        self._bound = core.stats()["memory_budget_bytes"]
        self._capacity = max(self._capacity, int(SPARE * batch_bytes))
        for _ in range(FIRST):
            self._give()

    def end(self) -> None:
        """That loader is closed."""
        self._core = None
        self._lent.clear()

    def take(self, batch: _core.Batch) -> torch.Tensor | None:
        """The buffer in which a batch lies: its own from now on. None: it lies elsewhere."""
        fields = [batch.field(f) for f in range(len(batch.fields))]
        n_bytes = sum(field.copy_bytes() for field in fields)
        self._capacity = max(self._capacity, int(SPARE * n_bytes))
        found = self._find([field.data for field in fields])
        self._give()
        return found

    def _find(self, runs: list[Any]) -> torch.Tensor | None:
        address = next((run.address for run in runs if run is not None and run.nbytes), None)
        for place, buffer in enumerate(self._lent):
            if address is not None and 0 <= address - buffer.data_ptr() < buffer.numel():
                for _ in range(place + 1):  # those before were too short, or left by a batch
                    self._lent.popleft()
                return buffer
        return None

    def _give(self) -> None:
        lent = sum(buffer.numel() for buffer in self._lent)
        if self._core is None or lent + self._capacity > self._bound:
            return
        buffer = self._empty(self._capacity)
        try:
            self._core.give_buffer(memory_of(buffer))
        except errors.InvalidError:  # arrival order, or lengths that are not known beforehand
            self._core = None
            return
        self._lent.append(buffer)
