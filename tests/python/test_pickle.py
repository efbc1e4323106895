"""Data sets and loaders are sent to other processes as what they are, never as what they hold."""

import copy
import multiprocessing
import pickle
import subprocess
import sys

import pytest
import sterna
from conftest import EACH, N, add_samples
from sterna import _core, errors
from sterna.handle import Handle


def again(thing):
    return pickle.loads(pickle.dumps(thing))


@pytest.fixture
def opened(monkeypatch):
    """The stores that are opened, and how."""
    made = []
    kind = _core.Store

    def make(*args, **options):
        made.append((args, options))
        return kind(*args, **options)

    monkeypatch.setattr(_core, "Store", make)
    return made


CHOICES = {
    "all": lambda ds: ds,
    "where": lambda ds: ds.where("label > 0").where("width > 10"),
    "ids": lambda ds: ds.select(list(ds.ids)[30:10:-1]),
    "where of ids": lambda ds: ds.select(list(ds.ids)[30:10:-1]).where("label = 1"),
    "ids of where": lambda ds: ds.where("label = 1").select(list(ds.ids)),
    "sample": lambda ds: ds.where("label < 2").sample(9, seed=4),
    "part": lambda ds: ds.split({"a": 0.6, "b": 0.4}, by="path", seed=1).b,
    "part of sample": lambda ds: ds.sample(30).split({"a": 0.6, "b": 0.4}).a.where("label = 0"),
    "none": lambda ds: ds.select([]),
    "as of": lambda ds: ds.where("label = 1").as_of(1),
}


@pytest.mark.parametrize("choose", CHOICES.values(), ids=CHOICES)
def test_the_same_choice_elsewhere(ds, choose):
    chosen = choose(ds)
    there = again(chosen)
    assert "samples" not in repr(there)  # nothing was opened yet
    assert (there.hash, there.ids, len(there)) == (chosen.hash, chosen.ids, len(chosen))
    assert again(again(there)).hash == chosen.hash
    assert chosen.reopen().hash == chosen.hash


def test_saved_selections_are_found_again(own_store, tmp_path):
    with sterna.open(own_store, "write") as ds:
        ds.where("label = 1").save("ones")
        ds.where("label = 1").save(tmp_path / "ones.sel")
        for chosen in (ds.select("ones"), ds.select(tmp_path / "ones.sel")):
            assert again(chosen).hash == chosen.hash
        named = pickle.dumps(ds.select("ones"))
        ds.where("label = 2").save("ones")
    with pytest.raises(errors.MismatchError, match="other samples"):
        len(pickle.loads(named))


def test_opened_on_first_use(ds, opened):
    there = again(ds.where("label = 1"))
    assert opened == []
    assert repr(there) == f"<sterna.Dataset {ds.url} (where label = 1)>"
    assert opened == []
    assert len(there) == EACH
    assert len(opened) == 1
    assert len(there.where("width > 10")) > 0 and len(there.classes) == 3
    assert len(opened) == 1


def test_the_version_goes_along(own_store):
    with sterna.open(own_store) as ds:
        sent = pickle.dumps((ds, ds.where("label = 0")))
    add_samples(own_store, [("class0/new", [("raw", "bytes", b"x")], [("class", "class0")])])
    all_then, zeros_then = pickle.loads(sent)
    assert (len(all_then), len(zeros_then)) == (N, EACH)
    assert len(all_then.where("label = 0")) == EACH


def test_no_password_is_sent(url, opened, monkeypatch):
    ds = sterna.open(url, password="sesame")
    assert opened[-1][1]["password"] == "sesame"
    loader = ds.loader(4)
    for thing in (ds, ds.where("1"), loader, ds.reopen()):
        assert b"sesame" not in pickle.dumps(thing)
        assert "sesame" not in repr(thing) and "sesame" not in str(vars(thing))
    assert "sesame" not in repr(vars(ds.handle))
    len(again(ds))
    assert "password" not in opened[-1][1]


def test_create_is_not_repeated(tmp_path):
    with sterna.open(tmp_path / "new", "create") as ds:
        assert again(ds.handle).mode == "read"
    assert again(Handle("x", "write")).mode == "write"


