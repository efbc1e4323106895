"""sterna ingest and info: what goes in, what is skipped, what is told about it."""

import json
import os
import signal
import subprocess
import unittest
import uuid

from support import STERNA, TIME_LIMIT_S, CommandTest, jpeg, make_folder, png, write

BROKEN = {"class0/empty.png": b"", "class1/text.jpg": b"this is no image\n",
          "class1/huge.png": png(99, width=200, height=200)}


class Ingest(CommandTest):
    def test_counts_runs_and_ids(self):
        folder, store = self.path("plain"), self.path("plain-store")
        files = make_folder(folder)
        name = str(uuid.uuid4())
        first = self.sterna("ingest", store, folder, "--dataset-id", name, "--json").json
        self.assertEqual(first["added"], len(files))
        self.assertEqual(first["bytes"], sum(map(len, files.values())))
        self.assertEqual((first["unchanged"], first["conflicts"], first["skipped"]), (0, 0, 0))
        self.assertEqual((first["run"], first["samples"]), (1, len(files)))
        self.assertEqual(first["dataset_id"], name)
        for key in "replaced seconds files_per_s mb_per_s cpu_s skipped_by_reason".split():
            self.assertIn(key, first)

        again = self.sterna("ingest", store, folder, "--json").json
        self.assertEqual((again["added"], again["unchanged"]), (0, len(files)))
        self.assertEqual((again["run"], again["samples"]), (0, len(files)))

        rows = self.sterna("query", store, "--columns", "id,path", "--format", "json")
        for row in json.loads(rows.out):
            self.assertEqual(row["id"], str(uuid.uuid5(uuid.UUID(name), row["path"])))

    def test_other_data_set_id_is_refused(self):
        folder, store = self.path("other"), self.path("other-store")
        make_folder(folder, classes=1, each=2)
        self.sterna("ingest", store, folder)
        other = uuid.uuid4()
        got = self.sterna("ingest", store, folder, "--dataset-id", other, code=1)
        self.assert_one_message(got, other, store)

    def test_skipped_inputs_are_named_and_exit_3(self):
        folder = self.path("broken")
        files = make_folder(folder, classes=2)
        for name, data in BROKEN.items():
            write(os.path.join(folder, name), data)
        args = (folder, "--max-bytes", "20k", "--json")
        got = self.sterna("ingest", self.path("b1"), *args, code=3)
        for name in BROKEN:
            self.assertIn(name.encode(), got.err)
        self.assertEqual((got.json["added"], got.json["skipped"]), (len(files), 3))
        self.assertEqual(sum(got.json["skipped_by_reason"].values()), 3)
        self.sterna("ingest", self.path("b2"), *args, "--allow-skipped", 2, code=3)
        self.sterna("ingest", self.path("b3"), *args, "--allow-skipped=3")

    def test_stop_at_the_first_error(self):
        folder, store = self.path("stop"), self.path("stop-store")
        make_folder(folder, classes=1)
        write(os.path.join(folder, "class0", "broken.png"), b"nothing")
        got = self.command("ingest", store, folder, "--on-error", "stop", "--quiet")
        self.assertNotIn(got.code, (0, 3))
        self.assertIn(b"broken.png", got.err)
        self.assertEqual(self.sterna("info", store, "--json").json["samples"], 0)

    def test_only_20_skipped_files_are_listed(self):
        folder = self.path("many")
        make_folder(folder, classes=1, each=1)
        for i in range(30):
            write(os.path.join(folder, "class0", f"bad{i:02}.png"), b"")
        got = self.sterna("ingest", self.path("m1"), folder, "--quiet", code=3)
        self.assertEqual(got.err.count(b"/bad"), 20)
        self.assertIn(b"10 more", got.err)
        got = self.sterna("ingest", self.path("m2"), folder, "--quiet", "--verbose", code=3)
        self.assertEqual(got.err.count(b"/bad"), 30)

    def test_conflicts_are_all_listed_and_replace_is_explicit(self):
        folder, store = self.path("conflict"), self.path("conflict-store")
        files = make_folder(folder, classes=1, each=25)
        self.sterna("ingest", store, folder)
        for name in files:
            write(os.path.join(folder, name), jpeg(1000))
        got = self.sterna("ingest", store, folder, "--json", code=3)
        self.assertEqual(got.json["conflicts"], 25)
        for name in files:
            self.assertIn(name.encode(), got.err)
        done = self.sterna("ingest", store, folder, "--replace", "--json").json
        self.assertEqual((done["replaced"], done["conflicts"]), (25, 0))
        self.sterna("verify", store, "--source", folder)

    def test_prefix_metadata_and_fields(self):
        folder, store = self.path("rich"), self.path("rich-store")
        files = make_folder(folder, classes=2, each=4)
        lines = ["path,weight,note"]
        for i, name in enumerate(sorted(files)):
            lines.append(f'{name},{i / 4},"a, ""b"" {i}"' if i else f"{name},,")
            write(os.path.join(folder, os.path.splitext(name)[0] + ".txt"), b"text %d" % i)
        lines.append("class0/nowhere.png,1,x")
        write(self.path("meta.csv"), "\n".join(lines).encode())
        got = self.sterna("ingest", store, folder, "--prefix", "pre/fix", "--metadata",
                          self.path("meta.csv"), "--field", "caption=.txt:text", "--json").json
        self.assertEqual((got["added"], got["metadata_unmatched"]), (8, 1))
        info = self.sterna("info", store, "--json").json
        self.assertEqual({f["name"]: f["kind"] for f in info["fields"]},
                         {"image": "image", "caption": "text"})
        rows = self.sterna("query", store, "weight > 1", "--columns", "path,weight,note",
                           "--format", "csv").lines
        self.assertEqual(rows[0], "path,weight,note")
        self.assertEqual(len(rows), 4)
        self.assertTrue(all(r.startswith("pre/fix/class") for r in rows[1:]))

    def test_missing_folder_and_unwritable_place(self):
        got = self.sterna("ingest", self.path("none"), self.path("no-such-dir"), code=1)
        self.assert_one_message(got, "no-such-dir")
        got = self.sterna("ingest", "/proc/nowhere/store", self.dir, code=1)
        self.assert_one_message(got, "/proc/nowhere/store")

    def test_interrupted_run_leaves_a_store_that_completes(self):
        folder, store = self.path("long"), self.path("long-store")
        files = make_folder(folder, classes=4, each=300)
        args = [STERNA, "ingest", store, folder, "--threads", "1"]
        with subprocess.Popen(args, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
                              env={**os.environ, "STERNA_PROGRESS": "lines"}) as run:
            self.assertIn(b"files", run.stderr.readline())
            run.send_signal(signal.SIGINT)
            out, err = run.communicate(timeout=TIME_LIMIT_S)
        # It may have been done before the signal came.
        self.assertIn(run.returncode, (0, 130), err)
        if run.returncode == 130:
            self.assertIn(b"interrupted", err)
            self.assertEqual(out, b"")
            self.assertEqual(self.sterna("info", store, "--json").json["samples"], 0)
        self.sterna("ingest", store, folder)
        self.assertEqual(self.sterna("info", store, "--json").json["samples"], len(files))
        self.sterna("verify", store, "--source", folder)


