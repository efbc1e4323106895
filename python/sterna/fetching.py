"""Samples by id: any number of requests under way at once, waited for, polled, awaited or streamed.

There is no thread here: whoever waits looks for answers, its own and those of others."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import math
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from . import _core, log
from .batch import Batch
from .errors import BY_CODE, CanceledError, Error, InvalidError, TimeoutError
from .ids import ID_BYTES, Ids, pack
from .options import whole
from .sizes import parse_size

if TYPE_CHECKING:
    from .dataset import Dataset

Missing = Literal["raise", "null"]

_LOOK_S = 1.0  # so often a wait looks whether there is something to log
_AHEAD_SAMPLES = 4096  # that a stream asks for before they are wanted; memory bounds it, too

_open: weakref.WeakSet[Fetching] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for fetching in list(_open):
        fetching.close()


class Request:
    """Samples that were asked for: result() waits for them, and so does `await`.

    Any thread may use it; await it in one event loop at a time."""

    def __init__(self, line: _Line, ids: bytes, missing: Missing):
        self.ids = Ids(ids)
        self._line = line
        self._missing = missing
        self._batch: _core.Batch | None = None
        self._canceled = False

    def done(self) -> bool:
        """Whether result() would not wait. Does not look for answers by itself: poll() does."""
        return self._batch is not None or self._canceled

    def cancel(self) -> None:
        """Nobody wants it any more: result() raises CanceledError, unless it is there already."""
        self._line.cancel(self)

    def result(self, timeout: float | None = None) -> Batch:
        """The samples as rows, in the order of the ids.

        timeout   seconds; TimeoutError when they are over, and it can be asked for again

        Raises what the first row that cannot be had failed with (NotFound, CorruptError ...), or
        if `missing` was "null" nothing: the row is None, valid is False, errors has the code.
        Raises BudgetError while batches that are held leave no room for this one; CanceledError."""
        if not self._line.wait(self.done, timeout):
            raise TimeoutError(f"no answer to {len(self.ids)} samples within {timeout} s")
        return self._take()

    def _take(self) -> Batch:
        self._line.forget(self)
        if self._batch is None:
            raise CanceledError("this request was cancelled, or its data set closed")
        if self._missing == "raise":
            self._check(self._batch)
        return Batch(self._batch)

    def _check(self, batch: _core.Batch) -> None:
        codes = batch.errors.tolist()
        if any(codes):
            row = next(row for row, code in enumerate(codes) if code)
            kind = BY_CODE.get(codes[row], Error)
            raise kind(f"sample {self.ids[row]}: {batch.reason(row)}")

    def __await__(self) -> Generator[Any, None, Batch]:
        return self._line.await_(self).__await__()

    def __repr__(self) -> str:
        state = "cancelled" if self._canceled else "done" if self._batch else "under way"
        return f"<sterna request of {len(self.ids)} samples, {state}>"


class _Line:
    """A C fetcher of certain fields, and the requests that are under way on it."""

    def __init__(self, core: _core.Fetcher):
        self.core = core
        self.fileno = core.fileno()
        self._changed = threading.Condition()  # of everything below
        self._polling = False  # some thread looks for answers
        self._under_way: dict[int, Request] = {}  # by ticket
        self._finished: dict[Request, None] = {}  # and not taken yet, in that order
        self._awaiting: dict[asyncio.Future[None], Request] = {}

    def submit(self, ids: bytes, missing: Missing) -> Request:
        request = Request(self, ids, missing)
        with self._changed:
            self._ask(request)
        return request

    def _ask(self, request: Request) -> None:
        self._under_way[self.core.submit(request.ids.view)] = request

    # ---- answers ----

    def _deliver(self, ticket: int, batch: _core.Batch) -> None:
        with self._changed:
            request = self._under_way.pop(ticket, None)
            if request is None:
                return  # cancelled in the meantime
            request._batch = batch
            self._finished[request] = None
            self._tell()

    def _tell(self) -> None:
        self._changed.notify_all()
        for future, request in list(self._awaiting.items()):
            if request.done():
                self._wake(future, None)

    def _wake(self, future: asyncio.Future[None], error: Error | None) -> None:
        def settle() -> None:
            if not future.done():
                future.set_result(None) if error is None else future.set_exception(error)

        self._awaiting.pop(future, None)
        with contextlib.suppress(RuntimeError):  # its loop is closed: nobody waits
            future.get_loop().call_soon_threadsafe(settle)

    def _look(self, most_s: float) -> None:
        """Looks for one answer, at most so long."""
        since_s = time.monotonic()
        answer = self.core.poll(math.ceil(most_s * 1000))
        if answer is not None:
            self._deliver(*answer)
        elif most_s >= 0.1 and time.monotonic() - since_s < most_s / 2:
            self._ask_again()

    def _ask_again(self) -> None:
        """Nothing is under way: an interrupt came between C's answer and our noticing."""
        with self._changed:
            lost, self._under_way = self._under_way, {}
            for request in lost.values():
                self._ask(request)

    def wait(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Until it is so, or the time (seconds) is over."""
        until_s = math.inf if timeout is None else time.monotonic() + timeout
        while not done():
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                self.drain()
                return done()
            self._turn(done, min(left_s, _LOOK_S))
        return True

    def _turn(self, done: Callable[[], bool], most_s: float) -> None:
        """One thread looks for all; the others wait to be told, or for their turn."""
        with self._changed:
            if done():
                return
            if self._polling:
                self._changed.wait(most_s)
                return
            self._polling = True
        try:
            self._look(most_s)
        finally:
            with self._changed:
                self._polling = False
                self._changed.notify_all()
            log.drain()

    def drain(self) -> None:
        """Takes what has come, without waiting."""
        while (answer := self.core.poll(0)) is not None:
            self._deliver(*answer)
        log.drain()

    # ---- asyncio ----

    async def await_(self, request: Request) -> Batch:
        loop = asyncio.get_running_loop()
        while not request.done():
            future: asyncio.Future[None] = loop.create_future()
            with self._changed:
                self._awaiting[future] = request
            loop.add_reader(self.fileno, self._ready)
            try:
                self._ready()  # it may have come before the loop looked
                await future
            except asyncio.CancelledError:
                request.cancel()
                raise
            finally:
                with self._changed:
                    self._awaiting.pop(future, None)
                    others = any(f.get_loop() is loop for f in self._awaiting)
                if not others:
                    loop.remove_reader(self.fileno)
        return request._take()

    def _ready(self) -> None:
        """The event loop says that there is something."""
        try:
            self.drain()
        except Error as error:  # no room, or closed: whoever waits is told
            with self._changed:
                for future in list(self._awaiting):
                    self._wake(future, error)

    # ---- ends ----

    def first_finished(self) -> Request | None:
        with self._changed:
            return next(iter(self._finished), None)

    def is_idle(self) -> bool:
        return not self._under_way

    def forget(self, request: Request) -> None:
        with self._changed:
            self._finished.pop(request, None)

    def cancel(self, request: Request) -> None:
        with self._changed:
            self._finished.pop(request, None)
            for ticket, other in list(self._under_way.items()):
                if other is request:
                    del self._under_way[ticket]
                    self.core.cancel(ticket)
                    request._canceled = True
            self._tell()

    def close(self) -> None:
        with self._changed:
            for request in self._under_way.values():
                request._canceled = True
            self._under_way.clear()
            self._tell()
        self.core.close()


class Fetching:
    """What reads the samples of a store by their ids, over connections that stay open: `ds.fetch()`
    and the like are its methods. Ids are of the whole store, not of the data set's choice alone.

    memory, threads, max_rate, request_timeout_ms, max_attempts   as of sterna.Loader, for each set
    of fields that is asked for. Any thread may use it; not a forked child."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        memory: int | str | None = None,
        threads: int | None = None,
        max_rate: int | str | None = None,
        request_timeout_ms: int | None = None,
        max_attempts: int | None = None,
    ):
        self.dataset = dataset
        self._options: dict[str, Any] = {
            "memory_bytes": parse_size(memory, "memory"),
            "threads": threads or 0,
            "max_rate": parse_size(max_rate, "max_rate"),
            "request_timeout_ms": request_timeout_ms or 0,
            "max_attempts": max_attempts or 0,
        }
        self._lines: dict[tuple[str, ...] | None, _Line] = {}
        self._lock = threading.Lock()
        _open.add(self)

    def _line(self, fields: Sequence[str] | None) -> _Line:
        if isinstance(fields, str):
            raise InvalidError(f"fields={fields!r}: give a list of names")
        key = None if fields is None else tuple(fields)
        store = self.dataset.store  # also checks the process
        with self._lock:
            if key not in self._lines:
                names = None if key is None else list(key)
                self._lines[key] = _Line(_core.Fetcher(store, fields=names, **self._options))
            return self._lines[key]

    def submit(
        self, ids: Any, *, fields: Sequence[str] | None = None, missing: Missing = "raise"
    ) -> Request:
        """Asks for samples and returns at once.

        ids      in any form: texts, UUIDs, 16 bytes each; one may stand there twice
        fields   names of those to read; all
        missing  of a row that cannot be had: "raise" (by result()) or "null"

        Requests for which there is no room wait, the first one first. InvalidError: no ids at all;
        BudgetError: they are more than the whole memory budget."""
        if missing not in ("raise", "null"):
            raise InvalidError(f"missing={missing!r}: 'raise' or 'null'")
        return self._line(fields).submit(bytes(pack(ids)), missing)

    def fetch(
        self,
        ids: Any,
        *,
        fields: Sequence[str] | None = None,
        missing: Missing = "raise",
        timeout: float | None = None,
    ) -> Batch:
        """The samples with these ids, as rows in this order: submit() and result()."""
        request = self.submit(ids, fields=fields, missing=missing)
        try:
            return request.result(timeout)
        except BaseException:  # nobody else could ask for it
            request.cancel()
            raise

    async def afetch(
        self, ids: Any, *, fields: Sequence[str] | None = None, missing: Missing = "raise"
    ) -> Batch:
        """fetch() for asyncio: the event loop watches a descriptor, and nothing waits in a thread.
        Cancelled, it takes the request back."""
        return await self.submit(ids, fields=fields, missing=missing)

    def poll(self, timeout: float | None = 0.0) -> Request | None:
        """The first of submit()'s requests that is done and whose result() was not asked for.

        timeout   seconds to wait for it; None: as long as something is under way

        None: nothing is done."""
        until_s = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            lines = list(self._lines.values())
            for line in lines:
                line.drain()
                request = line.first_finished()
                if request is not None:
                    line.forget(request)
                    return request
            left_s = until_s - time.monotonic()
            if left_s <= 0 or all(line.is_idle() for line in lines):
                return None
            watch = select.poll()
            for line in lines:
                watch.register(line.fileno, select.POLLIN)
            watch.poll(1000 * min(left_s, _LOOK_S))

    def stream(
        self,
        ids: Any,
        batch_size: int = 64,
        *,
        fields: Sequence[str] | None = None,
        missing: Missing = "raise",
        ordered: bool = True,
        ahead: int | None = None,
    ) -> Iterator[Batch]:
        """Batches of any number of ids, read ahead; ids may come from an endless iterator.

        batch_size   ids of each batch; the last one may have fewer
        ordered      batches in the order of the ids; False: as they come
        ahead        batches asked for before they are wanted; about 4096 samples"""
        size = whole(batch_size, "batch_size")
        if size < 1:
            raise InvalidError(f"batch_size={size}: at least 1")
        most = 1 + (max(1, _AHEAD_SAMPLES // size) if ahead is None else whole(ahead, "ahead"))
        if most < 1:
            raise InvalidError(f"ahead={ahead}: at least 0")
        line = self._line(fields)
        chunks = (self.submit(c, fields=fields, missing=missing) for c in _chunks(ids, size))
        return _stream(line, chunks, most, ordered)

    def close(self) -> None:
        """Forgets what is under way; batches still held stay valid. Twice is fine."""
        with self._lock:
            lines, self._lines = self._lines, {}
        for line in lines.values():
            line.close()


def _chunks(ids: Any, size: int) -> Iterator[Any]:
    if isinstance(ids, Iterator):
        while chunk := list(islice(ids, size)):
            yield chunk
        return
    packed = memoryview(pack(ids))
    for at in range(0, len(packed), size * ID_BYTES):
        yield packed[at : at + size * ID_BYTES]


def _stream(line: _Line, requests: Iterable[Request], most: int, ordered: bool) -> Iterator[Batch]:
    window: deque[Request] = deque()
    source = iter(requests)
    try:
        while True:
            window.extend(islice(source, most - len(window)))
            if not window:
                return
            if ordered:
                first = window[0]
            else:
                line.wait(lambda: any(request.done() for request in window), None)
                first = next(request for request in window if request.done())
            batch = first.result()
            window.remove(first)
            yield batch
            del batch
    finally:
        for request in window:
            request.cancel()
