"""What a data set tells, how samples are chosen, and how it is opened and closed."""

import gc
import itertools
import os
import pathlib
import shutil
import struct
import uuid
import weakref
from types import SimpleNamespace

import pytest
import sterna
import support
from conftest import CLASSES, EACH, N, add_samples
from sterna import _core, errors, fields
from sterna.ids import Ids, pack


def npy(header, data=b""):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


@pytest.fixture(scope="module")
def kinds(session_dir):
    """Samples with a field of each kind, and one with none of them."""
    ints = bytes(itertools.chain.from_iterable((i, 0, 0, 0) for i in range(6)))
    depth = npy("{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }", ints)
    full = [
        ("raw", "bytes", b"\0\xff"),
        ("caption", "text", "ein Vögel".encode()),
        ("boxes", "json", b'{"box": [1, 2.5, null]}'),
        ("depth", "npy", depth),
        ("mask", "mask", support.png(1)),
    ]
    few = [("other", "bytes", b"b"), *((name, kind, None) for name, kind, _ in full)]
    samples = [
        ("a", full, [("class", "bird"), ("score", 0.5), ("n", 3)]),
        ("b", few, [("class", "cat"), ("score", None), ("n", 4)]),
    ]
    return add_samples(os.path.join(session_dir, "kinds"), samples)


# ---- facts ----


def test_facts(ds, url, photos):
    assert len(ds) == N
    assert ds.fields == {"image": "image"}
    assert ds.columns["path"] == "text" and ds.columns["width"] == "integer"
    assert ds.classes == ["class0", "class1", "class2"]
    assert ds.class_to_idx == {"class0": 0, "class1": 1, "class2": 2}
    assert ds.targets.tolist() == [c for c in range(CLASSES) for _ in range(EACH)]
    assert (ds.targets.dtype, ds.targets.shape) == ("int64", (N,))
    assert [run["n_samples"] for run in ds.runs] == [N] and ds.run == 1
    assert ds.url == url
    info = ds.info()
    assert (info["n_samples"], info["selected"], info["last_run"]) == (N, N, 1)
    assert info["classes"] == {f"class{c}": EACH for c in range(CLASSES)}
    assert info["n_bytes"] == info["selected_bytes"] == sum(map(len, photos.values()))
    assert uuid.UUID(info["dataset_id"]) and info["hash"] == ds.hash


def test_metadata_is_in_the_order_of_the_samples(ds, photos):
    table = ds.metadata()
    assert table["path"] == sorted(photos)
    assert table["id"] == list(ds.ids)
    assert table["label"] == ds.targets.tolist()
    assert set(table) == set(ds.columns)
    chosen = ds.sample(7, seed=3)
    assert chosen.metadata(["id"]) == {"id": list(chosen.ids)}
    assert ds.where("label = 1").metadata(["class"]) == {"class": ["class1"] * EACH}
    assert ds.select([]).metadata(["path"]) == {"path": []}
    with pytest.raises(errors.InvalidError, match="colour"):
        ds.metadata(["colour"])


def test_ids(ds):
    ids = ds.ids
    assert len(ids) == N and ids[0] == ids[-N] == next(iter(ids))
    assert list(ids[2:5]) == [ids[2], ids[3], ids[4]]
    assert list(ids[::-1]) == list(ids)[::-1]
    assert ids[3] in ids and str(uuid.uuid4()) not in ids and "no id" not in ids and 3 not in ids
    assert ids.index(ids[4]) == 4
    assert ids == list(ids) == Ids(bytes(ids)) and ids != list(ids)[:-1] and ids != 3
    assert "n=60" in repr(ids)
    with pytest.raises(IndexError):
        ids[N]
    with pytest.raises(errors.InvalidError):
        Ids(b"123")


def test_ids_in_all_shapes():
    texts = [str(uuid.UUID(int=i * 2**96 + 7)) for i in range(1, 4)]
    packed = b"".join(uuid.UUID(text).bytes for text in texts)
    for form in (
        texts, tuple(texts), iter(texts), Ids(packed), packed, bytearray(packed),
        memoryview(packed), [uuid.UUID(text) for text in texts],
        [text.encode() for text in texts], [text.upper() for text in texts],
        [uuid.UUID(text).bytes for text in texts],
    ):  # fmt: skip
        assert bytes(pack(form)) == packed
    assert bytes(pack(texts[0])) == bytes(pack(uuid.UUID(texts[0]))) == packed[:16]
    assert bytes(pack([])) == b""
    for wrong in ("no id", [3], 3, b"12345", ["abc"], [b"abc"], None):
        with pytest.raises(errors.InvalidError):
            pack(wrong)


