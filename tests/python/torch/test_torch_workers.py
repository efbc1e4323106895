"""The pool: order, failures, deaths, interrupts, and that nobody is left behind."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap

import pytest
import sterna.errors
import torch
from sterna.torch import workers

TIME_LIMIT_S = 240  # far more than anything needs: against hanging


class Mirror:
    """Does as its task says; gives the task back, as a tensor."""

    def __call__(self, task, fds, report):
        kind, value = task
        report(value)
        if kind == "raise":
            raise ValueError(f"no good: {value}")
        if kind == "kill":
            os.kill(os.getpid(), value)
        if kind == "exit":
            os._exit(value)
        if kind == "wait":
            os.read(fds[0], 1)
        if kind == "meet":
            os.write(fds[1], b"here")
            os.read(fds[0], 1)
        if kind == "unpicklable":
            return lambda: value
        return torch.full((3,), value), os.getpid()


class Unloadable(Mirror):
    def __setstate__(self, state):
        raise ImportError("not here")

    def __getstate__(self):
        return {"something": 1}


class OwnError(Exception):
    def __init__(self, a, b):  # cannot be unpickled: pickle calls it with one argument
        super().__init__(a)


class RaisesOwnError:
    def __call__(self, task, fds, report):
        raise OwnError("only as text", 2)


@pytest.fixture
def pool():
    pool = workers.Pool(Mirror(), 2)
    yield pool
    pool.close()
    assert not multiprocessing.active_children()


def test_results_come_in_the_order_of_tasks(pool):
    read_end, write_end = os.pipe()
    pool.submit(("wait", 0), [read_end])  # one worker cannot go on until the other one is through
    for i in range(1, 20):
        pool.submit(("mirror", i))
    while pool.n_running > 1:
        pool.receive()
    assert not pool.ready and pool.n_pending == 20
    os.write(write_end, b"x")
    assert [pool.take()[0].tolist() for _ in range(20)] == [[i] * 3 for i in range(20)]
    assert pool.n_pending == pool.n_running == 0
    os.close(read_end)
    os.close(write_end)


def test_all_workers_work(pool):
    (go_on, let_go_on), (here, is_here) = os.pipe(), os.pipe()
    for _ in range(2):
        pool.submit(("meet", 0), [go_on, is_here])
    for _ in range(2):
        assert os.read(here, 4) == b"here"
    os.write(let_go_on, b"xx")
    assert len({pool.take()[1] for _ in range(2)}) == 2
    for fd in go_on, let_go_on, here, is_here:
        os.close(fd)


def test_a_failure_comes_in_its_turn_with_row_and_traceback(pool):
    for task in ("mirror", 1), ("raise", 7), ("mirror", 2):
        pool.submit(task)
    assert pool.take()[0].tolist() == [1, 1, 1]
    failure = pool.take()
    assert isinstance(failure, workers.Failure)
    assert failure.row == 7
    assert "ValueError: no good: 7" in failure.text and "in __call__" in failure.text
    assert isinstance(failure.error, ValueError)
    assert pool.take()[0].tolist() == [2, 2, 2]


def test_a_result_that_cannot_be_sent_is_a_failure(pool):
    pool.submit(("unpicklable", 1))
    assert "pickle" in pool.take().text


def test_an_error_that_cannot_be_sent_comes_as_text():
    pool = workers.Pool(RaisesOwnError(), 1)
    pool.submit(None)
    failure = pool.take()
    assert failure.error is None and "OwnError: only as text" in failure.text
    pool.close()


@pytest.mark.parametrize(
    "task, says",
    [(("kill", signal.SIGKILL), "killed by SIGKILL"), (("exit", 3), "ended with status 3")],
)
def test_a_death_is_told_with_task_and_row(pool, task, says):
    pool.submit(task)
    with pytest.raises(ChildProcessError) as caught:
        pool.take()
    number, failure = caught.value.args
    assert number == 0 and failure.row == task[1] and says in failure.text
    assert "worker process" in failure.text


def test_what_the_worker_cannot_load_is_told():
    pool = workers.Pool(Unloadable(), 1)
    pool.submit(("mirror", 1))
    failure = pool.take()
    assert "top level of a module" in failure.text and "not here" in failure.text
    pool.close()


def test_what_cannot_be_pickled_is_refused_at_once():
    with pytest.raises(sterna.errors.InvalidError, match="picklable"):
        workers.Pool(lambda task, fds, report: task, 1)
    assert not multiprocessing.active_children()


def test_close_ends_workers_that_are_busy():
    pool = workers.Pool(Mirror(), 2)
    read_end, write_end = os.pipe()
    for _ in range(4):
        pool.submit(("wait", 0), [read_end])
    pool.close()
    pool.close()
    assert not multiprocessing.active_children()
    os.close(read_end)
    os.close(write_end)


def test_close_while_a_result_is_received(pool, monkeypatch):
    receive = workers.parcel.receive

    def receive_behind_close(sock):
        pool.close()
        return receive(sock)

    monkeypatch.setattr(workers.parcel, "receive", receive_behind_close)
    pool.submit(("", 1))
    with pytest.raises(sterna.errors.CanceledError):
        pool.receive()


def test_a_forgotten_pool_ends_its_workers():
    pool = workers.Pool(Mirror(), 1)
    pool.submit(("mirror", 1))
    pool.take()
    del pool
    assert not multiprocessing.active_children()


def test_a_fork_leaves_the_workers_alone(pool):
    pid = os.fork()
    if pid == 0:
        pool.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    pool.submit(("mirror", 4))
    assert pool.take()[0].tolist() == [4, 4, 4]


def run(tmp_path, script, **more):
    """Starts a script of its own, whose standard output is read by the caller."""
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(script))
    return subprocess.Popen(
        [sys.executable, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        **more,
    )


BUSY = """
    import os, sys
    from sterna.torch import workers
    from test_torch_workers import Mirror
    if __name__ == "__main__":
        pool = workers.Pool(Mirror(), 2)
        read_end, write_end = os.pipe()
        for _ in range(2):
            pool.submit(("mirror", 1))
            pool.take()
        for _ in range(4):
            pool.submit(("wait", 0), [read_end])
        print(*(process.pid for process in pool._processes), flush=True)
        pool.take()
