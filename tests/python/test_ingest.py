"""sterna.ingest and sterna.copy: folders and stores, with the words of the command."""

import logging
import os
import signal
import subprocess
import sys
import uuid

import pytest

import sterna
from support import make_folder, png, write

TIME_LIMIT_S = 240


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "photos"
    files = make_folder(str(path), each=4)
    return path, files


def images(store, **choice):
    with sterna.open(store) as dataset:
        chosen = dataset.where(choice["where"]) if choice else dataset
        return {sample["path"]: bytes(sample["image"]) for sample in chosen}


def test_ingest(tmp_path, folder):
    path, files = folder
    store, id = tmp_path / "s", uuid.uuid4()
    done = sterna.ingest(store, path, dataset_id=id, progress=None)
    assert (done.run, done.added, done.n_skipped, done.metadata_unmatched) == (1, 12, 0, 0)
    assert done.bytes == sum(map(len, files.values())) and done.seconds > 0
    assert images(store) == files
    with sterna.open(store) as dataset:
        assert dataset.class_to_idx == {"class0": 0, "class1": 1, "class2": 2}
        assert dataset.info()["dataset_id"] == str(id)
        assert dataset.runs[0]["source"] == str(path)
    again = sterna.ingest(str(store), str(path), progress=None)
    assert (again.run, again.added, again.unchanged) == (0, 0, 12)
    with pytest.raises(sterna.Error, match=str(id)):
        sterna.ingest(store, path, dataset_id=uuid.uuid4(), progress=None)


def test_fields_metadata_and_prefix(tmp_path, folder):
    path, files = folder
    for name in files:
        write(str(path / (os.path.splitext(name)[0] + ".txt")), name.encode())
        write(str(path / "raw" / os.path.basename(name)), b"\xff" + name.encode())
    (tmp_path / "facts.csv").write_text("path,score\nclass0/p000.png,5\nnowhere.png,6\n")
    store = tmp_path / "s"
    done = sterna.ingest(store, path, prefix="p", metadata=tmp_path / "facts.csv", progress=False,
                         fields={"caption": ".txt", "raw": "raw/{name}:bytes"}, memory="64MB",
                         threads=2, max_bytes="1MiB")
    assert (done.added, done.metadata_unmatched) == (12, 1)
    with sterna.open(store) as dataset:
        assert dataset.fields == {"image": "image", "caption": "text", "raw": "bytes"}
        assert dataset.metadata(["score"])["score"][0] == 5
        for sample in dataset:
            assert "p/" + sample["caption"] == sample["path"]


def test_skipped_files(tmp_path, folder, caplog):
    path, files = folder
    wrong = {"a.jpg": b"", "b.jpg": b"no image", "c.png": png(1, 200, 200)}
    for name, data in wrong.items():
        write(str(path / "class0" / name), data)
    with caplog.at_level(logging.WARNING, "sterna"):
        done = sterna.ingest(tmp_path / "s", path, max_bytes=20_000, progress=None)
    assert (done.added, done.n_skipped) == (12, 3)
    assert {(s.outcome, s.path) for s in done.skipped} == {
        ("empty", "class0/a.jpg"), ("no image", "class0/b.jpg"), ("too big", "class0/c.png")}
    assert all(s.why for s in done.skipped)
    assert "3 inputs were skipped" in caplog.text
    with pytest.raises(sterna.Error, match="class0/"):
        sterna.ingest(tmp_path / "t", path, on_error="stop", progress=None)
    assert images(tmp_path / "t") == {}


def test_conflicts_are_replaced_when_told(tmp_path, folder):
    path, files = folder
    store = tmp_path / "s"
    sterna.ingest(store, path, progress=None)
    write(str(path / "class0/p000.png"), png(77))
    done = sterna.ingest(store, path, progress=None)
    assert (done.conflicts, done.skipped[0].path) == (1, "class0/p000.png")
    assert images(store) == files
    done = sterna.ingest(store, path, replace=True, progress=None)
    assert (done.replaced, done.n_skipped, done.skipped) == (1, 0, [])
    assert images(store)["class0/p000.png"] == png(77)


def test_progress_is_told_and_stops(tmp_path, folder):
    path, _ = folder
    told = []
    sterna.ingest(tmp_path / "s", path, progress=told.append)
    assert told[-1]["files_done"] == 12
    assert told[-1]["files_total"] in (0, 12)  # 0: it was done before it knew
    assert told[-1]["counts"]["added"] == 12

    def refuse(now):
        raise ZeroDivisionError("enough")

    with pytest.raises(ZeroDivisionError, match="enough"):
        sterna.ingest(tmp_path / "t", path, progress=refuse)
    assert images(tmp_path / "t") == {}
    sterna.ingest(tmp_path / "t", path, progress=None)
    assert len(images(tmp_path / "t")) == 12


