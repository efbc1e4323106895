"""Looking at a store as a whole: is every byte what it should be, and what can the way there carry?
Both are the command's work, in a process of its own."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from . import _core, ids as id_lists
from .command import run
from .ids import IdsLike
from .writer import Path


def _options(**values: Any) -> list[str]:
    """--as-of=3 for as_of=3; None and 0 are left away, as the command's own defaults are."""
    out: list[str] = []
    for name, value in values.items():
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if value is not None and value != 0:
            out.append(f"--{name.replace('_', '-')}={value}")
    return out


class _IdsFile:
    """--ids wants a file: one UUID a line."""

    def __init__(self, ids: IdsLike | None):
        self.file: Any = None
        if ids is None:
            return
        self.file = tempfile.NamedTemporaryFile("w", prefix="sterna-ids-", suffix=".txt")
        packed = bytes(id_lists.pack(ids))
        for at in range(0, len(packed), 16):
            self.file.write(_core.format_id(packed[at : at + 16]) + "\n")
        self.file.flush()

    def __enter__(self) -> str | None:
        return None if self.file is None else self.file.name

    def __exit__(self, *why: object) -> None:
        if self.file is not None:
            self.file.close()


def verify(
    url: Path,
    *,
    source: Path | None = None,
    prefix: str | None = None,
    where: str | None = None,
    selection: Path | None = None,
    ids: IdsLike | None = None,
    as_of: int = 0,
    memory: int | str | None = None,
    threads: int = 0,
    password: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Reads every sample and checks its checksum and length, and its bytes against the source
    folder if that is given.

    source        the folder that was ingested: each image is compared with its file there
    prefix        the prefix that it was ingested with; other samples are not compared
    where, selection, ids, as_of, memory, threads, password: as of sterna.copy
    progress      shows lines on stderr

    Returns the figures that `sterna verify --json` prints: bad (0 if all is well), checked, failed,
    wrong_length, compared, missing_in_source, different_from_source, bytes, seconds ..., and
    differences, a list of dicts with id, path and why. Raises InvalidError, ConnectionError, Error;
    Ctrl-C ends it."""
    with _IdsFile(ids) as ids_file:
        options = _options(
            source=source,
            prefix=prefix,
            where=where,
            selection=selection,
            ids=ids_file,
            as_of=as_of,
            memory=memory,
            threads=threads,
        )
        return run("verify", os.fspath(url), *options, password=password, progress=progress)


def probe(
    url: Path,
    *,
    where: str | None = None,
    selection: Path | None = None,
    ids: IdsLike | None = None,
    as_of: int = 0,
    password: str | None = None,
) -> dict[str, Any]:
    """Measures for less than ten seconds what the way to a store can carry, with samples chosen by
    where, selection, ids, as_of as of sterna.copy; password likewise.

    Returns what `sterna probe --json` prints: rtt_ms, one_connection_mb_s, many_connections_mb_s,
    loss, samples_per_s, epoch_s ..., None for what could not be measured, and advice, a list of
    sentences. Raises InvalidError, ConnectionError, Error; Ctrl-C ends it."""
    with _IdsFile(ids) as ids_file:
        options = _options(where=where, selection=selection, ids=ids_file, as_of=as_of)
        return run("probe", os.fspath(url), *options, password=password)
