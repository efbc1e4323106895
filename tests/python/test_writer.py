"""sterna.writer: samples from anywhere."""

import io
import json
import logging
import threading
import uuid

import pytest

import sterna
from support import png


def rows(store):
    """path -> sample, with its columns."""
    with sterna.open(store) as dataset:
        columns = dataset.metadata()
        return {sample["path"]: {**sample, **{name: values[i] for name, values in columns.items()}}
                for i, sample in enumerate(dataset)}


def test_fields_and_columns_come_back_equal(tmp_path):
    store = tmp_path / "s"
    (tmp_path / "mask.png").write_bytes(png(9))
    fields = {"mask": "mask", "caption": "text", "facts": "json", "raw": "bytes"}
    with sterna.writer(store, fields=fields, source="a test") as w:
        assert w.add({"path": "a/1", "image": png(1), "mask": tmp_path / "mask.png",
                      "caption": "Bär", "facts": {"x": [1, None, "é"]}, "raw": b"\0\xff",
                      "class": "bear", "score": 0.5, "n": 2**40, "flag": True, "note": None}) == "added"
        assert w.add({"path": "a/2", "image": bytearray(png(2)), "mask": str(tmp_path / "mask.png"),
                      "facts": "a text", "raw": memoryview(b""), "class": "ant"}) == "added"
    assert (w.result.run, w.result.added, w.result.n_skipped) == (1, 2, 0)
    one, two = rows(store).values()
    assert (bytes(one["image"]), bytes(one["mask"])) == (png(1), png(9))
    assert bytes(one["raw"]) == b"\0\xff"
    assert (one["caption"], one["facts"]) == ("Bär", {"x": [1, None, "é"]})
    assert (one["class"], one["label"], one["score"], one["n"]) == ("bear", 0, 0.5, 2**40)
    assert (one["flag"], one["note"], one["width"]) == (1, None, 12)
    assert (bytes(two["image"]), bytes(two["mask"]), bytes(two["raw"])) == (png(2), png(9), b"")
    assert (two["caption"], two["facts"], two["label"]) == (None, "a text", 1)
    with sterna.open(store) as dataset:
        assert dataset.runs[0]["source"] == "a test"
        assert dataset.fields == {"image": "image", **fields}


def test_arrays_of_numpy(tmp_path):
    numpy = pytest.importorskip("numpy")
    store = tmp_path / "s"
    a = numpy.arange(12, dtype="float32").reshape(3, 4)
    with sterna.writer(store, fields={"boxes": "npy"}) as w:
        w.add({"image": png(1), "boxes": a, "score": numpy.float32(0.25), "label": numpy.int64(7)})
        w.add({"image": png(2), "boxes": a[:, ::2]})
        w.add({"image": png(3), "boxes": [[1, 2], [3, 4]]})
        with pytest.raises(sterna.InvalidError, match="column score.*'json'|column score.*json"):
            w.add({"image": png(4), "score": a})
        with pytest.raises(ValueError, match="allow_pickle|Object arrays"):
            w.add({"image": png(4), "boxes": numpy.array([object()])})
    got = list(rows(store).values())
    assert numpy.array_equal(numpy.asarray(got[0]["boxes"]), a)
    assert numpy.array_equal(numpy.asarray(got[1]["boxes"]), a[:, ::2])
    assert (got[0]["score"], got[0]["label"]) == (0.25, 7)


