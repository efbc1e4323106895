"""Epochs of batches, read ahead by the C library; and where in them one is."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

from . import _core, log
from .batch import Batch
from .dataset import Dataset
from .errors import (
    BudgetError,
    CanceledError,
    Error,
    ForkedError,
    InvalidError,
    MismatchError,
    NotFound,
    TimeoutError,
)
from .ids import Ids
from .options import Options, whole
from .ranks import Place
from .state import StateDict, StateLike, to_bytes, to_dict
from .stats import Figures, Stats

Order = Literal["strict", "arrival"]
Uneven = Literal["pad", "drop", "exact"]
OnError = Literal["raise", "substitute", "mask"]

_STATES_KEPT = 64  # of the batches handed out last, for a prefetcher outside
_LOOK_MS = 1000  # so often a wait looks whether there is something to log

_open_loaders: weakref.WeakSet[Loader] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Threads of C must not run while the process takes itself apart."""
    for loader in list(_open_loaders):
        loader.close()


class Epoch(Iterator[Any]):
    """The batches of one epoch, or what was left of it: what iter(loader) gives. Several threads
    may call next() on it: each batch goes to one of them."""

    def __init__(self, loader: Loader, epoch: int, empty: bool):
        self.loader = loader
        self.epoch = epoch
        self.exhausted = empty  # its last batch was handed out
        self.stopped = False  # and its end was told
        self.stale: str | None = None  # why it gives no more

    def __next__(self) -> Any:
        return self.loader._next(self)


class Loaded(NamedTuple):
    """A state that was loaded, and not gone on from yet."""

    record: bytes
    epoch: int
    finished: bool  # nothing of that epoch is left


class Handed(NamedTuple):
    """Where a loader is after a batch."""

    epoch: int
    step: int  # batches of the epoch until then
    last: bool  # of the epoch
    record: bytes  # the state

    @property
    def following(self) -> tuple[int, int]:
        """Epoch and step of the batch behind."""
        return (self.epoch + 1, 0) if self.last else (self.epoch, self.step)

    @classmethod
    def after(cls, core: _core.Batch) -> Handed:
        return cls(core.epoch, core.step + 1, core.last_in_epoch, core.state())


class EpochSetter:
    """Stands where trainers look for a sampler to tell the epoch to."""

    def __init__(self, loader: Loader):
        self._loader = loader

    def set_epoch(self, epoch: int) -> None:
        self._loader.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._loader)

    @property
    def sampler(self) -> EpochSetter:
        return self


def _next_of(told: dict[str, Any]) -> int:
    """The epoch that follows from what a state says."""
    return told["epoch"] + (1 if told["finished"] else 0)


L = TypeVar("L", bound="Loader")


def _rebuild(kind: type[L], dataset: Dataset, arguments: dict[str, Any]) -> L:
    return kind(dataset, **arguments)


