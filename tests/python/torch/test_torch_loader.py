"""Batches of tensors: what is in them, where it lies, how long it lives."""

import gc
import io
import json
import os
import pickle
import threading

import pytest
import sterna
import sterna.torch
import torch
from conftest import add_samples
import torch_support
from torch_support import same, valid_indices

N = 60


class Spy(sterna.torch.Loader):
    """Keeps the extension's batch."""

    def _wrap(self, core):
        self.core = core
        return super()._wrap(core)


def paths_of(ds):
    return ds.metadata(["path"])["path"]


@pytest.mark.parametrize("order", ["strict", "arrival"])
def test_each_sample_comes_once_with_its_bytes_and_label(ds, photos, order):
    paths, labels = paths_of(ds), ds.targets.tolist()
    seen = []
    with sterna.torch.Loader(ds, 16, seed=3, order=order) as loader:
        for batch in loader:
            assert list(batch) == ["image", "label", "index", "valid"]
            dtypes = {"label": torch.int64, "index": torch.int64, "valid": torch.bool}
            for name, dtype in dtypes.items():
                assert (batch[name].dtype, batch[name].shape) == (dtype, (16,))
            rows = zip(batch["image"].list(), batch["label"].tolist(), batch["index"].tolist())
            for image, label, index in rows:
                assert image.dtype == torch.uint8
                assert bytes(image.tolist()) == photos[paths[index]]
                assert label == labels[index]
            seen += valid_indices(batch)
        assert len(loader) == 4
    assert sorted(seen) == list(range(N))


def test_a_url_will_do(url):
    with sterna.torch.Loader(url, 64, uneven="exact") as loader:
        (batch,) = loader
    assert len(batch["image"]) == N


def test_memory_is_the_batchs_own_and_aligned(ds):
    with Spy(ds, 16) as loader:
        batch = next(iter(loader))
        core = loader.core
        ragged = batch["image"]
        assert ragged.data.data_ptr() == core.field(0).data.address
        assert batch["label"].data_ptr() == core.labels.address
        assert batch["index"].data_ptr() == core.index.address
        assert batch["valid"].data_ptr() == core.valid.address
        for row, view in enumerate(ragged.list()):
            assert view.data_ptr() == core.field(0)[row].address == ragged[row].data_ptr()
            assert view.data_ptr() % 64 == 0
        start = ragged.data.data_ptr()
        assert [v.data_ptr() - start for v in ragged.list()] == ragged.offset.tolist()


def test_a_view_outlives_batch_and_loader(ds, photos):
    loader = sterna.torch.Loader(ds, 16)
    batch = next(iter(loader))
    want = [bytes(row) for row in batch["image"].samples()]
    tensor, memory = batch["image"].list()[3], batch["image"].samples()[4]
    del batch
    loader.close()
    del loader
    gc.collect()
    assert bytes(tensor.tolist()) == want[3]
    assert bytes(memory) == want[4]


def test_memory_goes_back_with_the_last_view_on_any_thread(ds):
    with sterna.torch.Loader(ds, 16, epochs=1) as loader:
        batches = list(loader)
        assert loader.stats()["leases"] == 4
        rows = batches[0]["image"].list()
        batches.clear()
        gc.collect()
        assert loader.stats()["leases"] == 1
        held = [rows.pop()]
        rows.clear()
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
        assert loader.stats()["leases"] == 0


def test_writing_into_a_batch_changes_nothing_else(ds):
    with sterna.torch.Loader(ds, 16, shuffle=False) as loader:
        first = [bytes(row) for batch in loader for row in batch["image"].samples()]
        for batch in loader:
            batch["image"].data.zero_()
        assert [bytes(row) for batch in loader for row in batch["image"].samples()] == first


def test_as_tuple_gives_fields_and_label(ds):
    with sterna.torch.Loader(ds, 16, as_tuple=True) as loader:
        image, label = next(iter(loader))
    assert isinstance(image, sterna.torch.Ragged) and label.shape == (16,)


def test_columns_come_as_lists(ds):
    with sterna.torch.Loader(ds, 8, columns=("width", "path")) as loader:
        batch = next(iter(loader))
    paths, widths = paths_of(ds), ds.metadata(["width"])["width"]
    assert batch["path"] == [paths[i] for i in batch["index"].tolist()]
    assert batch["width"] == [widths[i] for i in batch["index"].tolist()]