class Info(CommandTest):
    def test_text_and_json(self):
        store, files = self.make_store(classes=25, each=2)
        info = self.sterna("info", store, "--json").json
        self.assertEqual((info["samples"], info["last_run"]), (len(files), 1))
        self.assertEqual(info["bytes"], sum(map(len, files.values())))
        self.assertEqual([c["samples"] for c in info["classes"]], [2] * 25)
        self.assertEqual([c["label"] for c in info["classes"]], list(range(25)))
        self.assertEqual(info["runs"][0]["samples"], len(files))
        self.assertEqual(info["runs"][0]["source"], self.path("photos"))
        self.assertRegex(info["runs"][0]["finished"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertTrue({"path", "label", "width", "height"} <=
                        {c["name"] for c in info["columns"]})
        for key in "dataset_id format_version read_only".split():
            self.assertIn(key, info)
        text = self.sterna("info", store).out.decode()
        self.assertIn(info["dataset_id"], text)
        self.assertEqual(text.count("class"), 1 + 1 + 20)  # heading, column, and 20 classes
        self.assertIn("5 more", text)
        self.assertIn("class9", self.sterna("info", store, "--all").out.decode())

    def test_not_a_store(self):
        write(self.path("foreign", "data.mdb"), b"x" * 100)
        write(self.path("file"), b"hello")
        for name in ("missing", "foreign", "file"):
            got = self.sterna("info", self.path(name), code=1)
            self.assert_one_message(got, self.path(name))
        os.makedirs(self.path("empty"))
        self.assert_one_message(self.sterna("info", self.path("empty"), code=1))


if __name__ == "__main__":
    unittest.main()
