"""Several processes over gloo: who reads what, and whether they agree."""

import json
import os
import subprocess
import sys

import pytest
import sterna
import sterna.torch
from torch_support import valid_indices

N = 60
TIME_LIMIT_S = 400  # against hanging
HERE = os.path.dirname(__file__)


def run_ranks(world, directory, url, what):
    """What each rank prints."""
    program = f"{HERE}/rank_program.py"
    ranks = [
        subprocess.Popen(
            [sys.executable, program, str(rank), str(world), directory, url, what],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
        )
        for rank in range(world)
    ]
    results = [rank.communicate(timeout=TIME_LIMIT_S) for rank in ranks]
    for rank, (_, err) in zip(ranks, results):
        assert rank.returncode == 0, err
    return [json.loads(out) for out, _ in results]


@pytest.fixture(scope="module")
def two(url, tmp_path_factory):
    return run_ranks(2, str(tmp_path_factory.mktemp("two")), url, "two")


@pytest.fixture(scope="module")
def four(url, tmp_path_factory):
    return run_ranks(4, str(tmp_path_factory.mktemp("four")), url, "replicated")


def flat(*epochs):
    return [index for epoch in epochs for batch in epoch for index in batch]


def test_ranks_share_an_epoch_exactly(two):
    assert [got["place"] for got in two] == [[r, 2, "torch.distributed"] for r in range(2)]
    for name in "epoch", "exact":
        a, b = (got[name] for got in two)
        assert sorted(flat(a, b)) == list(range(N))
    assert len(two[0]["epoch"]) == len(two[1]["epoch"])


def test_arguments_win(two):
    assert sorted(flat(two[0]["alone"])) == list(range(N))


@pytest.mark.parametrize("name, values", [("seed", (0, 1)), ("batch_size", (7, 14))])
def test_a_difference_is_an_error_on_all_ranks(two, name, values):
    for got in two:
        assert got[name].startswith("MismatchError")
        for rank, value in enumerate(values):
            assert f"{value} on rank {rank}" in got[name]
        assert name in got[name]


def test_other_differences(two):
    for got in two:
        assert "order is strict on rank 0, but arrival on rank 1" in got["order"]
        assert got["selection"].startswith("MismatchError") and "hash" in got["selection"]


def test_a_rank_that_cannot_begin_is_told_to_the_others(two):
    assert "rank 1 cannot begin" in two[0]["one cannot"] and "closed" in two[0]["one cannot"]
    assert "closed" in two[1]["one cannot"]


@pytest.mark.parametrize("world", [1, 3])
def test_gathered_states_go_on_with_any_world(two, ds, world):
    assert two[0]["merged"] == two[1]["merged"]
    seen = flat(*(got["first part"] for got in two))
    assert len(seen) == 2 * 3 * 7
    for rank in range(world):
        with sterna.torch.Loader(
            ds, 5, seed=1, order="arrival", rank=rank, world_size=world
        ) as loader:
            loader.load_state_dict(two[0]["merged"])
            seen += [index for batch in loader for index in valid_indices(batch)]
    assert sorted(seen) == list(range(N))


def test_an_unmerged_state_is_refused_elsewhere(two, ds):
    for rank, world in (0, 1), (1, 2), (0, 3):
        with sterna.torch.Loader(
            ds, 7, seed=1, order="arrival", rank=rank, world_size=world
        ) as loader:
            with pytest.raises(sterna.MismatchError, match="merge_states"):
                loader.load_state_dict(two[0]["unmerged"])


def test_peers_of_model_parallelism_read_the_same(four):
    places = [got["place"] for got in four]
    assert places == [[rank // 2, 2, "process_group"] for rank in range(4)]
    assert four[0]["group"] == four[1]["group"] and four[2]["group"] == four[3]["group"]
    assert sorted(flat(four[0]["group"], four[2]["group"])) == list(range(N))
    for got in four:
        assert "no member" in got["stranger"]


def test_a_device_mesh_says_who_reads_what(four):
    if "mesh" not in four[0]:
        pytest.skip("this torch has no device meshes")
    for got in four:
        assert got["mesh"] == got["group"]
    assert [got["mesh place"] for got in four] == [[r // 2, 2, "device_mesh"] for r in range(4)]
    all_four = [got["mesh of two data dimensions"] for got in four]
    assert sorted(flat(*all_four)) == list(range(N))
    for got in four:
        assert "seed is 0 on rank" in got["mesh seed"]
