"""Arrays of the extension: where they lie, what they offer, how long they live."""

import ctypes
import gc
import sys
import threading

import numpy as np
import pytest

import blobs
from sterna import _core, errors

N = 100
BATCH = 32


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return blobs.make(tmp_path_factory.mktemp("array") / "store", N)


@pytest.fixture
def store(url):
    store = _core.Store(url)
    yield store
    store.close()


@pytest.fixture
def selection(store):
    return store.select()


@pytest.fixture
def batch(store, selection):
    loader = _core.Loader(store, selection, batch_size=BATCH, seed=1)
    yield loader.next()
    loader.close()


def test_sizes_types_and_alignment(batch):
    columns = {"index": ("int64", (BATCH,)), "ids": ("uint8", (BATCH, 16)),
               "valid": ("bool", (BATCH,)), "errors": ("int32", (BATCH,)),
               "labels": ("int64", (BATCH,))}
    for name, (dtype, shape) in columns.items():
        array = getattr(batch, name)
        assert (array.dtype, array.shape, len(array)) == (dtype, shape, BATCH), name
        assert array.address % 64 == 0, name
        assert array.nbytes == np.asarray(array).nbytes, name
        assert not array.readonly, name
    data = batch.field(blobs.DATA).data
    assert (data.dtype, len(data.shape), data.address % 64) == ("uint8", 1, 0)
    assert all(row is None or row.address % 64 == 0 for row in batch.field(blobs.DATA).samples())


def test_items(batch, selection):
    """Values, and rows that lie where they are."""
    for array in (batch.index, batch.labels, batch.errors, batch.valid, batch.field(blobs.DATA)[0],
                  selection.lengths(0), selection.labels()):
        want = np.asarray(array).tolist()
        assert list(array) == [array[i] for i in range(len(want))] == want
        assert array[-1] == want[-1] and type(array[0]) is type(want[0])
        for i in (len(want), -len(want) - 1):
            with pytest.raises(IndexError):
                array[i]
    for ids in (batch.ids, selection.ids()):
        row = ids[3]
        assert (row.shape, row.dtype, row.readonly) == ((16,), "uint8", ids.readonly)
        assert row.address == ids.address + 48
        assert bytes(row) == np.asarray(ids)[3].tobytes()
    del batch, selection, ids
    gc.collect()
    assert len(bytes(row)) == 16


def test_no_copy_is_made(batch):
    for array in (batch.index, batch.ids, batch.labels, batch.errors, batch.field(blobs.DATA).data,
                  *batch.field(blobs.DATA).samples()):
        view = np.asarray(array)
        assert view.dtype == array.dtype and view.shape == array.shape
        assert view.ctypes.data == array.address or view.size == 0
        tensor = np.from_dlpack(array)
        assert tensor.dtype == array.dtype and tensor.shape == array.shape
        assert tensor.ctypes.data == array.address or view.size == 0
        assert np.array_equal(tensor, view)
    assert np.asarray(batch.valid).ctypes.data == batch.valid.address
    assert batch.index.address == batch.index.address  # the same memory each time


def test_int64_is_numpys_own(batch):
    assert np.asarray(batch.index).dtype.num == np.dtype(np.int64).num


def test_rows_are_the_samples(store, batch):
    field, other = batch.field(blobs.DATA), batch.field(blobs.NOTE)
    data, offsets, lengths = field.data, field.offsets.tolist(), field.lengths.tolist()
    for row, index in enumerate(batch.index.tolist()):
        want = blobs.blob(index)
        assert bytes(field[row]) == want
        assert bytes(memoryview(data)[offsets[row]:offsets[row] + lengths[row]]) == want
        assert lengths[row] == len(want)
        note = other[row]
        assert (note is None) == (index % 3 != 0)
        assert note is None or bytes(note) == f"note {index}".encode()
    assert len(field) == len(field.samples()) == BATCH
    assert field[-1].address == field[BATCH - 1].address
    with pytest.raises(IndexError, match="row 32 of a batch of 32"):
        field[BATCH]


def test_copy_into(batch):
    field = batch.field(blobs.DATA)
    size = field.copy_bytes()
    memory = np.full(size + 5, 9, np.uint8)
    offsets = field.copy_into(memory)
    for row, offset in enumerate(offsets.tolist()):
        sample = bytes(field[row])
        assert offset % 64 == 0 and memory[offset:offset + len(sample)].tobytes() == sample
    assert (memory[size:] == 9).all()
    with pytest.raises(errors.InvalidError, match=str(size)):
        field.copy_into(bytearray(size - 1))
    with pytest.raises(BufferError):
        field.copy_into(bytes(size))
    with pytest.raises(TypeError):
        field.copy_into(3)


