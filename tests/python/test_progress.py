"""What a long call shows: tqdm's bar where somebody looks, else lines."""

import io
import sys
import types

import pytest

import sterna
from support import make_folder
from sterna import progress


class Clock:
    """Stands still unless it is moved."""

    now_s = 1000.0

    def monotonic(self):
        return self.now_s


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Bar:
    """What tqdm is asked for."""

    made = []

    def __init__(self, desc, unit, leave, miniters):
        self.text, self.n, self.total, self.note, self.closed = desc, 0, None, "", False
        Bar.made.append(self)

    def set_postfix_str(self, note, refresh):
        self.note = note

    def refresh(self):
        self.shown = (self.n, self.total, self.note)

    def close(self):
        self.closed = True


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    monkeypatch.delenv("STERNA_PROGRESS", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return clock


@pytest.fixture
def tqdm(monkeypatch):
    module = types.ModuleType("tqdm.auto")
    module.tqdm = Bar
    monkeypatch.setitem(sys.modules, "tqdm", types.ModuleType("tqdm"))
    monkeypatch.setitem(sys.modules, "tqdm.auto", module)
    Bar.made = []
    return Bar.made


@pytest.fixture
def no_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)


def read(now):
    return now["done"], now["total"], now["note"]


def show(clock, seconds, total=40):
    """A run of ten steps that takes so long."""
    with progress.shown(True, "work", "things", read) as tell:
        for i in range(10):
            clock.now_s += seconds / 10
            tell({"done": 1000 * (i + 1), "total": 1000 * total, "note": "fast"})


def test_lines_where_nobody_looks(monkeypatch, clock, tqdm):
    """One each ten seconds, and none of what is over sooner."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    show(clock, 9)
    assert out.getvalue() == ""
    show(clock, 60)
    assert out.getvalue().splitlines()[0] == "work: 2,000 things of 40,000 (5%)  fast"
    assert len(out.getvalue().splitlines()) == 5
    assert tqdm == []


def test_total_that_is_not_known(monkeypatch, clock):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    show(clock, 20, total=0)
    assert out.getvalue().splitlines() == ["work: 5,000 things  fast", "work: 10,000 things  fast"]


def test_bar_on_a_terminal(monkeypatch, clock, tqdm):
    monkeypatch.setattr(sys, "stderr", Terminal())
    show(clock, 10)
    bar, = tqdm
    assert (bar.text, bar.shown, bar.closed) == ("work", (10000, 40000, "fast"), True)


def test_one_line_on_a_terminal_without_tqdm(monkeypatch, clock, no_tqdm):
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    show(clock, 10)
    lines = out.getvalue().split("\r")
    assert "\n" not in out.getvalue() and len(lines) == 12
    assert lines[1] == "work: 1,000 things of 40,000 (2%)  fast\033[K" and lines[-1] == "\033[K"


def test_bar_in_a_notebook(monkeypatch, clock, tqdm):
    class ZMQInteractiveShell:
        pass

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = ZMQInteractiveShell
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    show(clock, 10)
    assert len(tqdm) == 1


@pytest.mark.parametrize("word, bars, lines", [("none", 0, 0), ("lines", 0, 10), ("tty", 1, 0)])
def test_environment_decides(monkeypatch, clock, tqdm, word, bars, lines):
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setenv("STERNA_PROGRESS", word)
    with progress.shown(True, "work", "things", read) as tell:
        for i in range(10) if tell else ():
            clock.now_s += 11
            tell({"done": i, "total": 10, "note": ""})
    assert (len(tqdm), len(out.getvalue().splitlines())) == (bars, lines)


def test_a_dumb_terminal_and_none_at_all(monkeypatch, clock, tqdm):
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setenv("TERM", "dumb")
    show(clock, 20)
    assert len(out.getvalue().splitlines()) == 2 and tqdm == []
    monkeypatch.setattr(sys, "stderr", None)
    with progress.shown(True, "work", "things", read) as tell:
        assert tell is None


def test_what_progress_may_be():
    def told(now):
        pass

    for value, want in ((None, None), (False, None), (told, told)):
        with progress.shown(value, "work", "things", read) as tell:
            assert tell is want
    with pytest.raises(sterna.InvalidError, match="'yes' is neither"):
        with progress.shown("yes", "work", "things", read):
            pass


def test_calls_show_what_they_do(monkeypatch, tmp_path, tqdm):
    """All three, from their own figures."""
    monkeypatch.setenv("STERNA_PROGRESS", "tty")
    make_folder(str(tmp_path / "photos"), each=4)
    sterna.ingest(tmp_path / "a", tmp_path / "photos")
    sterna.copy(tmp_path / "a", tmp_path / "b")
    with sterna.writer(tmp_path / "c", progress=True, total=1) as w:
        w.add({"image": b"", "path": "x"})
    assert [bar.text for bar in tqdm] == ["ingest", "copy", "write"]
    assert all(bar.closed for bar in tqdm)
    assert tqdm[2].shown[:2] == (1, 1)
