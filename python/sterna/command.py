"""The command `sterna`, the C one: in this process (`main`) or in one of its own (`run`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

from . import _core, errors

_START = "import sys; sys.path.append(sys.argv.pop(1)); from sterna.command import main; main()"
_FAILURES = {1: errors.Error, 2: errors.InvalidError, 5: errors.ConnectionError}
_INTERRUPTED = 130
_MESSAGE = "sterna: "  # what the command's messages begin with; other lines are progress
_PATIENCE_S = 5
_SOON_S = 5  # what is over by then shows no progress


def main() -> None:
    """Runs sys.argv, exits with the command's code: the console script and `python -m sterna`."""
    sys.exit(_core.main(["sterna", *sys.argv[1:]]))


def _start(
    arguments: tuple[str, ...], password: str | None, progress: bool
) -> subprocess.Popen[str]:
    if not sys.executable:
        raise errors.Error(f"sterna {arguments[0]}: this Python does not know its interpreter")
    environment = {"STERNA_PROGRESS": "lines" if progress else "none", **os.environ}
    if password is not None:  # never by the command line, which other users can see
        environment["STERNA_PASSWORD"] = password
    above = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _START, above, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
    )


def _follow(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it printed on stdout, and its last message; later lines of progress are passed on."""
    printed: list[str] = []
    message = ""
    start_s = time.monotonic()
    reader = threading.Thread(target=lambda: printed.append(process.stdout.read()))  # type: ignore
    reader.start()
    for line in process.stderr or ():
        if line.startswith(_MESSAGE):
            message = line[len(_MESSAGE) :].rstrip("\n")
        elif sys.stderr is not None and time.monotonic() - start_s > _SOON_S:
            sys.stderr.write(line)
    reader.join()
    process.wait()
    return "".join(printed), message


def _end(process: subprocess.Popen[str]) -> None:
    """Asked first, so that it leaves nothing behind."""
    process.terminate()
    try:
        process.wait(_PATIENCE_S)
    finally:
        process.kill()  # nothing to a process that has ended
        process.wait()


def run(*arguments: str, password: str | None = None, progress: bool = False) -> dict[str, Any]:
    """Runs `sterna ARGUMENTS --json` in a process of its own; returns what it tells.

    Raises InvalidError, ConnectionError or Error with the command's message, and KeyboardInterrupt
    if it was interrupted. Data that differ (exit code 4) are a result and no failure."""
    with _start((*arguments, "--json"), password, progress) as process:
        try:
            out, message = _follow(process)
        except BaseException:  # Ctrl-C; in a notebook only this process hears of it
            _end(process)
            raise
    code = process.returncode
    if code == _INTERRUPTED:
        raise KeyboardInterrupt
    if code < 0 or code in _FAILURES:
        kind = _FAILURES.get(code, errors.Error)
        raise kind(message or f"sterna {arguments[0]} ended with {code}")
    return dict(json.loads(out.splitlines()[-1]))
