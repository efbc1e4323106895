"""Which rank of how many: who says it first counts, and no framework is imported to find out."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from sterna import errors, ranks


def fake_torch(initialised=True, rank=5, size=8):
    dist = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: initialised,
        get_rank=lambda: rank,
        get_world_size=lambda: size,
    )
    return {"torch": object(), "torch.distributed": dist}


def fake_jax(initialised=True):
    distributed = SimpleNamespace(is_initialized=lambda: initialised)
    return {
        "jax": SimpleNamespace(
            distributed=distributed, process_index=lambda: 3, process_count=lambda: 4
        )
    }


def old_jax(client):
    jax = SimpleNamespace(
        distributed=SimpleNamespace(), process_index=lambda: 3, process_count=lambda: 4
    )
    state = SimpleNamespace(global_state=SimpleNamespace(client=client))
    return {"jax": jax, "jax._src.distributed": state}


TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2"}
SLURM = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "6", "SLURM_NTASKS": "7"}
MPI = {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "9"}
PMI = {"PMI_RANK": "4", "PMI_SIZE": "5"}

CASES = [
    ("alone", {}, {}, (0, 1, "alone")),
    ("torch", fake_torch(), TORCHRUN, (5, 8, "torch.distributed")),
    ("torch not initialised", fake_torch(False), TORCHRUN,
     (1, 2, "environment: RANK, WORLD_SIZE")),
    ("torch half imported", {"torch.distributed": SimpleNamespace()}, {}, (0, 1, "alone")),
    ("torch before jax", {**fake_torch(), **fake_jax()}, {}, (5, 8, "torch.distributed")),
    ("jax", fake_jax(), TORCHRUN, (3, 4, "jax")),
    ("jax not initialised", fake_jax(False), {}, (0, 1, "alone")),
    ("old jax", old_jax(object()), {}, (3, 4, "jax")),
    ("old jax not initialised", old_jax(None), {}, (0, 1, "alone")),
    ("torchrun before slurm", {}, {**SLURM, **TORCHRUN},
     (1, 2, "environment: RANK, WORLD_SIZE")),
    ("world size alone says nothing", {}, {"WORLD_SIZE": "2"}, (0, 1, "alone")),
    ("slurm before mpi", {}, {**MPI, **SLURM},
     (6, 7, "environment: SLURM_PROCID, SLURM_NTASKS")),
    ("a step smaller than its job", {}, {**SLURM, "SLURM_STEP_NUM_TASKS": "8"},
     (6, 8, "environment: SLURM_PROCID, SLURM_STEP_NUM_TASKS")),
    ("a batch script", {}, {"SLURM_PROCID": "0", "SLURM_NTASKS": "7"}, (0, 1, "alone")),
    ("an interactive shell", {}, {**SLURM, "SLURM_STEP_ID": "4294967290"}, (0, 1, "alone")),
    ("open mpi", {}, {**PMI, **MPI},
     (2, 9, "environment: OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE")),
    ("pmi", {}, PMI, (4, 5, "environment: PMI_RANK, PMI_SIZE")),
]  # fmt: skip


@pytest.mark.parametrize(
    "modules, environ, place", [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_the_first_that_says_it_counts(modules, environ, place):
    assert ranks.detect(environ=environ, modules=modules) == place


def test_arguments_win():
    assert ranks.detect(1, 3, environ=TORCHRUN, modules=fake_torch()) == (1, 3, "arguments")


@pytest.mark.parametrize(
    "arguments, environ, says",
    [
        ((1, None), {}, "both"),
        ((None, 2), {}, "both"),
        ((2, 2), {}, "rank 2 of 2"),
        ((-1, 2), {}, "rank -1 of 2"),
        ((0, 0), {}, "rank 0 of 0"),
        ((None, None), {"RANK": "one", "WORLD_SIZE": "2"}, "RANK='one'"),
        ((None, None), {"RANK": "3", "WORLD_SIZE": "2"}, "rank 3 of 2 (environment"),
    ],
)
def test_what_cannot_be_is_said(arguments, environ, says):
    with pytest.raises(errors.InvalidError) as raised:
        ranks.detect(*arguments, environ=environ, modules={})
    assert says in str(raised.value)


def test_a_loader_tells_where_its_rank_is_from(ds, monkeypatch):
    assert ds.loader(4).rank_source == "alone"
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    loader = ds.loader(4)
    assert (loader.rank, loader.world_size) == (1, 3)
    assert loader.rank_source == "environment: RANK, WORLD_SIZE"
    with ds.loader(4, rank=0, world_size=2) as given:
        assert (given.rank, given.world_size, given.rank_source) == (0, 2, "arguments")


def test_a_process_group_that_comes_after_the_loader_counts(ds, monkeypatch):
    loader = ds.loader(4, seed=1)
    assert len(loader) == 15
    for name, module in fake_torch(rank=1, size=2).items():
        monkeypatch.setitem(sys.modules, name, module)
    with loader:
        assert (loader.rank, loader.world_size, len(loader)) == (1, 2, 8)
        batch = next(iter(loader))
    with ds.loader(4, seed=1, rank=1, world_size=2) as given:
        assert batch.ids == next(iter(given)).ids


def test_import_and_detection_import_no_framework(url):
    code = (
        "import sys, sterna\n"
        "with sterna.open(sys.argv[1]) as ds, ds.loader(4) as loader:\n"
        "    next(iter(loader)).image[0]\n"
        "    loader.stats()._repr_html_()\n"
        "print([m for m in ('torch', 'numpy', 'jax', 'tensorflow', 'PIL') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
