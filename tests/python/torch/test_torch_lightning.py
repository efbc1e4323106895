"""Lightning's Trainer saves and restores the loader's state, on two ranks, with no help."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

if not any(map(importlib.util.find_spec, ("lightning", "pytorch_lightning"))):
    pytest.skip("neither lightning nor pytorch_lightning is installed", allow_module_level=True)

N, STEPS = 60, 5  # samples; steps of an epoch of each rank
TIME_LIMIT_S = 400  # against hanging
HERE = os.path.dirname(__file__)


def fit(url, folder, order, steps, *checkpoint):
    """(epoch, batch, indices) of each step of each rank."""
    program = f"{HERE}/lightning_program.py"
    done = subprocess.run(
        [sys.executable, program, url, folder, order, str(steps), *checkpoint],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIME_LIMIT_S,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
    )
    used = []
    for rank in range(2):
        path = os.path.join(folder, f"{steps}-{rank}.json")
        assert os.path.exists(path), done.stdout
        with open(path) as file:
            used.append(json.load(file))
    return used


def indices(*parts):
    steps = [step for ranks in parts for used in ranks for step in used]
    return sorted(index for _, _, part in steps for index in part)


@pytest.mark.parametrize("order", ["strict", "arrival"])
def test_a_run_goes_on_in_the_middle_of_an_epoch(url, tmp_path, order):
    folder = str(tmp_path)
    first = fit(url, folder, order, 3)
    second = fit(url, folder, order, 2 * STEPS, os.path.join(folder, "at-3.ckpt"))
    for before, after in zip(first, second):
        places = [(epoch, batch) for epoch, batch, _ in before + after]
        assert places == [(epoch, batch) for epoch in range(2) for batch in range(STEPS)]
    in_epoch_0 = [[step for step in used if step[0] == 0] for used in second]
    in_epoch_1 = [[step for step in used if step[0] == 1] for used in second]
    assert indices(first, in_epoch_0) == list(range(N))
    assert indices(in_epoch_1) == list(range(N))
    if order == "strict":
        os.remove(os.path.join(folder, f"{2 * STEPS}-0.json"))
        whole = fit(url, folder, order, 2 * STEPS)
        assert whole == [before + after for before, after in zip(first, second)]
