"""The examples, as their users run them."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest
from conftest import ingest

TIME_LIMIT_S = 400  # against hanging
EXAMPLES = os.path.join(os.path.dirname(__file__), "..", "..", "..", "examples")


@pytest.fixture(scope="module")
def pictures_url(tmp_path_factory):
    """A store of 240 small pictures in 4 classes that can be told apart."""
    pytest.importorskip("PIL")
    import pictures

    folder = tmp_path_factory.mktemp("pictures")
    pictures.make(folder / "images")
    ingest(folder / "store", folder / "images")
    return str(folder / "store")


def start(name, *arguments, **more):
    return subprocess.Popen(
        [sys.executable, os.path.join(EXAMPLES, name), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
        **more,
    )


def finish(process):
    """Its lines, once it has ended well."""
    out, err = process.communicate(timeout=TIME_LIMIT_S)
    assert process.returncode == 0, err
    return out.splitlines()


def steps(lines):
    return [line for line in lines if re.match(r"epoch \d+ step \d+ loss", line)]


def epochs(lines):
    """Mean loss and accuracy of each."""
    found = [re.match(r"epoch \d+ mean loss (\S+) accuracy (\S+)", line) for line in lines]
    return [(float(m[1]), float(m[2])) for m in found if m]


@pytest.mark.parametrize("order", ["strict", "arrival"])
def test_training_is_killed_and_goes_on(pictures_url, tmp_path, order):
    options = ("--epochs", 3, "--batch-size", 16, "--order", order)
    keep = ("--checkpoint", tmp_path / "run.pt", "--every", 5)
    process = start("torch_train.py", pictures_url, "--workers", 2, *options, *keep)
    before = []
    for line in process.stdout:
        before.append(line.rstrip())
        if line.startswith("epoch 1 step 9 "):
            break
    process.kill()
    before += process.communicate(timeout=TIME_LIMIT_S)[0].splitlines()  # it went on meanwhile
    n_steps = sum(line.startswith("epoch 0 step ") for line in before)
    after = finish(start("torch_train.py", pictures_url, "--workers", 0, *options, *keep))
    assert steps(after)[0].startswith("epoch 1 step ")
    n_again = 3 * n_steps - len(steps(after))  # of the last checkpoint
    assert n_again % 5 == 0
    assert len(steps(before)) - 10 < n_again <= len(steps(before))
    losses = epochs(before) + epochs(after)
    assert losses[0][0] > losses[-1][0]
    assert losses[-1][1] > 0.5  # chance is 0.25
    if order == "strict":
        whole = finish(start("torch_train.py", pictures_url, "--workers", 0, *options))
        assert steps(whole)[:n_again] == steps(before)[:n_again]
        assert steps(whole)[n_again:] == steps(after)
        assert epochs(whole)[-1] == epochs(after)[-1]


def test_two_processes_share_each_epoch(pictures_url):
    lines = finish(start("torch_ddp.py", pictures_url, "--processes", 2, "--batch-size", 32))
    assert len(lines) == 2
    for line in lines:
        assert line.endswith("samples 120 + 120 exact True")


def test_lightning_trains_and_resumes(pictures_url, tmp_path):
    if not any(map(importlib.util.find_spec, ("lightning", "pytorch_lightning"))):
        pytest.skip("neither lightning nor pytorch_lightning is installed")
    options = (pictures_url, "--folder", tmp_path, "--devices", 2)
    for more in ("--epochs", 1), ("--epochs", 2, "--resume", tmp_path / "last.ckpt"):
        last = finish(start("lightning_train.py", *options, *more, cwd=tmp_path))[-1]
    found = re.match(r"accuracy (\S+) \(chance 0.250\)", last)
    assert found and float(found[1]) > 0.5
