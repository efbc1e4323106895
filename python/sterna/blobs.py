"""Values of fields, as the bytes that a store keeps of them. What is read back equals what was put
in: `text` gives str, `json` objects, `npy` arrays, all others bytes."""

from __future__ import annotations

import io
import json
import os
from typing import Any

from .errors import InvalidError

KINDS = ("image", "mask", "bytes", "text", "json", "npy")


def _file(path: Any) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _picture(field: str, value: Any) -> bytes:
    """A PIL image without loss; what it was decoded from is not known to it any more."""
    out = io.BytesIO()
    try:
        value.save(out, format="PNG")
    except OSError as e:
        raise InvalidError(
            f"field {field}: {e}; give the encoded bytes, or an image of a mode that PNG has"
        ) from e
    return out.getvalue()


def _array(value: Any) -> bytes:
    import numpy

    out = io.BytesIO()
    numpy.save(out, numpy.asarray(value), allow_pickle=False)
    return out.getvalue()


def _json(field: str, value: Any) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError) as e:
        raise InvalidError(f"field {field}: no JSON: {e}") from e


def _buffer(field: str, kind: str, value: Any) -> Any:
    try:
        view = memoryview(value)
    except TypeError:
        view = None
    if view is None or view.ndim != 1 or view.itemsize != 1 or not view.c_contiguous:
        raise InvalidError(
            f"field {field}: {type(value).__name__} is nothing that a field of kind {kind} can "
            "hold; give encoded bytes"
            + (
                ", a file's path or a PIL image"
                if kind in ("image", "mask")
                else " or a file's path"
            )
        )
    return view


def encode(field: str, kind: str, value: Any) -> Any:
    """Bytes (or a view of them) for a value of the field `field`, None for None.

    Of any kind: bytes as they are, and an os.PathLike is a file that holds them. Besides, by kind:

    image, mask   str: a file's path; a PIL image, which becomes a PNG
    bytes         str: a file's path; any other one-dimensional buffer of bytes
    text          str, in UTF-8
    json          anything that json.dumps takes, str included
    npy           str: a file's path; what numpy.asarray takes, but no objects

    Raises InvalidError, and OSError for a file that cannot be read."""
    if value is None or isinstance(value, (bytes, bytearray)):
        return value
    if isinstance(value, os.PathLike):
        return _file(value)
    if kind == "json" and not isinstance(value, memoryview):
        return _json(field, value)
    if kind == "text" and isinstance(value, str):
        return value.encode()
    if isinstance(value, str):
        return _file(value)
    if kind == "npy" and not isinstance(value, memoryview):
        return _array(value)
    if kind in ("image", "mask") and hasattr(value, "save") and hasattr(value, "mode"):
        return _picture(field, value)
    return _buffer(field, kind, value)