"""


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_ctrl_c_ends_all_at_once(tmp_path):
    script = run(tmp_path, BUSY, start_new_session=True)
    pids = list(map(int, script.stdout.readline().split()))
    assert len(pids) == 2 and all(map(is_running, pids))
    os.killpg(script.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    _, err = script.communicate(timeout=TIME_LIMIT_S)
    assert script.returncode == -signal.SIGINT
    assert err.count("KeyboardInterrupt") == 1, err  # the parent's only
    assert not any(map(is_running, pids))


def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    script = run(tmp_path, BUSY.replace('("wait", 0), [read_end]', '("mirror", 0)'))
    pids = list(map(int, script.stdout.readline().split()))
    watches = [os.pidfd_open(pid) for pid in pids]
    script.kill()
    script.communicate(timeout=TIME_LIMIT_S)
    for pid, watch in zip(pids, watches):  # readable when it has ended
        assert multiprocessing.connection.wait([watch], TIME_LIMIT_S), f"{pid} is still there"
        os.close(watch)


def test_a_script_without_guard_is_told_so(tmp_path):
    script = run(tmp_path, BUSY.replace('__name__ == "__main__"', "True"))
    _, err = script.communicate(timeout=TIME_LIMIT_S)
    assert script.returncode == 1
    assert "ChildProcessError" in err and 'needs `if __name__ == "__main__":`' in err


def test_tensors_of_a_dead_worker_live_on(pool):
    pool.submit(("mirror", 9))
    tensor, _ = pool.take()
    pool.close()
    assert tensor.tolist() == [9, 9, 9]
    assert pickle.loads(pickle.dumps(tensor)).tolist() == [9, 9, 9]
