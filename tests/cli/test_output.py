"""Where output goes when it cannot go: closed pipes, full disks, closed descriptors."""

import os
import pty
import subprocess
import unittest

from support import STERNA, TIME_LIMIT_S, CommandTest


class Output(CommandTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.store, cls.files = cls.make_store(classes=2, each=60)
        cls.commands = [("query", cls.store, "--format", "csv"), ("query", cls.store),
                        ("query", cls.store, "--format", "json"), ("info", cls.store),
                        ("info", cls.store, "--json"), ("plan", cls.store, "--step", "0"),
                        ("read", cls.store, "--json"), ("read", cls.store),
                        ("verify", cls.store, "--json"), ("help",), ("help", "read"),
                        ("--version",), ("split", cls.store, "--parts", "a=1")]

    @unittest.skipUnless(os.path.exists("/dev/full"), "the system has no /dev/full")
    def test_full_disk_is_an_error(self):
        for args in self.commands:
            with self.subTest(args=args), open("/dev/full", "wb") as full:
                got = self.sterna(*args, stdout=full, code=1)
                self.assertIn(b"sterna: cannot write to standard output: No space", got.err)

    def test_closed_stdout_is_an_error(self):
        for args in self.commands:
            with self.subTest(args=args):
                got = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", STERNA, *args],
                                     stderr=subprocess.PIPE, timeout=TIME_LIMIT_S)
                self.assertEqual(got.returncode, 1)
                self.assertIn(b"sterna: cannot write to standard output", got.stderr)
        self.sterna("verify", self.store)  # nothing was written into the store's files

    def test_closed_stderr_harms_nothing(self):
        got = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", STERNA, "read", self.store,
                              "--json"], stdout=subprocess.PIPE, timeout=TIME_LIMIT_S)
        self.assertEqual(got.returncode, 0)
        self.sterna("verify", self.store)

    def test_reader_that_goes_away_is_quiet(self):
        for args in self.commands:
            with self.subTest(args=args):
                reading, writing = os.pipe()
                os.close(reading)
                got = self.sterna(*args, stdout=writing)
                os.close(writing)
                self.assertNotIn(b"cannot write", got.err)

    def test_terminal_gets_the_first_1000_rows(self):
        store, _ = self.make_store("large", "many", classes=2, each=501)
        main, other = pty.openpty()
        with subprocess.Popen([STERNA, "query", store, "--columns", "label"], stdout=other,
                              stderr=subprocess.PIPE) as run:
            os.close(other)
            shown = b""
            while True:
                try:
                    part = os.read(main, 65536)
                except OSError:  # how Linux ends a terminal without a writer
                    break
                if not part:
                    break
                shown += part
            err = run.stderr.read()
        os.close(main)
        self.assertEqual(len(shown.splitlines()), 1001)
        self.assertIn(b"there are more", err)
        self.assertEqual(len(self.sterna("query", store, "--columns", "label").lines), 1003)

    def test_read_only_store_can_be_read(self):
        if os.geteuid() == 0:
            self.skipTest("root can write everywhere")
        os.chmod(self.store, 0o555)
        self.addCleanup(os.chmod, self.store, 0o755)
        self.sterna("read", self.store, "--verify")
        self.assertTrue(self.sterna("info", self.store, "--json").json["read_only"])


if __name__ == "__main__":
    unittest.main()
