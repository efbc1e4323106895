"""How far an ingest or a copy has come: a bar of tqdm where somebody looks, else lines on stderr.

`progress=` of the functions that take it is True (this), None or False (nothing), or a function
that is called with a dict of figures every now and then; an exception in it stops the work.
STERNA_PROGRESS (tty, lines, none) decides for True, as it does for the command."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Union

from .errors import InvalidError

Figures = dict[str, Any]
Progress = Union[bool, None, Callable[[Figures], Any]]

_REDRAW_S = 0.1
_LINE_S = 10.0


class Lines:
    """A line of text now and then; on a terminal one that is written over."""

    def __init__(self, title: str, unit: str, terminal: bool = False):
        self.title, self.unit, self.terminal = title, unit, terminal
        self.drawn = False

    def show(self, done: int, total: int, note: str) -> None:
        text = f"{self.title}: {done:,} {self.unit}"
        if total > 0:
            text += f" of {total:,} ({100 * done // total}%)"
        if note:
            text += "  " + note
        sys.stderr.write(f"\r{text[:119]}\033[K" if self.terminal else text + "\n")
        sys.stderr.flush()
        self.drawn = True

    def close(self) -> None:
        if self.terminal and self.drawn:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


class Bar:
    """tqdm's, on a terminal or in a notebook."""

    def __init__(self, tqdm: Any, title: str, unit: str):
        self.bar = tqdm(desc=title, unit=f" {unit}", leave=False, miniters=0)

    def show(self, done: int, total: int, note: str) -> None:
        self.bar.total = total or None
        self.bar.set_postfix_str(note, refresh=False)
        self.bar.n = done
        self.bar.refresh()

    def close(self) -> None:
        self.bar.close()


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def _someone_looks() -> bool:
    forced = os.environ.get("STERNA_PROGRESS")
    if forced in ("tty", "lines"):
        return forced == "tty"
    return _in_notebook() or (sys.stderr.isatty() and os.environ.get("TERM") != "dumb")


def _display(title: str, unit: str) -> Lines | Bar | None:
    if os.environ.get("STERNA_PROGRESS") == "none" or sys.stderr is None:
        return None
    if not _someone_looks():
        return Lines(title, unit)
    try:
        tqdm = importlib.import_module("tqdm.auto").tqdm
    except ImportError:
        return Lines(title, unit, terminal=not _in_notebook())
    return Bar(tqdm, title, unit)


@contextlib.contextmanager
def shown(
    progress: Progress, title: str, unit: str, read: Callable[[Figures], tuple[int, int, str]]
) -> Iterator[Callable[[Figures], Any] | None]:
    """Gives what is to be called with the figures, or None.

    `read` makes of them what a display needs: done, total (0: not known) and a note."""
    if callable(progress):
        yield progress
        return
    if progress not in (True, False, None):
        raise InvalidError(f"progress: {progress!r} is neither True, False, None nor a function")
    display = _display(title, unit) if progress else None
    if display is None:
        yield None
        return
    lasting = isinstance(display, Lines) and not display.terminal
    pause_s = _LINE_S if lasting else _REDRAW_S
    next_s = time.monotonic() + pause_s if lasting else 0.0

    def show(now: Figures) -> None:
        nonlocal next_s
        if time.monotonic() >= next_s:
            next_s = time.monotonic() + pause_s
            display.show(*read(now))

    try:
        yield show
    finally:
        display.close()
