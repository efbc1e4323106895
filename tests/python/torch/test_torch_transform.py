"""transform and collate_fn, in the caller and in workers: the same, in order, and resumable."""

import multiprocessing
import multiprocessing.connection
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
import sterna
import sterna.torch
import torch
import torch_support
from torch_support import same, valid_indices

N = 60
TIME_LIMIT_S = 240  # against hanging


def loader_of(ds, num_workers=0, **options):
    return sterna.torch.Loader(
        ds, 8, **{"seed": 3, "transform": torch_support.draw, **options}, num_workers=num_workers
    )


@pytest.fixture(scope="module")
def workers(url):
    """A loader with two workers, started once; tests leave it at the end of an epoch."""
    with sterna.open(url) as ds, loader_of(ds, 2) as loader:
        yield loader
    assert not multiprocessing.active_children()


@pytest.fixture
def no_new_children():
    """A function that tells whether all processes that the test has started are gone."""
    before = set(multiprocessing.active_children())
    return lambda: set(multiprocessing.active_children()) <= before


@pytest.fixture
def here(ds):
    with loader_of(ds) as loader:
        yield loader


def epoch_of(loader, epoch):
    loader.set_epoch(epoch)
    return list(loader)


def by_index(batches, name):
    return {
        index: value.tolist()
        for batch in batches
        for index, value in zip(batch["index"].tolist(), batch[name])
    }


# ---- what transform gets ----


def test_a_row_is_a_dict(ds, photos):
    seen = []
    paths, labels = ds.metadata(["path"])["path"], ds.targets.tolist()
    with loader_of(
        ds, transform=seen.append, collate_fn=len, columns=["width"], uneven="exact"
    ) as loader:
        assert list(loader) == [8] * 7 + [4]
    for sample in seen:
        index = sample["index"]
        assert list(sample) == ["image", "width", "label", "index", "valid", "id"]
        assert bytes(sample["image"]) == photos[paths[index]]
        assert isinstance(sample["image"], memoryview)
        assert (sample["label"], sample["id"]) == (labels[index], ds.ids[index])
        assert sample["valid"] is True
    assert len({sample["index"] for sample in seen}) == N


def test_workers_get_the_same(ds, workers):
    """Bytes, too: `first_bytes` looks at them."""
    with loader_of(ds, transform=torch_support.first_bytes) as a:
        with loader_of(ds, 1, transform=torch_support.first_bytes) as b:
            assert all(map(same, epoch_of(a, 0), epoch_of(b, 0)))


@pytest.mark.parametrize("order", ["strict", "arrival"])
def test_values_and_missing_rows_reach_workers(order, tmp_path):
    from conftest import add_samples

    blobs = [
        [("a", "text", f"t{i}".encode()), ("b", "bytes", None if i == 2 else b"x" * i)]
        for i in range(4)
    ]
    samples = [(f"s{i}", blobs[i], []) for i in range(4)]
    url = add_samples(tmp_path / "store", samples)
    got = []
    for n in 0, 1:
        with sterna.torch.Loader(
            url, 4, order=order, collate_fn=torch_support.plain, num_workers=n
        ) as loader:
            (batch,) = loader
        got.append(sorted(batch, key=lambda sample: sample["a"]))
    assert [(s["a"], s["b"]) for s in got[0]] == [
        ("t0", b""), ("t1", b"x"), ("t2", None), ("t3", b"xxx")
    ]
    assert got[0] == got[1]


# ---- random numbers ----


def test_random_numbers_are_the_same_whatever_the_workers(here, workers):
    for epoch in 0, 1:
        assert all(map(same, epoch_of(here, epoch), epoch_of(workers, epoch)))


@pytest.mark.parametrize(
    "options", [{"order": "arrival"}, {"rank": 1, "world_size": 2}, {"shuffle": False}]
)
def test_random_numbers_are_the_samples_own(ds, here, options):
    for name in "python", "numpy", "torch":
        whole = by_index(epoch_of(here, 1), name)
        with loader_of(ds, **options) as other:
            part = by_index(epoch_of(other, 1), name)
        assert len(part) >= N / 2
        assert part.items() <= whole.items()


def test_random_numbers_differ_by_sample_epoch_and_seed(ds, here):
    with loader_of(ds, seed=4) as other:
        drawn = [by_index(epoch_of(loader, e), "torch") for loader in (here, other) for e in (0, 1)]
    values = [tuple(value) for one in drawn for value in one.values()]
    assert len(set(values)) == len(values) == 4 * N


def test_the_programs_own_random_numbers_stay(here):
    import numpy

    def draw():
        return random.random(), float(numpy.random.rand()), float(torch.rand(1))

    random.seed(1), numpy.random.seed(1), torch.manual_seed(1)
    want = [draw() for _ in range(3)]
    random.seed(1), numpy.random.seed(1), torch.manual_seed(1)
    batches = iter(here)
    got = [draw()]
    for _ in range(2):
        next(batches)
        got.append(draw())
    assert got == want


# ---- order and state ----


def test_the_state_is_that_of_the_batch_handed_out(here, workers):
    here.set_epoch(0), workers.set_epoch(0)
    steps = []
    for batches in zip(here, workers, strict=True):
        assert same(*batches)
        assert here.state_dict() == workers.state_dict()
        steps.append(workers.state_dict()["step"])
    assert steps == list(range(1, 9))


def test_a_state_goes_on_with_workers(here, workers):
    whole = epoch_of(here, 0)
    for k in range(1, 8):
        workers.set_epoch(0)
        batches = iter(workers)
        for _ in range(k):
            next(batches)
        state = workers.state_dict()
        next(batches)
        workers.load_state_dict(state)
        assert all(map(same, whole[k:], list(workers)))
    assert workers.epoch == 1


