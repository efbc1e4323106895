"""The recipes of examples/convert: what they write, killed and run again."""

import bz2
import gzip
import importlib.util
import json
import os
import struct
import subprocess
import sys
import types

import pytest

import sterna
from support import png
from sources import crc32c, example, masked, tfrecord, write_mds, write_tar

TIME_LIMIT_S = 240
RECIPES = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "convert")
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(sterna.__file__)))
# Runs a recipe that is killed when it has added so many samples.
KILLED = """
import os, runpy, signal, sys
from sterna.writer import Writer
left = int(sys.argv[1])
add = Writer.add
def add_or_die(self, sample):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return add(self, sample)
Writer.add = add_or_die
sys.argv = sys.argv[2:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(recipe, *args, kill_after=None):
    script = os.path.join(RECIPES, recipe + ".py")
    before = [script] if kill_after is None else ["-c", KILLED, str(kill_after), script]
    path = os.pathsep.join([PACKAGE, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run([sys.executable, *before, *map(str, args)], capture_output=True,
                          text=True, env={**os.environ, "PYTHONPATH": path}, timeout=TIME_LIMIT_S)
    done.both = done.stdout + done.stderr
    return done


def convert(recipe, *args, code=0):
    done = run(recipe, *args)
    assert done.returncode == code, done.both
    return done


def contents(store):
    """path -> what the sample holds: bytes of images, values of other fields, and columns that are
    not null."""
    with sterna.open(store) as dataset:
        columns = dataset.metadata()
        rows = {}
        for row, sample in enumerate(dataset):
            for name, kind in dataset.fields.items():
                value = sample.get(name)
                if value is not None and kind in ("image", "mask", "bytes"):
                    sample[name] = bytes(value)
                elif kind == "npy" and value is not None:
                    sample[name] = value.tolist()
            sample.update({name: values[row] for name, values in columns.items()})
            rows[sample["path"]] = {name: value for name, value in sample.items()
                                    if value is not None}
        return rows


def some(rows, *names):
    """Of each sample these alone."""
    return {path: {name: row[name] for name in names if name in row} for path, row in rows.items()}


def check_killed_and_again(recipe, n, store, *args):
    """Killed in its middle it lists nothing; run again it completes; once more changes nothing."""
    done = run(recipe, *args, kill_after=n // 2)
    assert done.returncode == -9, done.both
    with sterna.open(store) as dataset:
        assert len(dataset) == 0
    assert f"{n} added, 0 unchanged" in convert(recipe, *args).stdout
    rows = contents(store)
    assert len(rows) == n
    assert f"0 added, {n} unchanged" in convert(recipe, *args).stdout
    assert contents(store) == rows
    report = sterna.verify(store, progress=False)
    assert (report["bad"], report["checked"]) == (0, n)
    return rows


# ---- WebDataset ----


def test_webdataset(tmp_path):
    want, shards = {}, []
    for s in range(2):
        files = []
        for i in range(5):
            n = 5 * s + i
            key, suffix = f"dir.v1/{i:05}", "png" if n % 2 else "jpg"
            files += [(f"{key}.{suffix}", png(n)), (f"{key}.cls", b" %d\n" % (n % 3)),
                      (f"{key}.txt", f"Vögel {n}".encode()), (f"{key}.json", b'{"n": %d}' % n),
                      (f"{key}.seg.png", png(n + 100)), (f"{key}.raw", bytes([n, 255]))]
            want[f"part-{s}/{key}"] = {
                "image": png(n), "label": n % 3, "text": f"Vögel {n}", "json": {"n": n},
                "seg_png": png(n + 100), "raw": bytes([n, 255]), "split": "train", "width": 12}
        write_tar(tmp_path / f"part-{s}.tar", [("dir.v1/.hidden", b"x"), *files])
        shards.append(tmp_path / f"part-{s}.tar")
    store = tmp_path / "store"
    rows = check_killed_and_again("webdataset", 10, store, *shards, store, "--split", "train")
    assert some(rows, *want["part-0/dir.v1/00000"]) == want
    with sterna.open(store) as dataset:
        assert dataset.fields == {"image": "image", "text": "text", "json": "json",
                                  "seg_png": "image", "raw": "bytes"}
        assert dataset.runs[0]["source"] == " ".join(map(str, shards))


def test_webdataset_classes_and_columns(tmp_path):
    """Labels that are names, JSON as columns, a packed tar, a prefix."""
    path = tmp_path / "a.tar"
    facts = b'{"rate": 0.5, "note": null, "width": 9999, "tags": ["x"], "id": 7}'
    write_tar(path, [("1.jpg", png(1)), ("1.cls", b"dog"), ("1.json", facts),
                     ("2.jpg", png(2)), ("2.cls", b"cat"), ("2.json", b'{"rate": 1}')])
    packed = tmp_path / "b.tar.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    store = tmp_path / "store"
    convert("webdataset", packed, store, "--json-columns", "--prefix", "p", "--name", "rate=score")
    rows = contents(store)
    assert some(rows, "class", "label", "score", "tags", "width", "source_id") == {
        "p/b/1": {"class": "dog", "label": 0, "score": 0.5, "tags": ["x"], "width": 12,
                  "source_id": 7},
        "p/b/2": {"class": "cat", "label": 1, "score": 1, "width": 12}}


def test_names_of_classes_give_labels_their_numbers(tmp_path):
    """The first sample has the last label."""
    write_tar(tmp_path / "a.tar", [("1.jpg", png(1)), ("1.cls", b"2"), ("2.jpg", png(2)),
                                   ("2.cls", b"0"), ("3.jpg", png(3)), ("3.cls", b"-1")])
    (tmp_path / "names.txt").write_text("ant\nbee\ncow\n")
    store = tmp_path / "store"
    args = (tmp_path / "a.tar", store, "--classes", tmp_path / "names.txt")
    convert("webdataset", *args)
    assert some(contents(store), "class", "label") == {
        "a/1": {"class": "cow", "label": 2}, "a/2": {"class": "ant", "label": 0}, "a/3": {}}
    with sterna.open(store) as dataset:
        assert dataset.classes == ["ant", "bee", "cow"]
    (tmp_path / "names.txt").write_text("ant\n")
    done = convert("webdataset", *args, code=1)
    assert "label 2, but only 1 labels have names" in done.stderr


def test_skipped_samples_are_told(tmp_path):
    write_tar(tmp_path / "a.tar", [("1.jpg", png(1)), ("2.jpg", b"no image"), ("3.jpg", b""),
                                   ("1.jpg", png(4))])
    store = tmp_path / "store"
    done = convert("webdataset", tmp_path / "a.tar", store, code=3)
    assert "1 added, 0 unchanged, 0 replaced, 3 skipped" in done.stdout
    for line in ("no image: a/2", "empty: a/3", "conflict: a/1"):
        assert line in done.stderr
    convert("webdataset", tmp_path / "a.tar", store, "--allow-skipped", 3)
    done = convert("webdataset", tmp_path / "a.tar", tmp_path / "other", "--on-error", "stop",
                   code=1)
    assert "a/2: no image" in done.stderr
    with sterna.open(tmp_path / "other") as dataset:
        assert len(dataset) == 0


def test_sources_of_one_name_are_refused(tmp_path):
    """Their samples would have the same ids."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_tar(tmp_path / name / "0.tar", [("1.jpg", png(1))])
    paths = tmp_path / "a" / "0.tar", tmp_path / "b" / "0.tar"
    done = convert("webdataset", *paths, tmp_path / "store", code=1)
    assert "have the same name" in done.stderr and not (tmp_path / "store").exists()
    for path, prefix in zip(paths, "ab"):
        convert("webdataset", path, tmp_path / "store", "--prefix", prefix)
    assert list(contents(tmp_path / "store")) == ["a/0/1", "b/0/1"]