def npy(array):
    import numpy

    file = io.BytesIO()
    numpy.save(file, array)
    return file.getvalue()


@pytest.fixture(scope="module")
def mixed_url(tmp_path_factory):
    """10 samples with all kinds of fields; 3 has no text and an empty `more`, 4 no `more`."""
    import numpy

    samples = []
    for i in range(10):
        blobs = [
            ("caption", "text", None if i == 3 else f"grüß {i}".encode()),
            ("facts", "json", json.dumps({"i": i}).encode()),
            ("values", "npy", npy(numpy.arange(6, dtype="<f4").reshape(2, 3) + i)),
            ("odd", "npy", npy(numpy.asfortranarray(numpy.arange(6).reshape(2, 3)).astype(">i4"))),
            ("more", "bytes", None if i == 4 else b"" if i == 3 else b"x" * (100 * i)),
        ]
        samples.append((f"s{i}", blobs, [("label", i % 2)]))
    return add_samples(tmp_path_factory.mktemp("mixed") / "store", samples)


def test_kinds(mixed_url):
    with sterna.torch.Loader(mixed_url, 10, shuffle=False) as loader:
        (batch,) = loader
    assert batch["caption"] == [None if i == 3 else f"grüß {i}" for i in range(10)]
    assert batch["facts"] == [{"i": i} for i in range(10)]
    for i in range(10):
        assert torch.equal(batch["values"][i], torch.arange(6.0).view(2, 3) + i)
        assert torch.equal(batch["odd"][i], torch.arange(6, dtype=torch.int32).view(2, 3))
    lengths = [0 if i in (3, 4) else 100 * i for i in range(10)]
    assert batch["more"].length.tolist() == lengths
    assert [len(row) for row in batch["more"].list()] == lengths


def test_an_npy_field_is_not_copied(mixed_url):
    with Spy(mixed_url, 4, shuffle=False, fields=["values"]) as loader:
        batch = next(iter(loader))
        field = loader.core.field(0)
        for row, tensor in enumerate(batch["values"]):
            assert field[row].address < tensor.data_ptr() < field[row].address + field[row].nbytes


def test_missing_rows_are_empty_in_ragged(mixed_url):
    for order in "strict", "arrival":
        with sterna.torch.Loader(mixed_url, 10, fields=["more"], order=order) as loader:
            (batch,) = loader
        at = batch["index"].tolist().index(4)
        assert batch["more"][at].shape == (0,) and len(batch["more"].samples()[at]) == 0


def test_empty_rows_let_go_of_their_batch(mixed_url):
    with sterna.torch.Loader(
        mixed_url, 10, fields=["more"], order="arrival", memory="1MB"
    ) as loader:
        for _ in range(200):  # many times what fits into that memory
            (batch,) = loader
            assert len(batch["more"].list()) == 10
            del batch


# ---- Ragged ----


@pytest.fixture(params=["run", "pieces"])
def ragged(request, mixed_url):
    """Rows of 0 to 900 bytes, in one run or not."""
    order = "strict" if request.param == "run" else "arrival"
    with sterna.torch.Loader(
        mixed_url, 10, fields=["more"], order=order, shuffle=False
    ) as loader:
        (batch,) = loader
    assert (batch["more"]._field is None) == (request.param == "run")
    return batch["more"]


def rows(ragged):
    return sorted(bytes(row.tolist()) for row in ragged.list())


WANT = sorted(b"" if i in (3, 4) else b"x" * (100 * i) for i in range(10))


def test_ragged_rows(ragged):
    assert len(ragged) == 10
    assert rows(ragged) == WANT
    assert sorted(map(bytes, ragged.samples())) == WANT
    assert [torch.equal(ragged[i], row) for i, row in enumerate(ragged)] == [True] * 10
    assert torch.equal(ragged[-1], ragged[9])
    with pytest.raises(IndexError):
        ragged[10]


def test_ragged_is_one_run_when_asked(ragged):
    data, offset, length = ragged.data, ragged.offset, ragged.length
    assert rows(sterna.torch.Ragged(data, offset, length)) == WANT
    assert all(start % 64 == 0 for start in offset.tolist())
    assert ragged.data.data_ptr() == data.data_ptr()  # made once


