"""Stores of plain bytes, and Pythons of their own, for the tests of the extension."""

import os
import random
import subprocess
import sys
import zlib

from sterna import _core

DATA, NOTE = 1, 2  # numbers of the fields that make() fills; 0 is image, which each store has
TIME_LIMIT_S = 120  # against hanging, not a measurement


def blob(i, mean_bytes=300):
    """Bytes of sample i: always the same, of a length that differs; some are empty."""
    return random.Random(i).randbytes(0 if i % 17 == 5 else mean_bytes // 2 + 7 * i % mean_bytes)


def make(path, n=100, mean_bytes=300):
    """A store at `path` with n samples: the fields data (bytes) and note (text; each third has it),
    the columns number and class."""
    store = _core.Store(str(path), "create")
    ingest = _core.Ingest(store, "blobs")
    for i in range(n):
        blobs = [("data", "bytes", blob(i, mean_bytes))]
        blobs.append(("note", "text", f"note {i}".encode() if i % 3 == 0 else None))
        ingest.add(f"{i:06}", blobs, [("number", i), ("class", f"class{i % 5}")])
    assert ingest.commit() == 1
    ingest.close()
    store.close()
    return str(path)


def png(number):
    """A picture of one colour, 5 x 4."""

    def chunk(kind, data):
        return (len(data).to_bytes(4, "big") + kind + data
                + zlib.crc32(kind + data).to_bytes(4, "big"))

    head = (5).to_bytes(4, "big") + (4).to_bytes(4, "big") + b"\x08\x02\0\0\0"
    rows = b"".join(b"\0" + bytes([number % 256] * 15) for _ in range(4))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


def run(script, *args, code=0):
    """A script in a process of its own; its standard output."""
    done = subprocess.run([sys.executable, "-c", script, *map(str, args)], capture_output=True,
                          text=True, timeout=TIME_LIMIT_S)
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def resident_bytes():
    """Of this process; 0 under ASan, which keeps freed memory for a while."""
    with open("/proc/self/maps") as maps:
        if "libasan" in maps.read():
            return 0
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
