"""A pool of processes that all do one job; results come in the order of the tasks.

The processes are spawned, never forked, and get nothing of ours but their sockets: connections to a
store and the state of an epoch stay with the parent. All wait at one socket for tasks, so that
whoever is free takes the next; results and failures come back through another one. A worker ends
when the parent's end of the first socket is closed, which also happens if the parent is killed.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any

from sterna import errors

from . import parcel

LOOK_S = 0.1  # so often a wait looks for signals and whether there still is something to wait for
END_TIMEOUT_S = 2.0  # of a worker that was told to terminate, before it is killed
NOBODY = -1  # in a worker's cells: no task, or no row of it, is being worked on

Report = Callable[[int], None]  # tells which row of its task a job has come to
Job = Callable[[Any, Sequence[int], Report], Any]  # task, its descriptors (closed afterwards)


@dataclass
class Failure:
    """What a job raised. `row` is what it had reported last, NOBODY if nothing."""

    row: int
    text: str  # the worker's traceback, or how it died
    error: BaseException | None = None  # if it could be sent


class Pool:
    """`n_workers` processes for `job`, which must be picklable. One thread at a time."""

    def __init__(self, job: Job, n_workers: int) -> None:
        pickled = _pickled(job)
        context = multiprocessing.get_context("spawn")
        self._pid = os.getpid()
        self._next = 0  # number of the next task
        self._oldest = 0  # whose result was not taken yet
        self._done: dict[int, Any] = {}  # results and failures that came before their turn
        self._cells = context.RawArray("q", [NOBODY] * (2 * n_workers))  # task, row of each worker
        self._tasks, their_tasks = parcel.pair()
        self._results, their_results = parcel.pair()
        self._processes = [
            context.Process(
                target=_work,
                args=(their_tasks, their_results, self._cells, i, pickled),
                name=f"sterna-worker-{i}",
                daemon=True,
            )
            for i in range(n_workers)
        ]
        try:
            with _no_interrupts():
                for process in self._processes:
                    process.start()
        except BaseException:
            self.close()
            raise
        finally:
            their_tasks.close()
            their_results.close()
        self._tasks.setblocking(False)
        self._results.setblocking(False)

    @property
    def n_pending(self) -> int:
        """Tasks whose results were not taken yet."""
        return self._next - self._oldest

    @property
    def oldest(self) -> int:
        """Number of the task whose result take() gives next."""
        return self._oldest

    @property
    def n_running(self) -> int:
        """Tasks that are not done yet."""
        return self.n_pending - len(self._done)

    @property
    def ready(self) -> bool:
        """Whether take() would not wait."""
        return self._oldest in self._done

    def submit(self, task: Any, fds: Sequence[int] = ()) -> int:
        """The task's number: they count from 0. The descriptors stay open here."""
        number = self._next
        while True:
            try:
                parcel.send(self._tasks, number, task, fds)
                break
            except BlockingIOError:  # only with hundreds of workers
                self.receive()
            except BrokenPipeError:  # nobody is left
                self._check_alive()
                raise
        self._next += 1
        return number

    def take(self) -> Any:
        """The oldest task's result, or a Failure; waits for it. ChildProcessError, with a Failure
        as its argument, if a worker has died: the pool is of no more use then."""
        while not self.ready:
            self.receive()
        result = self._done.pop(self._oldest)
        self._oldest += 1
        return result

    def forget(self) -> None:
        """Nobody wants the results of tasks submitted so far. What is under way is still done."""
        self._oldest = self._next
        self._done.clear()

    def receive(self, *others: Any) -> bool:
        """Waits for a result of any task, or for one of `others` to become readable: True then."""
        while True:
            processes = self._processes
            if not processes:
                raise errors.CanceledError("the loader was closed while it waited for its workers")
            sentinels = [process.sentinel for process in processes]
            try:  # in slices: a signal just before a wait would else only be noticed after it
                objects = [self._results, *sentinels, *others]
                ready = multiprocessing.connection.wait(objects, LOOK_S)
                if self._results in ready:
                    self._receive_all()
                elif any(sentinel in ready for sentinel in sentinels):
                    self._check_alive()
            except (OSError, ValueError):
                if self._processes:
                    raise
                continue  # another thread closes
            if ready:
                return any(other in ready for other in others)

    def close(self) -> None:
        """Ends the workers at once, whatever they do. Nothing the second time, or in a fork."""
        processes, self._processes = self._processes, []
        if os.getpid() == self._pid:
            started = [process for process in processes if process.pid is not None]
            for process in started:
                process.terminate()
            for process in started:
                process.join(END_TIMEOUT_S)
                if process.exitcode is None:
                    process.kill()
                    process.join()
        self._tasks.close()
        self._results.close()

    def __del__(self) -> None:
        if getattr(self, "_processes", None):
            self.close()

    def _receive_all(self) -> None:
        while True:
            try:
                got = parcel.receive(self._results)
            except BlockingIOError:
                return
            if got is None:  # all workers are gone
                self._check_alive()
                return
            number, result, _ = got
            if number >= self._oldest:  # nobody has forgotten it
                self._done[number] = result

    def _check_alive(self) -> None:
        if not self._processes:
            raise errors.CanceledError("the loader was closed while it waited for its workers")
        for i, process in enumerate(self._processes):
            process.join(0)
            if process.exitcode is None:
                continue
            number, row = self._cells[2 * i], self._cells[2 * i + 1]
            how = _how_it_ended(process.pid, process.exitcode)
            raise ChildProcessError(number, Failure(row, how))


