"""Samples by id, through the extension."""

import select
import signal
import threading

import numpy as np
import pytest

import blobs
from sterna import _core, errors

N = 100


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return blobs.make(tmp_path_factory.mktemp("fetcher") / "store", N)


@pytest.fixture
def store(url):
    store = _core.Store(url)
    yield store
    store.close()


@pytest.fixture
def ids(store):
    return np.asarray(store.select().ids())


def test_rows_come_as_they_were_asked_for(store, ids):
    fetcher = _core.Fetcher(store)
    wanted = {fetcher.submit(ids[rows]): rows for rows in ([5, 3, 50], [7], [9, 9, 0, 99])}
    assert len(wanted) == 3 and 0 not in wanted
    while wanted:
        ticket, batch = fetcher.poll(-1)
        rows = wanted.pop(ticket)
        assert bytes(batch.ids) == ids[rows].tobytes()
        assert [bytes(row) for row in batch.field(blobs.DATA).samples()] == [
            blobs.blob(i) for i in rows]
        assert batch.valid.tolist() == [True] * len(rows)
        assert batch.labels.tolist() == [i % 5 for i in rows]
        assert batch.index.tolist() == list(range(len(rows)))
        assert batch.state() == b""
    assert fetcher.poll() is None and fetcher.poll(-1) is None  # nothing is under way
    stats = fetcher.stats()
    assert (stats["batches"], stats["samples"]) == (3, 8)
    assert fetcher.path()["phase"] == "local"
    fetcher.close()


def test_fields_are_chosen(store, ids):
    fetcher = _core.Fetcher(store, fields=["note"])
    fetcher.submit(ids[:3].tobytes())
    _, batch = fetcher.poll(-1)
    assert batch.fields == ("note",)
    assert bytes(batch.field(0)[0]) == b"note 0" and batch.field(0)[1] is None
    fetcher.close()
    with pytest.raises(errors.NotFound):
        _core.Fetcher(store, fields=["nothing"])


def test_what_is_not_there(store, ids):
    fetcher = _core.Fetcher(store)
    fetcher.submit(ids[1].tobytes() + bytes(16) + ids[2].tobytes())
    _, batch = fetcher.poll(-1)
    assert batch.valid.tolist() == [True, False, True]
    assert batch.errors.tolist() == [0, errors.NotFound.code, 0]
    assert batch.reason(0) == "" and _core.format_id(bytes(16)) in batch.reason(1)
    assert batch.field(blobs.DATA)[1] is None
    for row in (3, -1):
        with pytest.raises(errors.InvalidError):
            batch.reason(row)
    fetcher.close()


def test_a_descriptor_tells(store, ids):
    fetcher = _core.Fetcher(store)
    assert select.select([fetcher], [], [], 0)[0] == []
    ticket = fetcher.submit(ids)
    assert select.select([fetcher], [], [], blobs.TIME_LIMIT_S)[0] == [fetcher]
    assert fetcher.poll(0)[0] == ticket
    assert select.select([fetcher], [], [], 0)[0] == []
    fetcher.close()


def test_cancel(store, ids):
    fetcher = _core.Fetcher(store, max_rate=1)
    ticket = fetcher.submit(ids)
    assert fetcher.poll(0) is None and fetcher.poll(150) is None  # the time is over
    fetcher.cancel(ticket)
    fetcher.cancel(ticket)
    fetcher.cancel(12345)
    assert fetcher.poll(-1) is None  # nothing is under way
    fetcher.close()


def test_closed(store, ids):
    fetcher = _core.Fetcher(store)
    fetcher.submit(ids)
    fetcher.close()
    fetcher.close()
    for use in (lambda: fetcher.submit(ids), fetcher.poll, fetcher.fileno, fetcher.stats,
                fetcher.path, lambda: fetcher.cancel(1)):
        with pytest.raises(errors.InvalidError, match="this fetcher is closed"):
            use()


