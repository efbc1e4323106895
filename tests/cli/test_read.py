"""sterna read, plan and verify over a whole store."""

import collections
import html.parser
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import unittest

from support import STERNA, TIME_LIMIT_S, CommandTest, write

KEYS = ("samples bytes seconds samples_per_s bytes_per_s mb_per_s first_batch_s cpu_s duplicates "
        "missing padded errors retries in_flight_bytes_max memory_bytes_max stall_s").split()
PATH_KEYS = ("phase rtt_ms rate_mb_s window_bytes connections connections_max hedges hedged_bytes "
             "suspects overloaded").split()


def plan_rows(test, store, steps, *options):
    """Rows of all batches as `sterna plan` tells them."""
    rows = []
    for step in range(steps):
        got = test.sterna("plan", store, *options, "--step", step, "--format", "json")
        rows.append(json.loads(got.out))
    return rows


class Read(CommandTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.store, cls.files = cls.make_store(classes=3, each=35)
        cls.n, cls.bytes = len(cls.files), sum(map(len, cls.files.values()))

    def read(self, *args, code=0, **more):
        return self.sterna("read", self.store, *args, "--json", code=code, **more)

    def test_json_has_all_figures(self):
        got = self.read("--epochs", 3, "--batch-size", 16, "--verify", "--seed", 5)
        self.assertEqual(got.out.count(b"\n"), 1)
        self.assertEqual(got.err, b"")
        figures = got.json
        for key in KEYS + PATH_KEYS + ["epochs", "memory_budget_bytes"]:
            self.assertIn(key, figures)
        self.assertEqual([figures[key] for key in PATH_KEYS], ["local"] + 9 * [0])
        self.assertRegex(figures["verdict"], "^[a-z]+-bound: ")
        self.assertEqual(figures["samples"], 3 * self.n)
        self.assertEqual(figures["bytes"], 3 * self.bytes)
        self.assertEqual((figures["duplicates"], figures["missing"], figures["errors"]), (0, 0, 0))
        self.assertEqual(figures["padded"], 3 * (16 - self.n % 16))
        self.assertEqual((figures["seed"], figures["batch_size"], figures["order"]),
                         (5, 16, "strict"))
        self.assertEqual((figures["rank"], figures["world_size"]), (0, 1))
        self.assertRegex(figures["selection"], "^[0-9a-f]{64}$")
        self.assertEqual(set(figures["stall_s"]), set("connect latency bandwidth server decode "
                                                      "budget max-rate total".split()))
        self.assertEqual([e["epoch"] for e in figures["epochs"]], [0, 1, 2])
        for epoch in figures["epochs"]:
            for key in KEYS:
                self.assertIn(key, epoch)
            self.assertEqual(epoch["samples"], self.n)
        self.assertGreater(figures["memory_bytes_max"], 0)
        self.assertLessEqual(figures["memory_bytes_max"], figures["memory_budget_bytes"])

    def test_every_way_delivers_each_sample_once(self):
        for order in ("strict", "arrival"):
            for uneven in ("pad", "drop", "exact"):
                for world in (1, 2, 5):
                    total = 0
                    for rank in range(world):
                        got = self.read("--order", order, "--uneven", uneven, "--world-size",
                                        world, "--rank", rank, "--batch-size", 8, "--verify",
                                        "--epochs", 2).json
                        self.assertEqual((got["duplicates"], got["missing"]), (0, 0))
                        total += got["samples"]
                    full = self.n // (8 * world) * 8 * world
                    self.assertEqual(total, 2 * (full if uneven == "drop" else self.n))

    def test_plan_tells_what_read_delivers(self):
        options = ("--seed", 9, "--batch-size", 16)
        rows = plan_rows(self, self.store, 7, *options, "--epoch", 1)
        valid = [r for batch in rows for r in batch if r["valid"]]
        self.assertEqual(collections.Counter(r["path"] for r in valid),
                         collections.Counter(list(self.files)))
        self.assertEqual([len(batch) for batch in rows], [16] * 7)
        self.assertEqual([r["valid"] for r in rows[6]], [1] * 9 + [0] * 7)
        other = plan_rows(self, self.store, 1, *options, "--epoch", 0)
        self.assertNotEqual([r["id"] for r in other[0]], [r["id"] for r in rows[0]])
        # --verify compares every batch of a strict run with the plan.
        self.assertEqual(self.read(*options, "--epochs", 2, "--verify").json["misplaced"], 0)

    def test_plan_of_ranks_and_its_limits(self):
        ids = set()
        for rank in range(3):
            for batch in plan_rows(self, self.store, 5, "--batch-size", 8, "--world-size", 3,
                                   "--rank", rank):
                for row in batch:
                    if row["valid"]:
                        self.assertNotIn(row["id"], ids)
                        ids.add(row["id"])
        self.assertEqual(len(ids), self.n)
        got = self.sterna("plan", self.store, "--batch-size", 8, "--step", 14, code=2)
        self.assert_one_message(got, "14")
        table = self.sterna("plan", self.store, "--batch-size", 8, "--step", 13).lines
        self.assertEqual(table[0].split(), "row index id path valid".split())
        self.assertEqual(len(table), 9)

    def test_no_shuffle_keeps_the_order_of_paths(self):
        rows = plan_rows(self, self.store, 1, "--no-shuffle", "--batch-size", self.n)[0]
        self.assertEqual([r["path"] for r in rows], sorted(self.files))

    def test_choice_of_samples(self):
        where = self.read("--where", "label = 1", "--verify").json
        self.assertEqual(where["samples"], 35)
        self.assertEqual(self.read("--where", "label = 1", "--expect-selection",
                                   where["selection"]).json["samples"], 35)
        got = self.sterna("read", self.store, "--expect-selection", where["selection"], code=1)
        self.assert_one_message(got, where["selection"][:16])
        nothing = self.read("--where", "label = 99", "--verify")
        self.assertEqual(nothing.json["samples"], 0)
        self.assertIn(b"nothing was read: 0 samples", nothing.err)
        got = self.sterna("plan", self.store, "--where", "label = 99", "--step", 0, code=2)
        self.assert_one_message(got, "no batches")
        self.assert_one_message(self.sterna("read", self.store, "--selection", "nope", code=1),
                                "nope")
        self.assert_one_message(self.sterna("read", self.store, "--fields", "nope", code=1), "nope")
        write(self.path("bad-ids"), b"not-a-uuid\n")
        self.assertIn(self.command("read", self.store, "--ids", self.path("bad-ids")).code, (1, 2))

    def test_budget_too_small_names_the_smallest(self):
        got = self.sterna("read", self.store, "--memory", "2k", code=1)
        self.assert_one_message(got, "smallest")
        smallest = re.search(rb"smallest[^0-9]*(\d+)", got.err).group(1).decode()
        figures = self.read("--memory", smallest, "--verify").json
        self.assertEqual(figures["samples"], self.n)
        self.assertLessEqual(figures["memory_bytes_max"], int(smallest))

    def test_sizes_with_units(self):
        for text, size in (("4000000", 4000000), ("4M", 4000000), ("4mb", 4000000),
                           ("4MiB", 4 << 20), ("4096KiB", 4 << 20), ("1.5GiB", 3 << 29),
                           ("2500k", 2500000), ("0.25G", 250000000), ("5000000B", 5000000)):
            got = self.read("--memory", text).json
            self.assertEqual(got["memory_budget_bytes"], size, text)

    def test_max_rate_of_option_and_environment(self):
        rate = 2 * self.bytes  # a byte may be asked for 1 ms before its time
        for args, env in ((["--max-rate", rate], {}), ([], {"STERNA_MAX_RATE": str(rate)}),
                          (["--max-rate", "1G"], {"STERNA_MAX_RATE": str(rate)}),
                          (["--max-rate", rate], {"STERNA_MAX_RATE": "1GB/s"})):
            got = self.read("--epochs", 2, *args, env=env).json
            self.assertGreaterEqual(got["seconds"], 0.99)
            self.assertGreater(got["stall_s"]["max-rate"], 0)
        free = self.read("--max-rate", 0, env={"STERNA_MAX_RATE": "0"}).json
        self.assertEqual(free["stall_s"]["max-rate"], 0)
        got = self.sterna("read", self.store, env={"STERNA_MAX_RATE": "100 MB"}, code=2)
        self.assert_one_message(got, "STERNA_MAX_RATE is '100 MB'")

    def test_summary_for_people(self):
        got = self.sterna("read", self.store, "--verify")
        text = got.out.decode()
        for word in ("samples", "rate", "MB/s", "waited", "memory", "exactly once", "verdict"):
            self.assertIn(word, text)
        self.assertEqual(self.sterna("read", self.store, "--quiet").out, b"")
        self.assertEqual(self.sterna("read", self.store, "--quiet").err, b"")

    def test_progress_lines(self):
        # Half a second without a batch is not worth a line.
        got = self.sterna("read", self.store, "--max-rate", 2 * self.bytes,
                          env={"STERNA_PROGRESS": "lines"})
        self.assertRegex(got.err, rb"\Aepoch 1/1 100%[^\r\n]*\n\Z")

    def test_progress_bar_with_rates_and_time_left(self):
        args = [STERNA, "read", self.store, "--batch-size", "1", "--epochs", "1000000"]
        with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                              env={**os.environ, "STERNA_PROGRESS": "tty"}) as run:
            shown = b""
            while b" left" not in shown:
                part = run.stderr.read(4096)
                self.assertTrue(part, shown)
                shown += part
            run.send_signal(signal.SIGTERM)
            _, rest = run.communicate(timeout=TIME_LIMIT_S)
        self.assertEqual(run.returncode, 130)
        self.assertRegex(shown + rest, rb"\repoch \d+/1000000 \[[# ]{6}\] +\d+%  [0-9,]+ samples/s"
                                       rb"  \d+ MB/s  [0-9:]+ left")
        self.assertTrue((shown + rest).endswith(b"\r\x1b[Kinterrupted\n"))
        for line in (shown + rest).split(b"\r")[1:]:
            self.assertLess(len(line.replace(b"\x1b[K", b"").rstrip(b"\n")), 80)

    def test_verify_accepts_the_store(self):
        got = self.sterna("verify", self.store, "--source", self.path("photos"), "--json")
        self.assertEqual(got.out.count(b"\n"), 1)
        figures = got.json
        self.assertEqual(figures["differences"], [])
        self.assertEqual((figures["checked"], figures["compared"], figures["bad"]),
                         (self.n, self.n, 0))
        self.assertIn("105", self.sterna("verify", self.store).out.decode())


