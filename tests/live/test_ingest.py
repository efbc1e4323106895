"""What sterna writes, as another client sees it, and as sterna reads it back."""

import json
import os
import signal
import unittest
import uuid

from live import LiveTest, crc32c
from support import make_folder, png, write

REPLICATION = ("--create", "--replication", "datacenter1=1")
WITHOUT_CAPTIONS = ("--allow-skipped", 1000)  # the files that hold them are no images


def folder_with_captions(path, **size):
    """Class folders; every second image has a caption; one image is longer than a value may be."""
    files = make_folder(path, **size)
    files["class0/large.png"] = png(1, width=700, height=700)
    write(os.path.join(path, "class0/large.png"), files["class0/large.png"])
    captions = {}
    for i, name in enumerate(sorted(files)):
        if i % 2 == 0:
            captions[name] = f"caption of {name}".encode()
            write(os.path.join(path, os.path.splitext(name)[0] + ".txt"), captions[name])
    return files, captions


class Ingest(LiveTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keyspace = "t" + uuid.uuid4().hex[:12]  # not there yet
        cls.folder = cls.path("photos")
        cls.files, cls.captions = folder_with_captions(cls.folder, classes=3, each=20)
        cls.store = cls.url(cls.keyspace, "pets")
        got = cls.command("ingest", cls.store, cls.folder, *REPLICATION, "--field", "caption=.txt",
                          "--json")
        if got.code != 0:
            raise AssertionError(f"ingest: {got.out!r} {got.err!r}")
        cls.ingested = got.json
        cls.dataset_id = uuid.UUID(cls.ingested["dataset_id"])
        cls.ids = {uuid.uuid5(cls.dataset_id, name): name for name in cls.files}

    def table(self, name, dataset="pets"):
        return f"{self.keyspace}.{dataset}_{name}"

    def values(self, field, dataset="pets"):
        """id -> bytes, as the tables hold them; what is too long for a row is put together."""
        found = {}
        for id, value, crc, length in self.rows(
                f"SELECT id, {field}, {field}_crc, {field}_bytes FROM "
                f"{self.table('data', dataset)}"):
            if length is None:
                continue
            if value is None:
                pieces = self.rows(f"SELECT n, crc, data FROM {self.table('chunk', dataset)} "
                                   "WHERE id = %s AND field = %s", id, field)
                self.assertGreater(len(pieces), 1)
                self.assertEqual([n for n, _, _ in pieces], list(range(len(pieces))))
                for _, piece_crc, data in pieces:
                    self.assertEqual(crc32c(data), piece_crc)
                value = b"".join(data for _, _, data in pieces)
            self.assertEqual((crc32c(value), len(value)), (crc, length))
            found[id] = value
        return found

    def meta(self, columns, dataset="pets"):
        return self.rows(f"SELECT {columns} FROM {self.table('meta', dataset)}")

    def test_figures_of_the_run(self):
        self.assertEqual((self.ingested["added"], self.ingested["samples"]), (len(self.files),) * 2)
        self.assertEqual((self.ingested["conflicts"], self.ingested["skipped"]), (0, 0))

    def test_another_client_reads_all_values_back_equal(self):
        self.assertEqual(self.values("image"), {id: self.files[n] for id, n in self.ids.items()})
        self.assertEqual(self.values("caption"),
                         {id: self.captions[n] for id, n in self.ids.items() if n in self.captions})

    def test_another_client_reads_the_metadata(self):
        rows = self.meta("id, path, label, class, width, bytes")
        self.assertEqual({row[0]: row[1] for row in rows}, self.ids)
        self.assertEqual(len(rows), len(self.ids))
        for _, path, label, name, width, lengths in rows:
            self.assertEqual((name, label), (path.split("/")[0], int(path[5])))
            self.assertEqual(lengths["image"], len(self.files[path]))
            self.assertEqual(lengths.get("caption"),
                             len(self.captions[path]) if path in self.captions else None)
            self.assertGreater(width, 0)
        runs = self.rows(f"SELECT state, samples FROM {self.table('run')}")
        self.assertEqual(runs, [("committed", len(self.files))])

    def test_sterna_reads_it_back(self):
        for order in ("strict", "arrival"):
            got = self.read_whole(self.store, 2 * len(self.files), "--epochs", 2, "--batch-size", 8,
                                  "--uneven", "exact", "--order", order)
            self.assertEqual(got["bytes"], 2 * (sum(map(len, self.files.values()))
                                                + sum(map(len, self.captions.values()))))
        self.sterna("verify", self.store, "--source", self.folder, "--quiet")

    def test_info_query_split_and_plan(self):
        info = self.sterna("info", self.store, "--json").json
        self.assertEqual((info["samples"], info["dataset_id"]),
                         (len(self.files), str(self.dataset_id)))
        rows = json.loads(self.sterna("query", self.store, "label = 1", "--columns", "id,path,class",
                                      "--format", "json").out)
        self.assertEqual({uuid.UUID(r["id"]): r["path"] for r in rows},
                         {id: n for id, n in self.ids.items() if n.startswith("class1/")})
        self.sterna("split", self.store, "--parts", "train=0.8,val=0.2", "--stratify", "class")
        train = self.sterna("read", self.store, "--selection", "train", "--verify", "--json",
                            "--uneven", "exact").json
        self.assert_whole(train)
        self.assertTrue(0.7 * len(self.files) < train["samples"] < 0.9 * len(self.files))
        plan = json.loads(self.sterna("plan", self.store, "--step", 0, "--batch-size", 8, "--format",
                                      "json").out)
        self.assertLessEqual({uuid.UUID(r["id"]) for r in plan}, set(self.ids))

    def test_another_machine_sees_the_same(self):
        # Nothing is kept there: all comes from the cluster.
        rows = []
        for cache in ("cache", "elsewhere"):
            env = {"XDG_CACHE_HOME": self.path(cache), "STERNA_CACHE": self.path(cache)}
            rows.append(self.sterna("query", self.store, "--format", "json", env=env).out)
        self.assertEqual(*rows)

    def test_again_adds_nothing(self):
        before = self.meta("id, run")
        got = self.sterna("ingest", self.store, self.folder, "--field", "caption=.txt",
                          "--json").json
        self.assertEqual((got["added"], got["unchanged"]), (0, len(self.files)))
        self.assertEqual(sorted(self.meta("id, run")), sorted(before))

    def test_a_second_run_is_seen_by_who_has_the_first(self):
        store = self.url(self.keyspace, "grows")
        for i, name in enumerate(("first", "second")):
            files = make_folder(self.path(name), classes=2, each=5 + i)
            got = self.sterna("ingest", store, self.path(name), "--prefix", name, *REPLICATION,
                              "--json").json
            self.assertEqual((got["added"], got["run"]), (len(files), i + 1))
            self.read_whole(store, 10 if i == 0 else 22, "--uneven", "exact")
        self.read_whole(store, 10, "--uneven", "exact", "--as-of", 1)

    def test_other_bytes_under_a_known_path_are_a_conflict(self):
        store, folder = self.url(self.keyspace, "changes"), self.path("changes")
        files = make_folder(folder, classes=1, each=4)
        self.sterna("ingest", store, folder, *REPLICATION)
        name = sorted(files)[0]
        write(os.path.join(folder, name), png(77))
        got = self.sterna("ingest", store, folder, "--json", code=3).json
        self.assertEqual((got["conflicts"], got["unchanged"]), (1, 3))
        self.assertIn(files[name], self.values("image", "changes").values())
        self.assertEqual(self.sterna("ingest", store, folder, "--replace", "--json").json["replaced"],
                         1)
        self.assertIn(png(77), self.values("image", "changes").values())
        self.sterna("verify", store, "--source", folder, "--quiet")

    def test_ddl_is_printed_and_makes_the_tables(self):
        ddl = self.sterna("ingest", self.url(self.keyspace, "typed"), self.folder, "--print-ddl").out
        ddl = ddl.decode()
        self.assertIn("typed_data", ddl)
        self.assertEqual(self.rows("SELECT table_name FROM system_schema.tables WHERE "
                                   "keyspace_name = %s AND table_name = 'typed_data'",
                                   self.keyspace), [])
        for statement in ddl.split(";"):
            if statement.strip() and not statement.strip().upper().startswith("CREATE KEYSPACE"):
                self.driver.execute(statement)
        got = self.sterna("ingest", self.url(self.keyspace, "typed"), self.folder, "--create",
                          *WITHOUT_CAPTIONS, "--json").json
        self.assertEqual(got["added"], len(self.files))

    def test_without_create_nothing_is_made(self):
        name = "t" + uuid.uuid4().hex[:12]
        got = self.sterna("ingest", self.url(name, "pets"), self.folder, "--quiet", code=1)
        self.assert_one_message(got, name)
        self.assertNotIn((name,), self.rows("SELECT keyspace_name FROM system_schema.keyspaces"))

    def test_copies_keep_ids_and_bytes(self):
        local = self.path("local")
        self.sterna("copy", self.store, local, "--quiet")
        self.read_whole(local, len(self.files), "--uneven", "exact")
        self.sterna("verify", local, "--source", self.folder, "--quiet")
        back = self.url(self.keyspace, "back")
        self.sterna("copy", local, back, *REPLICATION, "--where", "label < 2", "--quiet")
        want = {id: self.files[n] for id, n in self.ids.items() if n[5] in "01"}
        self.assertEqual(self.values("image", "back"), want)
        self.sterna("copy", local, back, "--quiet")  # what is left of it
        self.assertEqual(self.values("image", "back"), self.values("image"))
        self.assertEqual(self.sterna("info", back, "--json").json["dataset_id"],
                         str(self.dataset_id))

    def test_killed_and_run_again_completes(self):
        store, folder = self.url(self.keyspace, "killed"), self.path("killed")
        files = make_folder(folder, classes=4, each=500)
        self.sterna("ingest", store, self.folder, *REPLICATION, *WITHOUT_CAPTIONS, "--prefix",
                    "before", "--quiet")
        for _ in range(3):
            with self.start("ingest", store, folder, "--threads", 2) as run:
                run.wait_for_text(r"[1-9]\d* files|[1-9]\d*%")
                run.end(signal.SIGKILL)
            runs = self.rows(f"SELECT state FROM {self.table('run', 'killed')}")
            if runs.count(("committed",)) > 1:
                break  # it was faster than the signal
            self.read_whole(store, len(self.files), "--uneven", "exact")
        got = self.sterna("ingest", store, folder, "--json").json
        self.assertEqual(got["added"] + got["unchanged"], len(files))
        self.read_whole(store, len(self.files) + len(files), "--uneven", "exact")
        values = self.values("image", "killed")
        runs = dict(self.rows(f"SELECT run, state FROM {self.table('run', 'killed')}"))
        ids = [id for id, run in self.meta("id, run", "killed") if runs.get(run) == "committed"]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual(set(ids), set(values))

    def test_two_at_once(self):
        store = self.url(self.keyspace, "both")
        self.sterna("ingest", store, self.folder, *REPLICATION, *WITHOUT_CAPTIONS, "--quiet")
        folders = [self.path("left"), self.path("right")]
        for i, folder in enumerate(folders):
            make_folder(folder, classes=2 + i, each=40)
        runs = [self.start("ingest", store, folder, "--prefix", os.path.basename(folder), "--json")
                for folder in folders]
        for run in runs:
            with run:
                got = run.end()
            self.assertEqual(got.code, 0, got.err)
        self.assertEqual(sorted(self.rows(f"SELECT state, samples FROM {self.table('run', 'both')}")),
                         [("committed", 61), ("committed", 80), ("committed", 120)])
        self.read_whole(store, 61 + 80 + 120, "--uneven", "exact")
        pairs = set(self.rows(f"SELECT class, label FROM {self.table('meta', 'both')}"))
        self.assertEqual(sorted(pairs), [(f"class{i}", i) for i in range(3)])


class Schema(LiveTest):
    """The schema changes under a reader."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keyspace = cls.cluster.keyspace()
        cls.folder = cls.path("photos")
        cls.files = make_folder(cls.folder, classes=2, each=100)

    def ingest(self, dataset):
        store = self.url(self.keyspace, dataset)
        self.sterna("ingest", store, self.folder, "--create", "--quiet")
        return store

    def test_a_column_is_added_while_reading(self):
        store = self.ingest("added")
        with self.start("read", store, "--epochs", 0, "--verify", "--json") as run:
            run.wait_for_epochs(1)
            self.driver.execute(f"ALTER TABLE {self.keyspace}.added_data ADD more text")
            run.wait_for_epochs(3)
            self.driver.execute(f"ALTER TABLE {self.keyspace}.added_data DROP more")
            run.wait_for_epochs(3)
            got = run.end(signal.SIGINT)
        self.assertEqual(got.code, 130, got.err)
        self.assert_whole(got.json)

    def test_the_table_goes_while_reading(self):
        store = self.ingest("gone")
        with self.start("read", store, "--epochs", 0, "--json") as run:
            run.wait_for_epochs(1)
            self.driver.execute(f"DROP TABLE {self.keyspace}.gone_data")
            got = run.end()
        self.assertEqual(got.code, 1, got.err)
        self.assertIn(b"gone_data", got.err)


if __name__ == "__main__":
    unittest.main()
