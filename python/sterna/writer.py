"""Samples into a store: the images of a folder (`ingest`), or what any program has (`writer`)."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import types
import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Union

from . import _core, blobs, ids, log
from .errors import InvalidError, MismatchError
from .ids import Id
from .progress import Figures, Progress, shown
from .results import IngestResult, Skipped, SkippedList, WriteResult, tell_skipped
from .sizes import parse_size, size_text

Path = Union[str, "os.PathLike[str]"]
Blob = tuple[str, str, Any]  # field, kind, bytes-like or None
Cell = tuple[str, Union[int, float, str, None]]

_ON_ERROR = ("skip", "stop")


def open_to_write(
    url: Path,
    create: bool = False,
    dataset_id: Id | None = None,
    replication: str | None = None,
    password: str | None = None,
) -> _core.Store:
    """A directory is made when it is not there; tables in a cluster that others use are not."""
    url = os.fspath(url)
    if replication is not None and not create:
        raise InvalidError("replication is of a keyspace that is made: give create=True too")
    return _core.Store(
        url,
        "create" if create or not url.startswith("cassandra://") else "write",
        dataset_id=None if dataset_id is None else ids.one(dataset_id),
        replication=replication,
        password=password,
    )


def _check_on_error(on_error: str) -> None:
    if on_error not in _ON_ERROR:
        raise InvalidError(f"on_error: {on_error!r} is neither 'skip' nor 'stop'")


# ---- a folder ----


def _patterns(fields: Mapping[str, str]) -> list[tuple[str, str, str | None]]:
    """(name, pattern, kind); what follows the last colon is a kind only if it is one's name."""
    out: list[tuple[str, str, str | None]] = []
    for name, pattern in fields.items():
        rest, colon, kind = pattern.rpartition(":")
        if colon and rest and kind in blobs.KINDS:
            out.append((name, rest, kind))
        else:
            out.append((name, pattern, None))
    return out


def _of_ingest(now: Figures) -> tuple[int, int, str]:
    rate = now["bytes_done"] / max(now["seconds"], 1e-3)
    return now["files_done"], now["files_total"], f"{size_text(rate)}/s"


def ingest(
    url: Path,
    dir: Path,
    *,
    prefix: str | None = None,
    metadata: Path | None = None,
    fields: Mapping[str, str] | None = None,
    max_bytes: int | str | None = None,
    on_error: str = "skip",
    replace: bool = False,
    dataset_id: Id | None = None,
    create: bool = False,
    replication: str | None = None,
    threads: int = 0,
    memory: int | str | None = None,
    password: str | None = None,
    progress: Progress = True,
) -> IngestResult:
    """Puts the images below the folder `dir` into the store `url`.

    `dir` holds a folder for each class, or train, val and test folders with those in them, or just
    images. All become visible together at the end; interrupted and run again, it completes and
    doubles nothing.

    prefix        stands with a / before each sample's path
    metadata      CSV file of further columns, a row for each image, joined on its relative path
    fields        further files of each image: {"caption": ".txt", "mask": "masks/{stem}.png"}; a
                  kind may follow, as in ".dat:bytes"
    max_bytes     larger files are skipped (64 MiB)
    on_error      "skip" lists a file that is no image, empty or unreadable in the result's
                  `skipped`; "stop" raises
    replace       other bytes under a known path replace the old ones instead of being a conflict
    dataset_id    of a new store: UUID, its text or its 16 bytes (a random one)
    create        makes the data set's tables in a cluster; a directory always is made
    replication   with create makes the keyspace too: "dc1=3"
    threads       files read at once (0: chosen)
    memory        of files in memory at once: bytes, or "1G" (256 MiB)
    password      of a cluster's user; else as of sterna.open
    progress      see sterna.progress; a function gets a dict of files_seen, files_done, bytes_done,
                  files_total, bytes_total, seconds, counts

    Raises NotFound, ReadOnlyError, BusyError, IOError (a full disk), MismatchError, and of a
    cluster ConnectionError and RefusedError. Ctrl-C leaves the store as it was."""
    _check_on_error(on_error)
    skipped = SkippedList()
    options: dict[str, Any] = {
        "prefix": prefix,
        "metadata": None if metadata is None else os.fspath(metadata),
        "fields": _patterns(fields or {}),
        "max_bytes": parse_size(max_bytes, "max_bytes"),
        "memory_bytes": parse_size(memory, "memory"),
        "threads": threads,
        "stop_on_error": on_error == "stop",
        "replace": replace,
        "report": lambda outcome, path, why: skipped.add(Skipped(outcome, path, why)),
    }
    try:
        with (
            shown(progress, "ingest", "files", _of_ingest) as show,
            contextlib.closing(
                open_to_write(url, create, dataset_id, replication, password)
            ) as store,
        ):
            done = _core.ingest_folder(store, os.fspath(dir), progress=show, **options)
    finally:
        log.drain()
    result = IngestResult(
        run=done["run"],
        counts=done["counts"],
        bytes=done["bytes"],
        seconds=done["seconds"],
        skipped=skipped.items,
        metadata_unmatched=done["metadata_unmatched"],
    )
    tell_skipped(result, os.fspath(url))
    return result


