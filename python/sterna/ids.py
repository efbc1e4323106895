"""Ids of samples: 16 bytes each (a big-endian UUID), shown as text."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Union, overload

from . import _core
from .errors import InvalidError

ID_BYTES = 16

Id = Union[str, uuid.UUID, bytes]
IdsLike = Union[Id, Iterable[Id], Any]  # Any: a buffer of 16 bytes an id


class Ids(Sequence[str]):
    """A list of ids. Its items are UUID texts, made when they are looked at; `bytes(ids)` are the
    16 bytes of each, one after another. Immutable; holds the memory it lies in alive."""

    __slots__ = ("_bytes",)

    def __init__(self, packed: Any = b""):
        view = memoryview(packed)
        self._bytes = (view.cast("B") if view.nbytes else memoryview(b"")).toreadonly()
        if len(self._bytes) % ID_BYTES != 0:
            raise InvalidError(f"ids: {len(self._bytes)} bytes are no multiple of {ID_BYTES}")

    @property
    def view(self) -> memoryview:
        """The 16 n bytes, without a copy."""
        return self._bytes

    def take(self, rows: Iterable[int]) -> Ids:
        """The ids at these places, in this order."""
        view = self._bytes
        return Ids(b"".join(view[ID_BYTES * i : ID_BYTES * (i + 1)] for i in rows))

    def keys(self) -> Iterator[bytes]:
        """The 16 bytes of each: hashable, and quicker than text."""
        view = self._bytes
        return (bytes(view[at : at + ID_BYTES]) for at in range(0, len(view), ID_BYTES))

    def __len__(self) -> int:
        return len(self._bytes) // ID_BYTES

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> Ids: ...
    def __getitem__(self, row: int | slice) -> str | Ids:
        if isinstance(row, slice):
            start, stop, step = row.indices(len(self))
            if step != 1:
                return self.take(range(start, stop, step))
            return Ids(self._bytes[ID_BYTES * start : ID_BYTES * max(start, stop)])
        row = row.__index__()
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        at = ID_BYTES * (row % len(self))
        return _core.format_id(self._bytes[at : at + ID_BYTES])

    def __iter__(self) -> Iterator[str]:
        return map(_core.format_id, self.keys())

    def __contains__(self, id: object) -> bool:
        try:
            wanted = one(id)
        except InvalidError:
            return False
        return wanted in self.keys()

    def __bytes__(self) -> bytes:
        return bytes(self._bytes)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ids):
            return self._bytes == other._bytes
        if isinstance(other, Sequence) and not isinstance(other, (str, bytes)):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return Ids, (bytes(self),)

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3])) + (", ..." if len(self) > 3 else "")
        return f"Ids([{shown}], n={len(self)})"


def one(id: object) -> bytes:
    """The 16 bytes of one id: UUID text, uuid.UUID, 16 bytes, or the text as bytes.

    Raises InvalidError, which shows it."""
    if isinstance(id, str):
        return _core.parse_id(id)
    if isinstance(id, uuid.UUID):
        return id.bytes
    if isinstance(id, (bytes, bytearray, memoryview)):
        if len(id) == ID_BYTES:
            return bytes(id)
        return _core.parse_id(bytes(id).decode("ascii", "replace"))
    raise InvalidError(f"{id!r} is no id: give UUID text, a uuid.UUID or 16 bytes")


def _is_bytes(ids: object) -> bool:
    try:
        view = memoryview(ids)  # type: ignore[arg-type]
    except TypeError:
        return False
    return view.format in ("B", "b", "c") and view.c_contiguous


def pack(ids: IdsLike) -> bytes | memoryview:
    """The 16 bytes of each id, one after another: of Ids, of one id, of any iterable of ids, or of
    a buffer of bytes that has them already, such as a batch's `id_bytes` or uint8[n, 16].

    Raises InvalidError for what is no id."""
    if isinstance(ids, Ids):
        return ids.view
    if isinstance(ids, (str, uuid.UUID)):
        return one(ids)
    if _is_bytes(ids):
        return Ids(ids).view
    if isinstance(ids, Iterable):
        return b"".join(map(one, ids))
    raise InvalidError(f"{type(ids).__name__} is neither an id nor a list of ids")
