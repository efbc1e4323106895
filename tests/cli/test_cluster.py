"""The command over a cluster that keeps everything in memory: all that works on a directory works
there, and a server's faults cost time and not samples."""

import json
import os
import unittest

from cql import Server
from support import CommandTest, make_folder

NODES = ("--listen", "127.0.0.1", "--listen", "127.0.0.2")


class Cluster(CommandTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        os.environ["STERNA_CACHE"] = cls.path("cache")

    def serve(self, *options):
        server = Server(*NODES, *options)
        self.addCleanup(server.close)
        host, port = server.hosts[0]
        return server, f"cassandra://{host}:{port}/imgs/ds"

    def ingested(self, *options, classes=3, each=30):
        server, url = self.serve(*options)
        folder = self.path(self.id())
        files = make_folder(folder, classes, each)
        self.sterna("ingest", url, folder, "--create", "--replication", 2)
        return server, url, files

    def read(self, url, *more):
        return self.sterna("read", url, "--epochs", 2, "--verify", "--json", *more).json

    def test_what_was_ingested_is_listed_read_and_verified(self):
        _, url, files = self.ingested()
        rows = json.loads(self.sterna("query", url, "--columns", "path,label", "--format", "json").out)
        self.assertEqual(sorted(r["path"] for r in rows), sorted(files))
        self.assertEqual([e["samples"] for e in self.read(url)["epochs"]], [len(files)] * 2)
        self.sterna("verify", url)

    def test_an_ingest_again_adds_nothing(self):
        _, url, files = self.ingested()
        self.sterna("ingest", url, self.path(self.id()))
        self.assertEqual([e["samples"] for e in self.read(url)["epochs"]], [len(files)] * 2)

    def test_a_copy_in_the_same_cluster_is_another_data_set(self):
        """Of one id, with runs of the same numbers."""
        _, url, files = self.ingested()
        other = url.replace("/imgs/", "/others/")
        self.sterna("copy", url, other, "--where", "label = 1", "--create", "--replication", 2)
        for store, n in ((url, 90), (other, 30), (url, 90)):
            self.assertEqual(self.sterna("info", store, "--json").json["samples"], n)
            self.assertEqual(self.read(store)["epochs"][0]["samples"], n)

    def test_faults_of_the_server_lose_and_double_nothing(self):
        for fault in ("--overload-every=9", "--rst-every=40", "--corrupt-every=20", "--wrong-key-every=20"):
            with self.subTest(fault):
                _, url, files = self.ingested(fault)
                epochs = self.read(url)["epochs"]
                self.assertEqual([e["samples"] for e in epochs], [len(files)] * 2)

    def test_the_way_and_the_verdict_are_told(self):
        _, url, _ = self.ingested()
        got = self.read(url)
        self.assertIn(got["phase"], ("ramp", "steady", "drain", "back-off"))
        self.assertGreater(got["rtt_ms"], 0)
        self.assertGreaterEqual(got["connections"], 1)
        self.assertGreaterEqual(got["connections_max"], got["connections"])
        self.assertRegex(got["verdict"], "^[a-z]+-bound: ")
        page = self.path("way.html")
        text = self.sterna("read", url, "--report", page).out.decode()
        self.assertRegex(text, r"(?m)^path +round trip [0-9.e-]+ ms, .*window .*connections")
        self.assertRegex(text, r"(?m)^verdict +[a-z]+-bound: ")
        with open(page, encoding="utf-8") as file:
            html = file.read()
        for title in ("Waiting", "In flight", "Round trip", "Rate", "Connections"):
            self.assertIn(f"<h2>{title}</h2>", html)
        self.assertEqual(html.count("<svg"), html.count("</svg>"))
        self.assertEqual(html.count("<svg"), 8)
        self.assertNotRegex(html, r"(?i)\b-?(nan|inf)\b")

    def test_waiting_for_a_server_that_fails_is_the_servers(self):
        _, url, _ = self.ingested("--overload-every=5")
        got = self.read(url, "--batch-size", 16)
        self.assertGreater(got["overloaded"], 0)
        self.assertGreater(got["stall_s"]["server"], 0)
        self.assertEqual(got["stall_s"]["budget"] + got["stall_s"]["max-rate"], 0)

    def test_a_killed_node_is_done_without(self):
        server, url, files = self.ingested()
        server.control("stop", 1)
        self.assertEqual([e["samples"] for e in self.read(url)["epochs"]], [len(files)] * 2)


if __name__ == "__main__":
    unittest.main()