def test_a_missing_source_is_one_line(tmp_path):
    done = convert("webdataset", tmp_path / "none.tar", tmp_path / "store", code=1)
    assert done.stderr.count("\n") == 1 and "none.tar" in done.stderr


# ---- Parquet and Arrow ----


def pictures_table(pyarrow, begin, end):
    """As Hugging Face writes them."""
    rows = [{"img": {"bytes": png(n), "path": f"{n}.png"}, "label": n % 3, "score": n / 2,
             "note": None if n % 2 else f"n {n}", "box": [n, n + 1], "mask": png(n + 50),
             "id": f"id {n}"} for n in range(begin, end)]
    schema = pyarrow.schema([
        ("img", pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])),
        ("label", pyarrow.int64()), ("score", pyarrow.float32()), ("note", pyarrow.string()),
        ("box", pyarrow.list_(pyarrow.int32())), ("mask", pyarrow.binary()),
        ("id", pyarrow.string())])
    features = {"img": {"_type": "Image"}, "label": {"names": ["cow", "ant", "bee"],
                                                     "_type": "ClassLabel"}}
    schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    return pyarrow.Table.from_pylist(rows, schema=schema)


def wanted_pictures(stem, begin, end):
    want = {}
    for n in range(begin, end):
        want[f"{stem}/{n - begin:09}"] = {
            "image": png(n), "label": n % 3, "class": ["cow", "ant", "bee"][n % 3],
            "score": n / 2, "box": [n, n + 1], "mask": png(n + 50), "source_id": f"id {n}",
            "file": f"{n}.png", **({} if n % 2 else {"note": f"n {n}"})}
    return want


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    # The first label to come is not the first class.
    pyarrow.parquet.write_table(pictures_table(pyarrow, 2, 9), tmp_path / "p-0.parquet",
                                row_group_size=3)
    pyarrow.parquet.write_table(pictures_table(pyarrow, 9, 12), tmp_path / "p-1.parquet")
    store = tmp_path / "store"
    rows = check_killed_and_again("parquet", 10, store, tmp_path / "p-0.parquet",
                                  tmp_path / "p-1.parquet", store, "--field", "mask=mask")
    want = {**wanted_pictures("p-0", 2, 9), **wanted_pictures("p-1", 9, 12)}
    assert some(rows, *want["p-0/000000000"]) == want
    with sterna.open(store) as dataset:
        assert dataset.classes == ["cow", "ant", "bee"]
        assert dataset.fields == {"image": "image", "mask": "mask", "box": "json"}