def test_closed_while_somebody_waits(store, ids):
    fetcher = _core.Fetcher(store, max_rate=1)
    fetcher.submit(ids)
    waiting, caught = threading.Event(), []

    def wait():
        waiting.set()
        try:
            fetcher.poll(-1)
        except errors.Error as e:
            caught.append(e)

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait(blobs.TIME_LIMIT_S)
    fetcher.close()
    thread.join(blobs.TIME_LIMIT_S)
    # It may have been so slow to wait that it was closed already.
    assert isinstance(caught[0], (errors.CanceledError, errors.InvalidError))


def test_memory_outlives_it(url):
    store = _core.Store(url)
    fetcher = _core.Fetcher(store)
    fetcher.submit(store.select().ids())
    _, batch = fetcher.poll(-1)
    rows = batch.field(blobs.DATA).samples()
    fetcher.close()
    store.close()
    del batch, fetcher, store
    assert [bytes(row) for row in rows] == [blobs.blob(i) for i in range(N)]


@pytest.mark.parametrize("wrong, error", [
    (b"", errors.InvalidError), (b"123", errors.InvalidError), ("text", TypeError),
    (None, TypeError), (3, TypeError),
])
def test_wrong_ids(store, wrong, error):
    fetcher = _core.Fetcher(store)
    with pytest.raises(error):
        fetcher.submit(wrong)
    fetcher.close()


def test_many_threads(store, ids):
    fetcher = _core.Fetcher(store, memory_bytes=1 << 20)
    lock, got, wanted = threading.Lock(), {}, {}

    def ask(k):
        for i in range(50):
            rows = [(17 * k + 5 * i + j) % N for j in range(8)]
            ticket = fetcher.submit(ids[rows])
            with lock:
                wanted[ticket] = rows

    def take():
        while len(got) < 200:
            answer = fetcher.poll(20)
            if answer:
                with lock:
                    got[answer[0]] = [bytes(row) for row in answer[1].field(blobs.DATA).samples()]

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(4)]
    threads += [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(blobs.TIME_LIMIT_S)
        assert not thread.is_alive()
    assert got == {ticket: [blobs.blob(i) for i in rows] for ticket, rows in wanted.items()}
    fetcher.close()


def test_a_handlers_exception_ends_the_waiting(store, ids):
    class Alarm(Exception):
        pass

    def ring(number, frame):
        raise Alarm

    fetcher = _core.Fetcher(store, max_rate=1)
    ticket = fetcher.submit(ids)
    before = signal.signal(signal.SIGALRM, ring)
    for _ in range(2):
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Alarm):
            fetcher.poll(-1)
    signal.signal(signal.SIGALRM, before)
    fetcher.cancel(ticket)
    assert fetcher.poll(-1) is None
    fetcher.close()


FORKED = """
import os, sys
from sterna import _core, errors
store = _core.Store(sys.argv[1])
fetcher = _core.Fetcher(store)
ids = store.select().ids()
child = os.fork()
if child == 0:
    for use in (lambda: fetcher.submit(ids), fetcher.poll, fetcher.stats):
        try:
            use()
            print("no error")
        except errors.ForkedError:
            pass
    fetcher.close()
    sys.stdout.flush()
    os._exit(0)
fetcher.submit(ids)
print(os.waitpid(child, 0)[1], fetcher.poll(-1)[1].n_rows)
"""


def test_fork(url):
    assert blobs.run(FORKED, url) == f"0 {N}\n"


def test_memory_stays_flat(store, ids):
    fetcher = _core.Fetcher(store, memory_bytes=1 << 20)

    def use(n):
        for i in range(n):
            fetcher.submit(ids[i % 90:i % 90 + 4])
            fetcher.poll(-1)[1].field(blobs.DATA).samples()

    use(2000)
    before = blobs.resident_bytes()
    use(10_000)
    assert blobs.resident_bytes() - before < 4 << 20
    fetcher.close()
