"""Samples by id: waited for, submitted and polled, awaited, streamed."""

import asyncio
import itertools
import subprocess
import sys
import threading
import uuid

import pytest

import sterna
from conftest import N, add_samples, wait_until
from sterna import errors
from sterna.fetching import Fetching


@pytest.fixture
def blobs(ds, photos):
    """What the store has, by id."""
    return {id: photos[path] for id, path in zip(ds.ids, ds.metadata(["path"])["path"])}


def unknown():
    return str(uuid.uuid4())


def check(batch, ids, blobs):
    assert batch.ids == list(ids)
    assert batch.image.list() == [blobs[id] for id in ids]


def test_fetch_keeps_the_order(ds, blobs):
    wanted = [ds.ids[7], ds.ids[3], ds.ids[59], ds.ids[3]]
    batch = ds.fetch(wanted)
    check(batch, wanted, blobs)
    assert batch.label.tolist() == [0, 0, 2, 0]
    assert batch.index.tolist() == [0, 1, 2, 3] and batch.valid.tolist() == [True] * 4
    check(ds.fetch(ds.ids), ds.ids, blobs)
    check(ds.fetch(ds.ids[5]), [ds.ids[5]], blobs)
    check(ds.where("label = 1").fetch([ds.ids[0]]), [ds.ids[0]], blobs)
    assert ds.fetch(wanted, fields=["image"]).fields == ("image",)


def test_wrong_requests(ds):
    for wrong, says in [
        (lambda: ds.fetch([]), "."),
        (lambda: ds.fetch(["no id"]), "no id"),
        (lambda: ds.fetch(ds.ids[:1], missing="skip"), "missing='skip'"),
        (lambda: ds.fetch(ds.ids[:1], fields="image"), "list of names"),
        (lambda: ds.stream(ds.ids, 0), "batch_size=0"),
        (lambda: ds.stream(ds.ids, ahead=-1), "ahead=-1"),
        (lambda: Fetching(ds, memory="much"), "memory"),
    ]:
        with pytest.raises(errors.InvalidError, match=says):
            wrong()
    with pytest.raises(errors.NotFound, match="picture"):
        ds.fetch(ds.ids[:1], fields=["picture"])


def test_a_sample_that_is_not_there(ds, blobs):
    missing = unknown()
    wanted = [ds.ids[0], missing, ds.ids[1]]
    with pytest.raises(errors.NotFound, match=missing):
        ds.fetch(wanted)
    batch = ds.fetch(wanted, missing="null")
    assert batch.valid.tolist() == [True, False, True]
    assert batch.errors.tolist() == [0, errors.NotFound.code, 0]
    assert batch.image.list() == [blobs[wanted[0]], None, blobs[wanted[2]]]
    check(ds.fetch(ds.ids[:2]), ds.ids[:2], blobs)  # and nothing is left of it


def test_submit_and_result(ds, blobs):
    requests = [ds.submit([id]) for id in ds.ids]
    for id, request in reversed(list(zip(ds.ids, requests))):
        check(request.result(), [id], blobs)
        assert request.done()
    check(requests[0].result(timeout=0), [ds.ids[0]], blobs)  # again
    assert ds.poll() is None and ds.poll(timeout=None) is None


def test_poll_gives_each_request_once(ds, blobs):
    waiting = {ds.submit(ds.ids[i : i + 7]) for i in range(0, N, 7)}
    waiting |= {ds.submit([id], fields=["image"]) for id in ds.ids[:5]}
    while waiting:
        request = ds.poll(timeout=None)
        waiting.remove(request)
        check(request.result(), request.ids, blobs)
    assert ds.poll(timeout=None) is None


