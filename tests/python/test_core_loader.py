"""The loader of the extension: batches, threads, signals, forks, and how it ends."""

import os
import re
import select
import signal
import threading

import pytest

import blobs
from sterna import _core, errors

N = 100


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return blobs.make(tmp_path_factory.mktemp("loader") / "store", N)


@pytest.fixture
def store(url):
    store = _core.Store(url)
    yield store
    store.close()


@pytest.fixture
def selection(store):
    return store.select()


def stuck(store, selection):
    """A loader whose first batch does not come within our lives."""
    return _core.Loader(store, selection, batch_size=N, max_rate=1)


def batches(loader):
    return iter(loader.next, None)


def test_an_epoch(store, selection):
    loader = _core.Loader(store, selection, batch_size=32, seed=5)
    assert loader.steps == 4
    seen = []
    for step, batch in enumerate(batches(loader)):
        assert (batch.epoch, batch.step, batch.fields) == (0, step, ("image", "data", "note"))
        assert batch.n_rows == len(batch) == 32
        valid = batch.valid.tolist()
        assert sum(valid) == batch.n_valid == (32 if step < 3 else 4)
        assert batch.last_in_epoch == (step == 3)
        index = [i for i, v in zip(batch.index.tolist(), valid) if v]
        assert batch.n_bytes == sum(len(blobs.blob(i)) for i in index) + sum(
            len(f"note {i}") for i in index if i % 3 == 0)
        planned = _core.plan_batch(N, 0, step, batch_size=32, seed=5)
        assert planned == (batch.index.tolist(), valid)
        seen += index
    assert sorted(seen) == list(range(N)) and seen != sorted(seen)
    assert loader.next() is None and loader.next(0) is None
    stats = loader.stats()
    assert (stats["batches"], stats["samples"], stats["padded"]) == (4, N, 28)
    assert set(stats["stall_ns"]) == {"connect", "latency", "bandwidth", "server", "decode",
                                      "budget", "max-rate"}
    assert stats["verdict"] and loader.path()["phase"] == "local" and loader.exceptions() == []
    loader.close()


def members(header, struct):
    """Names of the members of a struct in a public header."""
    path = os.path.join(os.path.dirname(__file__), "..", "..", "include", "sterna", header)
    with open(path) as file:
        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.DOTALL)
    body = re.search(rf"struct {struct} {{(.*?)}};", text, re.DOTALL)[1]
    return {name for names in re.findall(r"(?:uint\d+_t|char|enum \w+)\s+([^;]*);", body)
            for name in re.findall(r"(\w+)(?:\[\w+\])?(?:,|$)", names)}


def test_statistics_are_whole(store, selection):
    loader = _core.Loader(store, selection)
    assert set(loader.stats()) == members("loader.h", "sterna_stats")
    assert set(loader.path()) == members("path.h", "sterna_path")
    loader.close()


def test_options_are_passed_on(store, selection):
    def first(**options):
        loader = _core.Loader(store, selection, **options)
        batch = loader.next()
        loader.close()
        return batch

    assert first(batch_size=7, shuffle=False).index.tolist() == list(range(7))
    ranks = [first(batch_size=7, shuffle=False, rank=r, world_size=2) for r in range(2)]
    assert sorted(i for r in ranks for i in r.index.tolist()) == list(range(14))
    assert first(batch_size=N + 5, uneven="exact").n_rows == N
    assert first(epoch=3, batch_size=4).epoch == 3
    assert first(fields=["note"], batch_size=4).fields == ("note",)
    assert first(order="arrival", batch_size=4).n_rows == 4
    endless = _core.Loader(store, selection, batch_size=N, epochs=0)
    assert [endless.next().epoch for _ in range(3)] == [0, 1, 2]
    endless.close()
    with pytest.raises(errors.MismatchError):
        first(expect_selection=bytes(32))
    assert first(expect_selection=selection.hash)
    with pytest.raises(errors.BudgetError):
        first(memory_bytes=64)
    with pytest.raises(errors.NotFound):
        first(fields=["nothing"])


def test_resume(store, selection):
    loader = _core.Loader(store, selection, batch_size=16, seed=2)
    whole = [b.index.tolist() for b in batches(loader)]
    loader.close()
    loader = _core.Loader(store, selection, batch_size=16, seed=2)
    states = [loader.state()] + [b.state() for b in batches(loader)]
    assert loader.state() == states[-1]
    loader.close()
    for step, state in enumerate(states[:-1]):
        info = _core.state_info(state)
        assert (info["step"], info["seed"], info["n"], info["order"]) == (step, 2, N, "strict")
        assert info["selection_hash"] == selection.hash
        loader = _core.Loader(store, selection, batch_size=16, state=state)
        assert [b.index.tolist() for b in batches(loader)] == whole[step:]
        loader.close()


def test_time_limit(store, selection):
    loader = stuck(store, selection)
    for timeout_ms in (0, 1, 150):
        with pytest.raises(errors.TimeoutError, match=f"within {timeout_ms} ms") as caught:
            loader.next(timeout_ms)
        assert isinstance(caught.value, TimeoutError) and caught.value.code == -9
    loader.close()


