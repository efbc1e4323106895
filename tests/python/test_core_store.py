"""Stores, selections, ingest, copy, states and the log, through the extension."""

import os
import threading

import numpy as np
import pytest

import blobs
from blobs import png
from sterna import _core, errors

N = 100


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return blobs.make(tmp_path_factory.mktemp("store") / "store", N)


@pytest.fixture
def store(url):
    store = _core.Store(url)
    yield store
    store.close()


@pytest.fixture
def own(tmp_path):
    store = _core.Store(blobs.make(tmp_path / "own", N), "write")
    yield store
    store.close()


# ---- facts ----


def test_facts(store, url):
    info = store.info()
    assert (info["format_version"], info["n_samples"], info["last_run"]) == (1, N, 1)
    assert info["n_bytes"] == sum(len(blobs.blob(i)) for i in range(N)) + sum(
        len(f"note {i}") for i in range(0, N, 3))
    assert len(info["dataset_id"]) == 16 and info["read_only"] in (True, False)
    assert store.fields() == [("image", "image"), ("data", "bytes"), ("note", "text")]
    assert ("number", "integer") in store.columns() and ("path", "text") in store.columns()
    assert store.classes() == [(k, f"class{k}", N // 5) for k in range(5)]
    (run,) = store.runs()
    assert (run["run"], run["n_samples"], run["source"]) == (1, N, "blobs")
    assert run["finished_s"] > 1_600_000_000


def test_closed(url):
    store = _core.Store(url)
    store.close()
    store.close()
    for use in (store.info, store.fields, store.columns, store.classes, store.runs, store.select,
                store.query, lambda: store.split([("a", 1.0)])):
        with pytest.raises(errors.InvalidError, match="this store is closed"):
            use()


def test_open_errors(tmp_path, url):
    with pytest.raises(errors.NotFound) as caught:
        _core.Store(str(tmp_path / "nothing"))
    assert isinstance(caught.value, LookupError) and caught.value.code == -4
    with pytest.raises(errors.InvalidError, match="password"):
        _core.Store("cassandra://me:secret@host/ks/ds")
    with pytest.raises(errors.ConnectionError) as caught:
        _core.Store("cassandra://127.0.0.1:1/ks/ds", password="not to be seen")
    assert isinstance(caught.value, ConnectionError) and "not to be seen" not in str(caught.value)
    assert _core.Store(tmp_path / "new", "create", dataset_id=b"0123456789abcdef").info()[
        "dataset_id"] == b"0123456789abcdef"


def test_an_error_of_the_system_has_its_number(tmp_path, own):
    with pytest.raises(errors.IOError) as caught:
        own.select().save(str(tmp_path / "no" / "directory"))
    assert isinstance(caught.value, OSError) and caught.value.errno == 2
    assert str(caught.value).startswith(str(tmp_path)) or str(tmp_path) in str(caught.value)


# ---- SQL ----


def test_select(store):
    selection = store.select(where="number % 2 = 0", columns=["number", "class"])
    assert (selection.n, selection.run, selection.where) == (50, 1, "number % 2 = 0")
    assert selection.columns == ("number", "class")
    assert selection.column("number") == list(range(0, N, 2))
    assert selection.column("class", np.array([3, 0])) == ["class1", "class0"]
    assert selection.lengths(blobs.DATA).tolist() == [len(blobs.blob(i)) for i in range(0, N, 2)]
    assert selection.lengths(blobs.NOTE).tolist()[:2] == [len("note 0"), 0xFFFFFFFF]
    assert selection.labels().tolist() == [i % 5 for i in range(0, N, 2)]
    assert selection.n_bytes > selection.max_bytes > 0
    assert len(selection.hash) == 32 and selection.dataset_id == store.info()["dataset_id"]


def test_select_by_ids(store):
    ids = np.asarray(store.select().ids())
    some = ids[[5, 3, 50]]
    assert bytes(store.select(ids=some).ids()) == some.tobytes()
    assert bytes(store.select(ids=some.tobytes()).ids()) == some.tobytes()
    with pytest.raises(errors.InvalidError, match="ids must have a multiple of 16 bytes, not 3"):
        store.select(ids=b"abc")
    with pytest.raises(errors.NotFound):
        store.select(ids=bytes(16))
    with pytest.raises(errors.InvalidError):
        store.select(ids=ids, where="number = 1")
    with pytest.raises((BufferError, ValueError), match="contiguous"):
        store.select(ids=ids[:, ::2])


def test_column_errors(store):
    selection = store.select(columns=["number"])
    with pytest.raises(errors.NotFound, match="'nothing'"):
        selection.column("nothing")
    for index in ([N], [-1]):
        with pytest.raises(errors.InvalidError, match="of a selection of 100"):
            selection.column("number", np.array(index))
    with pytest.raises(errors.InvalidError, match="there is no field 3"):
        selection.lengths(3)


def test_selection_files(tmp_path, own):
    some = own.select(where="number < 10")
    path = tmp_path / "some.sel"
    some.save(path)
    assert own.select(file=path).hash == some.hash
    some.save_as(own, "tenth")
    assert own.select(name="tenth").hash == some.hash
    ids, hash_ = some.ids(), some.hash
    some.close()
    some.close()
    assert (some.hash, some.n) == (hash_, 10) and len(bytes(ids)) == 160
    for use in (some.ids, some.labels, lambda: some.save(path), lambda: some.columns,
                lambda: some.column("x"), lambda: some.save_as(own, "x")):
        with pytest.raises(errors.InvalidError, match="this selection is closed"):
            use()


def test_query(store):
    rows = store.query(where="number < 3", columns=["number", "class", "path", "split"])
    assert rows == {"number": [0, 1, 2], "class": ["class0", "class1", "class2"],
                    "path": ["000000", "000001", "000002"], "split": [None] * 3}
    assert store.query(where="number < 0", columns=["number"]) == {"number": []}
    every = store.query()
    assert list(every) == [name for name, _ in store.columns()]
    assert every["number"] == list(range(N))
    assert list(store.query(where="number < 0")) == list(every)
    ids = np.asarray(store.select().ids())[[7, 2]]
    assert store.query(ids=ids, columns=["number"]) == {"number": [7, 2]}
    with pytest.raises(errors.QueryError) as caught:
        store.query(where="no_such_column = 1")
    assert isinstance(caught.value, ValueError) and "no_such_column" in str(caught.value)


def test_query_of_many_rows(tmp_path):
    """More values and more text than are gathered at once."""
    store = _core.Store(tmp_path / "many", "create")
    ingest = _core.Ingest(store, "test")
    text = "ä" * 500
    for i in range(6000):
        ingest.add(str(i), [("data", "bytes", b"x")], [("number", i), ("real", i / 4),
                                                       ("text", f"{text}{i}")])
    ingest.commit()
    rows = store.query(columns=["number", "real", "text", "path"])
    for number, real, words, path in zip(*rows.values()):
        assert (real, words, path) == (number / 4, f"{text}{number}", str(number))
    assert sorted(rows["number"]) == list(range(6000))
    store.close()


def test_split(own):
    parts, report = own.split([("train", 0.8), ("val", 0.2)], stratify="class", seed=3, exact=True,
                              save=True)
    assert [p.n for p in parts] == [80, 20]
    ids = [set(map(bytes, np.asarray(p.ids()))) for p in parts]
    assert len(ids[0] | ids[1]) == N
    total = [line for line in report if line["stratum"] is None]
    assert [(t["part"], t["n"]) for t in total] == [("train", 80), ("val", 20)]
    assert {line["stratum"] for line in report} == {None, *(f"class{k}" for k in range(5))}
    assert own.select(name="val").hash == parts[1].hash
    some = own.select(where="number >= 50", columns=["number"])
    (half, rest), _ = own.split([("half", 0.5), ("rest", 0.5)], selection=some)
    assert sorted(half.column("number") + rest.column("number")) == list(range(50, N))
    with pytest.raises(errors.NotFound):
        own.select(name="half")
    for wrong, error in (([("a", "x")], TypeError), ([("a",)], TypeError), ([(1, 0.5)], TypeError),
                         ([("a", 0.5)], errors.InvalidError), ([("a", 2.0)], errors.InvalidError),
                         ("ab", TypeError), (3, TypeError)):
        with pytest.raises(error):
            own.split(wrong)


# ---- ingest and copy ----


def test_ingest(tmp_path):
    store = _core.Store(tmp_path / "store", "create")
    ingest = _core.Ingest(store, "test")
    array = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    cells = [("n", np.int64(-3)), ("x", 0.5), ("t", "tüx"), ("none", None), ("class", "a"),
             ("y", np.float32(0.25))]
    assert ingest.add("a", [("data", "bytes", array), ("empty", "bytes", b""),
                            ("null", "text", None)], cells) == "added"
    assert ingest.add("a", [("data", "bytes", array)], []) == "unchanged"
    assert ingest.add("a", [("data", "bytes", b"other")], []) == "conflict"
    own_id = bytes(range(16))
    assert ingest.add(path="b", blobs=[("data", "bytes", memoryview(b"hello"))], cells=[],
                      id=own_id) == "added"
    assert ingest.commit() == 1
    ingest.close()
    ingest.close()
    with pytest.raises(errors.InvalidError, match="this ingest is closed"):
        ingest.commit()
    selection = store.select()
    assert selection.n == 2 and own_id in bytes(selection.ids())
    assert store.query(columns=["n", "x", "t", "none", "class", "y"], where="path = 'a'") == {
        "n": [-3], "x": [0.5], "t": ["tüx"], "none": [None], "class": ["a"], "y": [0.25]}
    loader = _core.Loader(store, selection, batch_size=2, shuffle=False)
    batch = loader.next()
    fields = {batch.fields[f]: batch.field(f) for f in range(len(batch.fields))}
    assert bytes(fields["data"][0]) == array.tobytes()
    assert fields["empty"][0].nbytes == 0 and fields["empty"][1] is None
    assert fields["empty"][0].tolist() == [] and bytes(fields["empty"][0]) == b""
    np.from_dlpack(fields["empty"][0])
    assert fields["null"].samples() == [None, None]
    loader.close()
    store.close()


def test_classes_in_an_order_of_their_own(own):
    ingest = _core.Ingest(own, "test")
    assert ingest.declare_classes(["zebra", "class3", "ant"]) == [5, 3, 6]
    for wrong in ("zebra", 3, [3]):
        with pytest.raises(TypeError):
            ingest.declare_classes(wrong)
    ingest.close()


def test_what_is_not_committed_is_forgotten(own):
    ingest = _core.Ingest(own, "test")
    ingest.add("new", [("data", "bytes", b"x")], [])
    with pytest.raises(errors.BusyError):
        _core.Ingest(own, "another")
    del ingest
    assert own.info()["n_samples"] == N
    _core.Ingest(own, "another").close()


def test_ingest_from_threads(tmp_path):
    store = _core.Store(tmp_path / "store", "create")
    ingest = _core.Ingest(store, "test")

    def add(k):
        for i in range(100):
            ingest.add(f"{k}/{i}", [("data", "bytes", b"%d" % i)], [])

    threads = [threading.Thread(target=add, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ingest.commit()
    assert store.info()["n_samples"] == 400
    store.close()


@pytest.mark.parametrize("blobs_, cells, error", [
    (3, [], TypeError), ([3], [], TypeError), ([("data", "bytes")], [], TypeError),
    ([(3, "bytes", b"")], [], TypeError), ([("data", "nothing", b"")], [], errors.InvalidError),
    ([("data", 3, b"")], [], errors.InvalidError), ([("data", "bytes", "text")], [], TypeError),
    ([("data", "bytes", b""), ("a\0b", "bytes", b"")], [], errors.InvalidError),
    ([], 3, TypeError), ([], [("a",)], TypeError), ([], [(3, 3)], TypeError),
    ([], [("a", b"x")], TypeError), ([], [("a", 2**63)], errors.InvalidError),
    ([], [("a", "x\0y")], errors.InvalidError), ([], [("a", object())], TypeError),
])
def test_wrong_samples(own, blobs_, cells, error):
    ingest = _core.Ingest(own, "test")
    with pytest.raises(error):
        ingest.add("x", blobs_, cells)
    ingest.close()


def test_a_store_for_reading_takes_nothing(store):
    with pytest.raises(errors.Error):
        _core.Ingest(store, "test")


@pytest.fixture
def folder(tmp_path):
    """Two classes of five pictures each, a text beside each, and one file that is no picture."""
    for k in range(2):
        for i in range(5):
            path = tmp_path / "photos" / f"class{k}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(10 * k + i))
            path.with_suffix(".txt").write_text(f"{k} {i}")
    (tmp_path / "photos" / "class1" / "broken.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def test_ingest_folder(tmp_path, folder):
    store = _core.Store(tmp_path / "store", "create")
    told, reported = [], []
    result = _core.ingest_folder(store, folder, fields=[("caption", ".txt", "text")],
                                 progress=told.append, report=lambda *args: reported.append(args))
    assert result["run"] == 1 and result["counts"]["added"] == 10
    assert told[-1]["files_done"] == 11 and told[-1]["counts"]["added"] == 10
    assert set(told[-1]) == {"files_seen", "files_done", "bytes_done", "files_total", "bytes_total",
                             "seconds", "counts"}
    ((outcome, path, why),) = reported
    assert path == "class1/broken.png" and outcome != "added" and why
    assert store.fields() == [("image", "image"), ("caption", "text")]
    with pytest.raises(errors.NotFound):
        _core.ingest_folder(store, tmp_path / "nothing")
    with pytest.raises(errors.InvalidError, match="kind must be"):
        _core.ingest_folder(store, folder, fields=[("a", ".txt", "nothing")])
    store.close()


class Stop(Exception):
    pass


@pytest.mark.parametrize("which", ["progress", "report"])
def test_a_callbacks_exception_stops_an_ingest(tmp_path, folder, which):
    store = _core.Store(tmp_path / "store", "create")

    def stop(*args):
        raise Stop

    with pytest.raises(Stop):
        _core.ingest_folder(store, folder, **{which: stop})
    assert store.info()["n_samples"] == 0
    assert _core.ingest_folder(store, folder)["counts"]["added"] == 10
    store.close()


def test_copy(tmp_path, store):
    to = _core.Store(tmp_path / "copy", "create", dataset_id=store.info()["dataset_id"])
    told = []
    result = _core.copy(store, to, store.select(where="number < 40"), progress=told.append)
    assert (result["samples"], result["run"], result["counts"]["added"]) == (40, 1, 40)
    assert told[-1]["read"] == told[-1]["to_read"] == 40
    assert to.info()["n_samples"] == 40

    def stop(now):
        raise Stop

    with pytest.raises(Stop):
        _core.copy(store, to, progress=stop)
    assert _core.copy(store, to)["counts"]["added"] == 60
    assert bytes(to.select().ids()) == bytes(store.select().ids())
    other = _core.Store(tmp_path / "other", "create")
    with pytest.raises(errors.MismatchError):
        _core.copy(store, other)
    other.close()
    to.close()


def test_copy_reports_conflicts(tmp_path, store):
    to = _core.Store(tmp_path / "copy", "create", dataset_id=store.info()["dataset_id"])
    ingest = _core.Ingest(to, "test")
    ingest.add("000003", [("data", "bytes", b"other")], [])
    ingest.commit()
    ingest.close()
    reported = []
    _core.copy(store, to, report=lambda *args: reported.append(args))
    ((outcome, id_, path, why),) = reported
    assert (outcome, path) == ("conflict", "000003") and why
    assert id_ == bytes(np.asarray(store.select().ids())[3])
    to.close()


# ---- states, ids, plans ----


def test_states(tmp_path, store):
    selection = store.select()
    states = []
    for rank in range(2):
        loader = _core.Loader(store, selection, batch_size=10, rank=rank, world_size=2,
                              order="arrival")
        loader.next()
        states.append(loader.state())
        loader.close()
    merged = _core.merge_states(states[::-1])
    assert _core.state_info(merged)["delivered"] == 20
    for wrong, error in ((states[:1], errors.MismatchError), ([b"x"], errors.FormatError),
                         ([1], TypeError), (1, TypeError), ([], errors.Error)):
        with pytest.raises(error):
            _core.merge_states(wrong)
    with pytest.raises(errors.InvalidError):
        _core.state_at_step(merged, 1)  # arrival order
    path = tmp_path / "state"
    _core.save_state(merged, selection, path)
    again, its_selection = _core.load_state(path)
    assert (again, its_selection.hash) == (merged, selection.hash)
    os.remove(f"{path}.selection")
    with pytest.raises(errors.NotFound):
        _core.load_state(tmp_path / "nothing")
    with pytest.raises(errors.FormatError):
        _core.state_info(merged[:-1])


def test_state_at_another_step(store):
    loader = _core.Loader(store, store.select(), batch_size=10, seed=1)
    states = [loader.state()] + [b.state() for b in iter(loader.next, None)]
    loader.close()
    for step, state in enumerate(states):
        assert _core.state_at_step(states[3], step) == state
    for step in (11, 2**64 - 1):
        with pytest.raises(errors.InvalidError):
            _core.state_at_step(states[3], step)
    with pytest.raises(errors.FormatError):
        _core.state_at_step(b"nothing", 1)


def test_ids_as_text():
    text = "01234567-89ab-cdef-0123-456789abcdef"
    assert _core.parse_id(text) == bytes.fromhex(text.replace("-", ""))
    assert _core.format_id(_core.parse_id(text)) == text
    assert _core.format_id(np.frombuffer(_core.parse_id(text), np.uint8)) == text
    with pytest.raises(errors.InvalidError, match="'nothing' is no UUID"):
        _core.parse_id("nothing")
    with pytest.raises(errors.InvalidError, match="16 bytes, not 3"):
        _core.format_id(b"abc")


def test_plan():
    index, valid = _core.plan_batch(10, 0, 1, batch_size=8, shuffle=False)
    assert index[:2] == [8, 9] and valid == [True, True] + [False] * 6
    assert _core.plan_batch(10, 0, 1, batch_size=8, shuffle=False, uneven="exact") == (
        [8, 9], [True, True])
    with pytest.raises(errors.InvalidError):
        _core.plan_batch(10, 0, 2, batch_size=8)
    with pytest.raises(errors.InvalidError):
        _core.plan_batch(10, 0, 0, batch_size=0)
    with pytest.raises(errors.Error):
        _core.plan_batch(10, 0, 0, state=b"nothing")


def test_versions():
    assert _core.__version__ == _core.abi and _core.abi.count(".") == 2


# ---- log, command ----


def test_the_log_waits_to_be_taken():
    assert all(isinstance(level, int) and text for level, text in _core.take_log())
    assert _core.take_log() == []


COMMAND = """
import sys
from sterna import _core
codes = [_core.main(["sterna", *words]) for words in (["--version"], ["nothing"], ["info", sys.argv[1]])]
print(codes, flush=True)
"""


def test_the_command(url):
    lines = blobs.run(COMMAND, url).splitlines()
    assert lines[0] == f"sterna {_core.abi}" and lines[-1] == "[0, 2, 0]"
    assert any(line.startswith("last run") for line in lines)
    for wrong, error in ((3, TypeError), (["a", 3], TypeError), (["a\0"], errors.InvalidError)):
        with pytest.raises(error):
            _core.main(wrong)