def _work(
    tasks: socket.socket, results: socket.socket, cells: Any, me: int, pickled: bytes
) -> None:
    """The life of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    import torch

    torch.set_num_threads(1)  # as many workers run as there shall be threads
    try:
        job = pickle.loads(pickled)
    except BaseException as error:
        job = _cannot_start(error)

    def report(row: int) -> None:
        cells[2 * me + 1] = row

    while True:
        try:
            got = parcel.receive(tasks)
        except BaseException as error:
            raise RuntimeError("a task could not be received") from error
        if got is None:
            return
        number, task, fds = got
        cells[2 * me + 1] = NOBODY
        cells[2 * me] = number
        try:
            result = job(task, fds, report)
            _send(results, number, result)
        except BrokenPipeError:
            return
        except Exception as error:
            _send_failure(results, number, cells[2 * me + 1], error)
        finally:
            for fd in fds:
                os.close(fd)
            del task
        result = None  # else it would live until the next one is there
        cells[2 * me] = NOBODY


def _send(results: socket.socket, number: int, result: Any) -> None:
    parcel.send(results, number, result)


def _send_failure(results: socket.socket, number: int, row: int, error: Exception) -> None:
    text = "".join(traceback.format_exception(error)).rstrip()
    sent: Exception | None = error
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # then its text must do
        sent = None
    parcel.send(results, number, Failure(row, text, sent))


def _cannot_start(error: BaseException) -> Job:
    """A job that fails as its own unpickling did."""

    def fail(task: Any, fds: Sequence[int], report: Report) -> Any:
        raise RuntimeError(
            "the worker cannot load transform or collate_fn: functions for workers must be found "
            "at the top level of a module or script (in a notebook: put them into a file and "
            "import it, or use num_workers=0)"
        ) from error

    return fail


def _pickled(job: Job) -> bytes:
    try:
        return pickle.dumps(job)
    except Exception as error:
        raise errors.InvalidError(
            f"transform and collate_fn must be picklable for num_workers > 0: {error}. Give "
            "functions or classes from the top level of a module (no lambdas or closures), or "
            "use num_workers=0"
        ) from error


def _how_it_ended(pid: int | None, code: int) -> str:
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"worker process {pid} was killed by {name}{hint}"
    hint = ""
    if not getattr(sys, "ps1", None):
        hint = (
            "; its own message is above. A script that uses workers needs "
            "`if __name__ == \"__main__\":` around what it runs"
        )
    return f"worker process {pid} ended with status {code}{hint}"


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Children that start in here never see a Ctrl-C, not even before their first line."""
    resource_tracker.ensure_running()  # which is started with the first child, and then unblocks
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