def test_ragged_padded(ragged):
    padded = ragged.padded(7)
    assert (padded.shape, padded.dtype) == ((10, 900), torch.uint8)
    for row, n in zip(padded, ragged.length.tolist()):
        assert bool((row[:n] == ord("x")).all() and (row[n:] == 7).all())


def test_ragged_nested(ragged):
    nested = ragged.nested()
    assert [bytes(row.tolist()) for row in nested.unbind()] == [bytes(r) for r in ragged.samples()]


def test_ragged_moves_and_pickles(ragged):
    assert rows(pickle.loads(pickle.dumps(ragged))) == WANT
    moved = ragged.to("meta")
    assert moved.device.type == moved.data.device.type == "meta"
    assert rows(ragged.cpu()) == WANT
    assert ragged.is_pinned() is False
    with pytest.raises(TypeError, match="CPU"):
        moved.samples()
    assert "10 rows" in repr(ragged)


# ---- epochs and states ----


def test_epochs_follow_and_can_be_chosen(ds):
    with sterna.torch.Loader(ds, 16, seed=5) as loader:
        first = [valid_indices(b) for b in loader]
        second = [valid_indices(b) for b in loader]
        assert first != second and loader.epoch == 2
        loader.sampler.set_epoch(0)
        assert [valid_indices(b) for b in loader] == first
        loader.batch_sampler.sampler.set_epoch(1)
        assert [valid_indices(b) for b in loader] == second


@pytest.mark.parametrize("order", ["strict", "arrival"])
def test_a_state_goes_on_where_it_was(ds, order):
    whole = sterna.torch.Loader(ds, 7, seed=2, order=order)
    for k in range(len(whole)):
        seen = []
        loader = sterna.torch.Loader(ds, 7, seed=2, order=order)
        batches = iter(loader)
        for _ in range(k):
            seen += valid_indices(next(batches))
        saved = pickle.loads(pickle.dumps(loader.state_dict()))
        next(batches)  # used after saving: read again
        loader.close()
        other = sterna.torch.Loader(ds, 7, seed=2, order=order)
        other.load_state_dict(saved)
        for batch in other:
            seen += valid_indices(batch)
        assert sorted(seen) == list(range(N))
        other.close()
    whole.close()


def test_a_state_dict_is_of_plain_values(ds, tmp_path):
    with sterna.torch.Loader(ds, 16) as loader:
        next(iter(loader))
        state = loader.state_dict()
        assert all(type(v) in (str, int) for v in state.values())
        torch.save(state, tmp_path / "state.pt")
        assert json.loads(json.dumps(state)) == torch.load(tmp_path / "state.pt") == state


def test_two_loaders_at_once(ds):
    with sterna.torch.Loader(ds, 8, seed=1) as a, sterna.torch.Loader(ds, 8, seed=2) as b:
        pairs = list(zip(a, b))
    for loader_seed, got in zip((1, 2), zip(*pairs)):
        with sterna.torch.Loader(ds, 8, seed=loader_seed) as alone:
            assert all(map(same, got, alone))


@pytest.mark.skipif("STERNA_SANITIZE" in os.environ, reason="ASan keeps what was freed")
def test_a_hundred_thousand_batches_take_no_memory(ds):
    def resident_bytes():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    n = 0
    with sterna.torch.Loader(ds, 1, memory="64MiB") as loader:
        while n < 100_000:
            for batch in loader:
                batch["image"].list()
                n += 1
            if n == 10 * N * 16:  # everything has been used a few times
                before = resident_bytes()
    assert resident_bytes() - before < 16 << 20


def test_a_fork_is_told_so_and_does_no_harm(ds):
    with sterna.torch.Loader(ds, 8, seed=1) as loader:
        batches = iter(loader)
        first = next(batches)
        pid = os.fork()
        if pid == 0:
            try:
                next(batches)
            except sterna.ForkedError as error:
                os._exit(0 if "reopen" in str(error) else 2)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        assert len([first, *batches]) == 8


def test_a_loader_pickles_as_configuration(ds):
    loader = sterna.torch.Loader(ds, 8, seed=4, as_tuple=True)
    batches = iter(loader)
    next(batches)
    copy = pickle.loads(pickle.dumps(loader))
    assert all(map(same, copy, batches))
    loader.close()
    copy.close()


