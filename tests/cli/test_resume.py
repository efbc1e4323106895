"""States: interrupted anywhere, gone on with anywhere, each sample once."""

import json
import os
import signal
import subprocess
import unittest

from support import STERNA, TIME_LIMIT_S, CommandTest, write


class Resume(CommandTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.store, cls.files = cls.make_store(classes=3, each=67)
        cls.n = len(cls.files)

    def interrupt(self, *args):
        """Starts an endless run, sends SIGINT once batches come, and returns its JSON."""
        with subprocess.Popen([STERNA, "read", self.store, *map(str, args), "--epochs", "0",
                               "--json", "--verify"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE,
                              env={**os.environ, "STERNA_PROGRESS": "lines"}) as run:
            self.assertIn(b"epoch", run.stderr.readline())
            run.send_signal(signal.SIGINT)
            out, err = run.communicate(timeout=TIME_LIMIT_S)
        self.assertEqual(run.returncode, 130, err)
        return json.loads(out.splitlines()[-1])

    def go_on(self, state, *args, code=0):
        return self.sterna("read", self.store, "--state", state, *args, "--json", "--verify",
                           code=code)

    def test_both_parts_are_each_sample_once(self):
        for i, order in enumerate(("strict", "arrival")):
            state = self.path(f"once{i}")
            first = self.interrupt("--state", state, "--batch-size", 2, "--order", order)
            self.assertEqual((first["duplicates"], first["missing"]), (0, 0))
            total = first["epochs"][-1]["epoch"] + 1
            second = self.go_on(state, "--epochs", total + 1).json
            self.assertEqual((second["duplicates"], second["missing"]), (0, 0))
            self.assertEqual(first["samples"] + second["samples"], self.n * (total + 1))
            self.assertEqual(second["order"], order)

    def test_finished_run_has_nothing_left(self):
        state = self.path("finished")
        self.assertEqual(self.go_on(state, "--epochs", 2).json["samples"], 2 * self.n)
        again = self.go_on(state, "--epochs", 2)
        self.assertEqual(again.json["samples"], 0)
        self.assertIn(b"nothing left to read: all of --epochs 2 are done", again.err)
        more = self.go_on(state, "--epochs", 3).json
        self.assertEqual([e["epoch"] for e in more["epochs"]], [2])
        self.assertEqual(more["samples"], self.n)

    def test_another_world_size_takes_over(self):
        state = self.path("world")
        first = self.interrupt("--state", state, "--batch-size", 3, "--world-size", 2, "--rank", 1)
        last = first["epochs"][-1]
        steps = last["batches"]  # the other rank stands at the same step: strict order
        epochs = str(last["epoch"] + 1)
        delivered = min(self.n, 6 * steps)
        for world in (1, 2, 3):
            left = 0
            for rank in range(world):
                copy = self.path(f"world-{world}-{rank}")
                for end in ("", ".selection"):
                    with open(state + end, "rb") as file:
                        write(copy + end, file.read())
                got = self.go_on(copy, "--epochs", epochs, "--world-size", world, "--rank",
                                 rank).json
                self.assertEqual((got["duplicates"], got["missing"]), (0, 0))
                self.assertEqual((got["rank"], got["world_size"]), (rank, world))
                left += got["samples"]
            self.assertEqual(left, self.n - delivered)

    def test_plan_from_a_state(self):
        state = self.path("plan")
        first = self.interrupt("--state", state, "--batch-size", 7, "--seed", 3)
        epoch = first["epochs"][-1]["epoch"]
        args = ("plan", self.store, "--step", 0, "--format", "csv")
        want = self.sterna(*args, "--seed", 3, "--batch-size", 7, "--epoch", epoch).out
        self.assertEqual(self.sterna(*args, "--state", state, "--epoch", epoch).out, want)
        self.assertEqual(self.sterna(*args, "--state", state, "--epoch", epoch + 5).out,
                         self.sterna(*args, "--seed", 3, "--batch-size", 7, "--epoch",
                                     epoch + 5).out)

    def test_plan_from_a_rank_of_a_state(self):
        state = self.path("ranks")
        self.interrupt("--state", state, "--batch-size", 4, "--world-size", 2, "--rank", 1)
        args = ("plan", self.store, "--step", 0, "--epoch", 9, "--format", "csv")
        for rank in (0, 1):
            want = self.sterna(*args, "--batch-size", 4, "--world-size", 2, "--rank", rank).out
            self.assertEqual(self.sterna(*args, "--state", state, "--rank", rank).out, want)
        self.assertEqual(self.sterna(*args, "--state", state).out, want)
        self.assert_one_message(self.sterna(*args, "--state", state, "--rank", 2, code=2), "--rank")
        for option in ("--world-size", "--batch-size"):
            got = self.sterna(*args, "--state", state, option, 3, code=1)
            self.assert_one_message(got, option)

    def test_the_selection_comes_with_the_state(self):
        state = self.path("with")
        first = self.go_on(state, "--where", "label = 1").json
        self.assertEqual(first["samples"], 67)
        second = self.go_on(state, "--epochs", 2).json
        self.assertEqual((second["samples"], second["selection"]), (67, first["selection"]))
        got = self.go_on(state, "--epochs", 3, "--where", "label = 2", code=1)
        self.assert_one_message(got, first["selection"])

    def test_contradictions_and_damage(self):
        state = self.path("damage")
        self.go_on(state, "--seed", 4)
        self.assert_one_message(self.go_on(state, "--epochs", 2, "--seed", 5, code=1), "--seed")
        self.assert_one_message(self.go_on(state, "--epochs", 2, "--no-shuffle", code=1),
                                "--no-shuffle")
        with open(state, "r+b") as file:
            data = file.read()
            file.truncate(len(data) - 3)
        self.assert_one_message(self.go_on(state, code=1), state)
        write(state, b"hello")
        self.assert_one_message(self.go_on(state, code=1), state)

    def test_unwritable_state_is_found_out_first(self):
        for path in (self.path("no", "dir"), self.dir):
            got = self.sterna("read", self.store, "--state", path, code=1)
            self.assert_one_message(got, path)
            self.assertEqual(got.out, b"")

    def test_saved_after_a_failure_too(self):
        state = self.path("failed")
        got = self.sterna("read", self.store, "--state", state, "--memory", "1", code=1)
        self.assert_one_message(got)
        self.assertFalse(os.path.exists(state))  # nothing began

    def test_interrupt_without_a_state(self):
        got = self.interrupt("--batch-size", 2, "--order", "arrival")
        self.assertGreater(got["samples"], 0)
        self.assertEqual((got["duplicates"], got["missing"]), (0, 0))


if __name__ == "__main__":
    unittest.main()
