"""A server that takes little at a time: writing becomes slower and never wrong."""

import os
import random
import unittest

from live import LiveTest
from support import JPEG, write

N, BYTES = 300, 90_000  # 27 MB; the server takes 400 kB at a time from one address


class Overload(LiveTest):
    cluster_name = "tight"

    def refused(self):
        """How many requests the server has ever refused as too much."""
        with open(os.path.join(self.cluster.dir, "n1", "logs", "system.log")) as file:
            return sum("Discarded request of size" in line for line in file)

    def test_all_lands_in_spite_of_overload(self):
        draw = random.Random(4)
        files = {}
        for i in range(N):
            name = f"class{i % 3}/{i:04}.jpg"
            files[name] = JPEG + draw.randbytes(BYTES)
            write(self.path("photos", name), files[name])
        keyspace, refused = self.cluster.keyspace(), self.refused()
        store = self.url(keyspace, "pets")
        got = self.sterna("ingest", store, self.path("photos"), "--create", "--json",
                          "--threads", 8).json
        self.assertEqual((got["added"], got["skipped"], got["conflicts"]), (N, 0, 0))
        self.assertGreater(self.refused(), refused)  # or this would show nothing
        rows = dict(self.rows(f"SELECT id, image FROM {keyspace}.pets_data"))
        self.assertEqual(sorted(rows.values()), sorted(files.values()))
        self.read_whole(store, N, "--uneven", "exact")
        self.sterna("verify", store, "--source", self.path("photos"), "--quiet")


if __name__ == "__main__":
    unittest.main()
