"""Arrays in the .npy format, as they lie in a batch: no copy, no numpy, and never a pickle."""

from __future__ import annotations

import ast
import math
import re
import struct
from typing import Any

from . import _core
from .errors import DecodeError

_MAGIC = b"\x93NUMPY"
_DTYPE = re.compile(r"[<>|=]?([biufcmMSUVO])(\d*)(?:\[\w+\])?")  # kind and bytes; a time's unit
# numpy's kind and size as memoryview names it.
_NATIVE = {
    "b1": "?", "i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I",
    "i8": "q", "u8": "Q", "f4": "f", "f8": "d",
}  # fmt: skip


def _header(data: memoryview) -> tuple[dict[str, Any], int]:
    """What stands before the elements, and where these begin."""
    if bytes(data[:6]) != _MAGIC or len(data) < 10:
        raise DecodeError("no .npy array")
    if data[6] == 1:
        start, (size,) = 10, struct.unpack_from("<H", data, 8)
    else:
        if data[6] not in (2, 3) or len(data) < 12:
            raise DecodeError(f".npy version {data[6]}.{data[7]}: versions 1 to 3 are known")
        start, (size,) = 12, struct.unpack_from("<I", data, 8)
    if start + size > len(data):
        raise DecodeError(f".npy array is cut short: its header alone takes {start + size} bytes")
    text = bytes(data[start : start + size]).decode("utf-8" if data[6] == 3 else "latin-1")
    try:
        header = ast.literal_eval(text.strip())
        return {name: header[name] for name in ("descr", "fortran_order", "shape")}, start + size
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as e:
        raise DecodeError(f".npy header is damaged: {e}") from e


def _item_bytes(descr: Any) -> int:
    """Of one element; structured ones by the sum of their parts."""
    if isinstance(descr, list):
        return sum(
            _item_bytes(part[1]) * math.prod(part[2] if len(part) > 2 else ()) for part in descr
        )
    match = _DTYPE.fullmatch(descr) if isinstance(descr, str) else None
    if match is None:
        raise DecodeError(f".npy dtype {descr!r} is not known")
    if match[1] == "O":
        raise DecodeError(".npy array of Python objects: these are pickles, which are not read")
    return int(match[2] or 0) * (4 if match[1] == "U" else 1)


class NpyArray:
    """One array of a batch. `numpy.asarray(a)` is a view of it: no copy, and it keeps it alive.

    shape   tuple of int
    dtype   as in the header: "<f4"; a list for structured ones
    data    uint8 memoryview of the elements
    """

    __slots__ = ("shape", "dtype", "fortran_order", "data", "_address", "_readonly")

    def __init__(self, array: _core.Array):
        """Raises DecodeError if the bytes are no .npy array, are too few, or are a pickle."""
        whole = memoryview(array)
        header, start = _header(whole)
        shape = header["shape"]
        if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise DecodeError(f".npy shape {shape!r} is damaged")
        n_bytes = _item_bytes(header["descr"]) * math.prod(shape)
        if start + n_bytes > len(whole):
            raise DecodeError(f".npy array is cut short: {len(whole)} bytes of {start + n_bytes}")
        self.shape: tuple[int, ...] = shape
        self.dtype = header["descr"]
        self.fortran_order = bool(header["fortran_order"])
        self.data = whole[start : start + n_bytes]
        self._address = array.address + start
        self._readonly = array.readonly

    @property
    def nbytes(self) -> int:
        return len(self.data)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without dimensions")
        return self.shape[0]

    @property
    def __array_interface__(self) -> dict[str, Any]:
        structured = isinstance(self.dtype, list)
        item = _item_bytes(self.dtype)
        interface = {
            "version": 3,
            "shape": self.shape,
            "typestr": f"|V{item}" if structured else self.dtype,
            "data": (self._address, self._readonly),
        }
        if structured:
            interface["descr"] = self.dtype
        if self.fortran_order:
            interface["strides"] = tuple(
                item * math.prod(self.shape[:i]) for i in range(len(self.shape))
            )
        return interface

    def view(self) -> memoryview:
        """The elements, typed and shaped, without a copy. TypeError for what memoryview has no type
        for (float16, complex, text, another byte order, columns first): numpy.asarray takes all."""
        native = self.dtype if isinstance(self.dtype, str) else ""
        code = _NATIVE.get(native[1:]) if native[:1] in ("<", "|", "=") else None
        if code is None or (self.fortran_order and len(self.shape) > 1) or 0 in self.shape:
            raise TypeError(f"no memoryview of {self.dtype!r} {self.shape}: use numpy.asarray()")
        cast: Any = self.data.cast
        view: memoryview = cast(code, self.shape)
        return view

    def tolist(self) -> Any:
        """The elements as nested lists; TypeError as view()."""
        return self.view().tolist()

    def __repr__(self) -> str:
        return f"<sterna.NpyArray {self.dtype!r} {self.shape}>"