# ---- any source ----


def _check_kind(field: str, kind: str) -> str:
    if kind in blobs.KINDS:
        return kind
    raise InvalidError(f"field {field}: {kind!r} is no kind; there are {', '.join(blobs.KINDS)}")


def _scalar(column: str, value: Any) -> int | float | str | None:
    if isinstance(value, bool):
        return int(value)
    if value is None or isinstance(value, (int, float, str)):
        return value
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # numpy's or torch's
        return _scalar(column, value.item())
    kind = "bytes" if isinstance(value, (bytes, bytearray, memoryview)) else "json"
    raise InvalidError(
        f"column {column}: {type(value).__name__} is no integer, real, text or None; "
        f'bytes and objects are kept in fields, as with fields={{"{column}": "{kind}"}}'
    )


def _of_writer(now: Figures) -> tuple[int, int, str]:
    rate = now["bytes_done"] / max(now["seconds"], 1e-3)
    return now["samples_done"], now["samples_total"], f"{size_text(rate)}/s"


class Writer:
    """Takes samples from any source into the store `url`:

        with sterna.writer("pets.sterna", fields={"caption": "text"}) as w:
            w.add({"path": "cats/1.jpg", "image": data, "class": "cat", "caption": "a cat"})

    A clean end commits all samples as one run; an exception forgets them, but bytes that were
    written are found again by the next writer of the same samples. Any thread may add.

    fields      kinds of the fields besides `image`: "image", "mask", "bytes", "text", "json",
                "npy"; declare() adds more on the way
    source      what the list of runs shows as the origin
    classes     names of classes in the order of their labels, for a source that numbers them;
                without it each new class gets the next label when its first sample comes
    prefix      stands with a / before each sample's path
    on_error    "skip" lists samples that cannot be stored in the result's `skipped`; "stop" raises
    replace     other bytes under a known path or id replace the old ones; else they are a conflict
    dataset_id, create, replication, password: as of sterna.ingest
    progress    see sterna.progress; a function gets a dict of samples_done, samples_total,
                bytes_done, seconds, counts
    total       samples to come, for the display

    Raises what sterna.ingest raises."""

    def __init__(
        self,
        url: Path,
        *,
        fields: Mapping[str, str] | None = None,
        source: str = "sterna.writer",
        classes: Sequence[str] | None = None,
        prefix: str | None = None,
        on_error: str = "skip",
        replace: bool = False,
        dataset_id: Id | None = None,
        create: bool = False,
        replication: str | None = None,
        password: str | None = None,
        progress: Progress = None,
        total: int = 0,
    ):
        _check_on_error(on_error)
        for name, kind in (fields or {}).items():
            _check_kind(name, kind)
        self._fields = {"image": "image"}
        self.url = os.fspath(url)
        self.result: WriteResult | None = None  # once committed
        self._prefix = (prefix or "").rstrip("/")
        self._on_error = on_error
        self._total = total
        self._counts: dict[str, int] = {}
        self._skipped = SkippedList()
        self._bytes = 0
        self._start_s = time.monotonic()
        self._lock = threading.RLock()
        self._ends = contextlib.ExitStack()
        with contextlib.ExitStack() as ends:
            ends.callback(log.drain)
            self._show = ends.enter_context(shown(progress, "write", "samples", _of_writer))
            store = open_to_write(url, create, dataset_id, replication, password)
            ends.callback(store.close)
            self._fields.update(store.fields())
            for name, kind in (fields or {}).items():
                self.declare(name, kind)
            self._ingest = _core.Ingest(store, source, replace)
            ends.callback(self._ingest.close)
            if classes is not None:
                self._ingest.declare_classes(list(classes))
            self._ends = ends.pop_all()
        self._open = True

    @property
    def fields(self) -> Mapping[str, str]:
        """Kind of each field by name: the store's and those that were declared."""
        return types.MappingProxyType(self._fields)

    def declare(self, field: str, kind: str) -> None:
        """One more field. MismatchError if it is one of another kind already."""
        known = self._fields.setdefault(field, _check_kind(field, kind))
        if known != kind:
            raise MismatchError(f"{self.url}: field {field} holds {known}, not {kind}")

    def _path(self, sample: Mapping[str, Any]) -> str:
        path = sample.get("path")
        if path is None:
            path = f"{sum(self._counts.values()):09d}"
        elif not isinstance(path, (str, os.PathLike)):
            raise InvalidError(f"path: {path!r} is no text")
        path = os.fspath(path)
        return f"{self._prefix}/{path}" if self._prefix else path

    def _take(self, sample: Mapping[str, Any]) -> tuple[list[Blob], list[Cell]]:
        """Raises OSError for a file that cannot be read."""
        values: list[Blob] = []
        cells: list[Cell] = []
        for name, value in sample.items():
            if name in self._fields:
                kind = self._fields[name]
                values.append((name, kind, blobs.encode(name, kind, value)))
            elif name not in ("path", "id"):
                cells.append((name, _scalar(name, value)))
        return values, cells

    def _count(self, outcome: str, values: list[Blob]) -> None:
        self._counts[outcome] = self._counts.get(outcome, 0) + 1
        self._bytes += sum(len(value) for _, _, value in values if value is not None)
        if self._show is not None:
            self._show(
                {
                    "samples_done": sum(self._counts.values()),
                    "samples_total": self._total,
                    "bytes_done": self._bytes,
                    "seconds": time.monotonic() - self._start_s,
                    "counts": dict(self._counts),
                }
            )

    def _check_open(self) -> None:
        if not self._open:
            raise InvalidError(f"{self.url}: this writer has ended")

    def add(self, sample: Mapping[str, Any]) -> str:
        """Adds a sample: a dict whose keys are fields (`image` and those that were declared),
        `path`, `id`, and columns (`label`, `class`, `split`, any other).

        Values of fields are what sterna.blobs.encode takes; columns take int, float, str, None. The
        id is made of the data set's id and the path, unless it is given; the path, if it is not
        given, of the number of samples before. `class` sets `label` too.

        Returns the outcome: "added", "unchanged", "replaced"; or, if the sample is skipped,
        "conflict", "no image", "empty", "unreadable", "too big", "bad field". Raises InvalidError
        for what no store can take, and for a skipped sample if on_error is "stop"."""
        if not isinstance(sample, Mapping):
            raise InvalidError(f"a sample is a dict of fields and columns, not {type(sample)}")
        with self._lock:
            self._check_open()
            path = self._path(sample)
            id = None if sample.get("id") is None else ids.one(sample["id"])
            values: list[Blob] = []
            why = ""
            try:
                values, cells = self._take(sample)
            except OSError as e:
                outcome, why = "unreadable", str(e)
            else:
                outcome = self._ingest.add(path, values, cells, id)
            self._count(outcome, values)
            if outcome not in ("added", "unchanged", "replaced"):
                named = None if id is None else uuid.UUID(bytes=id)
                self._skipped.add(Skipped(outcome, path, why, named))
                if self._on_error == "stop":
                    raise InvalidError(f"{path}: {outcome}{': ' if why else ''}{why}")
            return outcome

    def commit(self) -> WriteResult:
        """Makes all samples visible as one run, and ends the writer."""
        with self._lock:
            self._check_open()
            run = self._ingest.commit()
            self.result = WriteResult(
                run=run,
                counts=self._counts,
                bytes=self._bytes,
                seconds=time.monotonic() - self._start_s,
                skipped=self._skipped.items,
            )
            self.close()
        tell_skipped(self.result, self.url)
        return self.result

    def close(self) -> None:
        """Ends the writer; without a commit before, its samples are forgotten."""
        with self._lock:
            self._open = False
            self._ends.close()

    def __repr__(self) -> str:
        counts = ", ".join(f"{n:,} {outcome}" for outcome, n in self._counts.items())
        state = "" if self._open else ", committed" if self.result else ", closed"
        return f"<sterna.Writer {self.url}: {counts or 'no samples'}{state}>"

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self._open:
                self.commit()
        finally:
            self.close()


writer = Writer
