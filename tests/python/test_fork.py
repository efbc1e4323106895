"""A forked child gets a clear error and can open its own, and leaves its parent's alone."""

import os
import traceback

import pytest
import sterna
from conftest import EACH, N
from sterna import errors


def in_child(work):
    """What work() returns in a forked child; its traceback, if it raised."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = str(work())
        except BaseException:
            text = traceback.format_exc()
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read().decode()
    assert os.waitpid(pid, 0)[1] == 0, text
    return text


def refused(use):
    try:
        use()
    except errors.ForkedError as e:
        assert isinstance(e, RuntimeError)
        return str(e)
    raise AssertionError("no ForkedError")


def test_data_sets(ds, url):
    ones = ds.where("label = 1")
    uses = [
        lambda: len(ones), lambda: ones.ids, lambda: ones.targets, lambda: ones.classes,
        lambda: ones.where("1"), lambda: ones.metadata(), lambda: ones[0], lambda: next(iter(ones)),
        lambda: ones.fetch(ds.ids[:1]), lambda: ones.split({"a": 1.0}), lambda: ones.sample(3),
        lambda: ones.info(), lambda: ones.loader(4, fields=["image"]).start(), lambda: ones.runs,
    ]  # fmt: skip

    def child():
        for use in uses:
            message = refused(use)
            assert url in message and "reopen()" in message
        assert "ForkedError" not in repr(ones) and "fork" in ones._repr_html_()
        again = ones.reopen()
        assert len(again) == EACH and len(sterna.open(url)) == N
        with again.loader(4) as loader:
            assert sum(batch.n_valid for batch in loader) == EACH
        ones.close()
        return "done"

    assert in_child(child) == "done"
    assert len(ones) == EACH
    with ones.loader(4) as loader:
        assert sum(batch.n_valid for batch in loader) == EACH


def test_loaders(ds):
    with ds.loader(8, seed=1) as loader:
        iterator = iter(loader)
        first = next(iterator)
        data = bytes(first.image[0])

        def child():
            for use in (lambda: next(iterator), lambda: iter(loader), loader.start,
                        lambda: loader.load_state_dict(first.state)):  # fmt: skip
                assert "before a fork" in refused(use)
            assert bytes(first.image[0]) == data  # what lies in memory already
            loader.close()
            other = ds.reopen().loader(8, seed=1)
            assert next(iter(other)).ids == first.ids
            return "done"

        assert in_child(child) == "done"
        assert [batch.step for batch in iterator] == list(range(1, 8))


def test_while_another_thread_waits(ds):
    """The child has a copy of locks that nobody will ever give back."""
    import threading

    from conftest import wait_until

    loader = ds.loader(8, max_rate=1)
    iterator = iter(loader)

    def wait():
        with pytest.raises(errors.CanceledError):
            next(iterator)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(loader._pulling.locked, "the wait")

    def child():
        refused(lambda: next(iterator))
        loader.close()
        return len(ds.reopen())

    assert in_child(child) == str(N)
    loader.cancel()
    thread.join()
    loader.close()


def test_what_was_not_open_yet_is_the_childs(ds):
    import pickle

    there = pickle.loads(pickle.dumps(ds))
    loader = there.loader(8)

    def child():
        return len(there), sum(batch.n_valid for batch in loader)

    assert in_child(child) == str((N, N))
    assert len(there) == N


def test_a_childs_exit_leaves_the_parent_alone(ds):
    """Objects of the parent are taken apart in a child that ends as a program does."""
    with ds.loader(8, seed=1) as loader:
        iterator = iter(loader)
        next(iterator)
        pid = os.fork()
        if pid == 0:
            import gc

            del loader, iterator, ds
            gc.collect()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert sum(1 for _ in iterator) == 7
