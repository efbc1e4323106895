"""The command as Python starts it behaves as the C one: `python -m sterna`, verify and probe."""

import os
import re
import signal
import subprocess
import sys

import pytest

import sterna
from support import make_folder, png

TIME_LIMIT_S = 240
COMMAND = [sys.executable, "-m", "sterna"]
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(sterna.__file__)))


def run(*args, **more):
    return subprocess.run([*COMMAND, *map(str, args)], timeout=TIME_LIMIT_S,
                          **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                             "stderr": subprocess.PIPE, **more})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    make_folder(str(folder / "photos"), each=20)
    sterna.ingest(folder / "store", folder / "photos", progress=None)
    return folder / "store"


def test_exit_codes(tmp_path, store):
    cases = [(0, ["--version"]), (0, ["help"]), (0, ["info", store]),
             (0, ["verify", store, "--quiet"]), (1, ["info", tmp_path / "none"]), (2, []),
             (2, ["infos"]), (2, ["info", store, "--x"]),
             (2, ["query", store, "no column"]), (5, ["info", "cassandra://127.0.0.1:1/a/b?"
                                                      "outage_timeout=1"])]
    for code, args in cases:
        done = run(*args)
        assert done.returncode == code, (args, done)
        assert b"Traceback" not in done.stderr
    (tmp_path / "photos" / "a").mkdir(parents=True)
    (tmp_path / "photos" / "a" / "x.png").write_bytes(b"")
    assert run("ingest", tmp_path / "s", tmp_path / "photos").returncode == 3


def test_prints_what_the_c_command_prints(store):
    """The same lines, if there is a C command to compare with."""
    command = os.environ.get("STERNA")
    if not command:
        pytest.skip("STERNA does not name the C command")
    for args in (["--help"], ["help", "read"], ["info", store, "--json"],
                 ["query", store, "label > 0", "--columns", "path,label", "--format", "csv"]):
        want = subprocess.run([command, *map(str, args)], capture_output=True, timeout=TIME_LIMIT_S)
        got = run(*args)
        assert (got.returncode, got.stdout, got.stderr) == (
            want.returncode, want.stdout, want.stderr)