def test_ids_of_numpy_arrays():
    numpy = pytest.importorskip("numpy")
    texts = [str(uuid.UUID(int=i)) for i in range(3)]
    packed = b"".join(uuid.UUID(text).bytes for text in texts)
    rows = numpy.frombuffer(packed, numpy.uint8).reshape(3, 16)
    assert bytes(pack(rows)) == packed
    assert bytes(pack(numpy.array(texts))) == packed
    assert bytes(pack(numpy.array([t.encode() for t in texts], object))) == packed


# ---- choosing ----


def test_where(ds):
    ones = ds.where("label = 1")
    assert len(ones) == EACH and set(ones.targets.tolist()) == {1}
    some = ones.where("path LIKE '%5.%' -- of two digits").where("width > 0 OR 1")
    assert some.metadata(["path"])["path"] == sorted(
        path for path in ones.metadata(["path"])["path"] if "5." in path
    )
    assert len(ds.where("label = 1 OR label = 2").where("label = 0 OR label = 2")) == EACH
    assert len(ds) == N  # as it was
    assert len(ds.where("0")) == 0
    with pytest.raises(errors.QueryError, match="widht"):
        ds.where("widht > 3")
    with pytest.raises(errors.QueryError):
        ones.where("")


def test_select_ids_in_any_order(ds):
    wanted = list(ds.ids)[10:20][::-1]
    chosen = ds.select(wanted)
    assert chosen.ids == wanted
    assert chosen.targets.tolist() == [0] * 10
    assert chosen.where("path LIKE '%1.%'").ids == [
        id for id, path in zip(wanted, chosen.metadata(["path"])["path"]) if "1." in path
    ]
    assert ds.where("label = 1").select(list(ds.ids)[:30]).ids == list(ds.ids)[20:30]
    assert len(ds.select(ids=[])) == 0
    with pytest.raises(errors.NotFound):
        ds.select([str(uuid.uuid4())])
    with pytest.raises(errors.InvalidError, match="twice"):
        ds.select([wanted[0], wanted[0]])
    with pytest.raises(errors.InvalidError, match="one of"):
        ds.select(wanted, name="x")


def test_saved_selections(own_store, tmp_path):
    with sterna.open(own_store, "write") as ds:
        ones = ds.where("label = 1")
        ones.save("ones")
        ones.save(tmp_path / "ones")
        ones.save(str(tmp_path / "ones.sel"))
    listed = tmp_path / "ids.txt"
    with sterna.open(own_store) as ds:
        listed.write_text("# some\n" + "\n".join(ds.ids[5:8]) + "\n")
        for again in (
            ds.select("ones"), ds.select(name="ones"), ds.select(tmp_path / "ones"),
            ds.select(str(tmp_path / "ones.sel")), ds.select(file=tmp_path / "ones"),
        ):  # fmt: skip
            assert again.hash == ones_hash(ds)
        assert ds.select("ones").where("label = 2").ids == []
        assert ds.where("label > 0").select("ones").hash == ones_hash(ds)
        assert ds.select(ids_file=listed).ids == list(ds.ids)[5:8]
        assert ds.select("ones").loader(4, columns=["path"]).start() is None
        with pytest.raises(errors.NotFound, match="twos"):
            ds.select("twos")
        with pytest.raises(errors.NotFound):
            ds.select(tmp_path / "twos.sel")


def ones_hash(ds):
    return ds.where("label = 1").hash


def test_split(ds):
    parts = ds.split({"train": 0.8, "val": 0.2}, seed=7, stratify="label")
    train, val = parts
    assert parts.train is parts["train"] is train and list(parts.keys()) == ["train", "val"]
    assert "val" in parts and "test" not in parts and len(parts) == 2
    assert dict(parts.items()) == dict(parts) == {"train": train, "val": val}
    assert sorted([*train.ids, *val.ids]) == sorted(ds.ids)
    assert 0 < len(val) < len(train)
    assert {row["part"] for row in parts.report} == {"train", "val"}
    again = ds.split({"train": 0.8, "val": 0.2}, seed=7)
    assert [part.hash for part in again] == [train.hash, val.hash]
    other = ds.split({"train": 0.8, "val": 0.2}, seed=8)
    assert other.train.hash != train.hash
    with pytest.raises(AttributeError):
        parts.test
    with pytest.raises(errors.InvalidError):
        ds.split({"train": 0.8, "val": 0.3})


