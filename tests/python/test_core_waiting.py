"""Calls of the extension that wait for a server: signals, other threads, and what is left behind."""

import signal
import socket
import threading

import pytest

import blobs
from blobs import png
from sterna import _core, errors


@pytest.fixture
def silent():
    """The URL of a server that takes connections and says nothing; and its socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        yield f"cassandra://127.0.0.1:{port}/keyspace/dataset?tls=off", server


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


def test_a_handlers_exception_ends_the_waiting(silent, alarm, tmp_path):
    url, server = silent
    for _ in range(2):  # twice, too
        alarm(0.1)
        with pytest.raises(Alarm):
            _core.Store(url)
    # What goes on unseen disturbs nobody, and is cleared away when it has ended.
    store = _core.Store(blobs.make(tmp_path / "store", 10))
    assert store.select().n == 10
    server.close()
    store.close()


def test_other_threads_run_meanwhile(silent, alarm):
    url, server = silent
    accepted = []

    def accept():
        accepted.append(server.accept())

    thread = threading.Thread(target=accept)
    thread.start()
    alarm(blobs.TIME_LIMIT_S)

    def stop_waiting():
        thread.join()
        signal.raise_signal(signal.SIGALRM)

    threading.Thread(target=stop_waiting).start()
    with pytest.raises(Alarm):
        _core.Store(url)
    assert len(accepted) == 1
    accepted[0][0].close()


LEFT_ALONE = """
import os, signal, sys, threading
from sterna import _core
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    _core.Store(sys.argv[1], password="secret")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_the_process_ends_without_it(silent):
    url, server = silent
    assert blobs.run(LEFT_ALONE, url) == "interrupted\n"


def test_an_error_comes_from_another_thread(silent):
    url, server = silent
    server.close()
    caught = []

    def open_it():
        try:
            _core.Store(url)
        except errors.Error as e:
            caught.append(e)

    thread = threading.Thread(target=open_it)
    thread.start()
    thread.join(blobs.TIME_LIMIT_S)
    assert isinstance(caught[0], errors.ConnectionError)


def test_an_exception_while_rows_come(tmp_path, alarm):
    """A signal in the middle of a long answer stops the query."""
    store = _core.Store(tmp_path / "store", "create")
    ingest = _core.Ingest(store, "test")
    text = "x" * 100_000
    for i in range(150):  # more than is gathered at once
        ingest.add(str(i), [("data", "bytes", b"x")], [("text", text)])
    ingest.commit()
    ingest.close()
    n, stop = 0, 3

    def count(number, frame):
        nonlocal n
        n += 1
        if n == stop:
            raise Alarm

    signal.signal(signal.SIGALRM, count)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    with pytest.raises(Alarm):
        while True:
            store.query(columns=["text"])
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert len(store.query(columns=["text"])["text"]) == 150
    store.close()


def test_an_ingest_that_is_left_alone_stops(tmp_path, alarm):
    folder = tmp_path / "photos" / "class"
    folder.mkdir(parents=True)
    for i in range(400):
        (folder / f"{i}.png").write_bytes(png(i))
    for attempt in range(1000):
        store = _core.Store(tmp_path / f"store{attempt}", "create")
        alarm(0.005)
        try:
            _core.ingest_folder(store, tmp_path / "photos")
        except Alarm:
            break
        finally:
            alarm(0)
    else:
        pytest.fail("it was never interrupted")
    while True:  # until it has seen that nobody waits for it
        try:
            ingest = _core.Ingest(store, "test")
            break
        except errors.BusyError:
            pass
    ingest.close()
    assert store.info()["n_samples"] == 0
    assert _core.ingest_folder(store, tmp_path / "photos")["counts"]["added"] == 400
    store.close()


@pytest.mark.parametrize("on_main_thread", [True, False])
def test_a_callback_is_not_called_again_after_its_exception(tmp_path, on_main_thread):
    folder = tmp_path / "photos" / "class"
    folder.mkdir(parents=True)
    for i in range(20):
        (folder / f"{i}.png").write_bytes(b"no picture")
    calls, caught = [], []

    def report(*args):
        calls.append(args)
        raise Alarm

    def ingest():
        store = _core.Store(tmp_path / "store", "create")
        try:
            _core.ingest_folder(store, tmp_path / "photos", report=report)
        except Alarm as e:
            caught.append(e)
        store.close()

    if on_main_thread:
        ingest()
    else:
        thread = threading.Thread(target=ingest)
        thread.start()
        thread.join(blobs.TIME_LIMIT_S)
    assert len(calls) == len(caught) == 1
