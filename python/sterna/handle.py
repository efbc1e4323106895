"""A store that is opened once for all views of it, here and, when they are sent there, in other
processes."""

from __future__ import annotations

import os
import threading
from typing import Any

from . import _core, log
from .errors import ForkedError, InvalidError


class Handle:
    """The store of a URL, opened when it is first needed; `run` is the version of the data that all
    its views see. Sent to another process it is the URL and the run, no password and nothing open.
    Closed with its last view."""

    def __init__(self, url: str, mode: Any = "read", run: int = 0):
        self.url = url
        self.mode = mode
        self.run = run
        self.pid = os.getpid()
        self._store: _core.Store | None = None
        self._lock = threading.Lock()

    @classmethod
    def open(cls, url: str, mode: Any, **options: Any) -> Handle:
        handle = cls(url, mode)
        try:
            handle._store = _core.Store(url, mode, **options)
            handle.run = handle._store.info()["last_run"]
        finally:
            log.drain()
        return handle

    def check_process(self) -> None:
        """Raises ForkedError in a child of the process that opened it."""
        if self._store is not None and self.pid != os.getpid():
            raise ForkedError(
                f"{self.url} was opened by process {self.pid}, before a fork: its connections are "
                "not ours; call reopen() on the data set, or sterna.open(), in the child, or start "
                "processes by spawn or forkserver"
            )

    def store(self) -> _core.Store:
        """The open store; raises ForkedError likewise."""
        self.check_process()
        store = self._store
        if store is None:
            with self._lock:
                if self._store is None:
                    self.pid = os.getpid()
                    self._store = _core.Store(self.url, self.mode)
                store = self._store
        log.drain()
        return store

    def as_of(self, run: int) -> Handle:
        """The same store, seen as of an earlier run."""
        if run < 1:
            raise InvalidError(f"as of run {run}: runs count from 1")
        other = Handle(self.url, self.mode, run)
        other._store = self.store()
        return other

    def reopen(self) -> Handle:
        """To be opened anew, when it is first used."""
        return Handle(self.url, "read", self.run)

    def __reduce__(self) -> tuple[Any, ...]:
        mode = "read" if self.mode == "create" else self.mode
        return Handle, (self.url, mode, self.run)