class Page(html.parser.HTMLParser):
    """Checks that elements are closed in order, and notes what points elsewhere."""

    VOID = {"meta", "link", "br", "img", "hr"}

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.links, self.tags, self.text = [], [], collections.Counter(), []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


class Report(CommandTest):
    def test_page_is_whole_and_needs_nothing_else(self):
        name = "<b>&'store"
        store, files = self.make_store(name)
        page = self.path("report.html")
        write(page, b"old")
        self.sterna("read", store, "--epochs", 2, "--batch-size", 4, "--verify", "--report", page)
        with open(page, encoding="utf-8") as file:
            text = file.read()
        parser = Page()
        parser.feed(text)
        parser.close()
        self.assertEqual(parser.open, [])
        self.assertEqual(parser.links, [])
        self.assertNotIn("http", text)
        self.assertNotIn("url(", text)
        self.assertEqual(parser.tags["script"], 0)
        self.assertEqual(parser.tags["svg"], 5)
        self.assertEqual(parser.tags["b"], 6)  # the tiles', not the store's
        for title in ("Throughput", "Waiting", "In flight", "Batch latency", "Stalls", "Epochs", "Figures",
                      "Configuration", store):
            self.assertIn(title, "".join(parser.text))
        self.assertNotRegex(text, r"(?i)\b-?(nan|inf)\b")
        self.assertRegex(text, r'class="verdict">[a-z]+-bound: ')
        self.assertEqual([f for f in os.listdir(self.dir) if f.startswith("report")],
                         ["report.html"])

    def test_page_of_hardly_anything(self):
        store, _ = self.make_store("tiny", "tiny-photos", classes=1, each=1)
        for args in ((), ("--where", "label = 7")):
            page = self.path("tiny.html")
            self.sterna("read", store, "--batch-size", 1, "--quiet", "--report", page, *args)
            with open(page, encoding="utf-8") as file:
                text = file.read()
            self.assertNotRegex(text, r"(?i)\b-?(nan|inf)\b")
            for x, y in re.findall(r"[ML\"](-?[0-9.]+)[ ,](-?[0-9.]+)", text):
                self.assertTrue(0 <= float(x) <= 800 and 0 <= float(y) <= 250, (x, y))
            parser = Page()
            parser.feed(text)
            self.assertEqual(parser.open, [])

    def test_unwritable_page_is_found_out_first(self):
        store, _ = self.make_store("store2", "photos2", classes=1, each=2)
        got = self.sterna("read", store, "--report", self.path("no", "r.html"), code=1)
        self.assert_one_message(got, "--report")
        self.assertEqual(got.out, b"")


