"""A disk that is full: one message that says so, what was there is there still, and the same command
completes its work when there is room."""

import glob
import os
import shutil
import subprocess
import sys
import unittest

from support import CommandTest, make_folder, png, write

INSIDE = "STERNA_TEST_INSIDE"  # set in a mount namespace of our own
UNSHARE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]


def may_mount():
    if not shutil.which("unshare") or not shutil.which("mount"):
        return False
    try_it = UNSHARE + ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"]
    return subprocess.run(try_it, stderr=subprocess.DEVNULL).returncode == 0


@unittest.skipUnless(os.environ.get(INSIDE), "this user may not mount a file system for a test")
class FullDisk(CommandTest):
    def setUp(self):
        self.disk = self.path("disk")
        os.makedirs(self.disk, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", self.disk], check=True)
        self.addCleanup(subprocess.run, ["umount", self.disk], check=True)
        self.store = os.path.join(self.disk, "store")

    def resize(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", self.disk], check=True)

    def fill(self):
        """Leaves no room for a single byte."""
        with open(os.path.join(self.disk, "filler"), "wb", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while file.write(b"\xff" * size) == size:
                        pass
                except OSError:
                    pass

    def make_large(self):
        folder = self.path("large")
        if not os.path.exists(folder):
            for i in range(60):
                write(os.path.join(folder, f"class{i % 3}", f"{i:03}.png"),
                      png(1000 + i, width=300, height=300))  # noise: 270 kB each
        return folder

    def assert_full(self, got, *parts):
        self.assert_one_message(got, *parts)
        self.assertRegex(got.err.decode(), "No space left|disk (is )?full")

    def assert_nothing_lies_about(self):
        left = glob.glob(os.path.join(self.disk, "**", "*.tmp-*"), recursive=True)
        self.assertEqual(left, [])

    def test_ingest_into_a_new_store(self):
        folder = self.make_large()
        self.assert_full(self.sterna("ingest", self.store, folder, "--quiet", code=1), self.store)
        got = self.command("info", self.store, "--json")
        if got.code == 0:
            self.assertEqual(got.json["samples"], 0)
        else:
            self.assert_one_message(got, self.store)
        self.resize("64m")
        got = self.sterna("ingest", self.store, folder, "--json").json
        self.assertEqual((got["samples"], got["run"]), (60, 1))
        self.sterna("verify", self.store, "--source", folder, "--quiet")
        self.assert_nothing_lies_about()

    def test_ingest_of_more(self):
        few = self.path("few")
        make_folder(few, classes=2, each=5)
        self.sterna("ingest", self.store, few, "--prefix", "few", "--quiet")
        folder = self.make_large()
        for _ in range(2):  # as often as one likes
            self.assert_full(self.sterna("ingest", self.store, folder, "--quiet", code=1),
                             self.store)
            self.assertEqual(self.sterna("info", self.store, "--json").json["samples"], 10)
            self.sterna("verify", self.store, "--source", few, "--prefix", "few", "--quiet")
        self.resize("64m")
        got = self.sterna("ingest", self.store, folder, "--json").json
        self.assertEqual((got["samples"], got["run"], got["added"]), (70, 2, 60))
        self.sterna("verify", self.store, "--quiet")

    def test_nothing_can_be_made(self):
        self.fill()
        few = self.path("few-too")
        make_folder(few, classes=1, each=2)
        self.assert_full(self.sterna("ingest", self.store, few, "--quiet", code=1), self.disk)
        os.unlink(os.path.join(self.disk, "filler"))
        self.sterna("ingest", self.store, few, "--quiet")
        self.sterna("verify", self.store, "--source", few, "--quiet")

    def test_copy(self):
        folder, large = self.make_large(), self.path("from")
        self.sterna("ingest", large, folder, "--quiet")
        for _ in range(2):
            self.assert_full(self.sterna("copy", large, self.store, "--quiet", code=1), self.store)
        self.resize("64m")
        got = self.sterna("copy", large, self.store, "--json").json
        self.assertEqual((got["copied"], got["run"]), (60, 1))
        self.sterna("verify", self.store, "--source", folder, "--quiet")
        self.assert_nothing_lies_about()

    def test_what_is_saved_stays(self):
        few = self.path("some")
        make_folder(few, classes=2, each=40)
        self.sterna("ingest", self.store, few, "--quiet")
        state, selection = os.path.join(self.disk, "state"), os.path.join(self.disk, "saved.sel")
        read = ["read", self.store, "--batch-size", 8, "--state", state, "--quiet"]
        self.sterna(*read)
        self.sterna("query", self.store, "label = 0", "--save", selection)
        self.sterna("query", self.store, "label = 0", "--save", "named")
        self.sterna("split", self.store, "--parts", "a=0.5,b=0.5", "--seed", 1)
        kept = [state, selection] + glob.glob(os.path.join(self.store, "selections", "*"))
        before = {}
        for path in kept:
            with open(path, "rb") as file:
                before[path] = file.read()
        self.fill()
        self.assert_full(self.sterna(*read, "--epochs", 2, code=1), state)
        self.assert_full(self.sterna("query", self.store, "label = 1", "--save", selection, code=1))
        self.assert_full(self.sterna("query", self.store, "label = 1", "--save", "named", code=1))
        self.assert_full(self.sterna("split", self.store, "--parts", "a=0.5,b=0.5", "--seed", 2,
                                     code=1))
        for path, data in before.items():
            with open(path, "rb") as file:
                self.assertEqual(file.read(), data, path)
        self.assert_nothing_lies_about()
        self.sterna("verify", self.store, "--source", few, "--quiet")  # reading needs no room
        self.sterna("read", self.store, "--verify", "--quiet")
        os.unlink(os.path.join(self.disk, "filler"))
        self.sterna(*read, "--epochs", 2)
        self.sterna("query", self.store, "label = 1", "--save", "named")
        self.assertEqual(
            self.sterna("read", self.store, "--selection", "named", "--json").json["samples"], 40)


if __name__ == "__main__":
    if not os.environ.get(INSIDE) and may_mount():
        os.environ[INSIDE] = "1"
        os.execvp(UNSHARE[0], UNSHARE + [sys.executable, "-B", *sys.argv])
    unittest.main()