def test_split_of_a_choice_keeps_groups_and_shares(ds):
    chosen = ds.where("label < 2")
    train, val = chosen.split({"train": 0.5, "val": 0.5}, exact=True, stratify="label")
    assert sorted([*train.ids, *val.ids]) == sorted(chosen.ids)
    assert [list(part.targets.tolist()).count(1) for part in (train, val)] == [10, 10]
    a, b = ds.split({"a": 0.5, "b": 0.5}, by="class")
    assert not set(a.targets.tolist()) & set(b.targets.tolist())
    assert len(train.where("label = 1")) == 10


def test_split_saves_only_if_told(own_store):
    with sterna.open(own_store, "write") as ds:
        ds.split({"train": 0.9, "val": 0.1})
        assert not os.path.exists(os.path.join(own_store, "selections"))
        train, val = ds.split({"train": 0.9, "val": 0.1}, save=True)
        assert ds.select("train").hash == train.hash and ds.select("val").hash == val.hash


def test_sample(ds):
    five = ds.sample(5, seed=3)
    with ds.loader(5, seed=3) as loader:
        assert next(iter(loader)).ids == five.ids
    assert ds.sample(9, seed=3).ids[:5] == five.ids
    assert ds.sample(5, seed=4).ids != five.ids
    assert sorted(ds.sample(1000).ids) == sorted(ds.ids)
    assert len(ds.sample(0)) == 0
    assert set(ds.where("label = 2").sample(4).targets.tolist()) == {2}
    with pytest.raises(errors.InvalidError):
        ds.sample(-1)


def test_a_data_set_does_not_change(own_store, tmp_path):
    before = sterna.open(own_store)
    old_hash, old_part = before.hash, before.split({"a": 0.5, "b": 0.5}).a
    add_samples(
        own_store,
        [("class0/new", [("image", "image", support.jpeg(12345))], [("class", "class0")])],
    )
    assert (len(before), before.hash) == (N, old_hash)
    assert len(before.where("label = 0")) == EACH
    assert len(before.metadata(["path"])["path"]) == N
    after = sterna.open(own_store)
    assert len(after) == N + 1 and len(after.where("label = 0")) == EACH + 1
    assert [run["run"] for run in after.runs] == [1, 2]
    then = after.as_of(1)
    assert (then.hash, then.run) == (old_hash, 1)
    assert len(after.where("label = 0").as_of(1)) == EACH
    assert len(then.where("label = 0")) == EACH
    assert set(old_part.ids) <= set(after.split({"a": 0.5, "b": 0.5}).a.ids)
    for run in (0, 3):
        with pytest.raises(errors.InvalidError):
            after.as_of(run)


def test_as_of_a_saved_selection(own_store):
    with sterna.open(own_store, "write") as ds:
        ds.save("all")
        with pytest.raises(errors.InvalidError, match="saved"):
            ds.select("all").as_of(1)


# ---- samples ----


def test_items(ds, photos):
    paths = sorted(photos)
    sample = ds[21]
    assert set(sample) == {"image", "label", "id", "path"}
    assert (sample["label"], sample["id"], sample["path"]) == (1, ds.ids[21], paths[21])
    assert bytes(sample["image"]) == photos[paths[21]]
    assert ds[-1]["id"] == ds.ids[N - 1]
    assert [s["path"] for s in ds[3:9:2]] == paths[3:9:2]
    assert [s["path"] for s in ds.__getitems__([5, 2, -1])] == [paths[5], paths[2], paths[-1]]
    assert ds.__getitems__([]) == []
    for wrong in (N, -N - 1):
        with pytest.raises(IndexError):
            ds[wrong]
    with pytest.raises(errors.InvalidError, match="row='5'"):
        ds["5"]


def test_a_repeated_item_comes_repeatedly(ds):
    assert [s["id"] for s in ds.__getitems__([4, 4])] == [ds.ids[4]] * 2


def test_iteration_is_in_order(ds, photos):
    samples = list(ds.where("label = 2"))
    assert [s["path"] for s in samples] == sorted(p for p in photos if p.startswith("class2"))
    assert [bytes(s["image"]) for s in samples] == [photos[s["path"]] for s in samples]
    assert [s["id"] for s in itertools.islice(ds, 3)] == ds.ids[:3]