def test_an_epoch_left_in_the_middle_starts_again(here, workers):
    whole = epoch_of(here, 0)
    workers.set_epoch(0)
    for batch in workers:
        break
    assert all(map(same, whole, list(workers)))
    for batch in workers:
        break
    assert all(map(same, epoch_of(here, 2), epoch_of(workers, 2)))


def test_workers_stay_and_run_ahead(ds):
    with loader_of(ds, 2, transform=None, collate_fn=torch_support.indices_and_pid) as loader:
        pids = {batch["pid"] for _ in range(3) for batch in loader}
    assert len(pids) <= 2 and os.getpid() not in pids


def test_arrival_order_through_workers(ds):
    with loader_of(ds, 2, order="arrival") as loader:
        for epoch in range(2):
            seen = []
            batches = iter(loader)
            for _ in range(3):
                seen += valid_indices(next(batches))
            loader.load_state_dict(loader.state_dict())
            for batch in loader:
                seen += valid_indices(batch)
            assert sorted(seen) == list(range(N))


# ---- failures ----


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_failure_names_the_sample(ds, num_workers):
    with loader_of(ds, num_workers, transform=torch_support.fail_at_17, shuffle=False) as loader:
        for _ in range(2):  # and a new iterator comes as far
            batches = iter(loader)
            assert [next(batches)["index"][0].item() for _ in range(2)] == [0, 8]
            with pytest.raises(sterna.torch.TransformError) as caught:
                next(batches)
            assert loader.state_dict()["step"] == 2
    error = caught.value
    assert (error.id, error.index) == (ds.ids[17], 17)
    assert ds.ids[17] in str(error) and "in fail_at_17" in str(error)
    assert isinstance(error.__cause__, ValueError)
    assert isinstance(error, sterna.Error)


def test_a_failure_in_the_first_batch_leaves_the_start(ds):
    with loader_of(ds, 1, transform=None, collate_fn=torch_support.collate_badly) as loader:
        start = loader.state_dict()
        with pytest.raises(sterna.torch.TransformError, match="in collate_badly") as caught:
            next(iter(loader))
        assert caught.value.id is None
        assert loader.state_dict() == start


def test_a_dying_worker_is_told_with_the_sample(ds, no_new_children):
    with loader_of(ds, 2, transform=torch_support.die_at_17, shuffle=False) as loader:
        with pytest.raises(sterna.torch.TransformError, match="ended with status 9") as caught:
            list(loader)
        assert (caught.value.id, caught.value.index) == (ds.ids[17], 17)
        assert no_new_children()
    assert loader.state_dict()["step"] <= 2


def test_a_lambda_is_refused_with_workers(ds):
    with loader_of(ds, 1, transform=lambda sample: sample) as loader:
        with pytest.raises(sterna.InvalidError, match="num_workers=0"):
            next(iter(loader))


# ---- interrupts, forks, ends ----


@pytest.fixture
def fifos(tmp_path, monkeypatch):
    """(told, go_on): what wait_at_17 writes when it waits, and reads before it goes on."""
    for name in "STERNA_TEST_WAITS", "STERNA_TEST_FIFO":
        os.mkfifo(tmp_path / name)
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path / "STERNA_TEST_WAITS", tmp_path / "STERNA_TEST_FIFO"


def when_it_waits(told, then):
    """Does something as soon as a worker has come to wait_at_17."""

    def wait():
        told.read_text()
        then()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_an_interrupt_loses_nothing(ds, fifos, no_new_children, monkeypatch):
    told, go_on = fifos
    wait, waits = multiprocessing.connection.wait, threading.Event()

    def told_wait(*arguments):
        waits.set()
        return wait(*arguments)

    def interrupt():
        waits.wait()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with loader_of(ds, transform=torch_support.first_bytes, shuffle=False) as loader:
        want = list(loader)
    with loader_of(ds, 1, transform=torch_support.wait_at_17, shuffle=False) as loader:
        batches = iter(loader)
        got = [next(batches), next(batches)]
        thread = when_it_waits(told, interrupt)
        monkeypatch.setattr(multiprocessing.connection, "wait", told_wait)
        with pytest.raises(KeyboardInterrupt):
            next(batches)
        monkeypatch.setattr(multiprocessing.connection, "wait", wait)
        thread.join()
        assert no_new_children()
        thread = when_it_waits(told, lambda: go_on.write_text("go on"))
        got += list(batches)
        thread.join()
    assert all(map(same, got, want)) and len(got) == len(want)


def test_close_while_a_thread_waits_for_a_worker(ds, fifos, no_new_children):
    told, _ = fifos
    loader = loader_of(ds, 1, transform=torch_support.wait_at_17, shuffle=False)
    thread = when_it_waits(told, loader.close)
    with pytest.raises((sterna.CanceledError, sterna.InvalidError)):
        list(loader)
    thread.join()
    assert no_new_children()


def test_a_fork_leaves_the_workers_to_the_parent(workers, here):
    workers.set_epoch(0)
    batches = iter(workers)
    first = next(batches)
    pid = os.fork()
    if pid == 0:
        try:
            next(batches)
        except sterna.ForkedError:
            workers.close()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert all(map(same, [first, *batches], epoch_of(here, 0)))


def test_a_program_may_end_without_closing(url, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, sterna.torch
            from torch_support import draw
            if __name__ == "__main__":
                loader = sterna.torch.Loader(sys.argv[1], 8, transform=draw, num_workers=1)
                batches = iter(loader)
                print(next(batches)["index"].tolist())
            """
        )
    )
    path = os.pathsep.join([os.path.dirname(__file__), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, script, url],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("[")