class Damage(CommandTest):
    """Bytes that rot in the store, and sources that change."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.good, cls.files = cls.make_store("good", classes=2, each=20)

    def damaged(self, name, victims):
        """A copy of the store in which one byte of each of these samples' images is flipped."""
        store = self.path(name)
        shutil.copytree(self.good, store)
        with open(os.path.join(store, "data.mdb"), "r+b") as file:
            data = file.read()
            for victim in victims:
                good = self.files[victim]
                middle = len(good) // 2
                bad = good[:middle] + bytes([good[middle] ^ 0x40]) + good[middle + 1:]
                self.assertIn(good, data)
                data = data.replace(good, bad)  # in pages no longer used, too
            file.seek(0)
            file.write(data)
        return store

    def test_verify_lists_every_damaged_sample(self):
        victims = sorted(self.files)[3:9:2]
        store = self.damaged("rotten", victims)
        got = self.sterna("verify", store, "--quiet", code=4)
        self.assertEqual([line.split(" ", 2)[1].rstrip(":") for line in got.lines], victims)
        figures = self.sterna("verify", store, "--json", code=4).json
        self.assertEqual([d["path"] for d in figures["differences"]], victims)
        self.assertEqual((figures["bad"], figures["checked"]), (3, len(self.files)))

    def test_read_raises_masks_or_substitutes(self):
        victim = sorted(self.files)[5]
        store = self.damaged("rotten2", [victim])
        self.assert_one_message(self.sterna("read", store, "--quiet", code=1))
        got = self.sterna("read", store, "--json", "--verify", code=4)
        self.assertIn("failure", got.json)
        for how in ("mask", "substitute"):
            got = self.sterna("read", store, "--json", "--verify", "--on-error", how,
                              "--max-errors", 5, code=4)
            self.assertEqual((got.json["errors"], got.json["missing"]), (1, 0))
            self.assertEqual(got.json["failed_rows"], 1)
            self.sterna("read", store, "--json", "--on-error", how, "--max-errors", 5)
        self.sterna("read", store, "--quiet", "--on-error", "mask", "--max-errors", 0, code=1)

    def test_source_that_changed_or_went(self):
        folder = self.path("changed")
        shutil.copytree(self.path("photos"), folder)
        gone, shorter, other = sorted(self.files)[0], sorted(self.files)[11], sorted(self.files)[30]
        os.unlink(os.path.join(folder, gone))
        write(os.path.join(folder, shorter), self.files[shorter][:-1])
        write(os.path.join(folder, other), self.files[other][:-1] + b"?")
        got = self.sterna("verify", self.good, "--source", folder, "--json", code=4).json
        self.assertEqual((got["missing_in_source"], got["different_from_source"]), (1, 2))
        whys = {d["path"]: d["why"] for d in got["differences"]}
        self.assertIn("missing", whys[gone])
        self.assertIn("bytes", whys[shorter])
        self.assertIn(f"byte {len(self.files[other]) - 1}", whys[other])
        one = self.sterna("verify", self.good, "--source", folder, "--where",
                          f"path = '{gone}'", code=4)
        self.assertIn(gone, one.out.decode())

    def test_prefix_tells_which_samples_came_from_the_source(self):
        store = self.path("two")
        self.sterna("ingest", store, self.path("photos"), "--prefix", "a")
        self.sterna("ingest", store, self.path("photos"), "--prefix", "b")
        got = self.sterna("verify", store, "--source", self.path("photos"), "--prefix", "b/",
                          "--json").json
        self.assertEqual((got["compared"], got["outside_prefix"]), (40, 40))
        self.sterna("verify", store, "--source", self.path("photos"), code=4)

    def test_verify_a_saved_selection(self):
        self.sterna("query", self.good, "label = 1", "--save", "ones")
        got = self.sterna("verify", self.good, "--selection", "ones", "--source",
                          self.path("photos"), "--json").json
        self.assertEqual((got["samples"], got["compared"]), (20, 20))

    def test_catalogue_with_a_wrong_length(self):
        store = self.path("lengths")
        shutil.copytree(self.good, store)
        victim = sorted(self.files)[7]
        with sqlite3.connect(os.path.join(store, "catalog.sqlite")) as db:
            db.execute("update sample set image_bytes = image_bytes - 1 where path = ?", (victim,))
        db.close()
        got = self.sterna("verify", store, "--quiet", code=4)
        self.assertEqual(len(got.lines), 1)
        self.assertIn(victim, got.lines[0])

    def test_missing_source(self):
        got = self.sterna("verify", self.good, "--source", self.path("nowhere"), code=1)
        self.assert_one_message(got, "--source")


if __name__ == "__main__":
    unittest.main()