def test_fields_by_their_kind(kinds):
    with sterna.open(kinds) as ds, ds.loader(2, shuffle=False, columns=["score", "n"]) as loader:
        batch = next(iter(loader))
    assert bytes(batch.raw[0]) == b"\0\xff" and batch.raw[1] is None
    assert batch.caption == ["ein Vögel", None]
    assert batch.boxes == [{"box": [1, 2.5, None]}, None]
    depth, nothing = batch.depth
    assert nothing is None
    assert (depth.shape, depth.dtype, depth.nbytes) == ((2, 3), "<i4", 24)
    assert depth.tolist() == [[0, 1, 2], [3, 4, 5]] and depth.view().shape == (2, 3)
    assert batch.mask.kind == "mask"
    assert (batch.score, batch.n) == ([0.5, None], [3, 4])
    assert bytes(batch.field("caption")[0]) == "ein Vögel".encode()
    assert batch.raw.lengths.tolist() == [2, 0]
    assert batch.raw.padded(9).tolist() == [[0, 255], [9, 9]]
    row = batch.row(1)
    assert row["raw"] is row["caption"] is row["depth"] is None and row["label"] == 1
    assert repr(depth) and repr(batch.raw) and repr(batch)


def test_arrays_are_views(kinds):
    numpy = pytest.importorskip("numpy")
    with sterna.open(kinds) as ds, ds.loader(2, shuffle=False, fields=["depth"]) as loader:
        batch = next(iter(loader))
    array = numpy.asarray(batch.depth[0])
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]] and array.dtype == "<i4"
    assert array.ctypes.data == batch.field("depth")[0].address + batch.depth[0].nbytes + 45
    del batch, loader
    gc.collect()
    assert array.sum() == 15


@pytest.mark.parametrize(
    "make",
    [
        lambda np: np.zeros((2, 0, 3), "f4"),
        lambda np: np.array(3.5),
        lambda np: np.asfortranarray(np.arange(12, dtype="u2").reshape(3, 4)),
        lambda np: np.array(["äb", "c"]),
        lambda np: np.array([(1, 2.5)], [("a", "i4"), ("b", "f8", (2,))]),
        lambda np: np.arange(5, dtype=">i8"),
        lambda np: np.array([True, False]),
        lambda np: np.array([1 + 2j], "c8"),
        lambda np: np.arange(3, dtype="f2"),
        lambda np: np.array(["2020-01-01"], "M8[D]"),
    ],
)
def test_arrays_of_all_types(tmp_path, make):
    numpy = pytest.importorskip("numpy")
    import io

    file = io.BytesIO()
    array = make(numpy)
    numpy.save(file, array)
    url = add_samples(tmp_path / "store", [("a", [("x", "npy", file.getvalue())], [])])
    with sterna.open(url) as ds, ds.loader(1) as loader:
        (got,) = next(iter(loader)).x
    back = numpy.asarray(got)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert (back == array).all() and got.fortran_order == (not array.flags.c_contiguous)


@pytest.mark.parametrize(
    "kind, data, says",
    [
        ("text", b"\xff\xfe", "utf-8"),
        ("json", b"{", "Expecting"),
        ("npy", b"no array at all", "no .npy"),
        ("npy", b"\x93NUMPY\x01\x00\xff\x00{", "cut short"),
        ("npy", b"\x93NUMPY\x09\x00\x02\x00{}", "version 9.0"),
        ("npy", b"\x93NUMPY\x01\x00\x02\x00{}", "damaged"),
        ("npy", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}"), "cut short"),
        ("npy", npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,)}"), "pickle"),
        ("npy", npy("{'descr': '<q8', 'fortran_order': False, 'shape': (2,)}"), "not known"),
        ("npy", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-2,)}"), "shape"),
        ("npy", npy("{'descr': '<f8', 'shape': (2,)}"), "damaged"),
        ("npy", npy("(" * 300), "damaged"),
        ("npy", npy("exit()"), "damaged"),
    ],
)  # fmt: skip
def test_bytes_that_are_none_of_their_kind(kind, data, says):
    """An ingest refuses most of them; other tools' tables hold what they hold."""
    field = SimpleNamespace(name="x", kind=kind, samples=lambda: [None, data])
    with pytest.raises(errors.DecodeError, match=says) as raised:
        fields.read(field, "id of row {}".format)
    assert "id of row 1" in str(raised.value) and "field x" in str(raised.value)