def test_a_descriptor_tells(store, selection):
    loader = stuck(store, selection)
    assert select.select([loader.fileno()], [], [], 0)[0] == []
    loader.close()
    loader = _core.Loader(store, selection, batch_size=N)
    assert select.select([loader], [], [], blobs.TIME_LIMIT_S)[0] == [loader]
    assert loader.next(0) is not None
    loader.close()


def in_threads(*functions):
    threads = [threading.Thread(target=f) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(blobs.TIME_LIMIT_S)
        assert not thread.is_alive()


def test_two_consumers(store, selection):
    loader = _core.Loader(store, selection, batch_size=3, uneven="exact", epochs=20)
    got = [], []
    in_threads(*(lambda mine=mine: mine.extend((b.epoch, i) for b in batches(loader)
                                               for i in b.index.tolist()) for mine in got))
    assert sorted(got[0] + got[1]) == [(e, i) for e in range(20) for i in range(N)]
    loader.close()


def test_two_loaders_of_one_store(store, selection):
    loaders = [_core.Loader(store, selection, batch_size=8, seed=seed) for seed in (1, 2)]
    pairs = list(zip(*map(batches, loaders)))
    assert len(pairs) == 13 and pairs[0][0].index.tolist() != pairs[0][1].index.tolist()
    for loader in loaders:
        loader.close()


@pytest.mark.parametrize("stop", ["cancel", "close"])
def test_a_waiting_thread_is_woken(store, selection, stop):
    loader = stuck(store, selection)
    waiting, caught = threading.Event(), []

    def wait():
        waiting.set()
        try:
            loader.next()
        except errors.Error as e:
            caught.append(e)

    def stop_it():
        waiting.wait(blobs.TIME_LIMIT_S)
        getattr(loader, stop)()

    in_threads(wait, stop_it)
    # It may have been so slow to wait that the loader was closed already.
    assert isinstance(caught[0], (errors.CanceledError, errors.InvalidError))
    if stop == "cancel":
        with pytest.raises(errors.CanceledError):
            loader.next()
    loader.close()


def test_closed(store, selection):
    loader = _core.Loader(store, selection)
    loader.close()
    loader.close()
    for use in (loader.next, loader.state, loader.stats, loader.path, loader.exceptions,
                loader.cancel, loader.fileno, lambda: loader.steps):
        with pytest.raises(errors.InvalidError, match="this loader is closed"):
            use()


def test_a_closed_store_or_selection_gives_no_loader(url):
    store = _core.Store(url)
    selection = store.select()
    selection.close()
    with pytest.raises(errors.InvalidError, match="this selection is closed"):
        _core.Loader(store, selection)
    selection = store.select()
    loader = _core.Loader(store, selection, batch_size=N)
    store.close()
    with pytest.raises(errors.InvalidError, match="this store is closed"):
        _core.Loader(store, selection)
    selection.close()
    assert loader.next().n_rows == N  # one that is there goes on
    loader.close()


class Alarm(Exception):
    pass


@pytest.fixture
def alarm():
    """alarm(seconds): a signal whose handler raises Alarm."""
    def ring(number, frame):
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_handlers_exception_ends_the_waiting_only(store, selection, alarm):
    # Two tenths of a second of bytes are missing when the signals come: batches as if they had not.
    size = selection.n_bytes
    loader = _core.Loader(store, selection, batch_size=N, shuffle=False, max_rate=2 * size)
    for _ in range(2):
        alarm(0.05)
        with pytest.raises(Alarm):
            loader.next()
    assert loader.next().index.tolist() == list(range(N))
    assert loader.next() is None
    loader.close()


INTERRUPTED = """
import os, signal, sys, threading
from sterna import _core
store = _core.Store(sys.argv[1])
loader = _core.Loader(store, store.select(), batch_size=100, max_rate=1)
for _ in range(2):
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        loader.next()
    except KeyboardInterrupt:
        print("interrupted")
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
loader.next()  # and once more, uncaught
"""


def test_ctrl_c(url):
    assert blobs.run(INTERRUPTED, url, code=-signal.SIGINT) == "interrupted\ninterrupted\n"


FORKED = """
import gc, os, sys
from sterna import _core, errors
store = _core.Store(sys.argv[1])
selection = store.select()
loader = _core.Loader(store, selection, batch_size=8)
batch = loader.next()
held = batch.field(1).data
child = os.fork()
if child == 0:
    for use in (loader.next, loader.stats, loader.state, store.info, store.fields, store.select,
                lambda: _core.Loader(store, selection), loader.close, store.close):
        try:
            use()
            print("no error from", use)
        except errors.ForkedError as e:
            print(isinstance(e, RuntimeError), "fork" in str(e))
    assert len(bytes(held)) == held.nbytes  # the memory is the child's, too
    del batch, held
    loader = store = selection = None
    gc.collect()
    again = _core.Store(sys.argv[1])
    own = _core.Loader(again, again.select(), batch_size=8)
    print(own.next().n_rows)
    own.close()
    again.close()
    sys.stdout.flush()
    os._exit(0)
print(os.waitpid(child, 0)[1], loader.next().n_rows)
"""


def test_fork(url):
    lines = blobs.run(FORKED, url).splitlines()
    assert [line for line in lines if line.startswith("no error")] == [
        line for line in lines if "method close" in line]
    assert lines.count("True True") == 7
    assert lines[-2:] == ["8", "0 8"]


NOT_CLOSED = """
import sys, threading
from sterna import _core
store = _core.Store(sys.argv[1])
loader = _core.Loader(store, store.select(), batch_size=100, max_rate=1)
threading.Thread(target=loader.next, daemon=True).start()
keep = [loader]
keep.append(keep)
batch = _core.Loader(store, store.select(), batch_size=8).next()
print("done")
"""


def test_the_end_of_the_process_waits_for_nobody(url):
    assert blobs.run(NOT_CLOSED, url) == "done\n"


def test_memory_stays_flat(store, selection):
    """10^5 batches, each with its arrays in all their forms."""
    loader = _core.Loader(store, selection, batch_size=4, epochs=0, memory_bytes=1 << 20)

    def use(n):
        for _ in range(n):
            batch = loader.next()
            field = batch.field(blobs.DATA)
            memoryview(batch.index), memoryview(batch.ids), batch.valid, batch.labels, batch.errors
            field.samples(), field.offsets, field.lengths, batch.fields, batch.state()
            field.data and field.data.__dlpack__()
            batch.ids.__dlpack__(max_version=(1, 0), copy=True)

    use(10_000)
    before = blobs.resident_bytes()
    use(90_000)
    assert blobs.resident_bytes() - before < 4 << 20
    stats = loader.stats()
    assert stats["batches"] == 100_000 and stats["duplicates"] == stats["missing"] == 0
    loader.close()


def test_errors_do_not_leak(store, selection):
    loader = stuck(store, selection)

    def fail(n):
        for _ in range(n):
            for wrong in (lambda: loader.next(0), lambda: loader.next("x"),
                          lambda: _core.Loader(store, selection, batch_size=0),
                          lambda: _core.Loader(store, selection, fields=["data", 3]),
                          lambda: _core.Loader(store, selection, state=b"x" * 50),
                          lambda: _core.Loader(store, selection, expect_selection=b"1"),
                          lambda: store.select(where="nonsense ("),
                          lambda: store.select(columns=["number", "nothing"])):
                with pytest.raises((errors.Error, TypeError)):
                    wrong()

    fail(50)
    before = blobs.resident_bytes()
    fail(300)
    assert blobs.resident_bytes() - before < 4 << 20
    loader.close()


def test_hundreds_of_stores(url):
    before = len(os.listdir("/proc/self/fd"))
    stores = [_core.Store(url) for _ in range(300)]
    loaders = [_core.Loader(s, s.select(), batch_size=8) for s in stores[::30]]
    assert [loader.next().n_rows for loader in loaders] == [8] * 10
    del loaders
    for store in stores:
        store.close()
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_a_damaged_sample(tmp_path):
    url = blobs.make(tmp_path / "store", 20, mean_bytes=10_000)  # pages of its own, in one place
    with open(os.path.join(url, "data.mdb"), "r+b") as file:
        content = file.read()
        at = content.index(blobs.blob(3, 10_000))
        file.seek(at)
        file.write(bytes([content[at] ^ 1]))
    store = _core.Store(url)
    selection = store.select()
    loader = _core.Loader(store, selection, batch_size=20)
    with pytest.raises(errors.CorruptError) as caught:
        loader.next()
    assert isinstance(caught.value, OSError) and caught.value.code == -6
    assert _core.format_id(bytes(selection.ids())[48:64]) in str(caught.value)
    loader.close()
    loader = _core.Loader(store, selection, batch_size=20, shuffle=False, on_error="mask")
    batch = loader.next()
    assert batch.errors.tolist() == [0] * 3 + [-6] + [0] * 16
    assert batch.valid.tolist()[:5] == [True, True, True, False, True]
    assert batch.field(blobs.DATA)[3] is None and batch.n_valid == 19
    (given_up,) = loader.exceptions()
    assert (given_up["index"], given_up["code"]) == (3, -6)
    assert given_up["id"] == bytes(selection.ids())[48:64] and given_up["message"]
    loader.close()
    with pytest.raises(errors.TooManyErrors):
        loader = _core.Loader(store, selection, batch_size=20, on_error="mask", max_errors=0)
        loader.next()
    store.close()


def test_held_batches_are_named(store, selection):
    loader = _core.Loader(store, selection, batch_size=10, epochs=0, memory_bytes=200_000)
    held = []
    with pytest.raises(errors.BudgetError, match="batches held") as caught:
        while True:
            held.append(loader.next())
    assert isinstance(caught.value, MemoryError)
    del held
    assert loader.next().n_rows == 10
    loader.close()
