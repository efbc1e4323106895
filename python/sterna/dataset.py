"""A data set: which samples of which store, and everything that can be asked of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from . import _core
from .batch import Batch
from .choice import (
    Choice,
    Part,
    Sample,
    Split,
    Where,
    carry,
    check_names,
    first_step,
    keep,
    names_file,
)
from .errors import InvalidError, MismatchError
from .handle import Handle
from .ids import Ids
from .options import whole

if TYPE_CHECKING:
    from .fetching import Fetching, Missing, Request
    from .loader import Loader

Mode = Literal["read", "write", "create"]


def open(
    url: str | os.PathLike[str],
    mode: Mode = "read",
    password: str | None = None,
    *,
    dataset_id: str | None = None,
    replication: str | None = None,
) -> Dataset:
    """Opens the data set that `url` names: a directory, or

        cassandra://[user@]host[:port][,host...]/KEYSPACE/DATASET[?option=value&...]

    mode          "read", "write" (it must exist) or "create" (made if it does not)
    password      of a cluster's user; else from password_file= in the URL or STERNA_PASSWORD. It is
                  kept by the connections only: a data set that is sent to another process takes
                  it from there again
    dataset_id    UUID of a data set that is created (random)
    replication   of a cluster's keyspace that is created, such as "dc1=3"

    Raises NotFound, ReadOnlyError, InvalidError, FormatError, IOError; of a cluster also
    ConnectionError, RefusedError, TimeoutError, ProtocolError."""
    url = os.fspath(url)
    id = None if dataset_id is None else _core.parse_id(dataset_id)
    return Dataset(
        Handle.open(_absolute(url), mode, dataset_id=id, replication=replication, password=password)
    )


def _absolute(url: str) -> str:
    """A directory keeps its meaning in a process that works elsewhere."""
    if url.startswith("cassandra://") or not url:
        return url
    return os.path.abspath(url[len("lmdb:") :] if url.startswith("lmdb:") else url)


class Dataset:
    """Samples of a store, in a fixed order. Immutable: where(), select(), split() and sample() give
    other data sets over the same open store, which is closed with the last of them.

    Any thread may use it. It pickles as what it is, not as what it holds: in another process (or in
    a forked child, after reopen()) it opens the store again when it is first used, and raises
    MismatchError if the same choice does not give the same samples there."""

    def __init__(
        self,
        handle: Handle,
        choice: Choice = Choice(),
        selection: _core.Selection | None = None,
        expected: bytes | None = None,
    ):
        """For this package: sterna.open() and the methods make data sets."""
        self._handle: Handle | None = handle
        self._choice = choice
        self._selected = selection
        self._expected = expected  # hash of the ids, where they were chosen in another process
        self._fetcher: Fetching | None = None

    # ---- what is below ----

    @property
    def handle(self) -> Handle:
        """The store's. InvalidError if the data set is closed."""
        if self._handle is None:
            raise InvalidError("this data set is closed: sterna.open() opens it again")
        return self._handle

    @property
    def store(self) -> _core.Store:
        """The extension's store, for adapters."""
        return self.handle.store()

    @property
    def selection(self) -> _core.Selection:
        """The extension's selection, for adapters."""
        self.handle.check_process()
        if self._selected is None:
            selection = self._choice.resolve(self.store, self.handle.run)
            if self._expected is not None and selection.hash != self._expected:
                raise MismatchError(
                    f"{self.url}: the same choice gives other samples here "
                    f"({selection.hash.hex()}) than where this data set comes from "
                    f"({self._expected.hex()}); is it the same store?"
                )
            self._selected = selection
        return self._selected

    def selection_with(self, columns: Sequence[str]) -> _core.Selection:
        """The selection, carrying these columns for batches."""
        if self._choice.only_where and columns:
            return self._choice.resolve(self.store, self.handle.run, columns)
        return carry(self.store, self.handle.run, self.selection, columns)

    def _over(self, choice: Choice, selection: _core.Selection | None = None) -> Dataset:
        return Dataset(self.handle, choice, selection)

    def view(self) -> Dataset:
        """The same samples, in a data set that stays open when this one is closed."""
        return Dataset(self.handle, self._choice, self._selected, self._expected)

    # ---- facts ----

    @property
    def url(self) -> str:
        return self.handle.url

    @property
    def hash(self) -> str:
        """SHA-256 over the ids in order, hex: equal where two processes see the same samples."""
        return self.selection.hash.hex()

    @property
    def fields(self) -> dict[str, str]:
        """Kind of each field by name: image, mask, bytes, text, json or npy."""
        return dict(self.store.fields())

    @property
    def columns(self) -> dict[str, str]:
        """Type of each column by name."""
        return dict(self.store.columns())

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of their labels."""
        return [name for _, name, _ in sorted(self.store.classes())]

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Label of each class by name."""
        return {name: label for label, name, _ in self.store.classes()}

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The committed ingests: run, n_samples, finished_s (seconds since 1970), source."""
        return self.store.runs()

    @property
    def run(self) -> int:
        """The run that this data set is as of: what came later is not in it."""
        return self.selection.run

    @property
    def ids(self) -> Ids:
        """Ids of all samples, in order."""
        return Ids(self.selection.ids())

    @property
    def targets(self) -> _core.Array:
        """int64[n]: labels of all samples, in order; NO_LABEL where there is none."""
        return self.selection.labels()

    def info(self) -> dict[str, Any]:
        """What `sterna info` tells of the store, and url, selected (samples of this data set),
        selected_bytes and hash."""
        info = dict(self.store.info())
        info["dataset_id"] = _core.format_id(info["dataset_id"])
        return {
            "url": self.url,
            **info,
            "fields": self.fields,
            "columns": self.columns,
            "classes": {name: n for _, name, n in sorted(self.store.classes())},
            "runs": self.runs,
            "selected": len(self),
            "selected_bytes": self.selection.n_bytes,
            "hash": self.hash,
        }

    def metadata(self, columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
        """Values of these columns (all) by name, in the order of the samples: int, float, str or
        None. `pandas.DataFrame(ds.metadata())` makes a table of it."""
        names = None if columns is None else list(columns)
        if self._choice.only_where:
            return self.store.query(
                where=self._choice.where, columns=names, as_of_run=self.handle.run
            )
        if len(self) == 0:
            return self.store.query(where="0", columns=names, as_of_run=self.handle.run)
        return self.store.query(ids=self.selection.ids(), columns=names, as_of_run=self.handle.run)

    def __len__(self) -> int:
        return self.selection.n

    # ---- choosing ----

    def where(self, sql: str) -> Dataset:
        """The samples for which an SQL expression over the columns is true, such as
        "width >= 64 AND class IN ('cat', 'dog')". QueryError says what is wrong with it."""
        step = Where(sql)
        chosen = self._choice.then(step)
        if chosen.only_where:
            return self._over(chosen, chosen.resolve(self.store, self.handle.run))
        return self._over(chosen, step.apply(self.store, self.handle.run, self.selection))

    def select(
        self,
        which: Any = None,
        *,
        ids: Any = None,
        name: str | None = None,
        file: str | os.PathLike[str] | None = None,
        ids_file: str | os.PathLike[str] | None = None,
    ) -> Dataset:
        """The samples listed: by ids (texts, UUIDs, 16 bytes each), by the name of a selection
        saved in the store, in a selection file, or in a text file of ids; in the order of the list,
        and of them those that are in this data set.

        A text `which` is a file if it has a slash or ends with .sel, else a name. Raises NotFound
        for an id that the store has not, InvalidError for one that is listed twice."""
        step = first_step(which, ids=ids, name=name, file=file, ids_file=ids_file)
        alone = Choice((step,))
        selection = alone.resolve(self.store, self.handle.run)
        if not self._choice.steps:
            return self._over(alone, selection)
        kept = keep(self.store, self.handle.run, selection, self.selection)
        return self._over(self._choice.then(step), kept)

    def split(
        self,
        parts: Mapping[str, float],
        *,
        by: str | None = None,
        stratify: str | None = None,
        seed: int = 0,
        exact: bool = False,
        save: bool = False,
    ) -> Parts:
        """Divides the samples: `train, val = ds.split({"train": 0.9, "val": 0.1})`.

        by         column: samples with one value of it stay together
        stratify   column whose values' shares are reported, and with `exact` kept
        exact      exact shares; without, a sample's part depends on no other sample, so that
                   samples which come later move none
        save       keep the parts as selections of these names in the store

        Returns the parts by name and in order; their `report` has the shares got."""
        split = Split(tuple(parts.items()), by, stratify, whole(seed, "seed"), exact)
        selections, report = split.divide(self.store, self.selection, save)
        datasets = {
            name: self._over(self._choice.then(Part(split, i)), selections[i])
            for i, name in enumerate(parts)
        }
        return Parts(datasets, report)

    def sample(self, n: int, seed: int = 0) -> Dataset:
        """n samples drawn at random (all, if there are fewer): the first n of epoch 0 in the order
        that a loader with this seed has."""
        step = Sample(whole(n, "n"), whole(seed, "seed"))
        if step.n < 0:
            raise InvalidError(f"sample: n is {n}")
        return self._over(
            self._choice.then(step), step.apply(self.store, self.handle.run, self.selection)
        )

    def as_of(self, run: int) -> Dataset:
        """The same choice among the samples that were there after this run."""
        if self._choice.saved:
            raise InvalidError("as_of: a saved selection stays as it was saved")
        handle = self.handle.as_of(whole(run, "run"))
        return Dataset(handle, self._choice, self._choice.resolve(handle.store(), handle.run))

    def save(self, to: str | os.PathLike[str]) -> None:
        """Keeps which samples these are, under a name in the store, or in a file (with a slash, or
        ending with .sel). select() finds them again."""
        if isinstance(to, os.PathLike) or names_file(to):
            self.selection.save(os.fspath(to))
        else:
            self.selection.save_as(self.store, to)

    # ---- reading ----

    def loader(self, batch_size: int | None = None, **options: Any) -> Loader:
        """Epochs of shuffled batches: see sterna.Loader for the options."""
        from .loader import Loader

        loader = Loader(self, batch_size, **options)
        if options.get("fields"):
            check_names(options["fields"], list(self.fields), "field")
        if options.get("columns"):
            check_names(options["columns"], list(self.columns), "column")
        return loader

    @property
    def fetching(self) -> Fetching:
        """Samples by id, over connections that stay open."""
        self.handle.check_process()
        from .fetching import Fetching

        if self._fetcher is None:
            self._fetcher = Fetching(self.view())  # not a cycle with ourselves
        return self._fetcher

    def fetch(
        self,
        ids: Any,
        *,
        fields: Sequence[str] | None = None,
        missing: Missing = "raise",
        timeout: float | None = None,
    ) -> Batch:
        """The samples with these ids (of the whole store, in any form), as rows in this order.

        fields   names of those to read; all
        missing  of a row that cannot be had: "raise", or "null": valid is False there
        timeout  seconds, else as long as it takes; TimeoutError

        Raises NotFound, CorruptError ... naming the sample; BudgetError."""
        return self.fetching.fetch(ids, fields=fields, missing=missing, timeout=timeout)

    async def afetch(
        self, ids: Any, *, fields: Sequence[str] | None = None, missing: Missing = "raise"
    ) -> Batch:
        """fetch() for asyncio: nothing waits in a thread."""
        return await self.fetching.afetch(ids, fields=fields, missing=missing)

    def submit(
        self, ids: Any, *, fields: Sequence[str] | None = None, missing: Missing = "raise"
    ) -> Request:
        """Asks for samples and returns at once; result() of what is returned, or `await`, waits."""
        return self.fetching.submit(ids, fields=fields, missing=missing)

    def poll(self, timeout: float | None = 0.0) -> Request | None:
        """The first of submit()'s requests that is done and whose result() was not asked for; None
        if there is none within so many seconds (None: as long as something is under way)."""
        return self.fetching.poll(timeout)

    def stream(
        self,
        ids: Any,
        batch_size: int = 64,
        *,
        fields: Sequence[str] | None = None,
        missing: Missing = "raise",
        ordered: bool = True,
        ahead: int | None = None,
    ) -> Iterator[Batch]:
        """Batches of any number of ids, read ahead, in their order or (ordered=False) as they come;
        ids may come from an endless iterator. ahead: batches asked for before they are wanted."""
        return self.fetching.stream(
            ids, batch_size, fields=fields, missing=missing, ordered=ordered, ahead=ahead
        )

    @overload
    def __getitem__(self, i: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, i: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, i: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """One sample: its fields, label (None where there is none), id and path."""
        if isinstance(i, slice):
            return self.__getitems__(list(range(*i.indices(len(self)))))
        return self.__getitems__([i])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Several at once: one wait for all of them."""
        n = len(self)
        places = [whole(row, "row") for row in rows]
        for row in places:
            if not -n <= row < n:
                raise IndexError(f"sample {row} of {n}")
        if not places:
            return []
        ids = self.ids.take(row % n for row in places)
        batch = self.fetch(ids)
        samples = [batch.row(row) for row in range(len(places))]
        for sample, path in zip(samples, self._paths(ids)):
            sample.setdefault("path", path)
        return samples

    def _paths(self, ids: Ids) -> list[Any]:
        """Not worth looking through another tool's whole table."""
        if self.selection.run == 0:
            return [None] * len(ids)
        return self.store.query(ids=ids.view, columns=["path"], as_of_run=self.handle.run)["path"]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All samples in order, read ahead; each as of [i]."""
        columns = ("path",) if self.selection.run else ()
        with self.loader(
            64, shuffle=False, uneven="exact", epochs=1, rank=0, world_size=1, columns=columns
        ) as loader:
            for batch in loader:
                for row in range(len(batch)):
                    sample = batch.row(row)
                    sample.setdefault("path", None)
                    yield sample

    # ---- life ----

    def reopen(self) -> Dataset:
        """The same samples over a store of its own: for a forked child."""
        return Dataset(self.handle.reopen(), self._choice, None, self._expectation())

    def _expectation(self) -> bytes | None:
        return self._selected.hash if self._selected is not None else self._expected

    def close(self) -> None:
        """Lets go of the store; loaders and other data sets over it stay as they are. Twice is
        fine."""
        if self._fetcher is not None:
            self._fetcher.close()
        self._fetcher = self._selected = self._handle = None

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *why: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return Dataset, (self.handle, self._choice, None, self._expectation())

    def __repr__(self) -> str:
        if self._handle is None:
            return "<sterna.Dataset, closed>"
        chosen = f" ({self._choice})" if self._choice.steps else ""
        known = f": {self._selected.n:,} samples" if self._selected is not None else ""
        return f"<sterna.Dataset {self.url}{chosen}{known}>"

    def _repr_html_(self) -> str:
        from . import notebook

        return notebook.dataset_html(self)


class Parts:
    """The parts of a split by name: `parts["train"]`, `parts.train`, and in their order:
    `train, val = parts`. `report` has a row for each part and stratum."""

    def __init__(self, datasets: dict[str, Dataset], report: list[dict[str, Any]]):
        self._datasets = datasets
        self.report = report

    def __getitem__(self, name: str) -> Dataset:
        return self._datasets[name]

    def __getattr__(self, name: str) -> Dataset:
        try:
            return self.__dict__["_datasets"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __iter__(self) -> Iterator[Dataset]:
        return iter(self._datasets.values())

    def __len__(self) -> int:
        return len(self._datasets)

    def __contains__(self, name: object) -> bool:
        return name in self._datasets

    def keys(self) -> Any:
        return self._datasets.keys()

    def values(self) -> Any:
        return self._datasets.values()

    def items(self) -> Any:
        return self._datasets.items()

    def __repr__(self) -> str:
        return f"<sterna.Parts {', '.join(f'{k}: {len(d):,}' for k, d in self.items())}>"
