"""sterna probe: what it finds out about a store, what it says where there is nothing to measure, and
that it is done soon."""

import os
import unittest

from cql import Client, Server
from support import CommandTest, make_folder, write

KEYS = {"store", "kind", "samples", "mean_sample_bytes", "rtt_ms", "nodes", "one_connection_mb_s",
        "many_connections_mb_s", "connections", "loss", "segments", "out_of_order_segments",
        "retransmitted_segments", "sender", "read_mb_s", "from_disk_mb", "samples_per_s", "epoch_s",
        "tcp_rmem_max", "tcp_rmem_max_for_one_connection", "rmem_max", "congestion_control", "advice",
        "seconds"}
NETWORK = ("rtt_ms", "nodes", "one_connection_mb_s", "many_connections_mb_s", "connections")


def sysctl(name):
    try:
        with open(os.path.join("/proc/sys/net", name), encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return None


class Probe(CommandTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        os.environ["STERNA_CACHE"] = cls.path("cache")

    def serve(self, *options):
        server = Server(*options)
        self.addCleanup(server.close)
        host, port = server.hosts[0]
        return server, f"cassandra://{host}:{port}/imgs/ds"

    def ingested(self, *options):
        server, url = self.serve(*options)
        files = make_folder(self.path(self.id()))
        self.sterna("ingest", url, self.path(self.id()), "--create", "--replication", 1)
        return server, url, files

    def assert_expects(self, got, n_samples):
        self.assertEqual(set(got), KEYS)
        self.assertEqual(got["samples"], n_samples)
        self.assertGreater(got["samples_per_s"], 0)
        self.assertAlmostEqual(got["epoch_s"] * got["samples_per_s"], n_samples, places=6)

    def test_a_cluster(self):
        _, url, files = self.ingested("--delay-ms", 20)
        got = self.sterna("probe", url, "--json").json
        self.assert_expects(got, len(files))
        self.assertEqual(got["kind"], "cluster")
        self.assertAlmostEqual(got["mean_sample_bytes"], sum(map(len, files.values())) / len(files))
        for key in NETWORK:
            self.assertGreater(got[key], 0, key)
        self.assertIsNone(got["read_mb_s"])
        self.assertIn("to read: too little", " ".join(got["advice"]))
        rmem = sysctl("ipv4/tcp_rmem")
        self.assertEqual(got["tcp_rmem_max"], rmem and int(rmem[2]))
        own = sysctl("ipv4/tcp_congestion_control")
        self.assertEqual(got["congestion_control"], own and own[0])

    def test_a_cluster_in_words(self):
        _, url, files = self.ingested("--listen", "127.0.0.1", "--listen", "127.0.0.2")
        lines = self.sterna("probe", url + "?connections=2").lines
        words = {line[:17].strip(): line[17:] for line in lines}
        self.assertEqual(words["store"], url)
        self.assertRegex(words["samples"], rf"^{len(files)} of [0-9.]+ k?B$")
        self.assertRegex(words["round trip"], r"^[0-9.e-]+ ms, 2 nodes$")
        self.assertRegex(words["one connection"], r"^[0-9.]+ [kMG]?B/s, as one to each of 2 nodes$")
        self.assertRegex(words["4    connections"], r"^[0-9.]+ [kMG]?B/s \(.* on their way")
        self.assertRegex(words["loss"], r"(none seen in|at least|does not tell)")
        self.assertRegex(words["congestion"], r"the server sends the data, and its own counts$")
        self.assertRegex(words["expected"], r"^[0-9,]+ samples/s, one epoch in ")

    def test_chosen_samples_only(self):
        _, url, _ = self.ingested()
        self.assert_expects(self.sterna("probe", url, "--where", "label = 1", "--json").json, 10)

    def test_an_empty_data_set(self):
        _, url = self.serve()
        folder = self.path("empty")
        os.makedirs(folder)
        self.sterna("ingest", url, folder, "--create", "--replication", 1)
        got = self.sterna("probe", url, "--json").json
        self.assertEqual(set(got), KEYS)
        self.assertEqual(got["samples"], 0)
        self.assertEqual({got[key] for key in (*NETWORK, "samples_per_s", "epoch_s", "loss")}, {None})
        self.assertRegex(self.sterna("probe", url).out.decode(), "there is nothing to read")

    def foreign(self, *options):
        server, url = self.serve("--synthetic", 5000, *options)
        with Client(server.hosts[0]) as client:
            client.query("CREATE KEYSPACE ks WITH replication = "
                         "{'class': 'SimpleStrategy', 'replication_factor': 1}")
            client.query("CREATE TABLE ks.pics (id uuid PRIMARY KEY, data blob)")
        ids = self.path(self.id() + ".ids")
        write(ids, b"".join(b"00000000-0000-4000-8000-%012x\n" % i for i in range(500)))
        return url.replace("/imgs/ds", "/ks/pics") + "?table=pics&id=id&image=data", ids

    def test_another_tools_table(self):
        url, ids = self.foreign()
        got = self.sterna("probe", url, "--ids", ids, "--json").json
        self.assert_expects(got, 500)
        self.assertEqual(got["mean_sample_bytes"], 5000)

    def test_no_answer_to_any_request(self):
        url, ids = self.foreign("--drop-every", 1)
        got = self.sterna("probe", url, "--ids", ids, code=5)
        self.assert_one_message(got, "no sample came within")

    def test_nobody_there(self):
        server, url = self.serve()
        server.control("stop", 0)
        got = self.sterna("probe", url, code=5)
        self.assert_one_message(got, url.split("/")[2])

    def test_no_such_data_set(self):
        _, url = self.serve()
        self.assert_one_message(self.sterna("probe", url, code=1))

    def test_a_directory(self):
        store, files = self.make_store()
        got = self.sterna("probe", store, "--json").json
        self.assert_expects(got, len(files))
        self.assertEqual(got["kind"], "directory")
        self.assertGreater(got["read_mb_s"], 0)
        self.assertEqual({got[key] for key in (*NETWORK, "loss", "segments")}, {None})
        words = self.sterna("probe", store).out.decode()
        self.assertRegex(words, r"(?m)^read rate +[0-9.]+ [kMG]?B/s")
        self.assertNotIn("congestion", words)

    def test_no_store(self):
        self.assert_one_message(self.sterna("probe", self.path("nothing"), code=1), "nothing")
        self.assert_one_message(self.sterna("probe", code=2), "STORE")


if __name__ == "__main__":
    unittest.main()
