"""Batches on their way through workers: read, but not handed out yet."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from sterna import errors
from sterna.batch import Batch
from sterna.loader import Handed

from . import shared, workers
from .transform import Job, Rows, failed

TASKS_EACH = 2  # tasks of a worker: one under way, and one for when that is done


class Pending(NamedTuple):
    handed: Handed  # where the loader is when this batch is handed out
    rows: Rows  # to name a sample that fails


class Ahead:
    """Batches go in while there is room, and their results come out in the same order. Workers are
    started with the first batch, and stay. One thread at a time, but any may call end()."""

    def __init__(self, job: Job, n_workers: int) -> None:
        self._job, self._n_workers = job, n_workers
        self._pool: workers.Pool | None = None
        self._ended = False
        self._pending: deque[Pending] = deque()

    @property
    def last(self) -> Handed | None:
        """Where the loader will be after the last batch that was pulled; None: nothing is ahead."""
        return self._pending[-1].handed if self._pending else None

    @property
    def has_room(self) -> bool:
        return len(self._pending) < self._n_workers * TASKS_EACH

    def push(self, batch: Batch, seed: int) -> Handed:
        """Sends a batch to the workers. Its memory is free again afterwards."""
        pool = self._started()
        rows = Rows.of(batch, seed)
        with shared.placed(batch) as (fds, rows.encoded):
            pool.submit(rows, fds)
        rows.encoded = []
        handed = Handed.after(batch.core)
        self._pending.append(Pending(handed, rows))
        return handed

    @property
    def is_ready(self) -> bool:
        """Whether take() would not wait."""
        return self._pool is not None and self._pool.ready

    def wait(self, *others: Any) -> bool:
        """Until a result came, or one of `others` is readable: True then."""
        pool = self._started()
        try:
            return pool.receive(*others)
        except ChildProcessError as death:
            raise self._died(death, pool) from None

    def take(self) -> tuple[Any, Handed]:
        """The oldest batch's result; waits for it. TransformError if there is none: nothing is
        ahead any more then."""
        pool = self._started()
        try:
            result = pool.take()
        except ChildProcessError as death:
            raise self._died(death, pool) from None
        handed, rows = self._pending.popleft()
        if isinstance(result, workers.Failure):
            self.clear()
            raise failed(result, rows) from result.error
        return result, handed

    def clear(self) -> None:
        """Forgets all that is ahead. The workers stay."""
        self._pending.clear()
        if self._pool is not None:
            self._pool.forget()

    def close(self) -> None:
        """Ends the workers; the next push() starts new ones."""
        self._pending.clear()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def end(self) -> None:
        """close(), and none are started any more: who waits gets CanceledError."""
        self._ended = True
        pool = self._pool
        if pool is not None:
            pool.close()

    def _started(self) -> workers.Pool:
        if self._ended:
            raise errors.CanceledError("the loader was closed")
        if self._pool is None:
            self._pool = workers.Pool(self._job, self._n_workers)
        return self._pool

    def _died(self, death: ChildProcessError, pool: workers.Pool) -> errors.Error:
        number, failure = death.args
        pending = list(self._pending)
        place = number - pool.oldest
        self.close()
        if 0 <= place < len(pending):
            return failed(failure, pending[place].rows)
        failure.row = workers.NOBODY  # it was not working on a batch of ours
        return failed(failure, pending[0].rows)
