"""The encoded bytes of a batch in an anonymous shared file, for a worker."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sterna.batch import Batch

from .parcel import aligned
from .tensors import ENCODED
from .transform import MISSING, Column


@contextmanager
def placed(batch: Batch) -> Iterator[tuple[list[int], list[Column]]]:
    """The descriptors to send (one, or none if there are no bytes), closed afterwards, and where
    the rows of each encoded field lie in that file."""
    fields = [batch.core.field(f) for f in range(len(batch.fields))]
    fields = [field for field in fields if field.kind in ENCODED]
    places, size = [], 0
    for field in fields:
        places.append(size)
        size += aligned(field.copy_bytes())
    if size == 0:
        yield [], [_column(field, 0, [0] * len(field)) for field in fields]
        return
    fd = os.memfd_create("sterna-batch", os.MFD_CLOEXEC)
    try:
        os.truncate(fd, size)
        with mmap.mmap(fd, size) as memory, memoryview(memory) as whole:
            columns = []
            for field, place in zip(fields, places):
                with whole[place:] as rest:
                    columns.append(_column(field, place, field.copy_into(rest).tolist()))
        yield [fd], columns
    finally:
        os.close(fd)


def _column(field: Any, place: int, offsets: list[int]) -> Column:
    lengths = field.lengths.tolist()
    starts = [
        MISSING if length == 0 and field[row] is None else place + offset
        for row, (offset, length) in enumerate(zip(offsets, lengths))
    ]
    return Column(field.name, starts, lengths)
