"""sterna query and split: rows in three formats, saved selections, shares."""

import csv
import io
import json
import os
import unittest

from support import CommandTest, png, write


class Query(CommandTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.store, cls.files = cls.make_store(classes=3, each=10)

    def query(self, *args, **more):
        return self.sterna("query", self.store, *args, **more)

    def test_csv_and_json_say_the_same(self):
        columns = "path,label,width,class"
        rows = list(csv.DictReader(io.StringIO(
            self.query("--columns", columns, "--format", "csv").out.decode(), newline="")))
        objects = json.loads(self.query("--columns", columns, "--format", "json").out)
        self.assertEqual([r["path"] for r in rows], sorted(self.files))
        self.assertEqual(len(objects), len(rows))
        for row, one in zip(rows, objects):
            self.assertEqual(list(one), columns.split(","))
            self.assertIsInstance(one["label"], int)
            self.assertEqual(row, {k: str(v) for k, v in one.items()})

    def test_json_is_one_object_a_line(self):
        lines = self.query("--format", "json", "--columns", "id").lines
        self.assertEqual((lines[0], lines[-1]), ("[", "]"))
        self.assertEqual(len([json.loads(l.rstrip(",")) for l in lines[1:-1]]), 30)

    def test_table_is_aligned(self):
        lines = self.query("label = 1", "--columns", "path,width,class").lines
        self.assertEqual(len(lines), 11)
        self.assertEqual({l.index("class1", 8) for l in lines[1:]}, {lines[0].rindex("class")})

    def test_all_columns_without_a_choice(self):
        names = [c["name"] for c in self.sterna("info", self.store, "--json").json["columns"]]
        row = json.loads(self.query("--format", "json", "--limit", "1").out)[0]
        self.assertLessEqual(set(names), set(row))

    def test_no_row_still_has_a_head(self):
        nothing = ("width < 0", "--columns", "path,width")
        self.assertEqual(self.query(*nothing, "--format", "csv").out, b"path,width\n")
        self.assertEqual(json.loads(self.query(*nothing, "--format", "json").out), [])
        self.assertEqual(self.query(*nothing).lines[0].split(), ["path", "width"])
        self.assertIn(b"path", self.query("width < 0", "--format", "csv").out)

    def test_limit(self):
        for limit in (0, 1, 29, 30, 31):
            got = self.query("--format", "csv", "--columns", "id", "--limit", limit)
            self.assertEqual(len(got.lines), 1 + min(limit, 30))
            self.assertEqual(got.err, b"")

    def test_bad_sql_is_usage(self):
        for sql in ("label =", "nonsense = 1", "1; drop table sample", "load_extension('x')",
                    "random() > 0"):
            with self.subTest(sql=sql):
                self.assert_one_message(self.query(sql, code=2))
        self.assert_one_message(self.query("--columns", "nonsense", code=2), "nonsense")

    def test_odd_text_in_every_format(self):
        folder, store = self.path("odd"), self.path("odd-store")
        name = b'a,"b"\n\xff\xc3\xa9.png'
        write(os.fsencode(folder) + b"/" + name, png(5))
        self.sterna("ingest", store, folder)
        args = ("query", store, "--columns", "path,label")
        out = self.sterna(*args, "--format", "csv").out
        self.assertEqual(out, b'path,label\n"' + name.replace(b'"', b'""') + b'",\n')
        rows = json.loads(self.sterna(*args, "--format", "json").out)
        self.assertEqual(rows, [{"path": 'a,"b"\n\ufffd\u00e9.png', "label": None}])
        lines = self.sterna(*args).lines
        self.assertIn(r'a,"b"\x0a\xffé.png', lines[1])
        self.assertEqual(len(lines), 2)

    def test_as_of_an_earlier_run(self):
        folder, store = self.path("grow"), self.path("grow-store")
        write(os.path.join(folder, "c", "a.png"), png(1))
        self.sterna("ingest", store, folder)
        write(os.path.join(folder, "c", "b.png"), png(2))
        self.sterna("ingest", store, folder)
        for run, n in ((1, 1), (2, 2)):
            got = self.sterna("query", store, "--as-of", run, "--columns", "path", "--format",
                              "csv")
            self.assertEqual(len(got.lines), 1 + n)

    def test_saved_by_name_and_as_file(self):
        small = self.query("label < 2", "--save", "small", "--format", "json").json
        self.assertEqual(small["samples"], 20)
        file = self.path("small.sel")
        text = self.query("label < 2", "--save", file).out.decode()
        self.assertIn(small["selection"], text)
        self.assertTrue(os.path.exists(file))
        for which in ("small", file):
            got = self.sterna("read", self.store, "--selection", which, "--json", "--verify").json
            self.assertEqual((got["samples"], got["selection"]), (20, small["selection"]))

    def test_saving_where_it_cannot_be(self):
        got = self.query("--save", self.path("no", "dir.sel"), code=1)
        self.assert_one_message(got, "dir.sel")
        self.assert_one_message(self.query("--save", "-x", code=2))
        self.assert_one_message(self.query("--save", "a b", code=2))

    def test_ids_from_csv_can_be_read(self):
        got = self.query("label = 2", "--columns", "id", "--format", "csv").lines
        write(self.path("ids.txt"), ("# chosen\n" + "\n".join(got[1:]) + "\n").encode())
        read = self.sterna("read", self.store, "--ids", self.path("ids.txt"), "--json",
                           "--no-shuffle").json
        self.assertEqual(read["samples"], 10)


class Split(CommandTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.store, cls.files = cls.make_store(classes=4, each=25)

    def split(self, *args, **more):
        return self.sterna("split", self.store, *args, **more)

    def test_parts_hold_every_sample_once(self):
        got = self.split("--parts", "train=0.8,val=0.1,test=0.1", "--json").json
        self.assertEqual([s["name"] for s in got["selections"]], ["train", "val", "test"])
        self.assertEqual(sum(s["samples"] for s in got["selections"]), len(self.files))
        total = [p for p in got["parts"] if p["stratum"] is None]
        self.assertEqual([p["share_wanted"] for p in total], [0.8, 0.1, 0.1])
        for part, saved in zip(total, got["selections"]):
            self.assertEqual(part["samples"], saved["samples"])
            self.assertAlmostEqual(part["share_got"], part["samples"] / len(self.files))
            self.assertAlmostEqual(part["deviation"], part["share_got"] - part["share_wanted"])
        seen = sum(self.sterna("read", self.store, "--selection", name, "--json",
                               "--verify").json["samples"] for name in ("train", "val", "test"))
        self.assertEqual(seen, len(self.files))

    def test_the_seed_decides(self):
        def hashes(*more):
            got = self.split("--parts", "a=0.5,b=0.5", "--json", *more).json
            return [s["selection"] for s in got["selections"]]

        self.assertEqual(hashes(), hashes("--seed", 0))
        self.assertNotEqual(hashes(), hashes("--seed", 1))

    def test_exact_shares_in_each_stratum(self):
        got = self.split("--parts", "a=0.8,b=0.2", "--exact", "--stratify", "class", "--json").json
        strata = [p for p in got["parts"] if p["stratum"] is not None]
        self.assertEqual(len(strata), 8)
        self.assertEqual({p["samples"] for p in strata if p["part"] == "a"}, {20})

    def test_table(self):
        lines = self.split("--parts", "a=0.8,b=0.2", "--stratify", "class").lines
        self.assertEqual(lines[0].split(),
                         "part stratum samples groups wanted got deviation".split())
        self.assertEqual(len(lines), 1 + 2 + 8)
        self.assertRegex(lines[1], r"80\.00% +\d+\.\d\d% +[+-]\d+\.\d\d%$")

    def test_groups_stay_together(self):
        got = self.split("--parts", "a=0.5,b=0.5", "--by", "class", "--json").json
        for saved in got["selections"]:
            self.assertEqual(saved["samples"] % 25, 0)

    def test_what_cannot_be(self):
        self.assert_one_message(self.split("--parts", "a=0.5,b=0.6", code=2))
        self.assert_one_message(self.split("--parts", "a=1", "--by", "nonsense", code=2))
        self.assert_one_message(self.split("--parts", "a/b=1", code=2))


if __name__ == "__main__":
    unittest.main()
