"""transform and collate_fn, applied to the rows of a batch: here, or in a worker."""

from __future__ import annotations

import mmap
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch.utils.data

from sterna import errors
from sterna.batch import Batch
from sterna.ids import ID_BYTES, Ids

from . import seeds, workers
from .tensors import ENCODED

Sample = dict[str, Any]
Transform = Callable[[Sample], Any]
Collate = Callable[[list[Any]], Any]

MISSING = -1  # start of a row that has no bytes


class TransformError(errors.Error, RuntimeError):
    """transform or collate_fn raised, or a worker process died in it.

    The message has the sample's id and the original traceback; the original exception is
    __cause__, unless it could not be brought here. `id` and `index` are None where no sample is to
    blame.
    """

    def __init__(self, message: str, id: str | None = None, index: int | None = None) -> None:
        super().__init__(message)
        self.id, self.index = id, index


@dataclass
class Column:
    """Where the bytes of one field lie in the memory of a batch: row i at start[i]."""

    name: str
    start: list[int]  # MISSING: none
    length: list[int]


@dataclass
class Rows:
    """A batch without the bytes of its encoded fields: what a worker is told of it."""

    seed: int
    epoch: int
    ids: bytes  # 16 each
    values: dict[str, list[Any]]  # a value a row: fields that are no bytes, columns, label ...
    encoded: list[Column] = field(default_factory=list)
    order: tuple[str, ...] = ()  # of the names in a sample

    @classmethod
    def of(cls, batch: Batch, seed: int) -> Rows:
        core = batch.core
        values = {
            name: list(batch[name])
            for name, kind in kinds(batch).items()
            if kind not in ENCODED
        }
        values.update((name, batch[name]) for name in batch.columns)
        values.setdefault("label", core.labels.tolist())
        values.setdefault("index", core.index.tolist())
        values.setdefault("valid", core.valid.tolist())
        order = (*batch.fields, *batch.columns, "label", "index", "valid")
        return cls(seed, core.epoch, bytes(core.ids), values, [], tuple(dict.fromkeys(order)))

    def __len__(self) -> int:
        return len(self.ids) // ID_BYTES

    def samples(self, encoded: Mapping[str, Sequence[Any]]) -> Iterator[Sample]:
        """Each row as transform gets it; `encoded` has the bytes of each row by field."""
        columns = {**self.values, **encoded}
        for row, id in enumerate(Ids(self.ids)):
            sample = {name: columns[name][row] for name in self.order}
            sample.setdefault("id", id)
            yield sample


class Job:
    """What is done to each batch. Pickled, it goes to workers."""

    def __init__(self, transform: Transform | None, collate_fn: Collate | None) -> None:
        self.transform = transform
        self.collate_fn = collate_fn or torch.utils.data.default_collate

    def apply(self, rows: Rows, samples: Iterable[Sample], report: workers.Report) -> Any:
        done = []
        keys = memoryview(rows.ids)
        for row, sample in enumerate(samples):
            report(row)
            if self.transform is not None:
                key = bytes(keys[ID_BYTES * row : ID_BYTES * (row + 1)])
                seeds.seed_all(seeds.sample_seed(rows.seed, rows.epoch, key))
                sample = self.transform(sample)
            done.append(sample)
        report(workers.NOBODY)
        return self.collate_fn(done)

    def __call__(self, rows: Rows, fds: Sequence[int], report: workers.Report) -> Any:
        """In a worker: the bytes of `rows` lie in the file fds[0], if there are any."""
        memory = _private(fds[0]) if fds else memoryview(b"")
        encoded = {
            column.name: [
                None if start == MISSING else memory[start : start + length]
                for start, length in zip(column.start, column.length)
            ]
            for column in rows.encoded
        }
        return self.apply(rows, rows.samples(encoded), report)


def apply_here(job: Job, batch: Batch, seed: int) -> Any:
    """Without a worker: samples are views of the batch's memory. The program's own random numbers
    stay as they were."""
    rows = Rows.of(batch, seed)
    encoded = {
        name: [None if row is None else memoryview(row) for row in batch.field(name).samples()]
        for name, kind in kinds(batch).items()
        if kind in ENCODED
    }
    at = workers.NOBODY

    def report(row: int) -> None:
        nonlocal at
        at = row

    try:
        with seeds.kept():
            return job.apply(rows, rows.samples(encoded), report)
    except Exception as error:
        raise failed(workers.Failure(at, traceback.format_exc().rstrip(), error), rows) from error


def failed(failure: workers.Failure, rows: Rows) -> TransformError:
    """What a failure means for the user."""
    if failure.row == workers.NOBODY:
        return TransformError(f"transform or collate_fn failed: {failure.text}")
    id, index = Ids(rows.ids)[failure.row], rows.values["index"][failure.row]
    return TransformError(f"sample {id} (index {index}): {failure.text}", id, index)


def kinds(batch: Batch) -> dict[str, str]:
    return {name: batch.core.field(f).kind for f, name in enumerate(batch.fields)}


def _private(fd: int) -> memoryview:
    """A file's bytes. What a transform writes into them is nobody else's business."""
    prot = mmap.PROT_READ | mmap.PROT_WRITE
    return memoryview(mmap.mmap(fd, os.fstat(fd).st_size, flags=mmap.MAP_PRIVATE, prot=prot))