def test_tolist(batch):
    assert batch.index.tolist() == np.asarray(batch.index).tolist()
    assert batch.ids.tolist() == np.asarray(batch.ids).tolist()
    assert batch.valid.tolist() == [True] * BATCH


def test_small_columns_may_be_written(batch):
    np.asarray(batch.labels)[:] = 7
    assert batch.labels.tolist() == [7] * BATCH
    memoryview(batch.field(blobs.DATA).data)[0] = 1


def test_arrays_of_a_selection_cannot_be_written(selection):
    for array in (selection.ids(), selection.labels(), selection.lengths(blobs.DATA)):
        assert array.readonly and memoryview(array).readonly
        view = np.asarray(array)
        assert view.ctypes.data == array.address
        with pytest.raises(ValueError):
            view[0] = 0
        with pytest.raises(TypeError, match="not writable"):
            (ctypes.c_char * array.nbytes).from_buffer(array)
        with pytest.raises(BufferError, match="copy=True"):
            array.__dlpack__()


# What a consumer of each form of DLPack does with a capsule.

capsule_name = ctypes.pythonapi.PyCapsule_GetName
capsule_name.argtypes, capsule_name.restype = [ctypes.py_object], ctypes.c_char_p
capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
capsule_pointer.restype = ctypes.c_void_p
rename_capsule = ctypes.pythonapi.PyCapsule_SetName
rename_capsule.argtypes = [ctypes.py_object, ctypes.c_char_p]


class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32),
                ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8),
                ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


