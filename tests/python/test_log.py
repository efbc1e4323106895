"""Lines of the C library reach logging, also while a loader waits."""

import logging
import threading

import pytest
import sterna
from conftest import wait_until
from sterna import _core, log


@pytest.fixture
def lines(monkeypatch):
    """What the library is made to have logged; take_log() gives it once."""
    waiting = []

    def take():
        taken, waiting[:] = list(waiting), []
        return taken

    monkeypatch.setattr(_core, "take_log", take)
    return waiting


def test_levels(lines, caplog):
    lines += [(1, "an error"), (2, "a warning"), (3, "news"), (9, "100% of something later")]
    with caplog.at_level(logging.DEBUG, "sterna"):
        log.drain()
    assert [(r.name, r.levelno, r.getMessage()) for r in caplog.records] == [
        ("sterna", logging.ERROR, "an error"),
        ("sterna", logging.WARNING, "a warning"),
        ("sterna", logging.INFO, "news"),
        ("sterna", logging.INFO, "100% of something later"),
    ]
    assert lines == []


def test_each_call_that_matters_looks(lines, caplog, url):
    def logged():
        texts = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return texts

    lines.append((2, "at open"))
    ds = sterna.open(url)
    assert logged() == ["at open"]
    lines.append((2, "at a choice"))
    ds.where("label = 0")
    assert logged() == ["at a choice"]
    loader = ds.loader(8)
    lines.append((2, "at start"))
    loader.start()
    assert logged() == ["at start"]
    lines.append((2, "at next"))
    next(iter(loader))
    assert logged() == ["at next"]
    lines.append((2, "at close"))
    loader.close()
    assert logged() == ["at close"]


def test_a_failed_open_has_logged_before(lines, caplog, tmp_path):
    lines.append((2, "no server answers"))
    with pytest.raises(sterna.NotFound):
        sterna.open(tmp_path / "nothing")
    assert [record.getMessage() for record in caplog.records] == ["no server answers"]


def test_a_wait_looks_now_and_then(lines, caplog, ds):
    with ds.loader(8, max_rate=1, memory="64MB") as loader:  # a byte a second: nothing comes
        raised = []

        def wait():
            try:
                next(iter(loader))
            except sterna.CanceledError as e:
                raised.append(e)

        thread = threading.Thread(target=wait)
        thread.start()
        wait_until(lambda: loader.stats()["requests"] > 0 or thread.is_alive(), "the wait")
        lines.append((2, "a node is silent"))
        wait_until(lambda: not lines, "the line")
        loader.cancel()
        thread.join()
    assert raised
    assert "a node is silent" in [record.getMessage() for record in caplog.records]
