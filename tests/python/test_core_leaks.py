"""Calls of the extension leave no object behind, whether they succeed or fail."""

import gc
import sys

import numpy as np
import pytest

import blobs
from sterna import _core, errors

N = 40
ROUNDS = 40


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return _core.Store(blobs.make(tmp_path_factory.mktemp("leaks") / "store", N), "write")


class Things:
    """What calls are made with."""

    def __init__(self, store, path):
        self.store, self.path = store, path
        self.selection = store.select(columns=["number", "class"])
        self.ids = np.asarray(self.selection.ids())
        self.loader = _core.Loader(store, self.selection, batch_size=8, epochs=0)
        self.stuck = _core.Loader(store, self.selection, batch_size=N, max_rate=1)
        self.batch = self.loader.next()
        self.state = self.loader.state()
        self.field = self.batch.field(blobs.DATA)
        self.names = [f"class{k}" for k in range(3)]

    def close(self):
        self.loader.close()
        self.stuck.close()


@pytest.fixture(scope="module")
def things(store, tmp_path_factory):
    things = Things(store, tmp_path_factory.mktemp("leaks"))
    yield things
    things.close()


def ingest(t, blobs_, cells):
    ingest = _core.Ingest(t.store, "test")
    try:
        ingest.add("new", blobs_, cells, bytes(16))
    finally:
        ingest.close()


