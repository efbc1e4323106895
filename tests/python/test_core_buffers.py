"""Buffers of the consumer's, which batches are read into."""

import ctypes
import gc
import mmap
import os
import threading

import pytest

import blobs
from sterna import _core, errors

N = 120
BATCH = 16
BYTES = 1 << 16  # more than any batch takes


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return blobs.make(tmp_path_factory.mktemp("buffers") / "store", N)


@pytest.fixture
def store(url):
    store = _core.Store(url)
    yield store
    store.close()


@pytest.fixture
def loader(store):
    """Without buffers it reads some batches ahead."""
    loader = _core.Loader(store, store.select(), batch_size=BATCH, epochs=0, memory_bytes=1 << 19)
    yield loader
    loader.close()


def address(buffer):
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


class Lender:
    """Lends pages, and knows which of them a batch lies in."""

    def __init__(self, loader, n_bytes=BYTES):
        self.loader = loader
        self.n_bytes = n_bytes
        self.buffers = []
        self.places = {}

    def lend(self):
        buffer = mmap.mmap(-1, self.n_bytes)
        self.places[address(buffer)] = len(self.buffers)
        self.buffers.append(buffer)
        self.loader.give_buffer(buffer)

    def find(self, batch):
        data = batch.field(0).data
        return None if data is None else self.places.get(data.address)


def is_held(buffer):
    """Pages that somebody has a view of cannot be unmapped."""
    try:
        buffer.close()
    except BufferError:
        return True
    return False


def test_batches_lie_in_them_in_order(loader):
    lender = Lender(loader)
    found = []
    while len(found) < 50:
        batch = loader.next()
        lender.lend()
        place = lender.find(batch)
        if place is None:  # when it was planned there was no buffer
            continue
        found.append(place)
        image, data, note = map(batch.field, range(3))
        start = image.data.address
        assert data.data.address == start + image.data.nbytes
        assert note.data.address == data.data.address + data.data.nbytes
        for row, i in enumerate(batch.index.tolist()):
            assert bytes(data[row]) == blobs.blob(i)
            assert (note[row] is None) == (i % 3 != 0)
    assert found == list(range(50))
    stats = loader.stats()
    assert stats["buffers_short"] == 0
    assert 50 <= stats["buffers_used"] <= stats["buffers_given"] == len(lender.buffers)


def first_inside(loader, lender):
    while True:
        lender.lend()
        batch = loader.next()
        place = lender.find(batch)
        if place is not None:
            return batch, lender.buffers[place]


def test_they_are_held_while_anything_of_the_batch_is_left(loader):
    batch, buffer = first_inside(loader, Lender(loader))
    row = batch.field(1)[0]
    want = bytes(row)
    del batch
    assert is_held(buffer)
    loader.close()
    assert is_held(buffer) and bytes(row) == want
    del row
    assert not is_held(buffer)


def test_close_lets_go_of_those_that_no_batch_has(loader):
    lender = Lender(loader)
    while loader.stats()["buffers_given"] < loader.stats()["buffers_used"] + 3:
        lender.lend()
    assert is_held(lender.buffers[-1])
    loader.close()
    assert not any(map(is_held, lender.buffers))


def test_one_that_is_too_short_is_let_go(loader):
    lender = Lender(loader, 64)
    lender.lend()
    while loader.stats()["buffers_short"] == 0:
        batch = loader.next()
        assert lender.find(batch) is None
        del batch
    loader.next()
    assert not is_held(lender.buffers[0])
    batch, _ = first_inside(loader, Lender(loader))
    assert lender.find(batch) is None


def test_another_thread_may_be_the_last(loader):
    batch, buffer = first_inside(loader, Lender(loader))
    held = [batch.field(1).data]
    del batch
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert not is_held(buffer)


def test_tensors_keep_them(loader):
    torch = pytest.importorskip("torch")
    batch, buffer = first_inside(loader, Lender(loader))
    tensor = torch.from_dlpack(batch.field(1).data)
    assert tensor.data_ptr() == batch.field(1).data.address
    want = bytes(batch.field(1).data)
    del batch
    assert is_held(buffer) and bytes(tensor.numpy()) == want
    loader.close()
    del tensor  # whose deleter knows no Python,
    gc.collect()
    loader.close()  # but each call does
    assert not is_held(buffer)


def test_nothing_is_left_of_many(loader):
    lender = Lender(loader)
    while loader.stats()["buffers_used"] < 2000:
        lender.lend()
        loader.next()
    loader.close()
    assert not any(map(is_held, lender.buffers))


def test_what_is_refused(store, loader):
    pages = mmap.mmap(-1, BYTES)
    with pytest.raises(errors.InvalidError, match="multiple of 64"):
        loader.give_buffer(memoryview(pages)[32:])
    with pytest.raises(errors.InvalidError, match="0 bytes"):
        loader.give_buffer(memoryview(pages)[:0])
    with pytest.raises(BufferError):
        loader.give_buffer(bytes(BYTES))
    with pytest.raises(BufferError):
        loader.give_buffer(memoryview(pages)[::2])
    with pytest.raises(TypeError):
        loader.give_buffer(None)
    arrival = _core.Loader(store, store.select(), order="arrival")
    with pytest.raises(errors.InvalidError, match="arrival"):
        arrival.give_buffer(pages)
    arrival.close()
    loader.close()
    with pytest.raises(errors.InvalidError, match="closed"):
        loader.give_buffer(pages)
    assert not is_held(pages)


def test_a_forked_child_has_none_of_them(loader):
    batch, buffer = first_inside(loader, Lender(loader))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            loader.give_buffer(mmap.mmap(-1, BYTES))
        except errors.ForkedError:
            del batch
            loader.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert is_held(buffer)
    del batch
    assert not is_held(buffer)
