"""Epochs, iterators, threads, interrupts, errors and figures of a loader."""

import collections
import gc
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import weakref

import pytest
import sterna
from conftest import N, add_samples, wait_until
from sterna import _core, errors, ranks, stats
from sterna import options as options_module

BATCH = 8
STEPS = -(-N // BATCH)


def ids_of(loader):
    return [list(batch.ids) for batch in loader]


@pytest.fixture
def opened(monkeypatch):
    """Counts C loaders: what was read ahead is thrown away where another one is opened."""
    made = []
    kind = _core.Loader

    def make(*args, **options):
        made.append(options["epoch"])
        return kind(*args, **options)

    monkeypatch.setattr(_core, "Loader", make)
    return made


# ---- epochs ----


def test_epochs_follow_one_another(ds, opened):
    with ds.loader(BATCH, seed=1) as loader:
        for epoch in range(3):
            assert loader.epoch == epoch
            batches = []
            for batch in loader:
                assert loader.epoch == batch.epoch == epoch
                batches.append(batch.step)
            assert batches == list(range(STEPS))
            assert loader.epoch == epoch + 1
    assert opened == [0]


def test_each_epoch_has_all_samples_in_another_order(ds):
    with ds.loader(BATCH, seed=1, uneven="exact") as loader:
        orders = [sum(ids_of(loader), []) for _ in range(3)]
    assert all(sorted(order) == sorted(ds.ids) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    with ds.loader(BATCH, shuffle=False, uneven="exact") as loader:
        assert sum(ids_of(loader), []) == ds.ids


def test_a_new_iterator_starts_the_epoch_again(ds):
    with ds.loader(BATCH, seed=1) as loader:
        first = [list(batch.ids) for batch in itertools.islice(loader, 3)]
        assert loader.epoch == 0
        again = ids_of(loader)
        assert again[:3] == first and len(again) == STEPS
        assert loader.epoch == 1


def test_the_last_batch_ends_the_epoch(ds, opened):
    """Who counts to len() never asks for the end."""
    with ds.loader(BATCH, seed=1) as loader:
        seen = []
        for epoch in range(3):
            iterator = iter(loader)
            for _ in range(len(loader)):
                seen.append((next(iterator).epoch, loader.epoch))
        assert seen == [(e, e) for e in range(3) for _ in range(STEPS)]
    assert opened == [0]


def test_set_epoch_keeps_what_was_read_ahead(ds, opened):
    with ds.loader(BATCH, seed=1) as loader:
        for epoch in range(3):
            loader.set_epoch(epoch)
            assert {batch.epoch for batch in loader} == {epoch}
        assert opened == [0]
        loader.set_epoch(7)
        assert loader.epoch == 7
        assert {batch.epoch for batch in loader} == {7}
        loader.set_epoch(7)  # once more, from its start
        assert [batch.epoch for batch in loader] == [7] * STEPS
        assert opened == [0, 7, 7]
        assert loader.epoch == 8


def test_set_epoch_during_an_epoch_is_about_the_next_one(ds):
    with ds.loader(BATCH, seed=1) as loader:
        epochs = []
        for batch in loader:
            loader.set_epoch(5)
            epochs.append(batch.epoch)
        assert epochs == [0] * STEPS
        assert loader.epoch == 5
        for batch in loader:
            loader.set_epoch(5)
        assert loader.epoch == 5  # once more
        assert len(ids_of(loader)) == STEPS
        assert loader.epoch == 6
    with pytest.raises(errors.InvalidError):
        loader.set_epoch(-1)


def test_the_order_depends_on_seed_and_epoch_alone(ds):
    def order(seed, epoch, **options):
        with ds.loader(BATCH, seed=seed, **options) as loader:
            loader.set_epoch(epoch)
            return ids_of(loader)

    assert order(3, 4) == order(3, 4, threads=1, memory="1MiB")
    assert order(3, 4) != order(4, 3)


def test_a_trainer_tells_the_epoch_to_the_sampler(ds):
    with ds.loader(BATCH) as loader:
        loader.sampler.set_epoch(3)
        assert loader.epoch == 3
        loader.batch_sampler.sampler.set_epoch(4)
        assert {batch.epoch for batch in loader} == {4}
        assert len(loader.sampler) == STEPS


def test_epochs_bound_the_run(ds):
    with ds.loader(BATCH, epochs=2) as loader:
        assert len(ids_of(loader)) == len(ids_of(loader)) == STEPS
        requests = loader.stats()["requests"]
        assert requests == 2 * N  # nothing was asked for past the end
        with pytest.raises(errors.InvalidError, match="epochs=2"):
            iter(loader)
        loader.set_epoch(1)
        assert {batch.epoch for batch in loader} == {1}
        with pytest.raises(errors.InvalidError, match="epochs=2"):
            iter(loader)
        state = loader.state_dict()
        loader.load_state_dict(state)
        with pytest.raises(errors.InvalidError, match="epochs=2"):
            iter(loader)


def test_an_empty_data_set_has_empty_epochs(ds):
    with ds.where("label = 99").loader(BATCH) as loader:
        assert len(loader) == 0
        for epoch in range(2):
            assert loader.epoch == epoch
            assert list(loader) == []
    with ds.loader(N + 1, drop_last=True) as loader:
        assert (len(loader), list(loader), loader.epoch) == (0, [], 1)


# ---- lengths and shapes ----


@pytest.mark.parametrize("uneven", ["pad", "drop", "exact"])
@pytest.mark.parametrize("world", [1, 2, 7])
@pytest.mark.parametrize("batch", [1, 8, 30, 61])
def test_len_is_what_the_library_says(ds, uneven, world, batch):
    covered = collections.Counter()
    for rank in range(world):
        with ds.loader(batch, uneven=uneven, rank=rank, world_size=world, seed=2) as loader:
            assert len(loader) == loader._core.steps
            batches = list(loader)
            assert len(batches) == len(loader)
            rows = [len(b) for b in batches]
            assert all(n == batch for n in (rows[:-1] if uneven == "exact" else rows))
            for b in batches:
                covered.update(id for id, ok in zip(b.ids, memoryview(b.valid)) if ok)
    assert set(covered.values()) <= {1}
    dropped = N % (batch * world) if uneven == "drop" else 0
    assert len(covered) == N - dropped


def test_steps_of_many_worlds():
    for n, batch, world in itertools.product((0, 1, 5, 64, 100), (1, 3, 64), (1, 2, 5)):
        for uneven, rank in itertools.product(("pad", "drop", "exact"), range(world)):
            count = 0
            options = dict(batch_size=batch, uneven=uneven, rank=rank, world_size=world)
            while True:
                try:
                    _core.plan_batch(n, 0, count, **options)
                except errors.InvalidError:
                    break
                count += 1
            place = ranks.Place(rank, world, "")
            assert options_module.steps(n, batch, place, uneven) == count, options


def test_global_batch_is_divided_among_ranks(ds):
    with ds.loader(global_batch=12, rank=1, world_size=3) as loader:
        assert loader.batch_size == 4
        assert {len(batch) for batch in loader} == {4}
    with pytest.raises(errors.InvalidError, match="12 cannot be divided among 5"):
        len(ds.loader(global_batch=12, rank=0, world_size=5))


def test_ids_at_tells_the_plan(ds):
    with ds.loader(BATCH, seed=9, rank=1, world_size=2) as loader:
        planned = [loader.ids_at(epoch, step) for epoch in range(2) for step in range(4)]
        assert [batch.ids for _ in range(2) for batch in loader] == planned
        with pytest.raises(errors.InvalidError, match="steps 0 to 3"):
            loader.ids_at(0, 4)
    with pytest.raises(errors.InvalidError, match="arrival"):
        ds.loader(BATCH, order="arrival").ids_at(0, 0)


def test_ids_at_in_an_epoch_that_changed_its_world(ds):
    with ds.loader(BATCH, seed=9) as loader:
        taken = [list(batch.ids) for batch in itertools.islice(loader, 2)]
        state = loader.state_dict()
    for rank in range(2):
        with ds.loader(BATCH, seed=9, rank=rank, world_size=2) as loader:
            loader.load_state_dict(state)
            planned = [list(loader.ids_at(0, step)) for step in range(2, len(loader))]
            assert ids_of(loader) == planned
            assert not set(sum(taken, [])) & set(sum(planned, []))
            assert ids_of(loader) == [list(loader.ids_at(1, s)) for s in range(4)]


WRONG = [
    ({"batch_size": 0}, "batch_size=0"),
    ({"batch_size": 8.0}, "batch_size=8.0 is no whole number"),
    ({"seed": "7"}, "seed='7' is no whole number"),
    ({"memory": 1e9}, "memory=1000000000.0 is no whole number"),
    ({"batch_size": 4, "global_batch": 8}, "not both"),
    ({"drop_last": True, "uneven": "exact"}, "contradicts"),
    ({"epochs": 0}, "epochs=0"),
    ({"memory": "4 apples"}, "memory"),
    ({"max_rate": "-1"}, "max_rate"),
    ({"max_errors": 3}, "on_error"),
    ({"fields": ["picture"]}, "no field 'picture'; there are: image"),
    ({"columns": ["colour"]}, "no column 'colour'"),
    ({"columns": "path"}, "list of names"),
    ({"threads": 0}, "threads=0"),
    ({"expect_selection": "xyz"}, "hash"),
    ({"rank": 3}, "world_size="),
]


@pytest.mark.parametrize("options, says", WRONG)
def test_wrong_options(ds, options, says):
    with pytest.raises(errors.Error, match=says):
        ds.loader(**options).start()


def test_numbers_of_numpy(ds):
    numpy = pytest.importorskip("numpy")
    one, two = numpy.int64(1), numpy.int32(2)
    with ds.loader(
        two, seed=one, rank=one, world_size=two, epochs=two, memory=one * 10**6
    ) as loader:
        loader.set_epoch(one)
        batch = next(iter(loader))
        assert type(loader.epoch) is int and batch.ids == loader.ids_at(one, numpy.int64(0))
        assert json.loads(json.dumps(loader.state_dict(one)))["step"] == 1
    assert ds.sample(two, one).ids == ds.sample(2, 1).ids and ds.as_of(one).hash == ds.hash


def test_wrong_words_and_hashes(ds):
    for options, words in (
        ({"order": "random"}, "strict, arrival"),
        ({"uneven": "even"}, "pad, drop, exact"),
        ({"on_error": "ignore"}, "raise, substitute, mask"),
    ):
        with pytest.raises(errors.InvalidError, match=words):
            ds.loader(**options)
    ds.loader(expect_selection=ds.hash).start()
    with pytest.raises(errors.MismatchError):
        ds.loader(expect_selection="00" * 32).start()


# ---- batches ----


def test_what_a_batch_has(ds, photos):
    with ds.loader(BATCH, seed=1, columns=("path", "width", "class")) as loader:
        paths = dict(zip(ds.ids, ds.metadata(["path"])["path"]))
        for batch in loader:
            assert batch.path == [paths[id] for id in batch.ids]
            assert [bytes(row) for row in batch.image] == [photos[path] for path in batch.path]
            assert [f"class{label}" for label in batch.label.tolist()] == batch["class"]
            assert all(isinstance(width, int) for width in batch["width"])
            assert [ds.ids[i] for i in batch.index.tolist()] == batch.ids
            assert bytes(batch.id_bytes) == bytes(batch.ids)
            assert batch.errors.tolist() == [0] * BATCH
            assert batch.n_valid == sum(batch.valid.tolist())
            assert (batch.step == STEPS - 1) == batch.last_in_epoch
            assert batch.state == loader.state_dict()
        assert batch.keys() == ("image", "path", "width", "class", "label", "index")
        assert dict(batch)["image"] is batch.image
        assert "image" in batch and "picture" not in batch
        assert not isinstance(batch, (collections.abc.Mapping, collections.abc.Iterable))
        with pytest.raises(errors.NotFound, match="no 'picture'"):
            batch["picture"]
        with pytest.raises(AttributeError, match="picture"):
            batch.picture
        row = batch.row(0)
        assert (row["path"], row["id"]) == (batch.path[0], batch.ids[0])


def test_ragged_rows(ds):
    with ds.loader(BATCH, seed=1) as loader:
        image = next(iter(loader)).image
    assert (image.name, image.kind, len(image)) == ("image", "image", BATCH)
    rows = image.list()
    data, offsets = memoryview(image.data), image.offsets.tolist()
    assert image.lengths.tolist() == [len(row) for row in rows]
    assert [bytes(data[at : at + len(row)]) for at, row in zip(offsets, rows)] == rows
    assert all(at % 64 == 0 for at in offsets)
    assert image[0].address == image.data.address + offsets[0]
    assert bytes(image[-1]) == rows[-1]
    with pytest.raises(IndexError):
        image[BATCH]
    padded = image.padded(7)
    assert padded.shape == (BATCH, max(map(len, rows)))
    for flat, row in zip(padded.tolist(), rows):
        assert bytes(flat[: len(row)]) == row and set(flat[len(row) :]) <= {7}


def test_rows_that_lie_apart_become_contiguous(ds):
    with ds.loader(BATCH, order="arrival") as loader:
        image = next(iter(loader)).image
    data, offsets = image.contiguous()
    rows = image.list()
    view = memoryview(data)
    assert [bytes(view[at : at + len(row)]) for at, row in zip(offsets.tolist(), rows)] == rows


def test_memory_lives_as_long_as_a_view(ds, photos):
    with ds.loader(BATCH, seed=1, columns=["path"]) as loader:
        iterator = iter(loader)
        batch = next(iterator)
        path, row = batch.path[0], batch.image[0]
        view = memoryview(row)
        del batch, row
        for batch in iterator:
            pass
        assert loader.stats()["leases"] == 2
        del batch
    del loader
    gc.collect()
    assert bytes(view) == photos[path]


# ---- iterators and threads ----


def test_one_live_iterator(ds):
    with ds.loader(BATCH, seed=1) as loader:
        first = iter(loader)
        next(first)
        second = iter(loader)
        assert [batch.step for batch in second] == list(range(STEPS))
        with pytest.raises(errors.InvalidError, match="another iterator"):
            next(first)
        third = iter(loader)
        assert next(third).epoch == 1
        assert list(second) == []  # it was exhausted, and stays so
        with pytest.raises(errors.InvalidError, match="another iterator"):
            for _ in zip(loader, loader):
                pass


def test_an_iterator_in_a_traceback_is_in_nobodys_way(ds):
    """As in a notebook: the cell is run again."""
    with ds.loader(BATCH, seed=1) as loader:
        with pytest.raises(ZeroDivisionError) as kept:
            for batch in loader:
                1 / batch.epoch
        assert [batch.step for batch in loader] == list(range(STEPS))
        assert kept


def test_threads_share_an_iterator(ds):
    with ds.loader(1, seed=1) as loader:
        for epoch in range(3):
            iterator = iter(loader)
            taken = [[] for _ in range(8)]

            def take(mine):
                for batch in iterator:
                    mine.append((batch.epoch, batch.step))

            threads = [threading.Thread(target=take, args=(mine,)) for mine in taken]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(sum(taken, [])) == [(epoch, step) for step in range(N)]
            assert all(mine == sorted(mine) for mine in taken)


def test_two_loaders_at_once(ds):
    with ds.loader(BATCH, seed=1) as a, ds.loader(BATCH, seed=1, order="arrival") as b:
        for x, y in zip(a, b):
            assert (x.epoch, x.step) == (y.epoch, y.step)


def test_close_and_cancel_wake_who_waits(ds):
    for stop in ("cancel", "close"):
        loader = ds.loader(BATCH, max_rate=1)  # nothing comes
        iterator, raised = iter(loader), []

        def wait():
            try:
                next(iterator)
            except errors.Error as e:
                raised.append(e)

        thread = threading.Thread(target=wait)
        thread.start()
        wait_until(loader._pulling.locked, "the wait")
        getattr(loader, stop)()
        thread.join()
        assert isinstance(raised[0], (errors.CanceledError, errors.InvalidError))
        loader.close()


def test_after_cancel_the_epoch_can_be_started_again(ds):
    with ds.loader(BATCH, seed=1) as loader:
        iterator = iter(loader)
        next(iterator)
        loader.cancel()
        with pytest.raises(errors.CanceledError):
            next(iterator)
        del iterator
        assert len(ids_of(loader)) == STEPS


def test_a_closed_loader(ds):
    loader = ds.loader(BATCH, seed=1)
    with loader:
        iterator = iter(loader)
        batch = next(iterator)
    loader.close()
    for use in (lambda: iter(loader), lambda: next(iterator), loader.start,
                lambda: loader.load_state_dict(batch.state)):  # fmt: skip
        with pytest.raises(errors.InvalidError, match="closed"):
            use()
    assert loader.state_dict() == batch.state
    assert loader.stats()["batches"] == 1
    assert len(loader) == STEPS
    assert len(bytes(batch.image[0])) > 0


def test_a_loader_outlives_its_data_set(url):
    with sterna.open(url) as ds:
        loader = ds.loader(BATCH, seed=1)
    with loader:
        first = next(iter(loader)).ids
        loader.set_epoch(3)
        list(loader)
        loader.set_epoch(0)
        assert next(iter(loader)).ids == first


def test_a_state_loaded_while_another_thread_takes(ds):
    with ds.loader(BATCH, seed=1, max_rate=20_000) as loader:
        state = loader.state_dict()
        raised = []

        def take():
            try:
                list(loader)
            except errors.Error as e:
                raised.append(e)

        for _ in range(5):
            thread = threading.Thread(target=take)
            thread.start()
            wait_until(lambda: loader._pulling.locked() or not thread.is_alive(), "a batch")
            loader.load_state_dict(state)
            thread.join()
            assert loader.state_dict() == state
        assert next(iter(loader)).step == 0


def test_a_dropped_loader_goes(ds):
    loader = ds.loader(BATCH)
    next(iter(loader))
    gone = weakref.ref(loader)
    del loader
    assert gone() is None


# ---- interrupts ----


def run_child(code, *args):
    return subprocess.Popen(
        [sys.executable, "-c", code, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


INTERRUPTED = """
import sterna, sys, threading, time
ds = sterna.open(sys.argv[1])
loader = ds.loader(8, seed=1, max_rate=1)

def tell_when_it_waits():
    while not loader._pulling.locked():
        time.sleep(0.001)
    print("waiting", flush=True)

for _ in range(2):
    threading.Thread(target=tell_when_it_waits).start()
    try:
        for batch in loader:
            pass
    except KeyboardInterrupt:
        print("interrupted", flush=True)
loader.close()
with ds.loader(8, seed=1) as loader:
    print(len(list(loader)), flush=True)
"""


def test_ctrl_c_at_once_and_twice(url):
    child = run_child(INTERRUPTED, url)
    for _ in range(2):
        assert child.stdout.readline() == "waiting\n"
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n"
    out, err = child.communicate(timeout=60)
    assert (out, err, child.returncode) == (f"{STEPS}\n", "", 0)


def test_an_interrupted_iterator_loses_no_batch(ds):
    """A signal between the C library's handing out and our noticing: as if somebody else had taken
    the batch."""
    with ds.loader(BATCH, seed=1) as loader:
        planned = ids_of(loader)
        loader.set_epoch(0)
        for at in (0, 3, STEPS - 1):
            taken = []
            iterator = iter(loader)
            for step in range(STEPS):
                if step == at:
                    loader._core.next()
                taken.append(list(next(iterator).ids))
            assert taken == planned
            loader.set_epoch(0)


def position(state):
    at_end = state["step"] == N
    return (state["epoch"] + 1, 0) if at_end else (state["epoch"], state["step"])


def test_signals_all_the_time(ds):
    """Whatever moment they choose, the next batch is the one after the loader's state."""

    class Interrupt(Exception):
        pass

    def interrupt(number, frame):
        if armed:
            armed.clear()
            raise Interrupt

    armed, interrupts, at = [], 0, (0, 0)
    moments = random.Random(1)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with ds.loader(1, seed=1, max_rate=2_000_000) as loader:
            while at < (6, 0):
                iterator, calm = iter(loader), False
                while at < (iterator.epoch + 1, 0):
                    try:
                        if not calm:
                            armed.append(1)
                            signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-6, 3e-4))
                        batch = next(iterator)
                        armed.clear()
                    except Interrupt:
                        interrupts += 1
                        calm = True  # or it might never come on
                        at = position(loader.state_dict())
                    else:
                        assert (batch.epoch, batch.step) == at
                        at, calm = position(batch.state), False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupts > 0


def test_an_interrupt_while_an_epochs_last_batch_is_handed_out(ds):
    """Either it was, for the state and for the next iterator, or it was not."""
    armed = []

    class Interrupting(collections.deque):
        def append(self, item):
            super().append(item)
            if armed:
                raise KeyboardInterrupt

    with ds.loader(1, seed=1) as loader:
        loader._recent = Interrupting(maxlen=64)
        iterator = iter(loader)
        for _ in range(N - 1):
            next(iterator)
        armed.append(1)
        with pytest.raises(KeyboardInterrupt):
            next(iterator)
        armed.clear()
        at = position(loader.state_dict())
        batch = next(iterator if at < (1, 0) else iter(loader))
        assert (batch.epoch, batch.step) == at


# ---- errors ----


@pytest.fixture
def damaged(tmp_path):
    """A store in which one sample's bytes were changed."""
    blobs = {f"{i}.bin": b"sample %02d " % i * 600 for i in range(20)}
    url = add_samples(
        tmp_path / "store", [(p, [("raw", "bytes", b)], [("n", i)]) for i, (p, b) in
                             enumerate(blobs.items())]
    )  # fmt: skip
    file = os.path.join(url, "data.mdb")
    with open(file, "rb") as f:
        data = f.read()
    at = data.index(blobs["7.bin"])
    with open(file, "r+b") as f:
        f.seek(at)
        f.write(b"X")
    return url


def test_a_damaged_sample_is_an_error(damaged):
    with sterna.open(damaged) as ds, ds.loader(4, shuffle=False) as loader:
        bad = ds.ids[ds.metadata(["path"])["path"].index("7.bin")]
        with pytest.raises(errors.CorruptError, match=bad):
            list(loader)
        with pytest.raises(errors.CorruptError, match=bad):
            list(loader)  # again, from the epoch's start
        told = {(_core.format_id(e["id"]), e["code"]) for e in loader.stats().exceptions}
        assert told == {(bad, -6)}


def test_masked_and_substituted_rows(damaged):
    with sterna.open(damaged) as ds:
        bad = ds.ids[ds.metadata(["path"])["path"].index("7.bin")]
        for on_error in ("mask", "substitute"):
            with ds.loader(4, shuffle=False, on_error=on_error, max_errors=1) as loader:
                batches = list(loader)
                assert [len(batch) for batch in batches] == [4] * 5
                (batch,) = [batch for batch in batches if bad in batch.ids or -6 in
                            batch.errors.tolist()]  # fmt: skip
                row = batch.errors.tolist().index(-6)
                if on_error == "mask":
                    assert batch.raw[row] is None and not batch.valid.tolist()[row]
                else:
                    assert len(batch.raw[row]) > 0 and batch.valid.tolist()[row]
        with ds.loader(4, on_error="mask", max_errors=0) as loader:
            with pytest.raises(errors.TooManyErrors):
                list(loader)


def test_batches_held_are_no_hang(tmp_path):
    url = add_samples(
        tmp_path / "store",
        [(f"{i}", [("raw", "bytes", bytes(100_000))], []) for i in range(40)],
    )
    with sterna.open(url) as ds, ds.loader(2, memory="1MB") as loader:
        held, iterator = [], iter(loader)
        with pytest.raises(errors.BudgetError, match="batches held"):
            while True:
                held.append(next(iterator))
        n = len(held)
        assert n > 0
        held.clear()
        assert n + sum(1 for _ in iterator) == 20
        with pytest.raises(errors.BudgetError, match="smallest|at least"):
            ds.loader(2, memory="100kB").start()


# ---- figures ----


def test_stats_and_metrics(ds):
    with ds.loader(BATCH, seed=1) as loader:
        assert set(stats.NONE) == set(loader._core.stats()) == set(loader.stats())
        assert set(stats.NONE["stall_ns"]) == set(loader._core.stats()["stall_ns"])
        list(loader)
        now = loader.stats()
        assert (now["batches"], now["samples"]) == (STEPS, N)
        assert now["bytes"] == ds.selection.n_bytes
        assert dict(now)["padded"] == STEPS * BATCH - N
        assert now.verdict == now["verdict"]
        assert set(now.stall_s) == set(now["stall_ns"])
        assert "samples" in repr(now) and f"{N:,}" in repr(now)
        first = loader.metrics()
        assert all(type(value) is float for value in first.values())
        assert first["sterna/samples"] == N and first["sterna/epoch"] == 1
        list(loader)
        second = loader.metrics(prefix="data_")
        assert second["data_samples"] == 2 * N
        assert second["data_samples_per_s"] > 0
        assert {name.split("/")[-1] for name in first} == {
            name.removeprefix("data_") for name in second
        }


def test_looking_at_a_loader_begins_nothing(ds, opened):
    loader = ds.loader(BATCH, seed=1)
    assert loader.stats()["batches"] == 0 and "0 (0/s)" in repr(loader.stats())
    assert loader.metrics()["sterna/samples"] == 0.0
    assert (loader.epoch, len(loader), loader.rank) == (0, STEPS, 0)
    assert repr(loader) and loader._repr_html_() and len(loader.ids_at(0, 0)) == BATCH
    assert opened == []


def test_figures_go_on_where_another_c_loader_does(ds):
    with ds.loader(BATCH, seed=1) as loader:
        for _ in range(3):
            loader.set_epoch(5)
            list(loader)
        assert loader.stats()["samples"] == 3 * N
        assert loader.metrics()["sterna/samples"] == 3 * N


# ---- for long ----


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def sanitized():
    with open("/proc/self/maps") as file:
        return "libasan" in file.read()


@pytest.mark.skipif(sanitized(), reason="AddressSanitizer keeps what was given back")
def test_memory_stays_flat(ds):
    """Over 10^5 batches, the first ones left out."""
    with ds.loader(1, seed=1, memory="4MB", columns=["path"]) as loader:
        n, early = 0, 0
        while n < 100_000:
            for batch in loader:
                n += 1
                if n % 10 == 0:
                    assert batch.image[0] is not None and batch.label and batch.path
            if n == 20_040:
                early = resident_bytes()
        del batch
    assert early > 0
    assert resident_bytes() - early < 8_000_000


LEFT_OPEN = """
import contextlib, sterna, sys, threading
ds = sterna.open(sys.argv[1])
loaders = [ds.loader(8, order=order) for order in ("strict", "arrival")]
batches = [next(iter(loader)) for loader in loaders]
view = memoryview(batches[0].image[0])
if "waiting" in sys.argv:
    slow = ds.loader(8, max_rate=1)
    def wait():
        with contextlib.suppress(sterna.CanceledError):
            next(iter(slow))

    threading.Thread(target=wait, daemon=True).start()
    while not slow._pulling.locked():
        pass
if "raise" in sys.argv:
    raise SystemExit("as it must be")
"""


@pytest.mark.parametrize("how, code", [("", 0), ("waiting", 0), ("raise", 1)])
def test_a_script_ends_without_close(url, how, code):
    child = run_child(LEFT_OPEN, url, how)
    out, err = child.communicate(timeout=60)
    assert (out, child.returncode) == ("", code)
    assert err == ("as it must be\n" if how == "raise" else "")
