"""Which samples of a data set, and in what order: a recipe that can be sent to another process and
followed there again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Union

from . import _core
from .errors import InvalidError, NotFound
from .ids import ID_BYTES, Ids, pack

_BATCH_MOST = 1 << 24  # rows of a plan's batch


@dataclass(frozen=True)
class Where:
    """Those for which SQL is true."""

    sql: str

    def apply(self, store: _core.Store, run: int, before: _core.Selection) -> _core.Selection:
        return keep(store, run, before, store.select(where=self.sql, as_of_run=run))

    def __str__(self) -> str:
        return f"where {self.sql}"


@dataclass(frozen=True)
class Listed:
    """These, in this order."""

    ids: bytes

    def open(self, store: _core.Store, run: int) -> _core.Selection:
        return choose(store, run, Ids(self.ids))

    def __str__(self) -> str:
        return f"{len(self.ids) // ID_BYTES} ids"


@dataclass(frozen=True)
class Saved:
    """A selection saved in the store, a selection file, or a text file of ids."""

    kind: str  # "name", "file", "ids_file"
    name: str

    def open(self, store: _core.Store, run: int) -> _core.Selection:
        # A saved selection is of its own run, and stays as it was saved.
        if self.kind == "ids_file":
            return store.select(ids_file=self.name, as_of_run=run)
        return store.select(file=self.name) if self.kind == "file" else store.select(name=self.name)

    def __str__(self) -> str:
        return f"selection {self.name}"


@dataclass(frozen=True)
class Split:
    """How a data set is divided."""

    parts: tuple[tuple[str, float], ...]
    by: str | None = None
    stratify: str | None = None
    seed: int = 0
    exact: bool = False

    def divide(
        self, store: _core.Store, whole: _core.Selection, save: bool = False
    ) -> tuple[list[_core.Selection], list[dict[str, Any]]]:
        return store.split(
            self.parts, by=self.by, stratify=self.stratify, selection=whole, seed=self.seed,
            exact=self.exact, save=save,
        )  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One part of a split."""

    split: Split
    number: int

    def apply(self, store: _core.Store, run: int, before: _core.Selection) -> _core.Selection:
        return self.split.divide(store, before)[0][self.number]

    def __str__(self) -> str:
        return f"part {self.split.parts[self.number][0]}"


@dataclass(frozen=True)
class Sample:
    """The first n of the plan's epoch 0."""

    n: int
    seed: int

    def apply(self, store: _core.Store, run: int, before: _core.Selection) -> _core.Selection:
        n = min(self.n, before.n)
        rows: list[int] = []
        step_rows = min(max(n, 1), _BATCH_MOST)
        while len(rows) < n:
            rows += _core.plan_batch(
                before.n, 0, len(rows) // step_rows, batch_size=step_rows, seed=self.seed,
                uneven="exact",
            )[0]  # fmt: skip
        return choose(store, run, Ids(before.ids()).take(rows[:n]))

    def __str__(self) -> str:
        return f"sample of {self.n} (seed {self.seed})"


First = Union[Listed, Saved]
Step = Union[Where, Listed, Saved, Part, Sample]


def choose(store: _core.Store, run: int, ids: Ids, columns: Sequence[str] = ()) -> _core.Selection:
    """These samples, in this order."""
    if len(ids) == 0:
        return store.select(where="0", as_of_run=run, columns=columns)
    return store.select(ids=ids.view, as_of_run=run, columns=columns)


def keep(
    store: _core.Store, run: int, ordered: _core.Selection, among: _core.Selection
) -> _core.Selection:
    """Those of `ordered`, in their order, that are in the other one too."""
    known = set(Ids(among.ids()).keys())
    kept = b"".join(id for id in Ids(ordered.ids()).keys() if id in known)
    return choose(store, run, Ids(kept))


@dataclass(frozen=True)
class Choice:
    """Steps from all samples to the chosen ones; each takes of what those before have left."""

    steps: tuple[Step, ...] = ()

    def then(self, step: Step) -> Choice:
        return Choice((*self.steps, step))

    @property
    def where(self) -> str | None:
        """One expression, if nothing but SQL chooses; None: all samples."""
        sql = [step.sql for step in self.steps if isinstance(step, Where)]
        return _all_of(sql) if sql else None

    @property
    def only_where(self) -> bool:
        return all(isinstance(step, Where) for step in self.steps)

    @property
    def saved(self) -> bool:
        """Whether a saved selection is among the steps, which says by itself of what run it is."""
        return any(isinstance(step, Saved) for step in self.steps)

    def resolve(self, store: _core.Store, run: int, columns: Sequence[str] = ()) -> _core.Selection:
        """The samples as of `run` (0: the newest), carrying these columns."""
        if self.only_where:
            return store.select(where=self.where, as_of_run=run, columns=columns)
        return carry(store, run, self._follow(store, run), columns)

    def _follow(self, store: _core.Store, run: int) -> _core.Selection:
        rest = self.steps
        leading: list[str] = []
        while rest and isinstance(rest[0], Where):
            leading.append(rest[0].sql)
            rest = rest[1:]
        selection = None
        if leading or not isinstance(rest[0], (Listed, Saved)):
            where = _all_of(leading) if leading else None
            selection = store.select(where=where, as_of_run=run)
        for step in rest:
            if isinstance(step, (Listed, Saved)):
                opened = step.open(store, run)
                selection = opened if selection is None else keep(store, run, opened, selection)
            else:
                assert selection is not None
                selection = step.apply(store, run, selection)
        assert selection is not None
        return selection

    def __str__(self) -> str:
        return ", ".join(map(str, self.steps))


def _all_of(sql: list[str]) -> str:
    """A line of its own for each, so that a comment ends with it."""
    return sql[0] if len(sql) == 1 else " AND ".join(f"({one}\n)" for one in sql)


def carry(
    store: _core.Store, run: int, selection: _core.Selection, columns: Sequence[str]
) -> _core.Selection:
    """The same samples with these columns at hand."""
    have = {name.lower() for name in selection.columns}
    if all(name.lower() in have for name in columns):
        return selection
    return choose(store, run, Ids(selection.ids()), columns)


def names_file(name: str) -> bool:
    """As the command tells names of saved selections from files."""
    return "/" in name or (name.endswith(".sel") and len(name) > 4)


def first_step(
    which: Any = None, *, ids: Any = None, name: str | None = None, file: Any = None,
    ids_file: Any = None,
) -> First:  # fmt: skip
    """What was meant: a text or a path is a saved selection or a file, all else a list of ids."""
    given = [thing for thing in (which, ids, name, file, ids_file) if thing is not None]
    if len(given) != 1:
        raise InvalidError(
            "select() takes one of: a list of ids, the name of a saved selection, a selection file "
            f"(file=) or a file of ids (ids_file=); {len(given)} were given"
        )
    if isinstance(which, os.PathLike):
        file = os.fspath(which)
    elif isinstance(which, str):
        if names_file(which):
            file = which
        else:
            name = which
    elif which is not None:
        ids = which
    if ids is not None:
        return Listed(bytes(pack(ids)))
    if name is not None:
        return Saved("name", name)
    if file is not None:
        return Saved("file", os.path.abspath(os.fspath(file)))
    return Saved("ids_file", os.path.abspath(os.fspath(ids_file)))


def check_names(wanted: Sequence[str], known: Sequence[str], what: str) -> None:
    """NotFound, saying which there are, unless all are known."""
    for name in wanted:
        if name not in known:
            raise NotFound(f"no {what} {name!r}; there are: {', '.join(known) or 'none'}")