def test_a_field_may_have_any_name(tmp_path):
    blobs = [("index", "text", b"field"), ("epoch", "text", b"another")]
    url = add_samples(tmp_path / "store", [("a", blobs, [("label", 5)])])
    with sterna.open(url) as ds, ds.loader(1) as loader:
        batch = next(iter(loader))
    assert batch["index"] == ["field"] and batch.index.tolist() == [0]
    assert batch["epoch"] == ["another"] and batch.epoch == 0
    assert batch.keys() == ("image", "index", "epoch", "label")


# ---- opening and closing ----


def test_open_says_what_is_wrong(tmp_path):
    with pytest.raises(errors.NotFound, match="nothing"):
        sterna.open(tmp_path / "nothing")
    with pytest.raises(LookupError):
        sterna.open(str(tmp_path / "nothing"))
    with pytest.raises(errors.InvalidError) as raised:
        sterna.open("cassandra://me:sesame@host/ks/ds")
    assert "sesame" not in str(raised.value)
    with pytest.raises(errors.InvalidError):
        sterna.open(tmp_path, "append")


def test_create_with_an_id(tmp_path):
    id = str(uuid.uuid4())
    with sterna.open(tmp_path / "new", "create", dataset_id=id) as ds:
        assert ds.info()["dataset_id"] == id and len(ds) == 0 and ds.fields == {}
        assert list(ds) == []


def test_paths_are_absolute(url, monkeypatch):
    folder, name = os.path.split(url)
    monkeypatch.chdir(folder)
    for form in (name, f"lmdb:{name}", pathlib.Path(name)):
        with sterna.open(form) as ds:
            assert (ds.url, len(ds)) == (url, N)


def test_views_outlive_the_first_one(url, photos):
    with sterna.open(url) as ds:
        ones = ds.where("label = 1")
        loader = ds.loader(8)
    with pytest.raises(errors.InvalidError, match="closed"):
        len(ds)
    assert "closed" in repr(ds) and "sterna" in repr(loader)
    assert len(ones.metadata(["path"])["path"]) == EACH
    ones.close()
    ones.close()


def test_a_store_goes_with_its_last_view(own_store):
    def opened():
        return sum(
            os.path.realpath(f"/proc/self/fd/{fd}").startswith(own_store)
            for fd in os.listdir("/proc/self/fd")
            if os.path.lexists(f"/proc/self/fd/{fd}")
        )

    ds = sterna.open(own_store)
    ones = ds.where("label = 1")
    loader = ones.loader(8)
    next(iter(loader))
    assert opened() > 0
    gone = weakref.ref(ds)
    ds.close()
    del ds
    assert gone() is None and opened() > 0
    loader.close()
    del ones, loader
    assert opened() == 0


def test_hundreds_of_open_data_sets(own_store, tmp_path):
    stores = []
    for i in range(150):
        shutil.copytree(own_store, tmp_path / f"copy{i}")
        stores.append(sterna.open(tmp_path / f"copy{i}"))
    views = [sterna.open(own_store).where(f"label = {i % 3}") for i in range(300)]
    loaders = [ds.loader(8, seed=i, memory="1MB") for i, ds in enumerate(stores[:30])]
    batches = [next(iter(loader)) for loader in loaders]
    assert all(len(ds) == N for ds in stores)
    assert all(len(ds) == EACH for ds in views)
    assert len({bytes(batch.id_bytes) for batch in batches}) == 30
    for thing in (*loaders, *stores, *views):
        thing.close()


def test_repr(url, ds):
    assert repr(ds) == f"<sterna.Dataset {url}>"
    assert repr(ds.where("label = 1")) == (
        f"<sterna.Dataset {url} (where label = 1): {EACH} samples>"
    )
    assert "sample of 5 (seed 2)" in repr(ds.sample(5, 2))
    assert "part val" in repr(ds.split({"train": 0.5, "val": 0.5}).val)


def test_names(ds):
    for name in sterna.__all__:
        assert getattr(sterna, name) is not None
    assert sterna.NO_LABEL == -(2**63)
    assert sterna.__version__ == _core.__version__
    with pytest.raises(AttributeError):
        sterna.nothing
    with pytest.raises(AttributeError):
        sterna.open_
