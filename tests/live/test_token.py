"""Our tokens against the server's, for ids of all kinds."""

import os
import random
import subprocess
import unittest
import uuid

from cassandra.concurrent import execute_concurrent_with_args

from live import LiveTest

N = 10_000


class Token(LiveTest):
    def test_is_the_servers_for_10000_ids(self):
        draw = random.Random(1)
        ids = [uuid.UUID(bytes=draw.randbytes(16), version=4) for _ in range(N // 2)]
        ids += [uuid.uuid5(uuid.NAMESPACE_URL, str(i)) for i in range(N // 2 - 2)]
        ids += [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)]
        table = self.cluster.keyspace() + ".ids"
        self.driver.execute(f"CREATE TABLE {table} (id uuid PRIMARY KEY)")
        insert = self.driver.prepare(f"INSERT INTO {table} (id) VALUES (?)")
        execute_concurrent_with_args(self.driver, insert, [(i,) for i in ids], concurrency=200)
        theirs = dict(self.rows(f"SELECT id, token(id) FROM {table}"))
        self.assertEqual(len(theirs), N)

        told = subprocess.run([os.environ["TOKENS"]], input="".join(f"{i.hex}\n" for i in ids),
                              stdout=subprocess.PIPE, check=True, text=True).stdout
        ours = dict(zip(ids, map(int, told.split()), strict=True))
        self.assertEqual(ours, theirs)
        self.assertTrue(min(ours.values()) < 0 < max(ours.values()))


if __name__ == "__main__":
    unittest.main()