def test_threads_get_their_own(ds, blobs):
    failures = []

    def work(mine):
        try:
            for id in mine:
                check(ds.fetch([id, mine[0]]), [id, mine[0]], blobs)
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=work, args=(list(ds.ids)[i::6] * 5,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.fixture
def slow(ds):
    """Reads a byte a second: nothing comes."""
    fetching = Fetching(ds, max_rate=1)
    fetching.submit(ds.ids)
    yield fetching
    fetching.close()


def test_time_limits_and_cancel(ds, slow):
    request = slow.submit(ds.ids[:3])
    with pytest.raises(TimeoutError):
        request.result(timeout=0.01)
    assert slow.poll(timeout=0.01) is None
    assert not request.done() and "under way" in repr(request)
    request.cancel()
    assert request.done() and "cancelled" in repr(request)
    with pytest.raises(errors.CanceledError):
        request.result()
    with pytest.raises(errors.TimeoutError):
        slow.fetch(ds.ids[:3], timeout=0.01)


def test_close_wakes_who_waits(ds, slow):
    request, raised = slow.submit(ds.ids), []

    def wait():
        try:
            request.result()
        except errors.Error as e:
            raised.append(e)

    threads = [threading.Thread(target=wait) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: next(iter(slow._lines.values()))._polling, "the wait")
    slow.close()
    for thread in threads:
        thread.join()
    assert [type(e) for e in raised] == [errors.CanceledError] * 2
    slow.close()


def test_an_interrupted_request_is_asked_again(ds, blobs):
    """A signal between C's answer and our noticing: as if somebody else had taken it."""
    request = ds.submit(ds.ids[:3])
    line = request._line
    assert line.core.poll(-1) is not None
    check(request.result(), ds.ids[:3], blobs)


# ---- asyncio ----


def test_await_many_at_once(ds, blobs):
    async def work():
        batches = await asyncio.gather(*(ds.afetch([id]) for id in ds.ids))
        for id, batch in zip(ds.ids, batches):
            check(batch, [id], blobs)
        check(await ds.submit(ds.ids[:9]), ds.ids[:9], blobs)
        with pytest.raises(errors.NotFound):
            await ds.afetch([unknown()])

    asyncio.run(work())
    asyncio.run(work())  # in another loop


def test_await_while_threads_wait(ds, blobs):
    stop, failures = threading.Event(), []

    def work():
        try:
            while not stop.is_set():
                check(ds.fetch(ds.ids[:3]), ds.ids[:3], blobs)
        except BaseException as e:
            failures.append(e)

    async def main():
        for id in ds.ids:
            check(await ds.afetch([id]), [id], blobs)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        asyncio.run(main())
    finally:
        stop.set()
        thread.join()
    assert failures == []


def test_a_cancelled_task_takes_its_request_back(ds, slow):
    async def work():
        request = slow.submit(ds.ids[:2])
        task = asyncio.ensure_future(wait(request))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert request.done()
        with pytest.raises((asyncio.TimeoutError, TimeoutError)):
            await asyncio.wait_for(slow.afetch(ds.ids[:2]), 0.01)

    async def wait(request):
        return await request

    asyncio.run(work())


def test_close_wakes_who_awaits(ds, slow):
    async def work():
        task = asyncio.ensure_future(slow.afetch(ds.ids[:2]))
        await asyncio.sleep(0)
        slow.close()
        with pytest.raises(errors.CanceledError):
            await task

    asyncio.run(work())


# ---- streams ----


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("ahead", [None, 0, 1, 100])
def test_streams(ds, blobs, ordered, ahead):
    batches = list(ds.stream(ds.ids, 7, ordered=ordered, ahead=ahead))
    assert sorted(len(batch) for batch in batches) == [4] + [7] * 8
    seen = [id for batch in batches for id in batch.ids]
    assert (seen if ordered else sorted(seen)) == (list(ds.ids) if ordered else sorted(ds.ids))
    for batch in batches:
        check(batch, batch.ids, blobs)
    assert list(ds.stream([], 7)) == []


def test_an_endless_stream(ds, blobs):
    taken = 0

    def endless():
        nonlocal taken
        for id in itertools.cycle(ds.ids):
            taken += 1
            yield id

    stream = ds.stream(endless(), 8, ahead=3)
    for batch in itertools.islice(stream, 100):
        check(batch, batch.ids, blobs)
    stream.close()
    assert 800 <= taken <= 832
    assert all(line.is_idle() for line in ds.fetching._lines.values())


def test_a_stream_with_a_gap(ds):
    ids = [*ds.ids[:10], unknown(), *ds.ids[10:20]]
    with pytest.raises(errors.NotFound):
        list(ds.stream(ids, 4))
    valid = [v for batch in ds.stream(ids, 4, missing="null") for v in batch.valid.tolist()]
    assert valid == [True] * 10 + [False] + [True] * 10


def test_batches_held_are_no_hang(tmp_path):
    url = add_samples(
        tmp_path / "store", [(f"{i}", [("raw", "bytes", bytes(100_000))], []) for i in range(40)]
    )
    with sterna.open(url) as ds:
        fetching = Fetching(ds, memory="1MB")
        held, stream = [], fetching.stream(ds.ids, 2, ahead=1)
        with pytest.raises(errors.BudgetError):
            for batch in stream:
                held.append(batch)
        del batch
        held.clear()
        assert sum(len(batch) for batch in fetching.stream(ds.ids, 2, ahead=1)) == 40
        with pytest.raises(errors.BudgetError):
            fetching.fetch(ds.ids)

        async def hold():
            while True:
                held.append(await fetching.afetch(ds.ids[:2]))

        with pytest.raises(errors.BudgetError):
            asyncio.run(hold())
        fetching.close()


# ---- life ----


def test_memory_lives_as_long_as_a_view(url, blobs):
    with sterna.open(url) as ds:
        id = ds.ids[4]
        view = memoryview(ds.fetch([id]).image[0])
    assert bytes(view) == blobs[id]


def test_a_data_set_goes_with_its_fetcher(url):
    import weakref

    ds = sterna.open(url)
    ds.fetch(ds.ids[:1])
    gone, fetching = weakref.ref(ds), weakref.ref(ds.fetching)
    del ds
    assert gone() is None and fetching() is None


def test_a_closed_data_set(url):
    ds = sterna.open(url)
    ids = ds.ids
    request = ds.submit(ids[:3])
    ds.close()
    with pytest.raises(errors.InvalidError, match="closed"):
        ds.fetch(ids)
    with pytest.raises(errors.CanceledError):
        request.result()


def test_a_script_ends_without_close(url):
    code = (
        "import sterna, sys\n"
        "ds = sterna.open(sys.argv[1])\n"
        "batch = ds.fetch(ds.ids)\n"
        "requests = [ds.submit(ds.ids) for _ in range(20)]\n"
    )
    done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_another_order_of_samples_is_nobodys_business(ds):
    """Fetched by id, a batch has no place in an epoch."""
    batch = ds.fetch(ds.ids[:2])
    assert (batch.epoch, batch.step) == (0, 0)
    with pytest.raises(errors.Error):
        batch.state
