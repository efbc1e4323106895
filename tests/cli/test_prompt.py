"""Passwords asked for on a terminal: never echoed, asked once, the terminal left as it was."""

import os
import pty
import subprocess
import termios
import unittest

from support import TIME_LIMIT_S

ASK = os.environ["ASK"]


class Prompt(unittest.TestCase):
    def start(self, *args):
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.execv(ASK, [ASK, *args])
        self.addCleanup(os.close, self.terminal)
        self.seen = b""
        self.read_to(b"Password of reader at db1: ")
        self.assertFalse(self.echoes())
        return pid

    def read_to(self, end):
        while not self.seen.endswith(end):
            self.seen += os.read(self.terminal, 1)

    def read_rest(self):
        try:
            while chunk := os.read(self.terminal, 1000):
                self.seen += chunk
        except OSError:  # the other side is gone
            pass

    def echoes(self):
        return termios.tcgetattr(self.terminal)[3] & termios.ECHO != 0

    def exit_code(self, pid):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def test_the_answer_is_not_echoed_and_asked_for_once(self):
        pid = self.start()
        os.write(self.terminal, b"two words\n")
        self.read_rest()
        self.assertEqual(self.seen, b"Password of reader at db1: \r\n"
                                    b"answer: two words\r\nanswer: two words\r\n")
        self.assertEqual(self.exit_code(pid), 0)
        self.assertTrue(self.echoes())

    def test_ctrl_c_leaves_at_once(self):
        for args in ([], ["gently"]):
            with self.subTest(args=args):
                pid = self.start(*args)
                os.write(self.terminal, b"half\x03")
                self.assertEqual(self.exit_code(pid), 130)
                self.assertTrue(self.echoes())
                self.read_rest()
                self.assertNotIn(b"half", self.seen)

    def test_no_answer_is_a_refusal(self):
        for answer in (b"\n", b"\x04", b"x" * 100 + b"\n"):  # the last is too long for this caller
            with self.subTest(answer=answer):
                pid = self.start()
                os.write(self.terminal, answer)
                self.read_rest()
                self.assertEqual(self.exit_code(pid), 5)
                self.assertTrue(self.echoes())

    def test_a_script_is_not_kept_waiting(self):
        done = subprocess.run([ASK], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=TIME_LIMIT_S, check=False)
        self.assertEqual(done.returncode, 5)
        self.assertEqual(done.stdout, b"")


if __name__ == "__main__":
    unittest.main()