def test_copies(ds):
    assert copy.copy(ds).hash == copy.deepcopy(ds).hash == ds.hash
    with ds.loader(8, seed=2) as loader:
        next(iter(loader))
        other = copy.deepcopy(loader)
        assert other.state_dict() == loader.state_dict()


# ---- loaders ----


def batches(loader, n=None):
    taken = []
    for batch in loader:
        taken.append((batch.epoch, batch.step, list(batch.ids)))
        if len(taken) == n:
            break
    return taken


def test_a_loader_goes_on_elsewhere(ds):
    with ds.loader(8, seed=3, columns=["path"], fields=["image"]) as loader:
        whole = batches(loader) + batches(loader)
        loader.set_epoch(0)
        head = batches(loader, 5)
        there = again(loader)
    assert "batch_size=8" in repr(there) and "seed=3" in repr(there)
    with there:
        assert there.state_dict()["step"] == 5
        assert len(there) == 8
        assert head + batches(there) + batches(there) == whole


def test_a_loader_that_has_not_begun(ds):
    loader = ds.loader(8, seed=3)
    loader.set_epoch(4)
    there = again(loader)
    assert there.epoch == 4
    with there:
        assert {batch.epoch for batch in there} == {4}
        assert again(there).epoch == 5


def test_where_set_epoch_has_gone_goes_along(ds):
    with ds.loader(8, seed=3) as loader:
        batches(loader)
        loader.set_epoch(7)
        with again(loader) as there:
            assert {epoch for epoch, _, _ in batches(there)} == {7}
        batches(loader, 3)
        with again(loader) as there:
            assert [step for _, step, _ in batches(there)] == list(range(3, 8))
    with ds.loader(8, seed=3) as loader:
        batches(loader)
        state = loader.state_dict()
    with ds.loader(8, seed=3) as loader:
        loader.load_state_dict(state)
        loader.set_epoch(0)
        with again(loader) as there:
            assert batches(there) == [] and there.epoch == 1


def test_a_seed_of_a_state_goes_along(ds):
    with ds.loader(8, seed=12) as loader:
        state = loader.state_dict()
        planned = loader.ids_at(1, 0)
    with ds.loader(8) as loader:
        loader.load_state_dict(state)
        there = again(loader)
    assert there.seed == 12 and there.ids_at(1, 0) == planned


def test_a_loader_finds_its_rank_where_it_is(ds, monkeypatch):
    loader = ds.loader(8)
    given = ds.loader(8, rank=1, world_size=2)
    sent = pickle.dumps((loader, given))
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    loader, given = pickle.loads(sent)
    assert (loader.rank, loader.world_size) == (2, 3)
    assert (given.rank, given.world_size) == (1, 2)


def test_in_a_new_process(ds):
    with ds.where("label = 1").loader(8, seed=3) as loader:
        next(iter(loader))
        sent = pickle.dumps(loader)
        want = [list(batch.ids) for batch in again(loader)]
    code = (
        "import pickle, sys\n"
        "with pickle.load(sys.stdin.buffer) as loader:\n"
        "    print([list(batch.ids) for batch in loader])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True)
    assert (done.stdout.decode(), done.stderr) == (f"{want}\n", b"")


def read_in_worker(ds, rank, world):
    with ds.loader(8, seed=3, rank=rank, world_size=world, uneven="exact") as loader:
        return [id for batch in loader for id in batch.ids]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_in_a_pool(ds, method):
    ds.hash  # open and chosen here
    with multiprocessing.get_context(method).Pool(2) as pool:
        parts = pool.starmap(read_in_worker, [(ds, rank, 2) for rank in range(2)])
    assert sorted(parts[0] + parts[1]) == sorted(ds.ids)


def test_subclasses_stay_what_they_are(ds):
    there = again(OwnLoader(ds, 4, seed=1))
    assert type(there) is OwnLoader and there.batch_size == 4
    with there:
        assert isinstance(next(iter(there)), tuple)


class OwnLoader(sterna.Loader):
    def _wrap(self, core):
        return (core.epoch, core.step)