CALLS = {
    "store": lambda t: _core.Store(t.path / "new", "create", dataset_id=bytes(16)).close(),
    "facts": lambda t: (t.store.info(), t.store.fields(), t.store.columns(), t.store.classes(),
                        t.store.runs()),
    "select": lambda t: t.store.select(where="number < 5", columns=["number"]),
    "select ids": lambda t: t.store.select(ids=t.ids[:3]),
    "query": lambda t: t.store.query(),
    "query columns": lambda t: t.store.query(columns=["number", "path"], ids=t.ids),
    "split": lambda t: t.store.split([("a", 0.5), ("b", 0.5)], selection=t.selection),
    "selection": lambda t: (t.selection.ids(), t.selection.labels(), t.selection.lengths(1),
                            t.selection.column("number"), t.selection.columns, t.selection.where,
                            t.selection.hash, t.selection.dataset_id),
    "column at": lambda t: t.selection.column("class", np.array([1, 2])),
    "save": lambda t: t.selection.save(t.path / "selection"),
    "loader": lambda t: _core.Loader(t.store, t.selection, fields=["data"], state=None).close(),
    "next": lambda t: t.loader.next(),
    "loader's facts": lambda t: (t.loader.stats(), t.loader.path(), t.loader.exceptions(),
                                 t.loader.state(), t.loader.steps, t.loader.fileno()),
    "batch": lambda t: (t.batch.index, t.batch.ids, t.batch.valid, t.batch.errors, t.batch.labels,
                        t.batch.state(), t.batch.fields, repr(t.batch), t.batch.epoch),
    "field": lambda t: (t.batch.field(1).samples(), t.field.data, t.field.offsets, t.field.lengths,
                        t.field[0], t.field.name, t.field.kind, repr(t.field)),
    "copy_into": lambda t: t.field.copy_into(bytearray(t.field.copy_bytes())),
    "array": lambda t: (t.batch.ids.shape, t.batch.ids.tolist(), repr(t.batch.ids),
                        t.batch.ids.dtype, np.asarray(t.batch.ids), np.from_dlpack(t.batch.ids)),
    "dlpack": lambda t: (t.batch.ids.__dlpack__(), t.batch.ids.__dlpack__(max_version=(1, 0)),
                         t.batch.ids.__dlpack__(copy=True), t.batch.ids.__dlpack_device__()),
    "give_buffer": lambda t: (t.loader.give_buffer(memoryview(t.field.data)[:64]), t.loader.next()),
    "ingest": lambda t: ingest(t, [("data", "bytes", t.ids)], [("number", 3), ("text", "x")]),
    "states": lambda t: (_core.state_info(t.state), _core.merge_states([t.state]),
                         _core.state_at_step(t.state, 1),
                         _core.save_state(t.state, t.selection, t.path / "state"),
                         _core.load_state(t.path / "state")),
    "plan": lambda t: _core.plan_batch(N, 0, 0, batch_size=8, state=None),
    "ids": lambda t: _core.format_id(_core.parse_id("0" * 8 + "-0000-0000-0000-" + "0" * 12)),
    "log": lambda t: _core.take_log(),
    "copy": lambda t: _core.copy(t.store, t.store, progress=lambda now: None),
}
FAILURES = {
    "store": lambda t: _core.Store(t.path / "nothing", dataset_id=bytes(16), bogus=1),
    "no store": lambda t: _core.Store(t.path / "nothing"),
    "select": lambda t: t.store.select(where="nonsense (", columns=["number"]),
    "query": lambda t: t.store.query(columns=["number", "nothing"], ids=t.ids),
    "names": lambda t: t.store.query(columns=["number", 3]),
    "split": lambda t: t.store.split([("a", 0.5), ("b", 0.7)]),
    "parts": lambda t: t.store.split([("a", 0.5), ("b",)]),
    "loader": lambda t: _core.Loader(t.store, t.selection, fields=["nothing"], state=t.state),
    "state": lambda t: _core.Loader(t.store, t.selection, state=b"nothing"),
    "next": lambda t: t.stuck.next(0),
    "column": lambda t: t.selection.column("number", np.array([N])),
    "field": lambda t: t.batch.field(3),
    "row": lambda t: t.field[8],
    "copy_into": lambda t: t.field.copy_into(bytearray(1)),
    "dlpack": lambda t: t.selection.ids().__dlpack__(),
    "device": lambda t: t.batch.ids.__dlpack__(dl_device=(2, 0)),
    "give_buffer": lambda t: t.loader.give_buffer(bytes(64)),
    "blobs": lambda t: ingest(t, [("data", "bytes", t.ids), ("note", "nothing", b"")], []),
    "cells": lambda t: ingest(t, [("data", "bytes", t.ids)], [("number", 3), ("x", object())]),
    "ingest_folder": lambda t: _core.ingest_folder(t.store, t.path / "nothing",
                                                   progress=lambda now: None),
    "merge": lambda t: _core.merge_states([t.state, b"x"]),
    "load": lambda t: _core.load_state(t.path / "nothing"),
    "plan": lambda t: _core.plan_batch(N, 0, 10**9),
    "id": lambda t: _core.parse_id("nothing"),
}


def blocks(call):
    """Memory blocks of Python that ROUNDS calls leave behind."""
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(ROUNDS):
        call()
    gc.collect()
    return sys.getallocatedblocks() - before


def leave_nothing(call):
    """Fails if at each of some tries (the interpreter fills caches of its own) ROUNDS calls leave
    blocks behind in number."""
    left = []
    while len(left) < 30:
        left.append(blocks(call))
        if left[-1] < ROUNDS // 2:
            return
    raise AssertionError(f"{ROUNDS} calls left so many blocks behind: {left}")


def fails(call):
    try:
        call()
    except (errors.Error, TypeError, IndexError, BufferError):
        return
    raise AssertionError("it did not fail")


def references(things):
    """How many there are to what calls are made with."""
    gc.collect()
    return {name: sys.getrefcount(value) for name, value in vars(things).items()}


@pytest.mark.parametrize("name", CALLS)
def test_calls(things, name):
    CALLS[name](things)
    before = references(things)
    leave_nothing(lambda: CALLS[name](things))
    assert references(things) == before


@pytest.mark.parametrize("name", FAILURES)
def test_failures(things, name):
    before = references(things)
    leave_nothing(lambda: fails(lambda: FAILURES[name](things)))
    assert references(things) == before
