"""Samples from one store into another of the same data set."""

from __future__ import annotations

import os
import uuid
from typing import Any, Union

from . import _core, log
from .dataset import Dataset, open
from .errors import InvalidError
from .progress import Figures, Progress, shown
from .results import CopyResult, Skipped, SkippedList, tell_skipped
from .sizes import parse_size, size_text
from .writer import Path, open_to_write


def _choose(
    source: Dataset, where: str | None, selection: Path | None, ids: Any, as_of: int
) -> Dataset:
    """What --where, --selection, --ids and --as-of choose."""
    if sum(x is not None for x in (where, selection, ids)) > 1:
        raise InvalidError("where, selection and ids exclude each other")
    if selection is not None and as_of:
        raise InvalidError(
            "as_of and selection exclude each other: a saved selection stays as it was saved"
        )
    if as_of:
        source = source.as_of(as_of)
    if where is not None:
        return source.where(where)
    if selection is not None:
        return source.select(selection)
    return source if ids is None else source.select(ids=ids)


def _of_copy(now: Figures) -> tuple[int, int, str]:
    if now["compared"] < now["samples"]:
        return now["compared"], now["samples"], "comparing"
    rate = now["bytes_read"] / max(now["seconds"], 1e-3)
    return now["read"], now["to_read"], f"{size_text(rate)}/s"


def copy(
    source: Union[Path, Dataset],
    to: Path,
    *,
    where: str | None = None,
    selection: Path | None = None,
    ids: Any = None,
    as_of: int = 0,
    create: bool = False,
    replication: str | None = None,
    replace: bool = False,
    memory: int | str | None = None,
    threads: int = 0,
    password: str | None = None,
    progress: Progress = True,
) -> CopyResult:
    """Copies samples of `source`, a data set or the URL of one, into the store `to`.

    `to` gets the source's data set id if it is made, and must have it if not. Samples keep ids,
    fields, columns, classes and labels. What `to` holds already is not read again. All become
    visible together at the end; interrupted and run again, it completes and doubles nothing.

    where         samples for which this SQL expression is true
    selection     a saved selection: a name in the store, or a file (with a / or ending in .sel)
    ids           these samples
    as_of         only what was there after this run
    create        makes the tables of `to` in a cluster; a directory always is made
    replication   with create makes the keyspace too: "dc1=3"
    replace       other bytes under a known id replace those of `to` instead of being a conflict
    memory        to read ahead: bytes, or "4G" (a quarter of the memory)
    threads       reader threads of a directory (0: chosen)
    password      of both clusters' users; else as of sterna.open
    progress      see sterna.progress; a function gets a dict of samples, compared, read,
                  bytes_read, to_read, bytes_to_read, seconds

    Raises MismatchError (another data set, a class that has another label in `to`), and what
    sterna.ingest raises."""
    if not isinstance(source, Dataset):
        with open(source, password=password) as opened:
            return copy(
                opened, to, where=where, selection=selection, ids=ids, as_of=as_of, create=create,
                replication=replication, replace=replace, memory=memory, threads=threads,
                password=password, progress=progress,
            )  # fmt: skip
    chosen = _choose(source, where, selection, ids, as_of)
    skipped = SkippedList()
    selected = chosen.selection  # before `to` is made: a mistake makes no empty store
    dataset_id = chosen.store.info()["dataset_id"]
    target = open_to_write(to, create, dataset_id, replication, password)
    try:
        with shown(progress, "copy", "samples", _of_copy) as show:
            done = _core.copy(
                chosen.store,
                target,
                selected,
                memory_bytes=parse_size(memory, "memory"),
                threads=threads,
                replace=replace,
                progress=show,
                report=lambda outcome, id, path, why: skipped.add(
                    Skipped(outcome, path, why, uuid.UUID(bytes=bytes(id)))
                ),
            )
    finally:
        target.close()
        log.drain()
    result = CopyResult(
        run=done["run"],
        counts=done["counts"],
        bytes=done["bytes_read"],
        seconds=done["seconds"],
        skipped=skipped.items,
        samples=done["samples"],
        read=done["read"],
    )
    tell_skipped(result, os.fspath(to))
    return result
