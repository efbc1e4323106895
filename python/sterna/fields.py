"""Values of a field in a batch, by its kind: encoded bytes stay where they landed; text, JSON and
arrays are read when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, List, Union

from . import _core
from .errors import DecodeError
from .npy import NpyArray

Rows = list[Union[_core.Array, None]]


class Ragged:
    """Pieces of bytes of different lengths: a field of kind image, mask or bytes.

    data      uint8[...]: all rows one after another if they lie so (strict order, known lengths),
              else None
    offsets   int64[n]: where each row begins in data, a multiple of 64; None where data is
    lengths   int64[n]: bytes of each row; 0 where it has none
    [i]       uint8[length]: one row, without a copy; None if it is null or masked

    All are views that keep the batch's memory alive."""

    __slots__ = ("_core",)

    def __init__(self, core: _core.Field):
        self._core = core

    @property
    def core(self) -> _core.Field:
        """The extension's object, for adapters."""
        return self._core

    @property
    def name(self) -> str:
        return self._core.name

    @property
    def kind(self) -> str:
        return self._core.kind

    @property
    def data(self) -> _core.Array | None:
        return self._core.data

    @property
    def offsets(self) -> _core.Array | None:
        return self._core.offsets

    @property
    def lengths(self) -> _core.Array:
        return self._core.lengths

    def __len__(self) -> int:
        return len(self._core)

    def __getitem__(self, row: int) -> _core.Array | None:
        row = row.__index__()
        return self._core[row + len(self) if row < 0 else row]

    def __iter__(self) -> Iterator[_core.Array | None]:
        return iter(self.samples())

    def samples(self) -> Rows:
        """Each row, without copies."""
        return self._core.samples()

    def list(self) -> List[bytes | None]:
        """Each row as bytes: copies."""
        return [None if row is None else bytes(row) for row in self.samples()]

    def contiguous(self) -> tuple[Any, _core.Array]:
        """(data, offsets) also where rows lie apart: then they are copied into a bytearray."""
        if self.data is not None and self.offsets is not None:
            return self.data, self.offsets
        data = bytearray(self._core.copy_bytes())
        return data, self._core.copy_into(data)

    def padded(self, fill: int = 0) -> memoryview:
        """uint8[n, longest]: a copy, each row followed by `fill`."""
        rows = self.samples()
        width = max((row.nbytes for row in rows if row is not None), default=0) or 1
        out = bytearray([fill]) * (len(rows) * width)
        to = memoryview(out)
        for i, row in enumerate(rows):
            if row is not None:
                to[i * width : i * width + row.nbytes] = memoryview(row)
        return to.cast("B", (len(rows), width)) if rows else to

    def __repr__(self) -> str:
        return f"<sterna.Ragged {self.name} ({self.kind}): {len(self)} rows>"


def _text(array: _core.Array) -> str:
    return str(memoryview(array), "utf-8")


def _json(array: _core.Array) -> Any:
    return json.loads(bytes(array))


_READERS: dict[str, Callable[[_core.Array], Any]] = {
    "text": _text,
    "json": _json,
    "npy": NpyArray,
}

Values = Union[Ragged, list[Any]]


def read(field: _core.Field, id_of: Callable[[int], str]) -> Values:
    """A field's values: Ragged, or a list of str, of JSON's objects, or of NpyArrays; None where a
    row has none. Raises DecodeError, which names field and id, for bytes that are none of their
    kind."""
    reader = _READERS.get(field.kind)
    if reader is None:
        return Ragged(field)
    values = []
    for row, array in enumerate(field.samples()):
        try:
            values.append(None if array is None else reader(array))
        except ValueError as e:  # UnicodeDecodeError, JSONDecodeError, DecodeError
            raise DecodeError(f"sample {id_of(row)}: field {field.name} ({field.kind}): {e}") from e
    return values