@pytest.mark.parametrize(
    "options, says",
    [
        ({"num_workers": -1}, "num_workers"),
        ({"process_group": object(), "device_mesh": object()}, "not both"),
    ],
)
def test_wrong_options_are_refused(ds, options, says):
    with pytest.raises(sterna.InvalidError, match=says):
        sterna.torch.Loader(ds, **options)


def test_a_closed_loader_says_so(ds):
    loader = sterna.torch.Loader(ds, 1)
    next(iter(loader))
    loader.close()
    loader.close()
    with pytest.raises(sterna.InvalidError, match="closed"):
        iter(loader)


# ---- pinned memory: as if there were CUDA ----


@pytest.fixture
def pinned(monkeypatch):
    """Stands in for torch's pinned allocator; has what it gave."""
    given = []

    def empty(n_bytes):
        given.append(torch.empty(n_bytes, dtype=torch.uint8))
        return given[-1]

    monkeypatch.setattr(sterna.torch.pinned, "is_possible", lambda: True)
    monkeypatch.setattr(sterna.torch.pinned, "empty", empty)
    return given


def lies_in(tensor, given):
    storage = {memory.data_ptr(): memory.numel() for memory in given}
    n_bytes = tensor.numel() * tensor.element_size()
    return n_bytes <= storage.get(tensor.data_ptr(), -1)


@pytest.mark.parametrize("order", ["strict", "arrival"])
def test_pinned_batches_are_in_torchs_memory(ds, pinned, order):
    with sterna.torch.Loader(ds, 8, order=order, shuffle=False) as plain:
        pairs = [pair for b in plain for pair in zip(b["index"].tolist(), b["image"].samples())]
        want = {index: bytes(row) for index, row in pairs}
    with sterna.torch.Loader(ds, 8, order=order, pin_memory=True, shuffle=False) as loader:
        for batch in loader:
            image = batch["image"]
            for part in image.data, image.offset, image.length, batch["label"], batch["valid"]:
                assert lies_in(part, pinned)
            for index, row in zip(batch["index"].tolist(), image.list()):
                assert bytes(row.tolist()) == want[index]
        assert loader.stats()["leases"] == 0  # nothing of the loader's is held


def test_pinned_memory_is_filled_without_a_copy(ds, pinned):
    """Once the batches that were read before a buffer was given have passed. A buffer that was
    given is larger than its batch, one that was copied into is not."""
    with sterna.torch.Loader(ds, 8, shuffle=False) as plain:
        want = list(plain)
    in_place = []
    with sterna.torch.Loader(ds, 8, pin_memory=True, shuffle=False, memory="256KiB") as loader:
        while len(in_place) <= 8 and loader.epoch < 500:
            for batch, other in zip(loader, want, strict=True):
                assert same(batch, other)
                data = batch["image"].data
                sizes = [b.numel() for b in pinned if b.data_ptr() == data.data_ptr()]
                assert max(sizes) >= data.numel()
                if max(sizes) > data.numel():
                    in_place.append(batch)
        stats = loader.stats()
        del batch, in_place[4:]
    assert len(in_place) == 4
    assert stats["buffers_used"] > 8 and stats["buffers_short"] == 0
    for batch in in_place:  # the memory is torch's: it outlives the loader
        assert any(same(batch, other) for other in want)


def test_pinned_results_of_a_transform(ds, pinned):
    functions = {"transform": torch_support.channels_last, "collate_fn": torch_support.as_is}
    with sterna.torch.Loader(ds, 8, pin_memory=True, **functions) as loader:
        images, odd, text = next(iter(loader))
    assert lies_in(images, pinned) and lies_in(odd, pinned) and text == "text"
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, torch_support.IMAGES)
    assert torch.equal(odd, torch_support.IMAGES[0, 0].t())


def test_without_cuda_a_loader_warns_once_and_goes_on(ds, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("there is CUDA")
    monkeypatch.setattr(sterna.torch.pinned, "_warned", False)
    with pytest.warns(UserWarning, match="no CUDA device") as caught:
        for _ in range(2):
            with sterna.torch.Loader(ds, 8, pin_memory=True) as loader:
                assert next(iter(loader))["label"].shape == (8,)
    assert len(caught) == 1
