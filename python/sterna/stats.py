"""A loader's figures: for reading, for dashboards, and over time for a plot."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from . import _core
from .sizes import size_text

_NS = 1e-9


class Moment(NamedTuple):
    at_s: float  # since the first
    samples: int
    bytes: int
    stall_s: dict[str, float]  # by cause, since open


class History:
    """Moments over a loader's life: at most 240, the farther apart the longer it lives."""

    MOST = 240

    def __init__(self, pause_s: float = 0.25):
        self.moments: list[Moment] = []
        self._pause_s = pause_s
        self._start_s = 0.0
        self._due_s = 0.0

    def due(self) -> bool:
        return time.monotonic() >= self._due_s

    def add(self, counters: Mapping[str, Any]) -> None:
        now_s = time.monotonic()
        if not self.moments:
            self._start_s = now_s
        self._due_s = now_s + self._pause_s
        stall_s = {cause: ns * _NS for cause, ns in counters["stall_ns"].items()}
        at_s = now_s - self._start_s
        self.moments.append(Moment(at_s, counters["samples"], counters["bytes"], stall_s))
        if len(self.moments) > self.MOST:
            del self.moments[1::2]
            self._pause_s *= 2


CAUSES = ("connect", "latency", "bandwidth", "server", "decode", "budget", "max-rate")
_COUNTERS = (
    "batches", "samples", "bytes", "padded", "errors", "substituted", "masked", "duplicates",
    "missing", "requests", "retries", "late", "misrouted", "corrupt", "dropped", "copied_bytes",
    "in_flight", "in_flight_bytes", "in_flight_bytes_max", "memory_bytes", "memory_bytes_max",
    "memory_budget_bytes", "leases", "allocations", "first_batch_ns", "elapsed_ns", "buffers_given",
    "buffers_used", "buffers_short",
)  # fmt: skip
# Before anything was read.
NONE = {**dict.fromkeys(_COUNTERS, 0), "stall_ns": dict.fromkeys(CAUSES, 0), "verdict": ""}

# What of a C loader's counters is about now, and not summed over those that took its place.
_NOW = {
    "in_flight", "in_flight_bytes", "in_flight_bytes_max", "memory_bytes", "memory_bytes_max",
    "memory_budget_bytes", "leases", "first_batch_ns", "verdict",
}  # fmt: skip


def total(past: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, Any]:
    """Counters of a C loader and of those before it."""
    if past is None:
        return dict(now)
    stall_ns = {cause: past["stall_ns"][cause] + ns for cause, ns in now["stall_ns"].items()}
    counters = {name: n if name in _NOW else past[name] + n for name, n in now.items()
                if name != "stall_ns"}  # fmt: skip
    return {**counters, "stall_ns": stall_ns}


class Stats(Mapping[str, Any]):
    """Counters of a loader since it began to read, as of now: a dict of them (`stall_ns` is one by
    cause), `verdict` in words, `path` (the way to the store) and `exceptions` (samples given up).
    In a notebook it shows itself as a plot."""

    def __init__(
        self,
        counters: Mapping[str, Any],
        path: Mapping[str, Any],
        exceptions: list[dict[str, Any]],
        moments: list[Moment],
    ):
        self._all = dict(counters)
        self.path = dict(path)
        self.exceptions = exceptions
        self.moments = moments

    @property
    def verdict(self) -> str:
        """What all that comes to; "" if there is nothing to say yet."""
        return self._all["verdict"]

    @property
    def elapsed_s(self) -> float:
        return self._all["elapsed_ns"] * _NS

    @property
    def stall_s(self) -> dict[str, float]:
        """Seconds that the consumer waited, by cause."""
        return {cause: ns * _NS for cause, ns in self._all["stall_ns"].items()}

    def __getitem__(self, name: str) -> Any:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def summary(self) -> list[tuple[str, str]]:
        """The figures that people look for, as text."""
        seconds = self.elapsed_s or 1.0
        waited = sum(self.stall_s.values())
        lines = [
            ("samples", f"{self['samples']:,} ({self['samples'] / seconds:,.0f}/s)"),
            ("bytes", f"{size_text(self['bytes'])} ({size_text(self['bytes'] / seconds)}/s)"),
            ("waited", f"{waited:.2f} s of {self.elapsed_s:.2f} s"),
        ]
        lines += [(f"  {cause}", f"{s:.2f} s") for cause, s in self.stall_s.items() if s >= 0.005]
        lines += [
            (name, f"{self[name]:,}")
            for name in ("errors", "retries", "corrupt", "dropped")
            if self[name]
        ]
        return lines

    def __repr__(self) -> str:
        width = max(len(name) for name, _ in self.summary())
        lines = [f"{name:{width}}  {text}" for name, text in self.summary()]
        return "\n".join([*lines, self.verdict] if self.verdict else lines)

    def _repr_html_(self) -> str:
        from . import notebook

        return notebook.stats_html(self)


class Figures:
    """Those of a loader, which one C loader after another works for."""

    def __init__(self) -> None:
        self.history = History()
        self._past: dict[str, Any] | None = None  # counters of those that are closed
        self._last = Stats(NONE, {}, [], [])
        self._told = Moment(0.0, 0, 0, {})  # by the last metrics()

    def note(self, core: _core.Loader) -> None:
        """A moment for the plot, now and then."""
        if self.history.due():
            self.history.add(total(self._past, core.stats()))

    def close(self, core: _core.Loader) -> None:
        """This one is going to be closed; another one may go on."""
        self._last = self.now(core)
        self._past = dict(self._last)

    def now(self, core: _core.Loader | None) -> Stats:
        """As of now, or as of the last one's end."""
        if core is None:
            return self._last
        counters = total(self._past, core.stats())
        return Stats(counters, core.path(), core.exceptions(), list(self.history.moments))

    def metrics(self, stats: Stats, epoch: int, step: int, prefix: str) -> dict[str, float]:
        """Flat figures for a dashboard; rates since the last call."""
        now = Moment(stats.elapsed_s, stats["samples"], stats["bytes"], stats.stall_s)
        since, self._told = self._told, now
        figures = {"epoch": epoch, "step": step, **rates(since, now), **gauges(stats)}
        return {prefix + name: float(value) for name, value in figures.items()}


def rates(since: Moment, now: Moment) -> dict[str, float]:
    seconds = now.at_s - since.at_s or 1.0
    waited_s = sum(now.stall_s.values()) - sum(since.stall_s.values())
    return {
        "samples_per_s": (now.samples - since.samples) / seconds,
        "bytes_per_s": (now.bytes - since.bytes) / seconds,
        "wait_share": min(1.0, max(0.0, waited_s / seconds)),
    }


_GAUGES = (
    "samples", "bytes", "errors", "retries", "masked", "substituted", "padded", "in_flight_bytes",
    "memory_bytes", "leases",
)  # fmt: skip


def gauges(stats: Stats) -> dict[str, float]:
    return {
        **{name: stats[name] for name in _GAUGES},
        **{f"wait_{cause.replace('-', '_')}_s": s for cause, s in stats.stall_s.items()},
        "rtt_s": stats.path.get("rtt_ns", 0) * _NS,
        "connections": stats.path.get("connections", 0),
    }