@pytest.mark.parametrize("form", ["stream", "file"])
def test_arrow(tmp_path, form):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.ipc

    table = pictures_table(pyarrow, 0, 5)
    make = pyarrow.ipc.new_stream if form == "stream" else pyarrow.ipc.new_file
    with make(str(tmp_path / "t.arrow"), table.schema) as out:
        out.write_table(table, max_chunksize=2)
    store = tmp_path / "store"
    convert("parquet", tmp_path / "t.arrow", store)
    want = wanted_pictures("t", 0, 5)
    assert some(contents(store), *want["t/000000000"]) == want


def test_parquet_never_reads_files_that_it_names(tmp_path):
    """A path without bytes, or a text where bytes should be, is not followed."""
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    (tmp_path / "secret").write_bytes(png(1))
    secret = str(tmp_path / "secret")
    table = pyarrow.Table.from_pylist(
        [{"image": {"bytes": png(2), "path": None}, "extra": secret},
         {"image": {"bytes": None, "path": secret}, "extra": secret}])
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    store = tmp_path / "store"
    convert("parquet", tmp_path / "t.parquet", store, "--field", "extra=bytes")
    rows = contents(store)
    assert [row.get("image") for row in rows.values()] == [png(2), None]
    assert {row["extra"] for row in rows.values()} == {secret.encode()}


# ---- Hugging Face ----


class Rows(list):
    """What the recipe needs of a data set."""

    features = None


