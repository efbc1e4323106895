"""States: a run that was interrupted anywhere gives what the uninterrupted one would have given, on
any number of ranks."""

import collections
import copy
import itertools
import json
import os
import queue
import subprocess
import threading

import pytest
import sterna
from conftest import TIME_LIMIT_S, N
from sterna import errors

BATCH = 7  # does not divide N
STEPS = -(-N // BATCH)
EPOCHS = 3
ORDERS = ("strict", "arrival")


def open_loader(ds, order="strict", **options):
    return ds.loader(BATCH, **{"seed": 5, "order": order, **options})


def row_of(batch):
    return batch.epoch, batch.step, list(batch.ids), batch.valid.tolist()


def read(loader, n=None):
    """The next n batches, or those of three epochs, over as many iterators as that takes."""
    taken = []
    while loader.epoch < EPOCHS and n != len(taken):
        for batch in loader:
            taken.append(row_of(batch))
            if len(taken) == n:
                break
    return taken


def check_union(*parts):
    """In all parts together each sample of each epoch comes exactly once."""
    seen = collections.Counter()
    for epoch, _, ids, valid in itertools.chain(*parts):
        seen.update((epoch, id) for id, counts in zip(ids, valid) if counts)
    assert set(seen.values()) == {1}
    assert len(seen) == N * EPOCHS


@pytest.fixture(scope="module")
def whole(url):
    """The uninterrupted run in strict order."""
    with sterna.open(url) as ds, open_loader(ds) as loader:
        return read(loader)


def test_the_whole_run(whole):
    assert len(whole) == STEPS * EPOCHS
    check_union(whole)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("k", range(STEPS * EPOCHS + 1))
def test_resumed_at_every_batch(ds, whole, order, k):
    with open_loader(ds, order) as first:
        before = read(first, k)
        state = json.loads(json.dumps(first.state_dict()))
    with open_loader(ds, order) as second:
        second.load_state_dict(state)
        after = read(second)
    if order == "strict":
        assert before + after == whole
    check_union(before, after)


@pytest.mark.parametrize("order", ORDERS)
def test_resumed_again_and_again(ds, whole, order):
    taken, state = [], None
    while len(taken) < STEPS * EPOCHS:
        with open_loader(ds, order) as loader:
            if state:
                loader.load_state_dict(state)
            taken += read(loader, 2)
            state = loader.state_dict()
    if order == "strict":
        assert taken == whole
    check_union(taken)


class Prefetcher:
    """Takes two batches ahead of its consumer, on a thread of its own, over epochs' borders."""

    def __init__(self, loader):
        self.queue = queue.Queue(2)
        self.stop = False
        self.thread = threading.Thread(target=self.run, args=(loader,))
        self.thread.start()

    def run(self, loader):
        while not self.stop and loader.epoch < EPOCHS:
            for batch in loader:
                self.queue.put(batch)
                if self.stop:
                    break
        self.queue.put(None)

    def __iter__(self):
        return iter(lambda: self.queue.get(timeout=TIME_LIMIT_S), None)

    def close(self):
        self.stop = True
        while self.queue.get(timeout=TIME_LIMIT_S) is not None:
            pass
        self.thread.join()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("how", ["batch.state", "step", "step while ahead"])
@pytest.mark.parametrize("k", [1, 2, STEPS - 1, STEPS, STEPS + 1, 2 * STEPS])
def test_a_consumer_behind_a_prefetcher_saves_what_it_has_used(ds, whole, order, how, k):
    with open_loader(ds, order) as loader:
        prefetcher = Prefetcher(loader)
        before = []
        for batch in prefetcher:
            before.append(row_of(batch))
            if len(before) == k:
                break
        if how == "batch.state":
            state = batch.state
        elif how == "step while ahead":
            state = loader.state_dict(step=batch.step + 1, epoch=batch.epoch)
        prefetcher.close()
        if how == "step":
            state = loader.state_dict(step=batch.step + 1, epoch=batch.epoch)
    with open_loader(ds, order) as second:
        second.load_state_dict(state)
        after = read(second)
    if order == "strict":
        assert before + after == whole
    check_union(before, after)


def play(ds, order, worlds, steps, **options):
    """Each world takes `steps` batches a rank from where the last one stopped; the last one goes on
    to the end of the three epochs."""
    taken, state = [], None
    for part, world in enumerate(worlds, 1):
        last = part == len(worlds)
        states, parts = [], []
        for rank in range(world):
            loader = open_loader(ds, order, rank=rank, world_size=world, **options)
            with loader:
                if state:
                    loader.load_state_dict(state)
                parts.append(read(loader, None if last else steps))
                states.append(loader.state_dict())
        taken += parts
        state = sterna.merge_states(states) if order == "arrival" or world == 1 else states[-1]
    return taken


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_another_world_goes_on(ds, order, steps):
    parts = play(ds, order, [1, 2, 3, 1], steps, uneven="exact")
    check_union(*parts)


@pytest.mark.parametrize("order", ORDERS)
def test_another_world_goes_on_with_padding(ds, order):
    parts = play(ds, order, [2, 3, 1], 1, uneven="pad")
    check_union(*parts)


def test_another_batch_size_goes_on(ds):
    with ds.loader(4, seed=5) as first:
        before = read(first, 5)
        state = first.state_dict()
    with ds.loader(9, seed=5) as second:
        second.load_state_dict(state)
        after = read(second)
    check_union(before, after)


def test_a_state_alone_says_all(ds):
    with open_loader(ds, seed=77) as first:
        before = read(first, 3)
        state = first.state_dict()
    with ds.loader(BATCH) as second:  # no seed given
        second.load_state_dict(state)
        assert second.seed == 77
        check_union(before, read(second))
    with open_loader(ds, seed=77) as whole:
        assert read(whole)[3:10] == resumed(ds, state, 7)


def resumed(ds, state, n):
    with ds.loader(BATCH) as loader:
        loader.load_state_dict(state)
        return read(loader, n)


def test_what_a_state_is(ds):
    with open_loader(ds) as loader:
        read(loader, STEPS + 2)
        state = loader.state_dict()
    assert {name: type(value) for name, value in state.items()} == {
        "format": int, "epoch": int, "step": int, "seed": int, "batch_size": int,
        "world_size": int, "rank": int, "order": str, "uneven": str, "selection": str,
        "samples": int, "state": str,
    }  # fmt: skip
    assert (state["format"], state["epoch"], state["step"]) == (1, 1, 2)
    assert (state["seed"], state["batch_size"], state["samples"]) == (5, BATCH, N)
    assert (state["selection"], state["order"]) == (ds.hash, "strict")
    info = sterna.state_info(state)
    assert (info["step"], info["steps"], info["finished"]) == (2, STEPS, False)
    assert info["delivered"] == 2 * BATCH


def test_before_the_first_batch(ds, whole):
    with open_loader(ds) as loader:
        state = loader.state_dict()
        assert (state["epoch"], state["step"]) == (0, 0)
        assert read(loader) == whole
    assert resumed(ds, state, STEPS) == whole[:STEPS]
    with open_loader(ds) as loader:
        loader.set_epoch(2)
        state = loader.state_dict()
        assert (state["epoch"], state["step"]) == (2, 0)
    assert resumed(ds, state, STEPS) == whole[2 * STEPS :]


def test_between_epochs(ds, whole):
    with open_loader(ds) as loader:
        read(loader, STEPS)
        assert [b.step for b in loader] == list(range(STEPS))
        assert loader.epoch == 2
        state = loader.state_dict()
        loader.set_epoch(0)
        assert loader.state_dict()["epoch"] == 0
    with open_loader(ds) as loader:
        loader.load_state_dict(state)
        assert loader.epoch == 2
        assert read(loader) == whole[2 * STEPS :]


def test_loading_is_idempotent(ds, whole):
    with open_loader(ds) as loader:
        read(loader, 4)
        state = loader.state_dict()
        for _ in range(3):
            loader.load_state_dict(state)
            assert loader.state_dict() == state
        assert read(loader, 2) == whole[4:6]
        loader.load_state_dict(state)
        loader.load_state_dict(copy.deepcopy(state))
        assert read(loader) == whole[4:]


def test_a_loaded_state_and_its_own_epoch(ds, whole):
    """A trainer tells the epoch again after it has loaded the state."""
    with open_loader(ds) as loader:
        read(loader, STEPS + 3)
        state = loader.state_dict()
    with open_loader(ds) as loader:
        loader.load_state_dict(state)
        loader.set_epoch(1)
        assert read(loader) == whole[STEPS + 3 :]
    with open_loader(ds) as loader:
        loader.load_state_dict(state)
        loader.set_epoch(2)  # another one: from its start
        assert read(loader) == whole[2 * STEPS :]


def test_the_epoch_of_a_finished_state_has_nothing_left(ds, whole):
    with open_loader(ds) as loader:
        read(loader, STEPS)
        state = loader.state_dict()
    with open_loader(ds) as loader:
        loader.load_state_dict(state)
        assert loader.epoch == 1
        loader.set_epoch(0)
        assert list(loader) == []
        assert loader.epoch == 1
        assert read(loader) == whole[STEPS:]


def test_loading_ends_the_iterator(ds, whole):
    with open_loader(ds) as loader:
        iterator = iter(loader)
        next(iterator)
        state = loader.state_dict()
        next(iterator)
        loader.load_state_dict(state)
        with pytest.raises(errors.InvalidError, match="new iterator"):
            next(iterator)
        assert read(loader, 2) == whole[1:3]


def test_state_at_a_step(ds, whole):
    with open_loader(ds) as loader:
        read(loader, 4)
        for step in range(STEPS + 1):
            state = loader.state_dict(step=step)
            assert (state["epoch"], state["step"]) == (0, step)
            assert resumed(ds, state, 2) == whole[step : step + 2]
        with pytest.raises(errors.InvalidError, match=str(STEPS + 1)):
            loader.state_dict(step=STEPS + 1)
        with pytest.raises(errors.NotFound, match="batch.state"):
            loader.state_dict(step=1, epoch=3)


def test_states_of_arrival_order_are_kept_for_64_batches(ds):
    with ds.loader(1, seed=5, order="arrival", world_size=1, rank=0) as loader:
        states = {}
        for epoch in range(2):
            for batch in loader:
                states[epoch, batch.step + 1] = batch.state
        kept = [(1, step) for step in range(1, 61)] + [(0, step) for step in range(57, 61)]
        for epoch, step in kept:
            assert loader.state_dict(step=step, epoch=epoch) == states[epoch, step]
        with pytest.raises(errors.NotFound):
            loader.state_dict(step=56, epoch=0)


def test_unmerged_arrival_states_are_refused_elsewhere(ds):
    states = []
    for rank in range(2):
        with open_loader(ds, "arrival", rank=rank, world_size=2) as loader:
            read(loader, 2)
            states.append(loader.state_dict())
    for rank, world in ((0, 1), (2, 3), (0, 2)):
        loader = open_loader(ds, "arrival", rank=rank, world_size=world)
        with pytest.raises(errors.MismatchError, match="merge_states"):
            loader.load_state_dict(states[1])
    merged = sterna.merge_states(states)
    assert (merged["world_size"], merged["step"]) == (1, 2)
    with pytest.raises(errors.MismatchError, match="1 of 2"):
        sterna.merge_states(states[:1])


def test_len_of_an_epoch_that_changes_its_world(ds):
    with open_loader(ds, rank=0, world_size=1) as loader:
        read(loader, 2)
        state = loader.state_dict()
    with open_loader(ds, rank=1, world_size=2) as loader:
        assert len(loader) == 5  # 30 rows
        loader.load_state_dict(state)
        assert len(loader) == 2 + 4  # 46 samples are left, 23 for each
        assert [batch.step for batch in loader] == [2, 3, 4, 5]
        assert len(loader) == 5
        again = loader.state_dict(step=4, epoch=0)
    with open_loader(ds, rank=1, world_size=2) as loader:
        loader.load_state_dict(again)
        assert len(loader) == 6
        assert [batch.step for batch in loader] == [4, 5]


def test_a_rank_with_nothing_left(ds):
    """8 samples are left for 9 ranks: the last one's epoch is over, and it waits for others."""
    with ds.loader(26, seed=5, rank=0, world_size=1) as loader:
        before = read(loader, 2)
        state = loader.state_dict()
    parts = [before]
    for rank in range(9):
        with ds.loader(7, seed=5, uneven="exact", rank=rank, world_size=9) as loader:
            loader.load_state_dict(state)
            left = 1 if rank < 8 else 0
            assert (loader.epoch, len(loader)) == (0, 2 + left)
            parts.append([row_of(batch) for batch in loader])
            assert len(parts[-1]) == left and loader.epoch == 1
            parts.append(read(loader))
    check_union(*parts)


def test_wrong_states(ds, tmp_path):
    with open_loader(ds) as loader:
        read(loader, 1)
        good = loader.state_dict()
        wrong = [
            (errors.FormatError, "no state of a sterna loader: .*'epoch'", {"epoch": 1}),
            (errors.FormatError, "nothing in it", {}),
            (errors.FormatError, "format 2, this version reads 1", {**good, "format": 2}),
            (errors.FormatError, "format 0, this version reads 1", {**good, "format": 0}),
            (errors.FormatError, "base64", {**good, "state": "%"}),
            (errors.FormatError, "base64", {**good, "state": 3}),
            (errors.FormatError, "sterna state", {**good, "state": "aGVsbG8="}),
            (errors.FormatError, "damaged", {**good, "state": good["state"][:-8] + "AAAAAAA="}),
            (errors.FormatError, "epoch is 7", {**good, "epoch": 7}),
            (errors.FormatError, "sterna state", b"hello"),
            (errors.InvalidError, "list", [good]),
        ]
        for error, says, state in wrong:
            with pytest.raises(error, match=says):
                loader.load_state_dict(state)
        assert loader.state_dict() == good


def test_a_state_of_something_else(ds):
    with open_loader(ds) as loader:
        read(loader, 1)
        state = loader.state_dict()
    with open_loader(ds.where("label = 1")) as other:
        with pytest.raises(errors.MismatchError, match="60 samples.* 20 with"):
            other.load_state_dict(state)
    with open_loader(ds, seed=6) as other:
        with pytest.raises(errors.MismatchError, match="seed=6 .*with 5"):
            other.load_state_dict(state)
    with open_loader(ds, shuffle=False) as other:
        with pytest.raises(errors.MismatchError, match="shuffle=False"):
            other.load_state_dict(state)


def test_files_go_to_the_command_and_back(ds, url, tmp_path, whole):
    path = tmp_path / "state"
    with open_loader(ds) as loader:
        read(loader, 4)
        loader.save_state(path)
    sterna_command = os.environ.get("STERNA")
    if sterna_command:  # the command goes on with what is left of epoch 0 and reads epoch 1
        done = subprocess.run(
            [sterna_command, "read", url, "--state", str(path), "--epochs", "2", "--json"],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["samples"] == 2 * N - 4 * BATCH
        left = whole[2 * STEPS :]
    else:
        left = whole[4:]
    with open_loader(ds) as loader:
        loader.load_state(path)
        assert read(loader) == left


def test_states_survive_close(ds):
    with open_loader(ds) as loader:
        read(loader, 3)
    assert loader.state_dict()["step"] == 3
