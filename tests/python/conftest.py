"""Stores of small pictures for the tests, made once for all of them."""

import os
import shutil
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "cli"))

import support  # noqa: E402  pictures and folders, as the command's tests have them

import sterna  # noqa: E402
from sterna import _core  # noqa: E402

CLASSES, EACH = 3, 20
N = CLASSES * EACH
TIME_LIMIT_S = 120  # against hanging, not a measurement

# Pythons that tests start in a subprocess find the same package.
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(sterna.__file__)))
os.environ["PYTHONPATH"] = os.pathsep.join([PACKAGE, os.environ.get("PYTHONPATH", "")])


def ingest(url, folder, replication=None):
    """A folder into a store, which is made."""
    store = _core.Store(str(url), "create", replication=replication)
    _core.ingest_folder(store, str(folder))
    store.close()


def make_store(path, classes=CLASSES, each=EACH):
    """A store `path`/store of PNG and JPEG files in class folders `path`/photos."""
    support.make_folder(os.path.join(path, "photos"), classes, each)
    store = os.path.join(path, "store")
    ingest(store, os.path.join(path, "photos"))
    return store


def add_samples(url, samples, source="test"):
    """samples: [(path, [(field, kind, bytes)], [(column, value)])]."""
    store = _core.Store(str(url), "create")
    writer = _core.Ingest(store, source)
    for path, blobs, cells in samples:
        writer.add(path, blobs, cells)
    writer.commit()
    writer.close()
    store.close()
    return str(url)


@pytest.fixture(scope="session")
def session_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("sterna")
    yield str(path)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def url(session_dir):
    """A store that no test writes to: 60 samples, 3 classes, the field `image`."""
    return make_store(os.path.join(session_dir, "pictures"))


@pytest.fixture(scope="session")
def photos(url):
    """{relative path: bytes} of its samples."""
    folder = os.path.join(os.path.dirname(url), "photos")
    files = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            with open(path, "rb") as file:
                files[os.path.relpath(path, folder)] = file.read()
    return files


@pytest.fixture
def ds(url):
    with sterna.open(url) as opened:
        yield opened


@pytest.fixture
def own_store(tmp_path):
    """A store for a test that writes to it."""
    return make_store(str(tmp_path))


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No rank of the environment that the tests run in."""
    for name in (
        "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_NTASKS",
        "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_RANK",
        "PMI_SIZE",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


def wait_until(done, what):
    """For what another thread or process does in its own time."""
    end_s = time.monotonic() + TIME_LIMIT_S
    while not done():
        assert time.monotonic() < end_s, f"timed out: {what}"
        time.sleep(0.001)