class Legacy(ctypes.Structure):
    _fields_ = [("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class Versioned(ctypes.Structure):
    _fields_ = [("major", ctypes.c_uint32), ("minor", ctypes.c_uint32),
                ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p),
                ("flags", ctypes.c_uint64), ("tensor", Tensor)]


def look(capsule):
    """(its name, the struct in it)"""
    name = capsule_name(capsule)
    kind = {b"dltensor": Legacy, b"dltensor_versioned": Versioned}[name]
    return name.decode(), kind.from_address(capsule_pointer(capsule, name))


def test_dlpack_of_two_dimensions(batch):
    capsule = batch.ids.__dlpack__()
    name, managed = look(capsule)
    tensor = managed.tensor
    assert name == "dltensor" and tensor.data == batch.ids.address
    assert (tensor.device_type, tensor.device_id, tensor.byte_offset) == (1, 0, 0)
    assert (tensor.code, tensor.bits, tensor.lanes, tensor.ndim) == (1, 8, 1, 2)
    assert tensor.shape[:2] == [BATCH, 16] and tensor.strides[:2] == [16, 1]


@pytest.mark.parametrize("column, code, bits", [("index", 0, 64), ("labels", 0, 64),
                                                ("errors", 0, 32), ("valid", 6, 8)])
def test_dlpack_types(batch, column, code, bits):
    capsule = getattr(batch, column).__dlpack__()
    tensor = look(capsule)[1].tensor
    assert (tensor.code, tensor.bits, tensor.ndim, tensor.strides[0]) == (code, bits, 1, 1)


def test_dlpack_versions(batch, selection):
    assert batch.ids.__dlpack_device__() == (1, 0)
    for version, name in ((None, "dltensor"), ((0, 8), "dltensor"),
                          ((1, 0), "dltensor_versioned"), ((1, 3), "dltensor_versioned"),
                          ((2, 0), "dltensor_versioned")):
        capsule = batch.ids.__dlpack__(stream=None, max_version=version)
        assert look(capsule)[0] == name, version
    capsule = batch.ids.__dlpack__(max_version=(1, 0), dl_device=(1, 0), copy=False)
    managed = look(capsule)[1]
    assert (managed.major, managed.flags) == (1, 0)
    ids = selection.ids()
    capsule = ids.__dlpack__(max_version=(1, 0))
    managed = look(capsule)[1]
    assert (managed.flags, managed.tensor.data) == (1, ids.address)  # read-only


def test_dlpack_copies_when_asked(selection):
    ids = selection.ids()
    for version, flags in ((None, None), ((1, 0), 2)):
        capsule = ids.__dlpack__(max_version=version, copy=True)
        managed = look(capsule)[1]
        assert managed.tensor.data != ids.address and managed.tensor.data % 64 == 0
        assert ctypes.string_at(managed.tensor.data, ids.nbytes) == bytes(ids)
        assert flags is None or managed.flags == flags


@pytest.mark.parametrize("wrong, error", [
    ({"dl_device": (2, 0)}, BufferError), ({"dl_device": (1, 1)}, BufferError),
    ({"dl_device": 1}, TypeError), ({"max_version": (1,)}, TypeError),
    ({"max_version": ("a", 0)}, TypeError), ({"max_version": (10**30, 0)}, OverflowError),
    ({"bogus": 1}, TypeError),
])
def test_dlpack_refuses(batch, wrong, error):
    with pytest.raises(error):
        batch.ids.__dlpack__(**wrong)
    with pytest.raises(TypeError):
        batch.ids.__dlpack__(None)


def leases(loader):
    return loader.stats()["leases"]


def test_memory_lives_as_long_as_a_view(store, selection):
    loader = _core.Loader(store, selection, batch_size=BATCH, seed=1)
    batch = loader.next()
    field = batch.field(blobs.DATA)
    want = [bytes(row) for row in field.samples()]
    views = {"array": field.data, "view": memoryview(field.data), "numpy": np.asarray(field.data),
             "dlpack": np.from_dlpack(field.data), "row": field[3], "field": field,
             "unused": field.data.__dlpack__(), "newer": field.data.__dlpack__(max_version=(1, 0))}
    offsets = field.offsets.tolist()
    del batch, field
    for name in list(views):
        gc.collect()
        assert leases(loader) == 1, name
        if name == "numpy":
            assert views[name][offsets[3]:offsets[3] + len(want[3])].tobytes() == want[3]
        del views[name]
    assert leases(loader) == 0
    loader.close()


def test_memory_outlives_loader_and_store(url):
    store = _core.Store(url)
    selection = store.select()
    loader = _core.Loader(store, selection, batch_size=BATCH, seed=1)
    batch = loader.next()
    indices, ids = batch.index, selection.ids()
    rows = batch.field(blobs.DATA).samples()
    loader.close()
    selection.close()
    store.close()
    del loader, selection, store, batch
    gc.collect()
    assert [bytes(row) for row in rows] == [blobs.blob(i) for i in indices.tolist()]
    assert len(bytes(ids)) == 16 * N


def test_small_columns_do_not_hold_the_lease(store, selection):
    loader = _core.Loader(store, selection, batch_size=BATCH)
    columns = loader.next().index
    assert leases(loader) == 0 and len(columns) == BATCH
    loader.close()


def test_release_on_another_thread(store, selection):
    loader = _core.Loader(store, selection, batch_size=BATCH)
    held = [loader.next().field(blobs.DATA).data]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert leases(loader) == 0
    loader.close()


def test_release_on_a_thread_without_python(store, selection):
    """A framework's deleter runs on its own thread, which has never heard of the GIL."""
    loader = _core.Loader(store, selection, batch_size=BATCH)
    libc = ctypes.CDLL(None)
    for version in (None, (1, 0)):
        capsule = loader.next().field(blobs.DATA).data.__dlpack__(max_version=version)
        name, managed = look(capsule)
        rename_capsule(capsule, b"used")
        del capsule
        assert leases(loader) == 1
        thread = ctypes.c_ulong()
        # ctypes.PyDLL would hold the GIL: the deleter does not want it
        assert libc.pthread_create(ctypes.byref(thread), None, ctypes.c_void_p(managed.deleter),
                                   ctypes.byref(managed)) == 0
        assert libc.pthread_join(thread, None) == 0
        assert leases(loader) == 0
    loader.close()


AFTER_THE_END = """
import ctypes, sys
from sterna import _core
sys.path.insert(0, sys.argv[2])
import test_core_array as t
store = _core.Store(sys.argv[1])
selection = store.select()
loader = _core.Loader(store, selection, batch_size=8)
libc = ctypes.CDLL(None)
libc.__cxa_atexit.argtypes = [ctypes.c_void_p] * 3
for array in (loader.next().field(1).data, loader.next().index, selection.ids()):
    capsule = array.__dlpack__(max_version=(1, 0))
    name, managed = t.look(capsule)
    t.rename_capsule(capsule, t.NAME)
    # exit() calls it, when Python is gone
    assert libc.__cxa_atexit(managed.deleter, ctypes.addressof(managed), None) == 0
print("to the end")
"""
NAME = b"used"


def test_release_after_finalisation(url):
    assert blobs.run(AFTER_THE_END, url, sys.path[0]) == "to the end\n"


def test_types_cannot_be_made_or_derived():
    for kind in (_core.Array, _core.Field, _core.Batch, _core.Selection):
        with pytest.raises(TypeError):
            kind()
    for kind in (_core.Array, _core.Store, _core.Loader):
        with pytest.raises(TypeError):
            type("Derived", (kind,), {})
        with pytest.raises(TypeError):
            kind.extra = 1


def test_reprs(batch, selection):
    assert repr(batch.ids) == "<sterna array (32, 16) of uint8>"
    assert repr(selection.labels()) == "<sterna array (100,) of int64, read-only>"
    assert "32 rows" in repr(batch) and "'data'" in repr(batch.field(blobs.DATA))
    assert "100 samples" in repr(selection)
