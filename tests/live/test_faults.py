"""Three nodes, two replicas of each row; nodes die and hang while an epoch is read."""

import collections
import random
import signal
import time
import unittest

from live import LiveTest
from support import JPEG, write

N, BYTES = 400, 30_000
HUNG_S = 4  # how long it is so, not a time for anything to happen in


class Faults(LiveTest):
    cluster_name = "three"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        draw = random.Random(3)
        for i in range(N):  # what comes behind a picture's end is still its file's
            write(cls.path("photos", f"class{i % 4}", f"{i:04}.jpg"), JPEG + draw.randbytes(BYTES))
        cls.keyspace = cls.cluster.keyspace(replicas=2)
        cls.store = cls.url(cls.keyspace, "pets")
        got = cls.command("ingest", cls.store, cls.path("photos"), "--create", "--quiet")
        if got.code != 0:
            raise AssertionError(f"ingest: {got.out!r} {got.err!r}")

    def reading(self):
        return self.start("read", self.store, "--epochs", 0, "--verify", "--json", "--batch-size",
                          32, "--uneven", "exact")

    def assert_nothing_lost(self, run):
        got = run.end(signal.SIGINT)
        self.assertEqual(got.code, 130, got.err)
        self.assert_whole(got.json)
        for epoch in got.json["epochs"][:-1]:
            self.assertEqual(epoch["samples"], N)

    def test_all_nodes_hold_a_share(self):
        held = collections.Counter(
            host.address for (id,) in self.rows(f"SELECT id FROM {self.keyspace}.pets_data")
            for host in self.driver.cluster.metadata.get_replicas(self.keyspace, id.bytes))
        self.assertEqual(len(held), 3, held)
        self.assertEqual(sum(held.values()), 2 * N)
        self.assertGreater(min(held.values()), N // 4)
        self.read_whole(self.store, N, "--uneven", "exact")

    def test_killed(self):
        with self.reading() as run:
            run.wait_for_epochs(2)
            self.cluster.kill(3)
            try:
                run.wait_for_epochs(3)
            finally:
                self.cluster.start(3)
            run.wait_for_epochs(2)
            self.assert_nothing_lost(run)

    def hung(self, number):
        with self.reading() as run:
            run.wait_for_epochs(2)
            self.cluster.stop(number)
            try:
                run.wait_for_epochs(3)  # the others do without it
            finally:
                self.cluster.cont(number)
            run.wait_for_epochs(2)
            self.assert_nothing_lost(run)

    def test_hung(self):
        self.hung(2)

    def test_hung_where_it_first_connected(self):
        self.hung(1)

    def test_hung_and_killed_together(self):
        """A third of the rows has no replica until the hung node goes on: they are waited for."""
        with self.reading() as run:
            run.wait_for_epochs(2)
            self.cluster.stop(2)
            self.cluster.kill(3)
            time.sleep(HUNG_S)
            self.cluster.cont(2)
            try:
                run.wait_for_epochs(2)
            finally:
                self.cluster.start(3)
            self.assert_nothing_lost(run)

    def test_written_while_a_node_hangs(self):
        # Two of three replicas are a quorum.
        store = self.url(self.cluster.keyspace(replicas=3), "pets")
        with self.start("ingest", store, self.path("photos"), "--create", "--json") as run:
            run.wait_for_text(r"[1-9]\d* files|[1-9]\d*%")
            self.cluster.stop(3)
            try:
                got = run.end()
            finally:
                self.cluster.cont(3)
        self.assertEqual(got.code, 0, got.err)
        self.assertEqual(got.json["added"], N)
        self.read_whole(store, N, "--uneven", "exact")


if __name__ == "__main__":
    unittest.main()
