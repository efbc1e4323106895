"""Tables that another tool has made and filled, read through a mapping in the URL."""

import json
import unittest
import uuid

from cassandra.concurrent import execute_concurrent_with_args

from live import LiveTest, crc32c
from support import jpeg, png

N = 600  # more than a page, more than a batch


class Foreign(LiveTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        k = cls.keyspace = cls.cluster.keyspace()
        cls.driver.execute(f"CREATE TABLE {k}.data "
                           "(patch_id uuid PRIMARY KEY, label int, data blob)")
        cls.driver.execute(f"CREATE TABLE {k}.masks "
                           "(patch_id uuid PRIMARY KEY, label blob, data blob)")
        cls.driver.execute(f"CREATE TABLE {k}.checked "
                           "(patch_id uuid PRIMARY KEY, crc int, data blob)")
        cls.driver.execute(f"CREATE TABLE {k}.metadata (sample_name text, x int, y int, label int, "
                           "patch_id uuid, PRIMARY KEY ((patch_id)))")
        cls.images = {uuid.uuid4(): jpeg(i) if i % 3 else png(i) for i in range(N)}
        cls.labels = {id: i % 7 for i, id in enumerate(cls.images)}
        cls.masks = {id: png(10_000 + i, width=5) for i, id in enumerate(cls.images)}
        cls.fill("data (patch_id, label, data)", cls.labels, cls.images)
        cls.fill("masks (patch_id, label, data)", cls.masks, cls.images)
        cls.fill("checked (patch_id, crc, data)",
                 {id: crc32c(data) for id, data in cls.images.items()}, cls.images)
        cls.fill("metadata (patch_id, label, x, y, sample_name)", cls.labels,
                 {id: i for i, id in enumerate(cls.images)}, dict.fromkeys(cls.images, 5),
                 {id: f"slide{i % 4}" for i, id in enumerate(cls.images)})
        cls.store = cls.mapped("data", label="label")
        cls.bytes = sum(map(len, cls.images.values()))

    @classmethod
    def fill(cls, table, *columns):
        marks = ", ".join("?" * (1 + len(columns)))
        insert = cls.driver.prepare(f"INSERT INTO {cls.keyspace}.{table} VALUES ({marks})")
        rows = [(id, *(c[id] for c in columns)) for id in cls.images]
        execute_concurrent_with_args(cls.driver, insert, rows, concurrency=100)

    @classmethod
    def mapped(cls, table, **more):
        return cls.url(cls.keyspace, "any", table=f"{cls.keyspace}.{table}", id="patch_id",
                       image="data", **more)

    def query(self, store, columns):
        rows = json.loads(self.sterna("query", store, "--columns", columns, "--format", "json").out)
        return {uuid.UUID(row.pop("id")): row for row in rows}

    def test_all_of_a_table(self):
        got = self.read_whole(self.store, 2 * N, "--epochs", 2, "--uneven", "exact")
        self.assertEqual(got["bytes"], 2 * self.bytes)
        self.assertEqual(self.sterna("info", self.store, "--json").json["samples"], N)

    def test_labels_beside_the_data(self):
        rows = self.query(self.store, "id,label")
        self.assertEqual({id: row["label"] for id, row in rows.items()}, self.labels)
        got = self.sterna("read", self.store, "--where", "label = 3", "--verify", "--json",
                          "--uneven", "exact").json
        self.assert_whole(got)
        self.assertEqual(got["samples"], list(self.labels.values()).count(3))

    def test_a_file_of_ids_needs_no_catalogue(self):
        chosen = sorted(self.images)[:100]
        ids = self.path("ids")
        with open(ids, "w") as file:
            file.writelines(f"{id}\n" for id in chosen)
        got = self.read_whole(self.store, len(chosen), "--ids", ids, "--uneven", "exact")
        self.assertEqual(got["bytes"], sum(len(self.images[id]) for id in chosen))

    def test_an_id_that_is_not_there_is_named(self):
        missing, ids = uuid.uuid4(), self.path("missing")
        with open(ids, "w") as file:
            file.writelines(f"{id}\n" for id in [*sorted(self.images)[:5], missing])
        got = self.sterna("read", self.store, "--ids", ids, "--quiet", code=1)
        self.assertIn(str(missing), got.err.decode())

    def test_a_mask_as_a_second_blob(self):
        store = self.mapped("masks", mask="label")
        got = self.read_whole(store, N, "--uneven", "exact")
        self.assertEqual(got["bytes"], self.bytes + sum(map(len, self.masks.values())))
        only = self.read_whole(store, N, "--fields", "mask", "--uneven", "exact")
        self.assertEqual(only["bytes"], sum(map(len, self.masks.values())))

    def test_checksums_of_theirs(self):
        store = self.mapped("checked", image_crc="crc")
        self.read_whole(store, N, "--uneven", "exact")
        victim = next(iter(self.images))
        update = f"UPDATE {self.keyspace}.checked SET crc = %s WHERE patch_id = %s"
        self.driver.execute(update, (1, victim))
        try:
            got = self.sterna("read", store, "--quiet", code=1)
            self.assertIn(str(victim), got.err.decode())
        finally:
            self.driver.execute(update, (crc32c(self.images[victim]), victim))

    def test_their_metadata_table(self):
        store = self.mapped("data", label="label", meta=f"{self.keyspace}.metadata")
        rows = self.query(store, "id,sample_name,x,y,label")
        self.assertEqual(set(rows), set(self.images))
        for i, id in enumerate(self.images):
            self.assertEqual(rows[id], {"sample_name": f"slide{i % 4}", "x": i, "y": 5,
                                        "label": self.labels[id]})
        got = self.sterna("read", store, "--where", "sample_name = 'slide2' and x < 100",
                          "--verify", "--json", "--uneven", "exact").json
        self.assert_whole(got)
        self.assertEqual(got["samples"], 25)

    def test_they_are_never_written(self):
        got = self.sterna("ingest", self.store, self.path(), "--quiet", code=1)
        self.assert_one_message(got, "data")
        self.assertEqual(len(self.rows(f"SELECT patch_id FROM {self.keyspace}.data")), N)

    def test_a_column_that_is_not_there(self):
        got = self.sterna("info", self.mapped("data", label="lable"), code=2)
        self.assert_one_message(got, "lable")

    def test_a_copy_of_them_is_a_store_of_ours(self):
        local = self.path("copy")
        self.sterna("copy", self.store, local, "--where", "label = 2", "--quiet")
        got = self.read_whole(local, list(self.labels.values()).count(2), "--uneven", "exact")
        self.assertEqual(got["bytes"],
                         sum(len(self.images[id]) for id, n in self.labels.items() if n == 2))


if __name__ == "__main__":
    unittest.main()
