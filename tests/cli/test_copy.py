"""Copies between stores: everything goes along, nothing twice, and what is there is not read again."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
import unittest

from support import STERNA, TIME_LIMIT_S, CommandTest, make_folder, png, write


class Copy(CommandTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = cls.path("photos")
        cls.files = make_folder(cls.folder, classes=3, each=10)
        rows = ["path,score,place"]
        for i, name in enumerate(sorted(cls.files)):
            if i % 2 == 0:
                write(os.path.join(cls.folder, os.path.splitext(name)[0] + ".txt"),
                      b"caption of %d" % i)
            if i % 3:
                rows.append(f"{name},{i}.25,{'north' if i % 2 else ''}")
        write(cls.path("meta.csv"), "\n".join(rows).encode() + b"\n")
        cls.store = cls.path("from")
        got = cls.command("ingest", cls.store, cls.folder, "--field", "caption=.txt", "--metadata",
                          cls.path("meta.csv"), "--quiet")
        if got.code != 0:
            raise RuntimeError(f"ingest: {got.err!r}")

    def rows(self, store, *args):
        rows = json.loads(self.sterna("query", store, *args, "--format", "json").out)
        for row in rows:
            row.pop("run", None)
        return rows

    def facts(self, store):
        facts = self.sterna("info", store, "--json").json
        return {key: facts[key] for key in ("dataset_id", "samples", "bytes", "classes", "fields")}

    def test_all(self):
        to = self.path("all")
        got = self.sterna("copy", self.store, to, "--json").json
        self.assertEqual((got["samples"], got["copied"], got["unchanged"], got["conflicts"],
                          got["run"]), (30, 30, 0, 0, 1))
        self.assertEqual(got["bytes"], self.facts(self.store)["bytes"])
        self.assertGreater(got["seconds"], 0)
        self.assertGreater(got["mb_per_s"], 0)
        self.assertEqual(self.facts(to), self.facts(self.store))
        want = self.rows(self.store)
        self.assertEqual(len(want), 30)
        self.assertTrue(any(row["place"] is None for row in want))
        self.assertEqual(self.rows(to), want)
        self.sterna("verify", to, "--source", self.folder, "--quiet")
        again = self.sterna("copy", self.store, to, "--json").json
        self.assertEqual((again["copied"], again["unchanged"], again["bytes"], again["run"]),
                         (0, 30, 0, 0))

    def test_slices(self):
        to = self.path("slices")
        got = self.sterna("copy", self.store, to, "--where", "score > 10 AND label = 1",
                          "--json").json
        want = self.rows(self.store, "score > 10 AND label = 1")
        self.assertEqual(got["copied"], len(want))
        self.assertEqual(self.rows(to), want)
        self.assertEqual([c["name"] for c in self.facts(to)["classes"]],
                         ["class0", "class1", "class2"])
        more = self.rows(self.store, "label = 2")
        ids = self.path("ids.txt")
        write(ids, "\n".join(row["id"] for row in more[:4]).encode())
        self.assertEqual(self.sterna("copy", self.store, to, "--ids", ids, "--json").json["copied"],
                         4)
        self.sterna("query", self.store, "label = 2", "--save", "two")
        got = self.sterna("copy", self.store, to, "--selection", "two", "--json").json
        self.assertEqual((got["copied"], got["unchanged"], got["run"]), (len(more) - 4, 4, 3))
        self.assertEqual(self.rows(to), sorted(want + more, key=lambda row: row["path"]))

    def test_summary_and_progress(self):
        to = self.path("summary")
        got = self.sterna("copy", self.store, to, env={"STERNA_PROGRESS": "lines"})
        self.assertRegex(got.out.decode(), r"\Acopied +30\nread +[0-9.]+ kB in .*\nrun +1\nstore ")
        self.assertIn(b"samples", got.err)
        got = self.sterna("copy", self.store, to, "--quiet")
        self.assertEqual((got.out, got.err), (b"", b""))

    def test_mistakes_make_no_store(self):
        to = self.path("never")
        self.assert_one_message(self.sterna("copy", self.store, to, "--where", "no = 1", code=2),
                                "no")
        self.assert_one_message(self.sterna("copy", self.path("nothing"), to, code=1), "nothing")
        self.assert_one_message(self.sterna("copy", self.store, to, "--replication", "a=1", code=2),
                                "--create")
        self.assert_one_message(self.sterna("copy", self.store, to, "--where", "1", "--ids", "x",
                                            code=2), "--ids")
        self.sterna("copy", self.store, code=2)
        self.assertFalse(os.path.exists(to))

    def test_another_data_set(self):
        other, _ = self.make_store("other", "other-photos", classes=1, each=2)
        before = self.rows(other)
        got = self.sterna("copy", self.store, other, code=1)
        self.assert_one_message(got, other, self.facts(self.store)["dataset_id"],
                                self.facts(other)["dataset_id"])
        self.assertEqual(self.rows(other), before)

    def test_conflicts(self):
        to, changed = self.path("conflicts"), self.path("changed")
        self.sterna("copy", self.store, to, "--where", "label < 2", "--quiet")
        shutil.copytree(self.folder, changed)
        for name in ("class0/p000.png", "class1/p000.png"):
            write(os.path.join(changed, name), png(4000))
        self.sterna("ingest", to, changed, "--field", "caption=.txt", "--replace", "--quiet")
        got = self.sterna("copy", self.store, to, "--json", code=3)
        self.assertEqual((got.json["conflicts"], got.json["unchanged"]), (2, 28))
        for name in (b"class0/p000.png", b"class1/p000.png"):
            self.assertRegex(got.err, rb"conflict: [0-9a-f-]{36} " + name + rb": stored: ")
        self.sterna("copy", self.store, to, "--allow-skipped", 2, "--quiet")
        got = self.sterna("copy", self.store, to, "--replace", "--json").json
        self.assertEqual((got["replaced"], got["conflicts"], got["samples_read"]), (2, 0, 2))
        self.sterna("verify", to, "--source", self.folder, "--quiet")

    def test_classes_keep_their_labels(self):
        to, folder = self.path("labels"), self.path("one")
        write(os.path.join(folder, "class1", "x.png"), png(5000))
        self.sterna("ingest", to, folder, "--dataset-id", self.facts(self.store)["dataset_id"],
                    "--quiet")
        got = self.sterna("copy", self.store, to, code=1)
        self.assert_one_message(got, "'class0' has label 0", "'class1' has label 0", self.store, to)


class Interrupted(CommandTest):
    """Large enough that it takes a while: an earlier copy is cut short, and gone on with."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = cls.path("photos")
        for i in range(48):
            write(os.path.join(folder, "class", f"{i:03}.png"), png(i))
            write(os.path.join(folder, "class", f"{i:03}.bin"), os.urandom(2000000 + i))
        cls.store = cls.path("from")
        got = cls.command("ingest", cls.store, folder, "--field", "raw=.bin", "--quiet")
        if got.code != 0:
            raise RuntimeError(f"ingest: {got.err!r}")
        cls.bytes = cls.command("info", cls.store, "--json").json["bytes"]

    def start(self, to):
        return subprocess.Popen([STERNA, "copy", self.store, to, "--memory", "32MiB"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                env={**os.environ, "STERNA_PROGRESS": "tty"})

    def complete(self, to):
        self.assertEqual(self.sterna("info", to, "--json").json["samples"], 0)
        got = self.sterna("copy", self.store, to, "--json").json
        self.assertEqual((got["copied"], got["run"], got["conflicts"]), (48, 1, 0))
        info = self.sterna("info", to, "--json").json
        self.assertEqual((info["samples"], info["bytes"]), (48, self.bytes))
        self.sterna("verify", to, "--source", self.path("photos"), "--quiet")
        return got

    def test_by_a_signal(self):
        for attempt in range(20):  # it may be through before the signal comes
            to, seen = self.path(f"signal{attempt}"), b""
            with self.start(to) as run:
                while not (shown := re.search(rb"\r([1-9][0-9]*) samples", seen)):
                    part = os.read(run.stderr.fileno(), 65536)
                    if not part:
                        break
                    seen += part
                run.send_signal(signal.SIGINT)
                err = run.communicate(timeout=TIME_LIMIT_S)[1]
            if run.returncode == 0:
                continue
            self.assertEqual(run.returncode, 130, err)
            self.assertIn(b"goes on from there", err)
            got = self.complete(to)
            self.assertLessEqual(got["samples_read"], 48 - int(shown.group(1)))
            self.assertLess(got["bytes"], self.bytes)
            return
        self.fail("it was never caught in its middle")

    def test_by_being_killed(self):
        killed = 0
        for attempt in range(8):
            to = self.path(f"killed{attempt}")
            data = os.path.join(to, "data.mdb")
            until = (0, 1000000, 20000000, 60000000, 66000000, 70000000, 80000000, 90000000)[attempt]
            with self.start(to) as run:
                while run.poll() is None:
                    if os.path.exists(data) and os.stat(data).st_blocks * 512 >= until:
                        break
                    time.sleep(0)
                run.kill()
                run.communicate(timeout=TIME_LIMIT_S)
            if run.returncode == 0:
                continue
            self.assertEqual(run.returncode, -signal.SIGKILL)
            got = self.command("info", to, "--json")
            if got.code == 0 and got.json["samples"] > 0:  # behind its last step, the commit
                self.assertEqual(got.json["samples"], 48)
                self.sterna("verify", to, "--source", self.path("photos"), "--quiet")
                continue
            killed += 1
            if got.code == 0:
                self.complete(to)
            else:  # before there was a catalogue
                self.sterna("copy", self.store, to, "--quiet")
                self.sterna("verify", to, "--quiet")
        self.assertGreater(killed, 0)


if __name__ == "__main__":
    unittest.main()
