"""Batches as plain dicts of tensors, over the batch's own memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from sterna.batch import Batch
from sterna.npy import NpyArray

from .ragged import Ragged, ragged_of

ENCODED = ("image", "mask", "bytes")  # kinds whose bytes stay as they are
BESIDES = ("index", "valid", "id")  # what a tuple leaves out

# As the .npy format names them; bfloat16 it does not know.
_DTYPES = {
    "b1": torch.bool,
    "u1": torch.uint8,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "c8": torch.complex64,
    "c16": torch.complex128,
}


def as_dict(batch: Batch) -> dict[str, Any]:
    """Fields (Ragged, or a list: str, JSON's objects, tensors of .npy), columns (lists), label and
    index (int64[n]) and valid (bool[n])."""
    core = batch.core
    out: dict[str, Any] = {}
    for f, name in enumerate(core.fields):
        field = core.field(f)
        if field.kind in ENCODED:
            out[name] = ragged_of(field)
        else:
            values = batch[name]
            out[name] = [array_tensor(v) if isinstance(v, NpyArray) else v for v in values]
    for name in batch.columns:
        out[name] = batch[name]
    out.setdefault("label", torch.from_dlpack(core.labels))
    out.setdefault("index", torch.from_dlpack(core.index))
    out.setdefault("valid", torch.frombuffer(core.valid, dtype=torch.bool))
    return out


def as_tuple(value: Any) -> Any:
    """A dict's values: fields, columns, label; not those that say which rows they are."""
    if not isinstance(value, Mapping):
        return value
    return tuple(part for name, part in value.items() if name not in BESIDES)


def array_tensor(array: NpyArray) -> torch.Tensor:
    """Of an .npy array: without a copy, unless torch lacks its dtype or byte order."""
    dtype = array.dtype if isinstance(array.dtype, str) else ""
    known = _DTYPES.get(dtype[1:]) if dtype[:1] in ("<", "|", "=") else None
    if known is None:
        return _by_numpy(array)
    if array.nbytes == 0:
        return torch.empty(array.shape, dtype=known)
    flat = torch.frombuffer(array.data, dtype=known)
    if array.fortran_order:
        return flat.view(array.shape[::-1]).permute(*reversed(range(len(array.shape))))
    return flat.view(array.shape)


def _by_numpy(array: NpyArray) -> torch.Tensor:
    import numpy

    values = numpy.asarray(array)
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("=")))


def map_tensors(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same structure with each tensor and Ragged changed."""
    if isinstance(value, (torch.Tensor, Ragged)):
        return change(value)
    if isinstance(value, Mapping):
        return {name: map_tensors(part, change) for name, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(part, change) for part in value))
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(part, change) for part in value)
    return change(value) if hasattr(value, "pin_memory") else value