def test_pictures_of_pil(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    store = tmp_path / "s"
    picture = Image.open(io.BytesIO(png(5)))
    with sterna.writer(store, fields={"mask": "mask"}) as w:
        w.add({"image": picture, "mask": picture.convert("L")})
        with pytest.raises(sterna.InvalidError, match="field image.*encoded bytes"):
            w.add({"image": picture.convert("F")})
    row, = rows(store).values()
    back = Image.open(io.BytesIO(bytes(row["image"])))
    assert (back.format, back.tobytes()) == ("PNG", picture.tobytes())
    assert Image.open(io.BytesIO(bytes(row["mask"]))).mode == "L"


def test_a_sample_read_can_be_written_again(tmp_path):
    one, two = tmp_path / "1", tmp_path / "2"
    with sterna.writer(one, fields={"t": "text", "j": "json", "raw": "bytes"}) as w:
        w.add({"path": "x", "image": png(1), "t": "ü", "j": [1], "raw": b"\1", "label": 3})
    with sterna.open(one) as dataset, sterna.writer(two, fields=dataset.fields) as w:
        sample, = dataset
        w.add({**sample, "label": int(sample["label"])})
        original = dataset.metadata()
    with sterna.open(two) as dataset:
        assert dataset.metadata(["id", "path", "label", "t_bytes"]) == {
            name: original[name] for name in ("id", "path", "label", "t_bytes")}


def test_ids_and_paths(tmp_path):
    store = tmp_path / "s"
    space, given = uuid.uuid4(), uuid.uuid4()
    with sterna.writer(store, dataset_id=space, prefix="train/") as w:
        w.add({"image": png(1)})
        w.add({"path": "x/2", "image": png(2), "id": None})
        w.add({"path": None, "image": png(3), "id": given})
        w.add({"image": png(4), "id": str(uuid.UUID(int=5))})
        w.add({"image": png(6), "id": bytes(16)})
        for bad in ("no uuid", b"short", 7):
            with pytest.raises(sterna.InvalidError):
                w.add({"image": png(5), "id": bad})
        with pytest.raises(sterna.InvalidError, match="path"):
            w.add({"image": png(5), "path": 7})
    with sterna.open(store) as dataset:
        got = dataset.metadata(["path", "id"])
    want = {"train/000000000": uuid.uuid5(space, "train/000000000"),
            "train/x/2": uuid.uuid5(space, "train/x/2"), "train/000000002": given,
            "train/000000003": uuid.UUID(int=5), "train/000000004": uuid.UUID(int=0)}
    assert dict(zip(got["path"], got["id"])) == {path: str(id) for path, id in want.items()}
    with pytest.raises(sterna.InvalidError):
        sterna.writer(tmp_path / "t", dataset_id="no uuid")
    assert not (tmp_path / "t").exists()


def test_an_exception_forgets_and_the_next_one_completes(tmp_path):
    store = tmp_path / "s"
    with pytest.raises(KeyError):
        with sterna.writer(store) as w:
            w.add({"path": "a", "image": png(1)})
            raise KeyError
    assert w.result is None and rows(store) == {}
    with sterna.writer(store) as w:
        w.add({"path": "a", "image": png(1)})
        w.add({"path": "a", "image": png(1)})
    assert w.result.counts == {"added": 1, "unchanged": 1}
    with sterna.writer(store) as w:
        w.add({"path": "a", "image": png(1)})
    assert (w.result.run, w.result.counts) == (0, {"unchanged": 1})


def test_commit_and_close_end_it(tmp_path):
    store = tmp_path / "s"
    w = sterna.writer(store)
    w.add({"path": "a", "image": png(1)})
    result = w.commit()
    assert result is w.result and result.added == 1
    for call in (w.commit, lambda: w.add({"image": png(2)})):
        with pytest.raises(sterna.InvalidError, match="has ended"):
            call()
    w.close()
    with sterna.writer(store) as w:  # the store is free again
        w.add({"path": "b", "image": png(2)})
        w.commit()
    assert list(rows(store)) == ["a", "b"]
    other = sterna.writer(store)
    other.add({"path": "c", "image": png(3)})
    other.close()
    assert list(rows(store)) == ["a", "b"]


def test_what_it_says_of_itself(tmp_path):
    store = tmp_path / "s"
    w = sterna.writer(store)
    assert repr(w) == f"<sterna.Writer {store}: no samples>"
    w.add({"path": "a", "image": png(1)})
    w.add({"path": "b", "image": b""})
    assert repr(w) == f"<sterna.Writer {store}: 1 added, 1 empty>"
    with pytest.raises(sterna.InvalidError, match="a sample is a dict"):
        w.add([png(1)])
    w.commit()
    assert repr(w) == f"<sterna.Writer {store}: 1 added, 1 empty, committed>"


def test_only_one_writer_at_a_time(tmp_path):
    with sterna.writer(tmp_path / "s"):
        with pytest.raises(sterna.BusyError):
            sterna.writer(tmp_path / "s")


def test_skipped_samples_are_listed_and_logged(tmp_path, caplog):
    store = tmp_path / "s"
    with caplog.at_level(logging.WARNING, "sterna"):
        with sterna.writer(store, fields={"t": "text", "j": "json"}) as w:
            outcomes = [w.add(sample) for sample in (
                {"path": "1", "image": png(1)}, {"path": "1", "image": png(2)},
                {"path": "2", "image": b"hello"}, {"path": "3", "image": b""},
                {"path": "4", "image": tmp_path / "none.png"}, {"path": "5", "t": b"\xff"},
                {"path": "6", "j": b"{"})]
    assert outcomes == ["added", "conflict", "no image", "empty", "unreadable", "bad field",
                        "bad field"]
    assert [(s.outcome, s.path) for s in w.result.skipped] == [
        (outcome, path) for outcome, path in zip(outcomes[1:], "123456")]
    assert "none.png" in w.result.skipped[3].why
    assert (w.result.n_skipped, w.result.conflicts, w.result.added) == (6, 1, 1)
    line, = caplog.messages
    assert "6 inputs were skipped" in line and "1 no image" in line
    with sterna.writer(store, replace=True) as w:
        assert w.add({"path": "1", "image": png(2)}) == "replaced"
    assert bytes(rows(store)["1"]["image"]) == png(2)


def test_stop_at_the_first_error(tmp_path):
    with pytest.raises(sterna.InvalidError, match="2: no image"):
        with sterna.writer(tmp_path / "s", on_error="stop") as w:
            w.add({"path": "1", "image": png(1)})
            w.add({"path": "2", "image": b"hello"})
    assert rows(tmp_path / "s") == {}
    with pytest.raises(sterna.InvalidError, match="on_error"):
        sterna.writer(tmp_path / "s", on_error="sleep")


@pytest.mark.parametrize("sample, words", [
    ({"note": b"x"}, 'fields={"note": "bytes"}'), ({"note": [1]}, 'fields={"note": "json"}'),
    ({"facts": {1, 2}}, "field facts: no JSON"), ({"facts": float("nan")}, "field facts: no JSON"),
    ({"image": 5}, "field image: int"), ({"caption": 5}, "field caption: int"),
    ({"label": 2**70}, "64 bits"), ({"label": "x"}, "label"), ({"run": 1}, "reserved"),
    ({"class": 1}, "class")])
def test_what_no_store_can_take(tmp_path, sample, words):
    with sterna.writer(tmp_path / "s", fields={"facts": "json", "caption": "text"}) as w:
        with pytest.raises((sterna.InvalidError, TypeError), match=None) as e:
            w.add({"path": "a", "image": png(1), **sample})
        assert words in str(e.value)
        assert w.add({"path": "b", "image": png(1)}) == "added"  # and it goes on
    assert list(rows(tmp_path / "s")) == ["b"]


def test_kinds_of_fields(tmp_path):
    store = tmp_path / "s"
    with pytest.raises(sterna.InvalidError, match="field x: 'picture' is no kind"):
        sterna.writer(store, fields={"x": "picture"})
    assert not store.exists()
    with sterna.writer(store, fields={"x": "text"}) as w:
        w.add({"path": "1", "image": png(1), "x": "a"})
        w.declare("y", "json")  # on the way
        w.declare("y", "json")
        assert dict(w.fields) == {"image": "image", "x": "text", "y": "json"}
        w.add({"path": "2", "image": png(2), "y": {}})
    with sterna.writer(store) as w:  # knows the store's
        w.add({"path": "3", "image": png(3), "x": "b"})
    assert rows(store)["3"]["x"] == "b"
    with pytest.raises(sterna.MismatchError, match="field x holds text, not json"):
        sterna.writer(store, fields={"x": "json"})
    with sterna.writer(store) as w:  # was closed
        with pytest.raises(sterna.MismatchError, match="field x holds text, not json"):
            w.declare("x", "json")


def test_classes_in_the_order_of_their_labels(tmp_path):
    store = tmp_path / "s"
    with sterna.writer(store, classes=["wolf", "ant"]) as w:
        w.add({"path": "1", "image": png(1), "class": "ant"})
        w.add({"path": "2", "image": png(2), "class": "wolf", "label": 0})
        with pytest.raises(sterna.InvalidError, match="class 'wolf' has label 0.* not 1"):
            w.add({"path": "3", "image": png(3), "class": "wolf", "label": 1})
    with sterna.open(store) as dataset:
        assert dataset.class_to_idx == {"wolf": 0, "ant": 1}
        assert list(dataset.targets.tolist()) == [1, 0]


def test_any_thread_may_add(tmp_path):
    store = tmp_path / "s"
    with sterna.writer(store) as w:
        def work(t):
            for i in range(25):
                w.add({"path": f"{t}/{i}", "image": png(100 * t + i)})
        threads = [threading.Thread(target=work, args=(t,)) for t in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert w.result.added == 100
    got = rows(store)
    assert {path: bytes(row["image"]) for path, row in got.items()} == {
        f"{t}/{i}": png(100 * t + i) for t in range(4) for i in range(25)}


def test_progress_is_told(tmp_path):
    told = []
    with sterna.writer(tmp_path / "s", progress=told.append, total=3) as w:
        for i in range(3):
            w.add({"image": png(i)})
    assert [now["samples_done"] for now in told] == [1, 2, 3]
    assert told[-1]["samples_total"] == 3 and told[-1]["counts"] == {"added": 3}
    assert told[-1]["bytes_done"] == sum(len(png(i)) for i in range(3)) == w.result.bytes

    def refuse(now):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        with sterna.writer(tmp_path / "s", progress=refuse) as w:
            w.add({"path": "x", "image": png(5)})
    assert len(rows(tmp_path / "s")) == 3
