"""What the tests of the command share: running it, and folders of small pictures."""

import base64
import json
import os
import random
import shutil
import struct
import subprocess
import tempfile
import unittest
import zlib

STERNA = os.environ.get("STERNA", "sterna")
TIME_LIMIT_S = 240  # far more than any call needs: against hanging, not a measurement

# 16 x 8 grey pixels.
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQ"
    "c1tdhbWGkJ6jq62rZ4C8ybqmx5moq6T/wAALCAAIABABAREA/8QAFAABAAAAAAAAAAAAAAAAAAAABf/EABcQAAMB"
    "AAAAAAAAAAAAAAAAAAADBDH/2gAIAQEAAD8AJlVgvKrD/9k="
)


def jpeg(number):
    """A JPEG of its own: a comment holds the number."""
    comment = b"picture %d" % number
    return JPEG[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + JPEG[2:]


def png(number, width=12, height=9):
    """An RGB PNG of noise, the same for the same number."""
    noise = random.Random(number)
    rows = b"".join(b"\0" + noise.randbytes(3 * width) for _ in range(height))

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def make_folder(path, classes=3, each=10):
    """class folders with PNG and JPEG files; returns {relative path: bytes}."""
    files = {}
    for c in range(classes):
        for i in range(each):
            number = c * each + i
            if number % 4 == 3:
                files[f"class{c}/p{i:03}.jpg"] = jpeg(number)
            else:
                files[f"class{c}/p{i:03}.png"] = png(number, width=10 + number % 7)
    for name, data in files.items():
        write(os.path.join(path, name), data)
    return files


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        """The last line of stdout."""
        return json.loads(self.out.decode().rstrip("\n").split("\n")[-1])

    @property
    def lines(self):
        return self.out.decode().splitlines()


class CommandTest(unittest.TestCase):
    """Has a directory of its own, self.dir, for the whole class."""

    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="sterna-cli-")
        cls.addClassCleanup(shutil.rmtree, cls.dir, ignore_errors=True)

    @classmethod
    def path(cls, *parts):
        return os.path.join(cls.dir, *parts)

    @classmethod
    def command(cls, *args, env=None, **more):
        done = subprocess.run([STERNA, *map(str, args)], env={**os.environ, **(env or {})},
                              stdin=subprocess.DEVNULL, timeout=TIME_LIMIT_S,
                              **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more})
        return Result(done.returncode, done.stdout, done.stderr)

    def sterna(self, *args, code=0, **more):
        """Runs the command and checks its exit code."""
        got = self.command(*args, **more)
        self.assertEqual(got.code, code, f"{args}: {got.out!r} {got.err!r}")
        return got

    def assert_one_message(self, result, *parts):
        text = result.err.decode()
        self.assertRegex(text, r"\Asterna: [^\n]+\n\Z")
        for part in parts:
            self.assertIn(str(part), text)

    @classmethod
    def make_store(cls, name="store", folder="photos", **size):
        files = make_folder(cls.path(folder), **size)
        store = cls.path(name)
        got = cls.command("ingest", store, cls.path(folder), "--quiet")
        if got.code != 0:
            raise RuntimeError(f"ingest: {got.err!r}")
        return store, files