def test_names_that_are_no_utf8(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.makedirs(name + b"/photos")
    with open(name + b"/photos/a.png", "wb") as file:
        file.write(png(1))
    done = subprocess.run([*COMMAND, b"ingest", name + b"/store", name + b"/photos"],
                          capture_output=True, timeout=TIME_LIMIT_S)
    assert done.returncode == 0, done.stderr
    assert os.path.exists(name + b"/store/data.mdb")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_disk_is_an_error(store, unbuffered):
    """Also where Python is told not to buffer."""
    if not os.path.exists("/dev/full"):
        pytest.skip("the system has no /dev/full")
    for args in (["--version"], ["query", store], ["info", store, "--json"]):
        with open("/dev/full", "wb") as full:
            done = run(*args, stdout=full, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
        assert done.returncode == 1
        assert b"cannot write to standard output: No space" in done.stderr


def test_reader_that_goes_away_is_quiet(store):
    for args in (["query", store], ["help"]):
        reading, writing = os.pipe()
        os.close(reading)
        done = run(*args, stdout=writing)
        os.close(writing)
        assert done.stderr == b""


def test_closed_descriptors_harm_nothing(store):
    for closing in ("<&-", ">&-", "2>&-"):
        script = f'exec "$@" {closing}'
        done = subprocess.run(["sh", "-c", script, "sh", *COMMAND, "info", str(store)],
                              capture_output=True, timeout=TIME_LIMIT_S)
        assert done.returncode == (1 if closing == ">&-" else 0), done.stderr
        assert b"Traceback" not in done.stderr
    assert sterna.verify(store, progress=False)["bad"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_state(tmp_path, store, number):
    """As `sterna read` does by itself: 130, and it goes on from there."""
    state = tmp_path / "state"
    args = ["read", str(store), "--epochs", "0", "--batch-size", "7", "--state", str(state)]
    with subprocess.Popen([*COMMAND, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, env={**os.environ, "STERNA_PROGRESS": "tty"}) as process:
        shown = ""
        while not re.search(r"epoch [1-9]", shown):
            part = os.read(process.stderr.fileno(), 4096).decode()
            assert part, shown
            shown += part
        process.send_signal(number)
        process.communicate(timeout=TIME_LIMIT_S)
    assert process.returncode == 130
    done = run("plan", store, "--state", state, "--step", "0")
    assert done.returncode == 0, done.stderr


def test_main_gives_signals_and_log_back(store):
    """For whoever calls it from a program that goes on."""
    script = ("import signal, sterna._core as core\n"
              f"rc = core.main(['sterna', 'info', {str(store)!r}])\n"
              "assert rc == 0 and signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
              "try:\n    signal.raise_signal(signal.SIGINT)\nexcept KeyboardInterrupt:\n"
              "    raise SystemExit(7)\n")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=TIME_LIMIT_S)
    assert done.returncode == 7, done.stderr
    assert b"class1" in done.stdout


# ---- verify and probe ----


def test_verify(tmp_path, store, capfd):
    report = sterna.verify(store)
    assert capfd.readouterr() == ("", "")  # it was over soon
    assert (report["checked"], report["bad"], report["differences"]) == (60, 0, [])
    photos = store.parent / "photos"
    report = sterna.verify(store, source=photos, where="label = 1", memory="16MB", threads=1)
    assert (report["checked"], report["compared"]) == (20, 20)
    with sterna.open(store, "write") as dataset:
        dataset.where("label = 2").save("twos")
        ids = dataset.where("label = 0").ids
    assert sterna.verify(store, ids=ids)["checked"] == 20
    assert sterna.verify(store, ids=list(ids)[:3])["checked"] == 3
    assert sterna.verify(store, selection="twos", progress=False)["checked"] == 20
    assert sterna.verify(store, as_of=1)["checked"] == 60


def test_verify_shows_how_far_it_is(store, monkeypatch, capsys):
    monkeypatch.setattr("sterna.command._SOON_S", -1)
    monkeypatch.delenv("STERNA_PROGRESS", raising=False)
    sterna.verify(store, progress=False)
    assert capsys.readouterr().err == ""
    sterna.verify(store)
    assert "checked" in capsys.readouterr().err


def test_verify_lists_what_differs(tmp_path):
    make_folder(str(tmp_path / "photos"), each=4)
    sterna.ingest(tmp_path / "s", tmp_path / "photos", prefix="p", progress=None)
    (tmp_path / "photos" / "class0" / "p000.png").write_bytes(b"x")
    os.remove(tmp_path / "photos" / "class1" / "p001.png")
    report = sterna.verify(tmp_path / "s", source=tmp_path / "photos", prefix="p")
    assert report["bad"] == 2
    assert report["missing_in_source"] == report["different_from_source"] == 1
    paths = {difference["path"] for difference in report["differences"]}
    assert paths == {"p/class0/p000.png", "p/class1/p001.png"}


def test_failures_are_exceptions(tmp_path, store):
    with pytest.raises(sterna.InvalidError, match="no such column"):
        sterna.verify(store, where="colour = 3")
    with pytest.raises(sterna.Error, match="none"):
        sterna.verify(tmp_path / "none")
    with pytest.raises(sterna.InvalidError, match="where.*ids|ids.*where"):
        sterna.verify(store, where="1", ids=[])
    with pytest.raises(sterna.ConnectionError):
        sterna.probe("cassandra://127.0.0.1:1/a/b?outage_timeout=1")


def test_probe(store):
    report = sterna.probe(store, where="label = 1")
    assert (report["samples"], report["kind"]) == (20, "directory")
    assert report["samples_per_s"] > 0 and isinstance(report["advice"], list)


def test_a_password_is_not_on_the_command_line(monkeypatch, store):
    started = []
    popen = subprocess.Popen

    def start(args, **more):
        started.append((args, more["env"]))
        return popen(args, **more)

    monkeypatch.setattr(subprocess, "Popen", start)
    sterna.verify(store, password="hunter2", progress=False)
    (args, environment), = started
    assert "hunter2" not in " ".join(args) and environment["STERNA_PASSWORD"] == "hunter2"
    assert "hunter2" not in os.environ.values()


INTERRUPTED = """
import os, signal, subprocess, sys
import sterna
class Interrupted:
    def __init__(self, pipe):
        self.pipe = pipe
    def __iter__(self):
        os.kill(os.getpid(), signal.SIGINT)
        return iter(self.pipe)
    def close(self):
        self.pipe.close()
popen = subprocess.Popen
def start(*args, **more):
    global process
    process = popen(*args, **more)
    process.stderr = Interrupted(process.stderr)
    return process
subprocess.Popen = start
try:
    sterna.probe(sys.argv[1])
except KeyboardInterrupt:
    print(process.poll())
"""


def test_ctrl_c_ends_the_command_too(store):
    """A signal that only this process gets, as a notebook's does. A probe takes seconds."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, str(store)], capture_output=True,
                          text=True, timeout=TIME_LIMIT_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout in ("130\n", "-15\n")  # the latter before it has its handler
