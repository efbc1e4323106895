"""The same calls with a cluster's URL: one that keeps everything in memory."""

import asyncio
import itertools
import logging
import os
import pickle
import shutil

import pytest

import sterna
from conftest import EACH, N, ingest
from sterna import errors

CQLMEM = os.environ.get("CQLMEM", "cqlmem")
pytestmark = pytest.mark.skipif(shutil.which(CQLMEM) is None, reason="no server: set CQLMEM")


@pytest.fixture(scope="module")
def cache(session_dir):
    before = os.environ.get("STERNA_CACHE")
    os.environ["STERNA_CACHE"] = os.path.join(session_dir, "cache")
    yield
    del os.environ["STERNA_CACHE"]
    if before is not None:
        os.environ["STERNA_CACHE"] = before


@pytest.fixture
def serve(cache, url):
    """Starts a server with the pictures in it: the server and the data set's URL."""
    from cql import Server

    servers = []

    def start(*options, user="", query=""):
        server = Server("--listen", "127.0.0.1", *options)
        servers.append(server)
        host, port = server.hosts[0]
        place = f"cassandra://{user}{host}:{port}/imgs/ds{query}"
        ingest(place, os.path.join(os.path.dirname(url), "photos"), replication="1")
        return server, place

    yield start
    for server in servers:
        server.close()


def test_a_cluster_is_read_like_a_directory(serve, photos):
    _, place = serve()
    with sterna.open(place) as ds:
        assert (len(ds), ds.fields, len(ds.classes)) == (N, {"image": "image"}, 3)
        ones = ds.where("label = 1")
        with ones.loader(8, seed=1, columns=["path"]) as loader:
            seen = {}
            for batch in loader:
                seen.update(zip(batch.path, batch.image.list()))
        assert seen == {path: data for path, data in photos.items() if path.startswith("class1/")}
        assert loader.stats().path["rtt_ns"] > 0
        assert loader.metrics()["sterna/rtt_s"] > 0
        there = pickle.loads(pickle.dumps(ones))
        assert there.hash == ones.hash
        assert [sample["path"] for sample in there] == sorted(seen)


@pytest.mark.parametrize("order", ["strict", "arrival"])
def test_resume_over_a_server_with_faults(serve, order):
    _, place = serve("--overload-every=9", "--rst-every=40", "--corrupt-every=20")
    seen, state = [], None
    with sterna.open(place) as ds:
        for _ in range(3):  # 9 batches an epoch: interrupted after 4, 8 and at the end
            with ds.loader(7, seed=5, order=order, uneven="exact", epochs=1) as loader:
                if state:
                    loader.load_state_dict(state)
                for batch in itertools.islice(loader, 4):
                    seen += batch.ids
                    state = batch.state
        assert sorted(seen) == sorted(ds.ids)
    assert sterna.state_info(state)["finished"]


def test_samples_by_id_over_a_server_with_faults(serve, photos):
    _, place = serve("--overload-every=9", "--rst-every=40", "--corrupt-every=20")

    async def together(ds):
        return await asyncio.gather(*(ds.afetch([id]) for id in ds.ids))

    with sterna.open(place) as ds:
        wanted = dict(zip(ds.ids, ds.metadata(["path"])["path"]))
        for batches in (
            [ds.fetch(ds.ids)],
            asyncio.run(together(ds)),
            ds.stream(ds.ids, 7),
            ds.stream(ds.ids, 7, ordered=False),
        ):
            got = {id: row for batch in batches for id, row in zip(batch.ids, batch.image.list())}
            assert got == {id: photos[path] for id, path in wanted.items()}
        assert ds[3]["path"] == wanted[ds.ids[3]]


def test_a_password(serve, monkeypatch):
    monkeypatch.setenv("STERNA_PASSWORD", "sesame")
    _, place = serve("--user", "me", "--password", "sesame", user="me@")
    monkeypatch.delenv("STERNA_PASSWORD")
    with sterna.open(place, password="sesame") as ds:
        assert len(ds.where("label = 1")) == EACH
        sent = pickle.dumps(ds)
        assert b"sesame" not in sent and "sesame" not in repr(ds)
        monkeypatch.setenv("STERNA_PASSWORD", "sesame")
        assert len(pickle.loads(sent)) == N
    monkeypatch.setenv("STERNA_PASSWORD", "wrong")
    with pytest.raises(errors.RefusedError) as raised:
        sterna.open(place)
    assert "wrong" not in str(raised.value).split("/")[-1] and "sesame" not in str(raised.value)


def test_a_silent_server_is_logged_while_a_loader_waits(serve, caplog):
    server, place = serve(query="?outage_timeout=2")
    with sterna.open(place) as ds, ds.loader(8, seed=1, epochs=1, max_attempts=1) as loader:
        next(iter(loader))
        server.control("stop", 0)
        loader.set_epoch(0)
        with caplog.at_level(logging.INFO, "sterna"):
            with pytest.raises(errors.ConnectionError):
                list(loader)
        assert any("node down" in record.getMessage() for record in caplog.records)


def test_no_server():
    with pytest.raises(errors.ConnectionError, match="127.0.0.1"):
        sterna.open("cassandra://127.0.0.1:1/imgs/ds?outage_timeout=1")
