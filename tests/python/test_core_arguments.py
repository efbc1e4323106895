"""Wrong arguments: an error that names them, and nothing worse."""

import pytest

import blobs
from sterna import _core, errors


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return _core.Store(blobs.make(tmp_path_factory.mktemp("arguments") / "store", 10))


@pytest.mark.parametrize("args, options, error, words", [
    ((), {}, TypeError, "Store(): url is missing"),
    ((3,), {}, TypeError, "Store(): url must be str, not int"),
    ((None,), {}, TypeError, "Store(): url must be str, not NoneType"),
    ((b"x",), {}, TypeError, "Store(): url must be str, not bytes"),
    (("a\0b",), {}, errors.InvalidError, "Store(): url must not have a NUL character in it"),
    (("x", "rw"), {}, errors.InvalidError, "'read', 'write', 'create', not 'rw'"),
    (("x", 1), {}, TypeError, "Store(): mode must be str, not int"),
    (("x", "read", None), {}, TypeError, "takes 2 arguments by position, not 3"),
    (("x",), {"url": "y"}, TypeError, "Store(): url is given twice"),
    (("x",), {"nothing": 1}, TypeError, "Store() has no argument 'nothing'"),
    (("x",), {"dataset_id": b"123"}, errors.InvalidError, "dataset_id must have 16 bytes, not 3"),
    (("x",), {"dataset_id": "text"}, TypeError, "dataset_id must be bytes-like or None, not str"),
])
def test_store(args, options, error, words):
    with pytest.raises(error) as caught:
        _core.Store(*args, **options)
    assert words in str(caught.value)


@pytest.mark.parametrize("options, error, words", [
    ({"batch_size": -1}, errors.InvalidError, "batch_size must be from 0 to 4294967295, not -1"),
    ({"batch_size": 2**32}, errors.InvalidError, "not 4294967296"),
    ({"batch_size": 1.5}, TypeError, "batch_size must be int, not float"),
    ({"batch_size": "8"}, TypeError, "batch_size must be int, not str"),
    ({"batch_size": 0}, errors.InvalidError, "batch"),
    ({"seed": 2**64}, errors.InvalidError, "seed must be from 0 to 18446744073709551615"),
    ({"seed": -1}, errors.InvalidError, "seed must be from 0"),
    ({"seed": None}, TypeError, "seed must be int, not NoneType"),
    ({"order": "random"}, errors.InvalidError, "order must be one of 'strict', 'arrival'"),
    ({"uneven": None}, TypeError, "uneven must be str"),
    ({"rank": 1}, errors.InvalidError, "rank"),
    ({"fields": "data"}, TypeError, "fields must be a sequence of str or None, not str"),
    ({"fields": 3}, TypeError, "fields must be a sequence of str or None, not int"),
    ({"fields": [3]}, TypeError, "fields"),
    ({"fields": ["a\0"]}, errors.InvalidError, "NUL"),
    ({"state": "text"}, TypeError, "state must be bytes-like or None, not str"),
    ({"state": b"nothing"}, errors.FormatError, ""),
    ({"expect_selection": b"1"}, errors.InvalidError, "must have 32 bytes, not 1"),
    ({"on_error": "ignore"}, errors.InvalidError, "'raise', 'substitute', 'mask', not 'ignore'"),
])
def test_loader(store, options, error, words):
    with pytest.raises(error) as caught:
        _core.Loader(store, store.select(), **options)
    assert words in str(caught.value)


def test_wrong_objects(store):
    selection = store.select()
    for args in ((), (store,), (selection, store), (store, store), (None, selection), (3, 4)):
        with pytest.raises(TypeError):
            _core.Loader(*args)
    for use in (lambda: _core.copy(store, selection), lambda: _core.copy(store, 3),
                lambda: _core.ingest_folder("x", "y"), lambda: _core.Ingest(3, "x"),
                lambda: _core.save_state(b"", 3, "x"), lambda: selection.save_as(3, "x"),
                lambda: _core.copy(store, store, progress=3)):
        with pytest.raises(TypeError):
            use()


class Index:
    def __init__(self, value):
        self.value = value

    def __index__(self):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


def test_whatever_is_an_index_is_a_number(store):
    loader = _core.Loader(store, store.select(), batch_size=Index(4))
    assert loader.next(Index(1000)).n_rows == 4
    loader.close()
    with pytest.raises(ZeroDivisionError):
        _core.Loader(store, store.select(), batch_size=Index(ZeroDivisionError()))


class Truth:
    def __bool__(self):
        raise ZeroDivisionError


class Words:
    """A sequence that changes its mind."""

    def __len__(self):
        return 3

    def __getitem__(self, i):
        if i == 1:
            raise ZeroDivisionError
        return "data"


def test_errors_of_objects_come_through(store):
    with pytest.raises(ZeroDivisionError):
        _core.Loader(store, store.select(), shuffle=Truth())
    with pytest.raises(ZeroDivisionError):
        _core.Loader(store, store.select(), fields=Words())
    with pytest.raises(ZeroDivisionError):
        store.split(Words())


def test_raw_bytes_in_names(tmp_path):
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    store = _core.Store(tmp_path / name, "create")
    ingest = _core.Ingest(store, "test")
    ingest.add(name, [("data", "bytes", b"x")], [("text", name)])
    ingest.commit()
    ingest.close()
    assert store.query(columns=["path", "text"]) == {"path": [name], "text": [name]}
    store.close()


@pytest.mark.parametrize("wrong", [b"", None, 3.5, [], "x", 2**70, -2**70])
def test_next_takes_milliseconds(store, wrong):
    loader = _core.Loader(store, store.select())
    with pytest.raises((TypeError, errors.InvalidError)):
        loader.next(wrong)
    with pytest.raises(TypeError):
        loader.next(1, 2)
    loader.close()
