"""What a loader hands out."""

from __future__ import annotations

from typing import Any

from . import _core, state
from .errors import NotFound
from .fields import Ragged, Values, read
from .ids import Ids

NO_LABEL = -(2**63)  # where a sample has no label


class Batch:
    """Rows of a data set, in memory that lives as long as the batch or any view of it.

    `batch.image` or `batch["image"]` is a field: Ragged (kinds image, mask, bytes), or a list of
    str (text), of objects (json) or of NpyArrays (npy). A column that the loader was asked for is a
    list of int, float, str and None. Besides, each of n rows:

    label    int64[n]; NO_LABEL where there is none
    index    int64[n]: place in the data set
    ids      UUID texts; id_bytes: uint8[n, 16]
    valid    bool[n]: False for padding (a row that repeats another) and masked rows
    errors   int32[n]: 0, or the code that the row's sample failed with

    epoch, step (batches of the epoch before it), last_in_epoch, n_valid, n_bytes and state (of the
    loader, after this batch: to be saved when it has been used) are of the whole batch. Where a
    field or column has one of these names, batch[...] is the field or column. Arrays have the
    buffer protocol and DLPack. Any thread may use a batch."""

    __slots__ = ("_core", "_selection", "_columns", "_values", "__weakref__")

    def __init__(
        self,
        core: _core.Batch,
        selection: _core.Selection | None = None,
        columns: tuple[str, ...] = (),
    ):
        self._core = core
        self._selection = selection
        self._columns = columns
        self._values: dict[str, Any] = {}

    @property
    def core(self) -> _core.Batch:
        """The extension's object, for adapters."""
        return self._core

    # ---- rows ----

    @property
    def label(self) -> _core.Array:
        return self._core.labels

    @property
    def index(self) -> _core.Array:
        return self._core.index

    @property
    def ids(self) -> Ids:
        return Ids(self._core.ids)

    @property
    def id_bytes(self) -> _core.Array:
        return self._core.ids

    @property
    def valid(self) -> _core.Array:
        return self._core.valid

    @property
    def errors(self) -> _core.Array:
        return self._core.errors

    def __len__(self) -> int:
        return self._core.n_rows

    # ---- the whole ----

    @property
    def epoch(self) -> int:
        return self._core.epoch

    @property
    def step(self) -> int:
        return self._core.step

    @property
    def last_in_epoch(self) -> bool:
        return self._core.last_in_epoch

    @property
    def n_valid(self) -> int:
        return self._core.n_valid

    @property
    def n_bytes(self) -> int:
        return self._core.n_bytes

    @property
    def state(self) -> state.StateDict:
        return state.to_dict(self._core.state())

    # ---- fields and columns ----

    @property
    def fields(self) -> tuple[str, ...]:
        return self._core.fields

    @property
    def columns(self) -> tuple[str, ...]:
        return self._columns

    def keys(self) -> tuple[str, ...]:
        """Fields, columns, label and index: what a dict of this batch has."""
        names = (*self.fields, *self._columns)
        return (*names, *(name for name in ("label", "index") if name not in names))

    def field(self, name: str) -> Ragged:
        """A field's bytes as they are, of whatever kind it is."""
        return Ragged(self._core.field(self.fields.index(name)))

    def _find(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        value: Values
        if name in self.fields:
            value = read(self._core.field(self.fields.index(name)), self.ids.__getitem__)
        elif name in self._columns and self._selection is not None:
            value = self._selection.column(name, self._core.index)
        else:
            raise NotFound(f"a batch has {', '.join(self.keys())}, no {name!r}")
        self._values[name] = value
        return value

    def __getitem__(self, name: str) -> Any:
        if name in self.fields or name in self._columns:
            return self._find(name)
        if name in ("label", "index", "ids", "id_bytes", "valid", "errors"):
            return getattr(self, name)
        return self._find(name)  # which says what there is

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._find(name)
        except NotFound as e:
            raise AttributeError(str(e)) from None

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    __iter__ = None  # neither rows nor names: say which

    def row(self, row: int) -> dict[str, Any]:
        """One row as a dict: fields and columns, label (None where there is none) and id."""
        sample = {name: self[name][row] for name in (*self.fields, *self._columns)}
        label = memoryview(self._core.labels)[row]
        sample.setdefault("label", None if label == NO_LABEL else label)
        sample.setdefault("id", self.ids[row])
        return sample

    def __repr__(self) -> str:
        return (
            f"<sterna.Batch {self.step} of epoch {self.epoch}: {len(self)} rows, "
            f"{', '.join(self.keys())}>"
        )