@pytest.mark.parametrize("options, words", [
    ({"on_error": "sleep"}, "on_error"), ({"memory": "4X"}, "memory"),
    ({"max_bytes": -1}, "max_bytes"), ({"replication": "dc1=1"}, "create"),
    ({"progress": "yes"}, "progress"),
    ({"dataset_id": "x"}, "x")])
def test_wrong_arguments_make_no_store(tmp_path, folder, options, words):
    with pytest.raises(sterna.InvalidError, match=words):
        sterna.ingest(tmp_path / "s", folder[0], **options)
    assert not (tmp_path / "s").exists()


INTERRUPTED = """
import os, signal, sys, sterna
def once(now):
    os.kill(os.getpid(), signal.SIGINT)
try:
    sterna.ingest(sys.argv[1], sys.argv[2], progress=once)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_leaves_the_store_as_it_was(tmp_path, folder):
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, tmp_path / "s", folder[0]],
                          capture_output=True, text=True, timeout=TIME_LIMIT_S)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
    assert images(tmp_path / "s") == {}


# ---- copy ----


def test_copy(tmp_path, folder):
    path, files = folder
    one, two = tmp_path / "1", tmp_path / "2"
    sterna.ingest(one, path, progress=None)
    told = []
    done = sterna.copy(one, two, where="class = 'class1'", progress=told.append)
    assert (done.samples, done.added, done.read, done.run) == (4, 4, 4, 1)
    ones = {name: data for name, data in files.items() if name.startswith("class1")}
    assert images(two) == ones and done.bytes == sum(map(len, ones.values()))
    assert told[-1]["read"] == 4
    with sterna.open(one) as a, sterna.open(two) as b:
        assert a.where("class = 'class1'").ids == b.ids
        assert a.class_to_idx["class1"] == b.class_to_idx["class1"] == 1
        again = sterna.copy(a, two, progress=None)
        assert (again.added, again.unchanged, again.read) == (8, 4, 8)
    assert images(two) == files


def test_copy_of_what_is_chosen(tmp_path, folder):
    path, files = folder
    one = tmp_path / "1"
    sterna.ingest(one, path, progress=None)
    with sterna.open(one, "write") as dataset:
        dataset.where("class = 'class2'").save("twos")
        ids = dataset.where("label = 0").ids
        sterna.copy(dataset.where("label < 2"), tmp_path / "a", where="label > 0", progress=None)
    sterna.copy(one, tmp_path / "b", selection="twos", progress=None)
    sterna.copy(one, tmp_path / "c", ids=ids, memory="16MB", threads=1, progress=None)
    sterna.copy(one, tmp_path / "d", as_of=1, progress=None)
    for store, digits in {"a": "1", "b": "2", "c": "0", "d": "012"}.items():
        assert images(tmp_path / store) == {n: d for n, d in files.items() if n[5] in digits}
    for wrong in ({"where": "1", "selection": "twos"}, {"selection": "twos", "as_of": 1}):
        with pytest.raises(sterna.InvalidError, match="exclude"):
            sterna.copy(one, tmp_path / "e", progress=None, **wrong)
    with pytest.raises(sterna.NotFound):
        sterna.copy(one, tmp_path / "e", selection="none", progress=None)
    assert not (tmp_path / "e").exists()


def test_copy_tells_conflicts_and_damage(tmp_path, folder):
    path, files = folder
    one, two = tmp_path / "1", tmp_path / "2"
    sterna.ingest(one, path, progress=None)
    sterna.copy(one, two, progress=None)
    with sterna.writer(two, replace=True) as w:
        w.add({"path": "class0/p000.png", "image": png(99)})
    done = sterna.copy(one, two, progress=None)
    assert (done.conflicts, done.skipped[0].path) == (1, "class0/p000.png")
    with sterna.open(one) as dataset:
        assert str(done.skipped[0].id) == dataset.ids[0]
    done = sterna.copy(one, two, replace=True, progress=None)
    assert done.replaced == 1 and images(two) == files


def test_copy_to_another_data_set_is_refused(tmp_path, folder):
    sterna.ingest(tmp_path / "1", folder[0], progress=None)
    sterna.ingest(tmp_path / "2", folder[0], progress=None)
    with pytest.raises(sterna.Error):
        sterna.copy(tmp_path / "1", tmp_path / "2", progress=None)