def stand_in(monkeypatch, begin, end):
    """A module `datasets` whose one data set has undecoded pictures."""

    class Image:
        def __init__(self, decode=True):
            self.decode = decode

        def decode_example(self, value):
            raise AssertionError("an image was decoded")

    class Table(Rows):
        def cast_column(self, name, feature):
            assert isinstance(feature, Image) and not feature.decode
            self.features = {**self.features, name: feature}
            return self

    rows = Table({"image": {"bytes": png(n), "path": None}, "label": n % 2, "caption": f"c {n}"}
                 for n in range(begin, end))
    rows.features = {"image": Image(), "label": types.SimpleNamespace(names=["no", "yes"]),
                     "caption": types.SimpleNamespace()}
    module = types.ModuleType("datasets")
    module.load_dataset = lambda name, config, split, revision, streaming: rows
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_huggingface(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(RECIPES)
    stand_in(monkeypatch, 1, 6)
    import huggingface

    store = tmp_path / "store"
    monkeypatch.setattr(sys, "argv", ["huggingface.py", "someone/something", str(store),
                                      "--part", "test", "--field", "caption=text"])
    assert huggingface.main() == 0
    assert some(contents(store), "image", "class", "label", "caption") == {
        f"test/{n - 1:09}": {"image": png(n), "class": ["no", "yes"][n % 2], "label": n % 2,
                             "caption": f"c {n}"} for n in range(1, 6)}


def test_a_missing_package_is_one_line(tmp_path):
    if importlib.util.find_spec("datasets"):
        pytest.skip("the package datasets is there")
    done = convert("huggingface", "someone/something", tmp_path / "store", code=1)
    assert done.stderr == "huggingface.py: No module named 'datasets'\n"


def test_huggingface_for_true(tmp_path):
    datasets = pytest.importorskip("datasets")
    (tmp_path / "x.png").write_bytes(png(7))
    table = datasets.Dataset.from_dict(
        {"img": [{"bytes": png(n), "path": None} for n in range(6)] + [str(tmp_path / "x.png")],
         "label": [2, 0, 1, 0, 1, 2, 0]},
        features=datasets.Features({"img": datasets.Image(),
                                    "label": datasets.ClassLabel(names=["a", "b", "c"])}))
    table.save_to_disk(str(tmp_path / "table"))
    store = tmp_path / "store"
    rows = check_killed_and_again("huggingface", 7, store, tmp_path / "table", store)
    want = [png(n) for n in range(6)] + [png(7)]
    assert [row["image"] for row in rows.values()] == want
    assert [row["class"] for row in rows.values()] == list("cababca")


# ---- MDS ----

COLUMNS = [("caption", "str", None), ("id", "int", 8), ("image", "png", None),
           ("label", "uint8", 1), ("meta", "json", None), ("raw", "bytes", None),
           ("score", "float32", 4), ("wide", "str_int", None)]


def mds_sample(n):
    return {"caption": f"Bär {n}".encode(), "id": struct.pack("<q", -n), "image": png(n),
            "label": bytes([n % 3]), "meta": b'{"n": %d}' % n, "raw": bytes([200, n]),
            "score": struct.pack("<f", n / 4), "wide": b"%d" % (10**12 + n)}


def wanted_mds(folder, shards):
    want, n = {}, 0
    for s, count in enumerate(shards):
        for row in range(count):
            want[f"{folder}/shard.{s:05}/{row:07}"] = {
                "caption": f"Bär {n}", "source_id": -n, "image": png(n), "label": n % 3,
                "meta": {"n": n}, "raw": bytes([200, n]), "score": n / 4, "wide": 10**12 + n}
            n += 1
    return want


def mds_folder(path, shards, **more):
    n = iter(range(1000))
    write_mds(path, COLUMNS, [[mds_sample(next(n)) for _ in range(count)] for count in shards],
              **more)


def test_mds(tmp_path):
    mds_folder(tmp_path / "train", [6, 4])
    store = tmp_path / "store"
    rows = check_killed_and_again("mds", 10, store, tmp_path / "train", store,
                                  "--field", "caption=text")
    want = wanted_mds("train", [6, 4])
    assert some(rows, *want["train/shard.00000/0000000"]) == want
    with sterna.open(store) as dataset:
        assert dataset.fields == {"image": "image", "caption": "text", "meta": "json",
                                  "raw": "bytes"}


def zstd(data):
    try:
        import zstandard
        return zstandard.ZstdCompressor().compress(data)
    except ImportError:
        pyarrow = pytest.importorskip("pyarrow")
        out = pyarrow.BufferOutputStream()
        with pyarrow.CompressedOutputStream(out, "zstd") as stream:
            stream.write(data)
        return out.getvalue().to_pybytes()


@pytest.mark.parametrize("name, compress", [("gz", gzip.compress), ("bz2", bz2.compress),
                                            ("zstd:3", zstd)])
def test_mds_compressed(tmp_path, name, compress):
    mds_folder(tmp_path / "x", [3, 2], compress=compress, compression=name)
    store = tmp_path / "store"
    convert("mds", tmp_path / "x", store)
    want = wanted_mds("x", [3, 2])
    assert some(contents(store), *want["x/shard.00000/0000000"]) == want


def test_mds_arrays(tmp_path):
    numpy = pytest.importorskip("numpy")
    a = numpy.arange(6, dtype="<f4").reshape(2, 3)
    columns = [("all", "ndarray", None), ("shape", "ndarray:float32", None),
               ("values", "ndarray:float32:2,3", 24)]
    shape = bytes([2 << 2 | 0, 2, 3])
    wide = bytes([2 << 2 | 1]) + struct.pack("<HH", 2, 3)
    write_mds(tmp_path / "x", columns,
              [[{"all": bytes([34]) + shape + a.tobytes(), "shape": wide + a.tobytes(),
                 "values": a.tobytes()}]])
    store = tmp_path / "store"
    convert("mds", tmp_path / "x", store)
    row, = contents(store).values()
    assert row["all"] == row["shape"] == row["values"] == a.tolist()


@pytest.mark.parametrize("damage, words", [
    ("sha1", "sha1 differs"), ("short", "bytes, the index says"), ("pkl", "--leave meta"),
    ("version", "version 3"), ("zip", "compression br is not known")])
def test_mds_refuses(tmp_path, damage, words):
    mds_folder(tmp_path / "x", [2], **({"compress": bytes, "compression": "br"}
                                       if damage == "zip" else {}))
    shard, index = tmp_path / "x" / "shard.00000.mds", tmp_path / "x" / "index.json"
    if damage == "sha1":
        data = bytearray(shard.read_bytes())
        data[-1] ^= 1
        shard.write_bytes(data)
    if damage == "short":
        shard.write_bytes(shard.read_bytes()[:-1])
    if damage == "pkl":
        index.write_text(index.read_text().replace('"json"', '"pkl"'))
    if damage == "version":
        index.write_text(index.read_text().replace('{"version": 2', '{"version": 3'))
    store = tmp_path / "store"
    done = convert("mds", tmp_path / "x", store, code=1)
    assert words in done.stderr and done.stderr.count("\n") == 1
    if damage == "pkl":
        convert("mds", tmp_path / "x", store, "--leave", "meta")
        assert all("meta" not in row for row in contents(store).values())


# ---- TFRecord ----


def test_checksum_is_the_published_one():
    """RFC 3720, B.4, and the usual check word."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


def tf_features(n):
    return {"image/encoded": png(n), "image/class/label": n % 3 + 1,
            "image/filename": b"%d.png" % n, "image/class/text": b"name %d" % (n % 3),
            "image/width": 12, "image/object/bbox": [0.5, n / 8], "ids": [-n, n], "empty": [],
            "raw": bytes([255, n]), "score": n / 2}


def wanted_tf(stem, count):
    return {f"{stem}/{n:09}": {
        "image": png(n), "label": n % 3 + 1, "class_name": f"name {n % 3}", "file": f"{n}.png",
        "width": 12, "image_object_bbox": [0.5, n / 8], "ids": [-n, n], "raw": bytes([255, n]),
        "score": n / 2} for n in range(count)}


@pytest.mark.parametrize("packed", [True, False])
def test_tfrecord(tmp_path, packed):
    paths = [tmp_path / f"a.tfrecord-0000{i}-of-00002" for i in range(2)]
    for path in paths:
        path.write_bytes(b"".join(tfrecord(example(tf_features(n), packed)) for n in range(5)))
    store = tmp_path / "store"
    rows = check_killed_and_again("tfrecord", 10, store, *paths, store)
    want = {**wanted_tf(paths[0].name, 5), **wanted_tf(paths[1].name, 5)}
    assert some(rows, *want[f"{paths[0].name}/000000000"]) == want


def test_tfrecord_packed_by_gzip_and_with_names(tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(gzip.compress(b"".join(tfrecord(example(tf_features(n))) for n in range(3))))
    (tmp_path / "names").write_text("background\nant\nbee\ncow\n")
    store = tmp_path / "store"
    convert("tfrecord", path, store, "--classes", tmp_path / "names", "--leave", "ids",
            "--name", "image/object/bbox=box", "--leave", "image/class/text")
    assert some(contents(store), "label", "class", "box", "ids") == {
        f"a/{n:09}": {"label": n + 1, "class": ["ant", "bee", "cow"][n], "box": [0.5, n / 8]}
        for n in range(3)}


@pytest.mark.parametrize("damage, words", [
    ("data", "checksum"), ("length", "checksum"), ("cut", "ends within"),
    ("mixed", "--field raw=bytes")])
def test_tfrecord_refuses(tmp_path, damage, words):
    """And then nothing is in the store."""
    second = b"\xff" if damage == "mixed" else b"more"
    records = [tfrecord(example({"image": png(1), "raw": b"text"})),
               tfrecord(example({"image": png(2), "raw": second}))]
    data = bytearray(b"".join(records))
    at = len(records[0])
    if damage == "data":
        data[at + 20] ^= 1
    if damage == "length":
        data[at + 7] ^= 1
    if damage == "cut":
        del data[-1:]
    path, store = tmp_path / "a.tfrecord", tmp_path / "store"
    path.write_bytes(data)
    done = convert("tfrecord", path, store, code=1)
    assert words in done.stderr and done.stderr.count("\n") == 1
    with sterna.open(store) as dataset:
        assert len(dataset) == 0
    if damage == "mixed":
        convert("tfrecord", path, store, "--field", "raw=bytes")
        assert [row["raw"] for row in contents(store).values()] == [b"text", b"\xff"]


def test_tfrecord_own_checksum(monkeypatch):
    """The one that is used where no package has it."""
    monkeypatch.syspath_prepend(RECIPES)
    import tfrecord as recipe

    for data in (b"", b"a", b"123456789", bytes(range(256)) * 5):
        assert recipe.slow_crc32c(data) == recipe.crc32c(data) == crc32c(data)
        assert struct.pack("<I", recipe.masked(crc32c(data))) == masked(data)
