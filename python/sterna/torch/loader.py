"""Epochs of batches as tensors: what stands in a training script where a DataLoader stood."""

from __future__ import annotations

import os
import select
import sys
from typing import Any

import torch

import sterna.dataset
import sterna.loader
from sterna import _core, errors, ranks
from sterna.batch import Batch
from sterna.dataset import Dataset
from sterna.loader import Epoch, Handed
from sterna.state import StateDict

from . import distributed, pinned
from .ahead import Ahead
from .iterable import IterableDataset
from .lending import Lender
from .parcel import ALIGNMENT
from .tensors import as_dict, as_tuple
from .transform import Collate, Job, Transform, apply_here

_TRAINERS = ("lightning", "pytorch_lightning")  # which call state_dict() on all ranks, and keep one


class Loader(sterna.loader.Loader):
    """Epochs of batches of tensors, over memory that sterna's threads have filled: no copy.

        loader = sterna.torch.Loader("/data/pets", batch_size=256, seed=1, pin_memory=True)
        for batch in loader:
            batch["image"].list()       # encoded bytes of each row: uint8[its length]
            batch["label"]              # int64[256]

    dataset       a sterna.Dataset, or a URL as sterna.open() takes
    pin_memory    batches lie in pinned memory of torch's allocator, as much of it as the budget
                  and beside that (nothing without CUDA)
    as_tuple      a tuple (fields, columns, label) instead of a dict, for `x, y = batch`
    transform     called with each row, a dict: encoded fields as memoryview (None if the row has no
                  bytes), other fields and columns as their values, label, index, valid, and id
                  (UUID text). What it returns stands for the row. Before each row `random`, numpy
                  and torch (CPU) are seeded by seed, epoch and the sample's id: augmentations are
                  the same whatever the number of workers, the ranks, the batch or a resume
    collate_fn    called with the list of a batch's rows; torch's default_collate
    num_workers   processes that run transform and collate_fn; 0: the caller does. Spawned: both
                  functions are top-level ones of a module, and a script needs `if __name__ ==
                  "__main__":`. Without either function no process is needed, and none started
    process_group, device_mesh   whose ranks read different samples; a mesh has data dimensions only
                  (mesh["dp"]): peers in other dimensions get the same samples. Else rank and
                  world_size, or as sterna.Loader finds out

    All else is as in sterna.Loader, and so are epochs and states: with workers, too, the state is
    that of the batch handed out last.

    Without transform and collate_fn a batch is a plain dict:

    fields        kinds image, mask, bytes: sterna.torch.Ragged; text: list of str; json: list of
                  objects; npy: list of tensors
    columns       lists of int, float, str, None
    label         int64[n]; sterna.NO_LABEL where there is none
    index         int64[n]: place in the data set
    valid         bool[n]: False for padding and masked rows

    When the first epoch begins, the ranks of torch.distributed (all of them take part: each needs
    its loader) compare what they are about to read; MismatchError names the first difference.

    Raises TransformError, and what sterna.Loader raises."""

    def __init__(
        self,
        dataset: Dataset | str | os.PathLike[str],
        batch_size: int | None = None,
        *,
        pin_memory: bool = False,
        as_tuple: bool = False,
        transform: Transform | None = None,
        collate_fn: Collate | None = None,
        num_workers: int = 0,
        process_group: Any = None,
        device_mesh: Any = None,
        **options: Any,
    ) -> None:
        if not isinstance(dataset, Dataset):
            dataset = sterna.dataset.open(dataset)
        if num_workers < 0:
            raise errors.InvalidError(f"num_workers={num_workers}: at least 0")
        self._given = distributed.data_rank(process_group, device_mesh)
        if self._given and any(options.get(name) is not None for name in ("rank", "world_size")):
            raise errors.InvalidError("give rank and world_size, or a group or mesh, not both")
        super().__init__(dataset, batch_size, **options)
        self._ours: dict[str, Any] = {
            "pin_memory": pin_memory,
            "as_tuple": as_tuple,
            "transform": transform,
            "collate_fn": collate_fn,
            "num_workers": num_workers,
        }
        self._pin = pin_memory and pinned.is_possible()
        self._job = Job(transform, collate_fn) if transform or collate_fn else None
        self._ahead = Ahead(self._job, num_workers) if self._job and num_workers else None
        self._lender = None
        if self._pin and self._job is None:
            self._lender = Lender(lambda n_bytes: pinned.empty(n_bytes))
        self._stopped = False  # the C loader has failed, behind batches that are with workers
        self._compared = False

    # ---- ranks ----

    @property
    def groups(self) -> tuple[Any, ...]:
        """The process groups whose ranks share the data; none without torch.distributed."""
        if self._given is not None:
            return self._given.groups
        if self.rank_source == "torch.distributed":
            return distributed.default_groups()
        return ()

    def _detect(self) -> ranks.Place:
        if self._given is not None:
            return ranks.Place(self._given.rank, self._given.world_size, self._given.source)
        return super()._detect()

    def _compare(self) -> None:
        """Once, when all ranks begin to read."""
        if self._compared:
            return
        groups = self.groups
        if groups:
            distributed.compare(groups, self._told)
        self._compared = True

    def _told(self) -> dict[str, Any]:
        """What all ranks must have in common."""
        return {
            "the data set's hash": self.dataset.hash,
            "the number of samples": len(self.dataset),
            "the seed": self.seed,
            "batch_size": self.batch_size,
            "order": self.order,
            "shuffle": self._options["shuffle"],
            "uneven": self.uneven,
            "the epoch": self.epoch,
            "the step to go on from": self._step_loaded(),
        }

    def _step_loaded(self) -> int:
        return 0 if self._loaded is None else _core.state_info(self._loaded.record)["step"]

    # ---- batches ----

    def __iter__(self) -> Epoch:
        self._compare()
        with self._lock:
            if self._ahead is not None and self._ahead.last is not None:
                self._drop()  # what is left of an epoch
            return super().__iter__()

    def _wrap(self, core: _core.Batch) -> Any:
        batch = super()._wrap(core)
        if self._job is not None:
            return self._finish(apply_here(self._job, batch, self.seed))
        memory = self._lender.take(core) if self._lender is not None else None
        return self._finish(as_dict(batch), memory)

    def _finish(self, value: Any, memory: torch.Tensor | None = None) -> Any:
        if self._pin:
            value = pinned.copied(value) if memory is None else pinned.placed(value, memory)
        return as_tuple(value) if self._ours["as_tuple"] else value

    # ---- batches through workers ----

    def _take(self, epoch: int) -> tuple[Any, Handed]:
        if self._ahead is None:
            return super()._take(epoch)
        try:
            value, handed = self._take_from(self._ahead, epoch)
            return self._finish(value), handed
        except BaseException as error:
            self._drop()  # what was read ahead is read again, from the batch handed out last
            if not isinstance(error, errors.Error):  # a signal's: whatever it came between
                self._ahead.close()
            raise

    def _take_from(self, ahead: Ahead, epoch: int) -> tuple[Any, Handed]:
        while True:
            self._fill(ahead, epoch)
            if ahead.is_ready:
                return ahead.take()
            assert self._core is not None
            ahead.wait(*((self._core,) if self._wants_more(ahead) else ()))

    def _wants_more(self, ahead: Ahead) -> bool:
        last = ahead.last
        return ahead.has_room and not self._stopped and not (last is not None and last.last)

    def _fill(self, ahead: Ahead, epoch: int) -> None:
        """Gives workers all that they have room for and that has come; waits for a batch only if
        they have none."""
        while self._wants_more(ahead):
            core = self._pull(epoch) if ahead.last is None else self._pull_now()
            if core is None:
                return
            handed = ahead.push(super()._wrap(core), self.seed)
            self._at = handed.following

    def _pull_now(self) -> _core.Batch | None:
        """The next batch, if it is there. A failure waits for its turn: C tells it again."""
        assert self._core is not None
        if not _is_readable(self._core):
            return None
        try:
            core = self._core.next(0)
        except errors.Error:
            self._stopped = True
            return None
        assert core is not None and (core.epoch, core.step) == self._at
        return core

    def _pull(self, epoch: int) -> _core.Batch:
        self._stopped = False
        return super()._pull(epoch)

    def _expected(self, handed: Handed) -> tuple[int, int]:
        ahead = self._ahead.last if self._ahead is not None else None
        return (ahead or handed).following

    def _open(self, epoch: int, record: bytes | None) -> None:
        super()._open(epoch, record)
        if self._lender is not None and self._core is not None:
            selection = self.dataset.selection
            mean = selection.n_bytes / max(selection.n, 1) + ALIGNMENT
            self._lender.begin(self._core, self.batch_size * mean)

    def _drop(self) -> None:
        if self._ahead is not None:
            self._ahead.clear()
        if self._lender is not None:
            self._lender.end()
        super()._drop()

    def close(self) -> None:
        """Stops reading and ends the workers; batches still held stay valid. Twice is fine."""
        if self._ahead is not None:
            self._ahead.end()
        super().close()
        if self._ahead is not None:
            self._ahead.close()

    # ---- state ----

    def state_dict(self, step: int | None = None, epoch: int | None = None) -> StateDict:
        state = super().state_dict(step, epoch)
        caller = sys._getframe(1).f_globals.get("__name__", "").partition(".")[0]
        if caller in _TRAINERS and self.order == "arrival" and self.groups:
            return distributed.merged(state, self.groups)
        return state

    # ---- life ----

    def as_iterable_dataset(self) -> IterableDataset:
        """For code that wants a DataLoader: `DataLoader(loader.as_iterable_dataset(),
        batch_size=None)`. See sterna.torch.IterableDataset."""
        return IterableDataset(self)

    def for_worker(self, worker: int, n_workers: int) -> Loader:
        """The same in a worker process of a DataLoader, which reads its share of this rank's
        samples, with a store of its own."""
        _, (kind, _, arguments), position = self.__reduce__()
        arguments = {
            **arguments,
            "rank": self.rank * n_workers + worker,
            "world_size": self.world_size * n_workers,
            "num_workers": 0,  # such workers must not have children
            "pin_memory": False,  # the DataLoader's business
        }
        loader = kind(self.dataset.reopen(), **arguments)
        loader.__setstate__(position)
        loader._compared = True
        return loader

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, (kind, dataset, arguments), position = super().__reduce__()
        arguments = {**arguments, **self._ours}
        place = self._place()
        if place.source not in ("alone", "arguments"):  # another process may not find it out
            arguments.update(rank=place.rank, world_size=place.world_size)
        return rebuild, (kind, dataset, arguments), position


def gather_state(loader: Loader) -> StateDict:
    """The states of all ranks in one, on every rank: what to save in arrival order, to go on from
    with any number of ranks. A collective call: every rank must make it, after the same step."""
    return distributed.merged(loader.state_dict(), loader.groups)


def _is_readable(file: Any) -> bool:
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(0))
