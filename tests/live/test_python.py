"""The Python package against a real Cassandra: what was written for a directory, with only the URL
changed."""

import asyncio
import contextlib
import io
import os
import re
import sys
import unittest

from live import LiveTest, crc32c
from support import STERNA, make_folder, png

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(STERNA)), "python"))  # of the build

import sterna  # noqa: E402

README = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "README.md")


def readme_example(url):
    with open(README, encoding="utf-8") as file:
        code = re.search(r"^```python\n(.*?)^```$", file.read(), re.M | re.S)[1]
    changed, n = re.subn(r'sterna\.open\("[^"]*"\)', lambda _: f"sterna.open({url!r})", code)
    assert n == 1
    return changed


class Python(LiveTest):
    cluster_name = "one"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name in ("STERNA_CACHE", "XDG_CACHE_HOME"):
            os.environ[name] = cls.path("cache")
        os.environ["STERNA_PROGRESS"] = "none"
        cls.keyspace = cls.cluster.keyspace()
        cls.folder = cls.path("photos")
        cls.files = make_folder(cls.folder, classes=3, each=50)
        cls.store = cls.url(cls.keyspace, "pets")
        cls.result = sterna.ingest(cls.store, cls.folder, create=True)

    def test_ingest(self):
        self.assertEqual((self.result.added, self.result.run, self.result.n_skipped), (150, 1, 0))
        again = sterna.ingest(self.store, self.folder)
        self.assertEqual((again.added, again.unchanged), (0, 150))
        with self.assertRaises(sterna.Error):  # of a data set whose tables are not there
            sterna.ingest(self.url(self.keyspace, "none"), self.folder)

    def test_the_readme_s_example(self):
        store = self.url(self.keyspace, "wide")
        with sterna.writer(store, create=True) as w:
            for i in range(150):
                w.add({"path": f"{i:03}.png", "image": png(i, width=60 + i % 20)})
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(readme_example(store), {})
        self.assertRegex(out.getvalue(), r"\A\d+ \S")

    def test_samples_come_back_equal(self):
        with sterna.open(self.store) as ds:
            self.assertEqual(ds.class_to_idx, {"class0": 0, "class1": 1, "class2": 2})
            got = {sample["path"]: bytes(sample["image"]) for sample in ds}
            self.assertEqual(got.keys(), self.files.keys())
            self.assertEqual([n for n in got if got[n] != self.files[n]], [])

    def test_fetch(self):
        with sterna.open(self.store) as ds:
            self.assertEqual(bytes(ds[7]["image"]), self.files[ds[7]["path"]])
            ids, paths = list(ds.ids), ds.metadata(["path"])["path"]
            order = [90, 3, 149, 3 + 50]
            batch = ds.fetch([ids[i] for i in order])
            self.assertEqual(batch.image.list(), [self.files[paths[i]] for i in order])
            later = asyncio.run(ds.afetch([ids[i] for i in order]))
            self.assertEqual(later.image.list(), batch.image.list())
            streamed = []
            for part in ds.stream(ids, batch_size=40):
                streamed += part.image.list()
            self.assertEqual(streamed, [self.files[path] for path in paths])

    def test_resume(self):
        """The rest of the epoch, whatever the process; here another loader over another opening."""
        def loader(ds):
            return ds.where("label < 2").loader(batch_size=8, seed=3)

        with sterna.open(self.store) as ds, loader(ds) as whole:
            want = [list(batch.ids) for batch in whole]
        with sterna.open(self.store) as ds, loader(ds) as first:
            batches = iter(first)
            got = [list(next(batches).ids) for _ in range(5)]
            state = first.state_dict()
        with sterna.open(self.store) as ds, loader(ds) as second:
            second.load_state_dict(state)
            got += [list(batch.ids) for batch in second]
        self.assertEqual(got, want)

    def test_another_client_reads_what_the_writer_wrote(self):
        store = self.url(self.keyspace, "any")
        large = os.urandom(3_000_000)  # longer than a value may be
        with sterna.writer(store, create=True, classes=["b", "a"],
                           fields={"caption": "text", "facts": "json", "raw": "bytes"}) as w:
            w.add({"path": "1", "image": png(1), "class": "a", "caption": "Bär", "facts": {"n": 1},
                   "score": 0.5})
            w.add({"path": "2", "raw": large, "class": "b"})
            self.assertEqual(w.add({"path": "1", "image": png(2)}), "conflict")
        rows = {crc: (image, caption, facts) for image, crc, caption, facts in self.rows(
            f"SELECT image, image_crc, caption, facts FROM {self.keyspace}.any_data") if crc}
        self.assertEqual(rows, {crc32c(png(1)): (png(1), "Bär".encode(), b'{"n":1}')})
        with sterna.open(store) as ds:
            one, two = ds
            self.assertEqual((one["caption"], one["facts"], one["label"]), ("Bär", {"n": 1}, 1))
            self.assertEqual((bytes(two["raw"]), two["label"]), (large, 0))
            self.assertEqual(ds.metadata(["score"]), {"score": [0.5, None]})

    def test_a_writer_that_fails_lists_nothing(self):
        store = self.url(self.keyspace, "failed")
        with self.assertRaises(ZeroDivisionError):
            with sterna.writer(store, create=True) as w:
                w.add({"path": "1", "image": png(1)})
                raise ZeroDivisionError
        with sterna.open(store) as ds:
            self.assertEqual(len(ds), 0)
        with sterna.writer(store) as w:
            w.add({"path": "1", "image": png(1)})
        with sterna.open(store) as ds:
            self.assertEqual(len(ds), 1)

    def test_copy_and_verify(self):
        here = self.path("here")
        done = sterna.copy(self.store, here, where="class = 'class1'")
        self.assertEqual((done.samples, done.added), (50, 50))
        back = self.url(self.keyspace, "back")
        with sterna.open(here) as ds:
            self.assertEqual(sterna.copy(ds, back, create=True).added, 50)
        report = sterna.verify(back, source=self.folder)
        self.assertEqual((report["checked"], report["compared"], report["bad"]), (50, 50, 0))

    def test_probe(self):
        report = sterna.probe(self.store)
        self.assertEqual((report["kind"], report["samples"]), ("cluster", 150))
        self.assertGreater(report["rtt_ms"], 0)


class Secrets(LiveTest):
    cluster_name = "secure"

    def test_passwords_are_asked_for_and_never_shown(self):
        tls = self.cluster.tls
        keyspace = self.cluster.keyspace()
        store = self.url(keyspace, "pets", hosts="cassandra@" + self.cluster.contact_points,
                         tls="verify", ca=f"{tls}/ca.crt", cert=f"{tls}/client.crt",
                         key=f"{tls}/client.key")
        os.environ.pop("STERNA_PASSWORD", None)
        with sterna.writer(store, create=True, password="cassandra") as w:
            w.add({"path": "1", "image": png(1)})
        with self.assertRaises(sterna.RefusedError):
            sterna.open(store)
        with self.assertRaises(sterna.RefusedError) as e:
            sterna.open(store, password="hunter2")
        self.assertNotIn("hunter2", str(e.exception))
        with sterna.open(store, password="cassandra") as ds:
            self.assertEqual(len(ds), 1)
            self.assertNotIn("password", repr(ds))
        self.assertEqual(sterna.verify(store, password="cassandra")["checked"], 1)
        with self.assertRaises(sterna.ConnectionError):
            sterna.verify(store, password="hunter2")


if __name__ == "__main__":
    unittest.main()