class Loader:
    """Epochs of batches of a data set, in an order that seed and epoch alone decide.

        for epoch in range(loader.epoch, 90):
            loader.set_epoch(epoch)             # optional: epochs follow one another by themselves
            for batch in loader:
                ...

    batch_size    rows of a batch on each rank; 256
    global_batch  instead: rows of all ranks together
    fields        names of the fields to read; all
    columns       names of columns that batches carry
    shuffle       another order each epoch; False: the data set's own
    seed          of the order; 0
    epochs        of the whole run, from 0: nothing is read past them; None: endless
    order         "strict": batches are exactly the plan's; "arrival": the same samples in each
                  epoch, in batches as they come
    uneven        where batch_size x world_size does not divide the samples: "pad" repeats rows with
                  valid = False, "drop" leaves the rest out, "exact" makes the last batch short
                  (ranks may differ by one batch). drop_last=True is "drop"
    rank, world_size   else found out when reading begins: see rank_source
    memory        budget, such as "4GiB", of all that is asked for, landed and held by batches; a
                  quarter of the memory there is, divided by the local ranks
    on_error      a sample that cannot be had: "raise", "substitute" (another row of the batch) or
                  "mask" (no bytes, valid = False)
    max_errors    so many failed samples are allowed (100) before TooManyErrors
    threads       that read a directory; chosen
    max_rate      bound of what is asked for a second, such as "100MB"
    request_timeout_ms, max_attempts   of one request; chosen
    expect_selection   hash (hex) that the data set must have

    Reading ahead begins with the first iter(), load_state_dict() or `with`. iter() gives one epoch;
    exhausted it goes on to the next. A new iter() before that starts the same epoch again, unless a
    state was just loaded. There is one live iterator at a time: of an older one next() raises
    InvalidError.

    State is counted at what was handed out, not at what was read ahead. A consumer that runs ahead
    itself saves batch.state of the batch it has used. Pickles as configuration and state. Any
    thread may use it, but not a forked child."""

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int | None = None,
        *,
        global_batch: int | None = None,
        fields: Sequence[str] | None = None,
        columns: Sequence[str] = (),
        shuffle: bool = True,
        seed: int | None = None,
        epochs: int | None = None,
        order: Order = "strict",
        uneven: Uneven = "pad",
        drop_last: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
        memory: int | str | None = None,
        on_error: OnError = "raise",
        max_errors: int | None = None,
        threads: int | None = None,
        max_rate: int | str | None = None,
        request_timeout_ms: int | None = None,
        max_attempts: int | None = None,
        expect_selection: str | None = None,
    ):
        given = {n: value for n, value in locals().items() if n not in ("self", "dataset")}
        self.dataset = dataset.view()
        self._options = Options(given)
        self._core: _core.Loader | None = None
        self._opened_as: Place | None = None
        self._selection: _core.Selection | None = None
        self._pid = os.getpid()
        self._lock = threading.RLock()  # of everything below
        self._pulling = threading.Lock()  # the one consumer that waits for the next batch
        self._closed = False
        self._failed = False  # the C loader gives nothing any more
        self._epoch = 0  # that the next iter() gives, unless it has ended
        self._ended: int | None = None  # the epoch whose last batch was handed out last
        self._asked = False  # set_epoch() has said which one is next
        self._seed: int | None = None  # of a loaded state
        self._record: bytes | None = None  # state after the last batch, or of where we begin
        self._loaded: Loaded | None = None  # the state that the next iter() goes on from
        self._at = (0, 0)  # epoch and step of the batch that the C loader gives next
        self._steps: tuple[int, int] | None = None  # an epoch, and its steps where they differ
        self._recent: deque[tuple[int, int, bytes]] = deque(maxlen=_STATES_KEPT)
        self._iterator: weakref.ref[Epoch] | None = None
        self._figures = Figures()

    # ---- options ----

    @property
    def batch_size(self) -> int:
        """Rows of a batch on this rank."""
        return self._options.batch_size(self._place())

    @property
    def seed(self) -> int:
        """Of the order: that of a loaded state, if none was given."""
        seed = self._options["seed"]
        return (self._seed if seed is None else seed) or 0

    @property
    def order(self) -> Order:
        return self._options["order"]

    @property
    def uneven(self) -> Uneven:
        return self._options.uneven

    @property
    def epochs(self) -> int | None:
        return self._options["epochs"]

    @property
    def columns(self) -> tuple[str, ...]:
        return self._options.columns

    @property
    def rank(self) -> int:
        return self._place().rank

    @property
    def world_size(self) -> int:
        return self._place().world_size

    @property
    def rank_source(self) -> str:
        """Where rank and world size are known from: "arguments", "torch.distributed", "jax",
        "environment: RANK, WORLD_SIZE" ... or "alone"."""
        return self._place().source

    def _detect(self) -> Place:
        """Which rank of how many, as of now; adapters that know better override it."""
        return self._options.place()

    def _place(self) -> Place:
        return self._opened_as or self._detect()

    # ---- opening and closing ----

    def _check_process(self) -> None:
        if self._pid == os.getpid():
            return
        if self._core is None:
            self.dataset.handle.check_process()
            self._pid = os.getpid()  # nothing was open when the process forked
            return
        raise ForkedError(
            f"this loader was opened by process {self._pid}, before a fork: in the child, make one "
            "of dataset.reopen(), or start processes by spawn or forkserver"
        )

    def _check_usable(self) -> None:
        self._check_process()
        if self._closed:
            raise InvalidError("this loader is closed: make another one of the data set")

    def _epochs_left(self, epoch: int) -> int:
        if self.epochs is None:
            return 0  # endless
        if epoch >= self.epochs:
            raise InvalidError(
                f"epochs={self.epochs}: all have been read; set_epoch() reads one of them again, "
                "epochs=None has no end"
            )
        return self.epochs - epoch

    def _open(self, epoch: int, record: bytes | None) -> None:
        """The C loader, to begin with this epoch or to go on from this state."""
        self._drop()
        first = epoch if record is None else _next_of(_core.state_info(record))
        left = self._epochs_left(first)
        place = self._detect()
        if self._selection is None:
            self._selection = self.dataset.selection_with(self.columns)
        try:
            core = _core.Loader(
                self.dataset.store, self._selection, epoch=first, epochs=left, state=record,
                **self._options.core(place, self.seed),
            )  # fmt: skip
        finally:
            log.drain()
        self._core, self._opened_as = core, place
        self._failed = False
        self._record = core.state()
        info = _core.state_info(self._record)
        self._at = (info["epoch"] + 1, 0) if info["finished"] else (info["epoch"], info["step"])
        self._steps = (info["epoch"], info["steps"])
        _open_loaders.add(self)

    def _drop(self) -> None:
        """The C loader and what it has read ahead."""
        core, self._core = self._core, None
        if core is None:
            return
        self._figures.close(core)
        core.close()
        log.drain()

    def start(self) -> None:
        """Begins to read ahead now, for the epoch or state that comes next."""
        self._check_usable()
        with self._lock:
            self._settle()
            if self._loaded is not None:
                if self._core is None or self._failed or self._moved():
                    self._open(self._epoch, self._loaded.record)
            elif self._live() is None and not self._stands_at_start(self._epoch):
                self._open(self._epoch, None)

    def _moved(self) -> bool:
        """Whether torch.distributed or another has given us another place since."""
        place = self._detect()
        return self._opened_as is not None and place[:2] != self._opened_as[:2]

    def _stands_at_start(self, epoch: int) -> bool:
        return (
            self._core is not None
            and not self._failed
            and self._at == (epoch, 0)
            and not self._moved()
        )

    def cancel(self) -> None:
        """Makes a next() that waits, and every later one of this iterator, raise CanceledError. Any
        thread. A new iter() starts the epoch again."""
        self._failed = True
        core = self._core
        if core is not None:
            core.cancel()

    def close(self) -> None:
        """Stops reading; batches still held stay valid, states and statistics can be asked for.
        Twice is fine."""
        if self._pid != os.getpid():
            return
        self._closed = True
        self.cancel()  # who waits in next() must not keep us
        with self._lock:
            self._drop()

    def __enter__(self: L) -> L:
        self.start()
        return self

    def __exit__(self, *why: object) -> None:
        self.close()

    # ---- epochs ----

    def _live(self) -> Epoch | None:
        """The iterator that somebody may still take batches from."""
        iterator = self._iterator() if self._iterator is not None else None
        if iterator is None or iterator.exhausted or iterator.stale:
            return None
        return iterator

    def _end_live(self, why: str) -> None:
        """Perhaps only a traceback knows of it: that is no reason to refuse another one."""
        live = self._live()
        if live is not None:
            live.stale = why

    def _settle(self) -> None:
        """An epoch whose last batch was handed out is over: the next one follows."""
        self._epoch, self._ended = self._next_epoch(), None

    def _next_epoch(self) -> int:
        return self._epoch + (1 if self._ended == self._epoch else 0)

    @property
    def epoch(self) -> int:
        """The epoch under way (until its iterator stops), or else the one iter() gives next."""
        iterator = self._iterator() if self._iterator is not None else None
        if iterator is None or iterator.stale or iterator.stopped:
            return self._next_epoch()
        return iterator.epoch

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iter() gives. What was read ahead is kept if it is the one that
        comes next anyway; after load_state_dict() the state's epoch means what is left of it."""
        epoch = whole(epoch, "epoch")
        if epoch < 0:
            raise InvalidError(f"set_epoch: {epoch}")
        with self._lock:
            if self._loaded is not None:
                if epoch in (self._loaded.epoch, self._epoch):
                    self._epoch = epoch
                    return
                self._loaded = None
            self._ended = None
            self._epoch, self._asked = epoch, True

    def __iter__(self) -> Epoch:
        self._check_usable()
        with self._lock:
            self._end_live("another iterator of this loader was taken since: only one has batches")
            self._settle()
            empty = self._begin()
            iterator = Epoch(self, self._epoch, empty)
            self._ended = self._epoch if empty else None
            self._loaded, self._asked = None, False
            self._iterator = weakref.ref(iterator)
            return iterator

    def _begin(self) -> bool:
        """Puts the C loader where the epoch begins or goes on; True if nothing of it is left."""
        if self._loaded is not None:
            if self._loaded.finished and self._loaded.epoch == self._epoch:
                return True
            self._epochs_left(self._epoch)
            self.start()
            assert self._record is not None
            return bool(_core.state_info(self._record)["finished"])
        self._epochs_left(self._epoch)
        if self._options.steps(len(self.dataset), self._place()) == 0:
            return True
        self.start()
        return False

    # ---- batches ----

    def _next(self, iterator: Epoch) -> Any:
        self._check_process()
        with self._pulling:  # the next epoch's first batch must not go to a thread that came late
            if iterator.exhausted:
                iterator.stopped = True
                raise StopIteration
            if iterator.stale or self._closed:
                raise InvalidError(iterator.stale or "this loader is closed")
            value, handed = self._take(iterator.epoch)
            self._hand_out(iterator, handed)
            return value

    def _take(self, epoch: int) -> tuple[Any, Handed]:
        """What next() returns, and where the loader is then. Adapters may have pulled it before."""
        core = self._pull(epoch)
        return self._wrap(core), Handed.after(core)

    def _pull(self, epoch: int) -> _core.Batch:
        """The next batch of the C loader."""
        for _ in range(2):
            if self._core is None and not self._closed:
                self._open(epoch, self._record)
            core = self._wait()
            if core is not None and (core.epoch, core.step) == self._at:
                return core
            # An interrupt came between C's handing out and our noticing: that batch is read again.
            self._open(epoch, self._record)
        raise AssertionError(f"epoch {epoch}: batch {self._at[1]} does not come")

    def _wait(self) -> _core.Batch | None:
        """Looks for lines to log now and then."""
        while True:
            core = self._core
            if core is None:
                raise CanceledError("this loader was closed")
            since_s = time.monotonic()
            try:
                return core.next(_LOOK_MS)
            except TimeoutError:
                # A request's own comes at once, as often as it is asked for.
                if time.monotonic() - since_s < _LOOK_MS / 2000:
                    self._failed = True
                    raise
            except BudgetError:
                raise  # the consumer may give batches back
            except Error:
                self._failed = True
                raise
            finally:
                log.drain()

    def _wrap(self, core: _core.Batch) -> Any:
        """What next() returns; adapters override it."""
        return Batch(core, self._selection, self.columns)

    def _hand_out(self, iterator: Epoch, handed: Handed) -> None:
        """From here on the batch counts as used."""
        epoch, step, last, record = handed
        if self._core is not None:
            self._figures.note(self._core)
        with self._lock:
            if iterator.stale:
                raise InvalidError(iterator.stale)
            at = self._expected(handed)
            self._recent.append((epoch, step, record))
            # No calls from here on: signals are handled at calls, and find all of this or nothing.
            self._record = record
            self._at = at
            self._ended = epoch if last and not self._asked else None
            iterator.exhausted = last

    def _expected(self, handed: Handed) -> tuple[int, int]:
        """Epoch and step of the batch that the C loader gives next; adapters that read ahead of what
        they hand out override it."""
        return handed.following

    # ---- the plan ----

    def __len__(self) -> int:
        """Batches of this epoch on this rank, those handed out included."""
        with self._lock:
            if self._loaded is not None and self._core is None and not self._closed:
                self.start()  # unpickled: what the state says of its epoch
        if self._steps is not None and self._steps[0] == self.epoch:
            return self._steps[1]
        return self._options.steps(len(self.dataset), self._place())

    def ids_at(self, epoch: int, step: int) -> Ids:
        """Ids of the rows of one batch on this rank, padding included; strict order only. Reads no
        data. InvalidError past the epoch's end."""
        if self.order != "strict":
            raise InvalidError('order="arrival": what a batch holds is known when it has come')
        with self._lock:
            if self._loaded is not None:
                self.start()
            state = self._record if self._opened_as is not None else None
            rows, _ = _core.plan_batch(
                len(self.dataset), whole(epoch, "epoch"), whole(step, "step"), state=state,
                **self._options.plan(self._place(), self.seed),
            )  # fmt: skip
        return self.dataset.ids.take(rows)

    @property
    def sampler(self) -> EpochSetter:
        """Has set_epoch(), for trainers that look for one here."""
        return EpochSetter(self)

    @property
    def batch_sampler(self) -> EpochSetter:
        """Has set_epoch() and sampler."""
        return EpochSetter(self)

    # ---- state ----

    def _standing(self) -> bytes | None:
        """The record, unless set_epoch() has gone elsewhere since."""
        if self._record is None or self._loaded is not None or self._live() is not None:
            return self._record
        there = _next_of(_core.state_info(self._record)) == self._next_epoch()
        return self._record if there else None

    def _now(self) -> bytes:
        record = self._standing()
        if record is None:
            self.start()
            record = self._record
        assert record is not None
        return record

    def state_dict(self, step: int | None = None, epoch: int | None = None) -> StateDict:
        """Where the loader is, as a dict of str and int: after the last batch that it handed out.

        step    instead, after so many batches of the epoch (batch.step + 1 of the last one used)
        epoch   of `step`: another one than the last batch's

        In strict order any step of the last batch's epoch can be asked for; of other epochs, and in
        arrival order, those of the last 64 batches. Before the first batch it is the start."""
        with self._lock:
            record = self._now()
            if step is None:
                if epoch is not None:
                    raise InvalidError("state_dict: epoch without step")
                return to_dict(record)
            told = _core.state_info(record)
            wanted = (told["epoch"] if epoch is None else epoch, whole(step, "step"))
            for e, s, known in reversed(self._recent):
                if (e, s) == wanted:
                    return to_dict(known)
            if self.order == "strict" and wanted[0] == told["epoch"]:
                return to_dict(_core.state_at_step(record, wanted[1]))
            raise NotFound(
                f"the state after {step} batches of epoch {wanted[0]} is not kept any more: only "
                f"the last {_STATES_KEPT} are; save batch.state instead"
            )

    def load_state_dict(self, state: StateLike) -> None:
        """Goes on from a state: the next iter() gives what is left of its epoch. From any world
        size, if it is one of strict order or of merge_states(); batch size and the like are this
        loader's.

        Raises MismatchError for a state of other samples, seed or ranks, FormatError for one that
        is damaged or of another version. The last iterator gives no more batches."""
        record = to_bytes(state)
        told = _core.state_info(record)
        self._check_usable()
        with self._lock:
            self._check_state(told)
            self._end_live("a state was loaded into this loader: take a new iterator")
            if self._loaded is None or record != self._loaded.record:
                self._drop()
                self._steps = self._opened_as = None
                self._record = record
            self._loaded = Loaded(record, told["epoch"], told["finished"])
            self._ended, self._seed = None, told["seed"]
            self._epoch = _next_of(told)
            self._recent.clear()
            if self.epochs is None or self._epoch < self.epochs:
                self.start()

    def _check_state(self, told: dict[str, Any]) -> None:
        here = self.dataset.selection
        if told["selection_hash"] != here.hash:
            raise MismatchError(
                f"the state is of {told['n']} samples with hash {told['selection_hash'].hex()}, "
                f"this data set has {here.n} with {here.hash.hex()}: choose the same samples"
            )
        for name in ("seed", "shuffle"):
            given = self._options[name]
            if given is not None and given != told[name]:
                raise MismatchError(
                    f"{name}={given} contradicts the state, which was saved with {told[name]}: "
                    f"give the same {name}, or start anew without the state"
                )
        place = self._detect()
        if told["order"] == "arrival" and told["world_size"] > 1 and not told["finished"]:
            if place[:2] != (told["rank"], told["world_size"]):
                raise MismatchError(
                    f"the state is of rank {told['rank']} of {told['world_size']} in arrival "
                    f"order, here is rank {place.rank} of {place.world_size}: each rank loads its "
                    "own, or all load what sterna.merge_states() makes of all ranks' states"
                )

    def save_state(self, path: str | os.PathLike[str]) -> None:
        """state_dict() as a file, the selection beside it: what `sterna read --state` takes."""
        with self._lock:
            _core.save_state(self._now(), self.dataset.selection, os.fspath(path))

    def load_state(self, path: str | os.PathLike[str]) -> None:
        """load_state_dict() of a file that save_state() or the command has written."""
        self.load_state_dict(_core.load_state(os.fspath(path))[0])

    # ---- figures ----

    def stats(self) -> Stats:
        """Counters since reading began, the verdict in words, and a plot in notebooks."""
        with self._lock:
            return self._figures.now(self._core)

    def metrics(self, prefix: str = "sterna/") -> dict[str, float]:
        """Flat figures for W&B, TensorBoard or log_dict(); rates are since the last call."""
        with self._lock:
            return self._figures.metrics(self.stats(), self.epoch, self._at[1], prefix)

    # ---- life ----

    def __reduce__(self) -> tuple[Any, ...]:
        with self._lock:
            record = self._standing() if self._loaded is None else self._loaded.record
            position = {"epoch": self._next_epoch(), "record": record, "seed": self._seed}
        return _rebuild, (type(self), self.dataset, self._options.arguments), position

    def __setstate__(self, position: dict[str, Any]) -> None:
        self._epoch = position["epoch"]
        self._seed = position["seed"]
        record = self._record = position["record"]
        if record is not None:
            told = _core.state_info(record)
            self._loaded = Loaded(record, told["epoch"], told["finished"])

    def __repr__(self) -> str:
        kind = f"{type(self).__module__}.{type(self).__qualname__}"
        return f"<{kind} {self.dataset!r}, {self._options}>"

    def _repr_html_(self) -> str:
        return self.stats()._repr_html_()
