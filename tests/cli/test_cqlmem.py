"""cqlmem: that it answers as Cassandra does, so that tests against it mean something."""

import os
import socket
import struct
import unittest
import uuid

from cql import (AUTHENTICATE, AUTH_SUCCESS, BLOB, BOOLEAN, EVENT, EXECUTE, INT, OPTIONS, READY,
                 REGISTER, SUPPORTED, UUID, Client, Reader, Server, ServerError)

KEYSPACE = "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
APPLIED = ("[applied]", BOOLEAN)


def ids(count):
    return [uuid.UUID(int=0x1234567 * (i + 1) << 60 | 4 << 76).bytes for i in range(count)]


class CqlmemTest(unittest.TestCase):
    def serve(self, *options):
        server = Server(*options)
        self.addCleanup(server.close)
        return server

    def connect(self, server, node=0, **more):
        client = Client(server.hosts[node], **more)
        self.addCleanup(client.close)
        return client

    def refused(self, code, words, call, *args, **more):
        with self.assertRaises(ServerError) as caught:
            call(*args, **more)
        self.assertEqual(hex(caught.exception.code), hex(code))
        self.assertIn(words, caught.exception.message)
        return caught.exception


class Data(CqlmemTest):
    def setUp(self):
        self.client = self.connect(self.serve())
        self.client.query(KEYSPACE)
        self.client.query("CREATE TABLE ks.t (id uuid PRIMARY KEY, b blob, a int, m map<text, text>)")

    def test_a_prepared_insert_is_read_back(self):
        insert = self.client.prepare("INSERT INTO ks.t (id, a, b) VALUES (?, ?, ?)")
        self.assertEqual(insert.params, [("id", UUID), ("a", INT), ("b", BLOB)])
        self.assertEqual((insert.key, insert.columns), ([0], []))
        select = self.client.prepare("SELECT id, a, b FROM ks.t WHERE id = ?")
        self.assertEqual(select.columns, [("id", UUID), ("a", INT), ("b", BLOB)])
        blobs = {key: os.urandom(size) for key, size in zip(ids(4), (0, 1, 2049, 300000))}
        for i, (key, blob) in enumerate(blobs.items()):
            self.assertIsNone(self.client.execute(insert, key, i, blob))
        for i, (key, blob) in enumerate(blobs.items()):
            rows = self.client.execute(select, key, skip=True)
            self.assertEqual((rows, rows.columns), ([(key, struct.pack(">i", i), blob)], []))
        self.assertEqual(self.client.execute(select, bytes(16)), [])

    def test_all_columns_come_keys_first_then_by_name(self):
        names = [name for name, _ in self.client.query("SELECT * FROM ks.t").columns]
        self.assertEqual(names, ["id", "a", "b", "m"])

    def test_the_last_write_wins_whatever_comes_last(self):
        key = ids(1)[0]
        value = lambda: self.client.query("SELECT a FROM ks.t WHERE id = ?", key)
        for at, a, want in ((10, 1, 1), (9, 2, 1), (11, 3, 3), (11, 2, 3), (12, ..., 3), (12, None, None)):
            self.client.query("INSERT INTO ks.t (id, a) VALUES (?, ?)", key, a, timestamp=at)
            self.assertEqual(value(), [(None if want is None else struct.pack(">i", want),)])
        self.client.query("DELETE FROM ks.t USING TIMESTAMP 20 WHERE id = ?", key)
        self.client.query("INSERT INTO ks.t (id, a) VALUES (?, 5) USING TIMESTAMP 20", key)
        self.assertEqual(value(), [])
        self.client.query("UPDATE ks.t USING TIMESTAMP 21 SET a = 6 WHERE id = ?", key)
        self.assertEqual(value(), [(struct.pack(">i", 6),)])
        self.client.query("DELETE a FROM ks.t USING TIMESTAMP 22 WHERE id = ?", key)
        self.assertEqual(value(), [], "a row without INSERT lives by its cells")

    def test_conditions_answer_with_what_stood_in_the_way(self):
        key, text = ids(1)[0], "INSERT INTO ks.t (id, a) VALUES (?, 1) IF NOT EXISTS"
        rows = self.client.query(text, key)
        self.assertEqual((rows.columns, rows), ([APPLIED], [(b"\1",)]))
        rows = self.client.query(text, key, skip=True)
        self.assertEqual([n for n, _ in rows.columns], ["[applied]", "id", "a", "b", "m"])
        self.assertEqual(rows, [(b"\0", key, b"\0\0\0\1", None, None)])
        update = "UPDATE ks.t SET a = ? WHERE id = ? IF a = ?"
        rows = self.client.query(update, 3, key, 2)
        self.assertEqual((rows.columns, rows), ([APPLIED, ("a", INT)], [(b"\0", b"\0\0\0\1")]))
        self.assertEqual(self.client.query(update, 3, key, 1), [(b"\1",)])
        rows = self.client.query(update, 3, bytes(15) + b"\1", 1)
        self.assertEqual((rows.columns, rows), ([APPLIED], [(b"\0",)]))
        self.assertEqual(self.client.query("DELETE FROM ks.t WHERE id = ? IF EXISTS", key), [(b"\1",)])
        self.assertEqual(self.client.query("DELETE FROM ks.t WHERE id = ? IF EXISTS", key), [(b"\0",)])

    def test_a_scan_in_pages_and_by_tokens_has_every_row_once(self):
        keys = ids(100)
        for key in keys:
            self.client.query("INSERT INTO ks.t (id) VALUES (?)", key)
        rows = self.client.pages(7, "SELECT id, token(id) FROM ks.t")
        tokens = [struct.unpack(">q", token)[0] for _, token in rows]
        self.assertEqual(sorted(key for key, _ in rows), sorted(keys))
        self.assertEqual(tokens, sorted(tokens))
        middle = tokens[50]
        for low, high, want in ((-2**63, middle, rows[:51]), (middle, 2**63 - 1, rows[51:])):
            got = self.client.pages(9, "SELECT id, token(id) FROM ks.t WHERE token(id) > ? AND "
                                       "token(id) <= ?", ("big", low), ("big", high))
            self.assertEqual(got, want)
        self.assertEqual(len(self.client.pages(7, "SELECT id FROM ks.t LIMIT 20")), 20)
        self.assertEqual(self.client.query("SELECT count(*) FROM ks.t"), [(struct.pack(">q", 100),)])

    def test_composite_keys(self):
        self.client.query("CREATE TABLE ks.m (r int, p int, c text, n smallint, v text, "
                          "PRIMARY KEY ((r, p), c, n)) WITH CLUSTERING ORDER BY (c ASC, n DESC)")
        for p in range(3):
            for c in "ba":
                for n in (1, 2, -1):
                    self.client.query(f"INSERT INTO ks.m (r, p, c, n, v) VALUES (1, {p}, '{c}', {n}, 'x')")
        rows = self.client.pages(2, "SELECT c, n FROM ks.m WHERE r = 1 AND p = ?", 2)
        want = [(c.encode(), struct.pack(">h", n)) for c in "ab" for n in (2, 1, -1)]
        self.assertEqual(rows, want)
        rows = self.client.query("SELECT n FROM ks.m WHERE r = 1 AND p = 2 AND c = 'b' AND n > 0")
        self.assertEqual(rows, [(b"\0\2",), (b"\0\1",)])
        self.assertEqual(len(self.client.pages(4, "SELECT n FROM ks.m")), 18)
        self.assertEqual(len(self.client.pages(1, "SELECT DISTINCT r, p FROM ks.m")), 3)
        self.assertEqual(self.client.prepare("SELECT v FROM ks.m WHERE p = ? AND c = ? AND r = ?").key,
                         [2, 0])
        self.client.query("DELETE FROM ks.m WHERE r = 1 AND p = 0")
        self.assertEqual(len(self.client.query("SELECT n FROM ks.m")), 12)
        self.refused(0x2200, "ALLOW FILTERING", self.client.query, "SELECT v FROM ks.m WHERE r = 1")
        rows = self.client.query("SELECT v FROM ks.m WHERE r = 1 AND n = 2 ALLOW FILTERING")
        self.assertEqual(len(rows), 4)

    def test_refusals(self):
        query = self.client.query
        self.refused(0x2200, "table no does not exist", query, "SELECT * FROM ks.no")
        self.refused(0x2200, "keyspace no does not exist", query, "SELECT * FROM no.t")
        self.refused(0x2200, "Undefined column name x", query, "SELECT x FROM ks.t")
        self.refused(0x2200, "Undefined column name x", self.client.prepare,
                     "INSERT INTO ks.t (id, x) VALUES (?, ?)")
        self.refused(0x2200, "Some partition key parts are missing: id", query,
                     "INSERT INTO ks.t (a) VALUES (1)")
        self.refused(0x2200, "Invalid", query, "INSERT INTO ks.t (id, a) VALUES (?, 'x')", ids(1)[0])
        self.refused(0x2200, "int", query, "INSERT INTO ks.t (id, a) VALUES (?, ?)", ids(1)[0], b"123")
        self.refused(0x2200, "null", query, "SELECT a FROM ks.t WHERE id = ?", None)
        self.refused(0x2200, "bind variables", query, "SELECT a FROM ks.t WHERE id = ?")
        self.refused(0x2000, "line 1:", query, "SELECT FROM")
        self.refused(0x2000, "line 1:", query, "")
        self.refused(0x2000, "line 1:", query, "INSERT INTO ks.t (id) VALUES ('unended)")
        self.refused(0x2400, 'existing table "t"', query, "CREATE TABLE ks.t (id uuid PRIMARY KEY)")
        self.refused(0x2400, 'existing keyspace "ks"', query, KEYSPACE)
        self.refused(0x2200, "already exists", query, "ALTER TABLE ks.t ADD a int")
        self.assertIsNone(query("CREATE TABLE IF NOT EXISTS ks.t (id uuid PRIMARY KEY)"))

    def test_altering_a_table_forgets_its_statements(self):
        select = self.client.prepare("SELECT a FROM ks.t WHERE id = ?")
        other = self.client.prepare("SELECT * FROM system.local WHERE key = ?")
        self.assertEqual(self.client.query("ALTER TABLE ks.t ADD more text"), ("UPDATED", "TABLE"))
        error = self.refused(0x2500, "not found", self.client.execute, select, ids(1)[0])
        self.assertEqual(error.rest.take(error.rest.number(">H")), select.id)
        self.assertEqual(self.client.prepare("SELECT a FROM ks.t WHERE id = ?").id, select.id)
        self.assertEqual(self.client.execute(select, ids(1)[0]), [])
        self.assertEqual(len(self.client.execute(other, "local")), 1)

    def test_a_request_longer_than_cassandra_takes_is_refused_and_passed_over(self):
        body = bytes((16 << 20) + 1)
        self.client.socket.sendall(struct.pack(">BBhBi", 4, 0, 9, 7, len(body)) + body)
        stream, opcode, answer = self.client.receive()
        self.assertEqual((stream, opcode), (9, 0))
        self.assertIn(b"too big", answer)
        self.assertEqual(self.client.call(OPTIONS)[0], SUPPORTED)


class Nodes(CqlmemTest):
    def test_each_node_tells_of_itself_and_of_its_peers(self):
        server = self.serve("--listen", "127.0.0.1", "--listen", "127.0.0.2@dc2/r7", "--listen",
                            "127.0.0.3", "--vnodes", 4)
        tokens, versions = set(), set()
        for node, (host, port) in enumerate(server.hosts):
            client = self.connect(server, node)
            row = client.query("SELECT rpc_address, rpc_port, data_center, rack, tokens, host_id, "
                               "schema_version FROM system.local WHERE key='local'")[0]
            self.assertEqual(row[0], bytes(map(int, host.split("."))))
            self.assertEqual(struct.unpack(">i", row[1])[0], port)
            self.assertEqual(row[2:4], (b"dc2", b"r7") if node == 1 else (b"dc1", b"rack1"))
            tokens.add(row[4])
            versions.add(row[6])
            peers = client.query("SELECT native_address, native_port FROM system.peers_v2")
            self.assertEqual(sorted(struct.unpack(">i", p)[0] for _, p in peers),
                             sorted(p for h, p in server.hosts if h != host))
            self.assertEqual(len(client.query("SELECT * FROM system.peers")), 2)
        self.assertEqual((len(tokens), len(versions)), (3, 1))

    def test_definitions_change_the_schema_version_of_all(self):
        server = self.serve("--listen", "127.0.0.1", "--listen", "127.0.0.2")
        one, two = self.connect(server, 0), self.connect(server, 1)
        version = lambda c: c.query("SELECT schema_version FROM system.local")
        before = version(two)
        self.assertEqual(one.query(KEYSPACE), ("CREATED", "KEYSPACE"))
        self.assertNotEqual(version(two), before)
        self.assertEqual(version(one), version(two))
        rows = two.query("SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = 'ks'")
        self.assertIn(b"locator.SimpleStrategy", rows[0][0])

    def test_a_statement_is_prepared_on_one_node_only(self):
        server = self.serve("--listen", "127.0.0.1", "--listen", "127.0.0.2")
        select = self.connect(server, 0).prepare("SELECT * FROM system.local")
        self.refused(0x2500, "not found", self.connect(server, 1).execute, select)


class ComeAndGo(CqlmemTest):
    def setUp(self):
        self.server = self.serve("--listen", "127.0.0.1", "--listen", "127.0.0.2", "--threads", 2)

    def status(self, client, change, node):
        host, port = self.server.hosts[node]
        stream, opcode, body = client.receive()
        event = Reader(body)
        self.assertEqual((stream, opcode, event.string(), event.string()),
                         (-1, EVENT, "STATUS_CHANGE", change))
        self.assertEqual(event.take(event.number(">B")), bytes(map(int, host.split("."))))
        self.assertEqual(event.number(">i"), port)

    def test_a_stopped_node_resets_its_clients_and_the_others_hear_of_it(self):
        clients = [self.connect(self.server, node) for node in (0, 1, 1, 1)]
        clients[0].call(REGISTER, b"\0\1\0\x0dSTATUS_CHANGE")
        self.server.control("stop", 1)
        self.status(clients[0], "DOWN", 1)
        for client in clients[1:]:
            with self.assertRaises(ConnectionError):
                client.receive()
        with self.assertRaises(ConnectionRefusedError):
            Client(self.server.hosts[1])
        with socket.socket() as other:  # nobody takes its place meanwhile
            self.assertRaises(OSError, other.bind, self.server.hosts[1])
        self.server.control("start", 1)
        self.status(clients[0], "UP", 1)
        self.assertEqual(self.connect(self.server, 1).opened, READY)
        self.assertEqual(clients[0].call(OPTIONS)[0], SUPPORTED)

    def test_a_hung_node_answers_what_it_was_asked_when_it_goes_on(self):
        clients = [self.connect(self.server, 1) for _ in range(3)]
        self.server.control("hang", 1)
        streams = [client.send(OPTIONS) for client in clients]
        self.assertEqual(self.connect(self.server, 0).call(OPTIONS)[0], SUPPORTED)
        for client in clients:
            client.socket.setblocking(False)
            self.assertRaises(BlockingIOError, client.socket.recv, 1)
            client.socket.settimeout(60)
        self.server.control("resume", 1)
        self.assertEqual([client.receive()[:2] for client in clients], [(s, SUPPORTED) for s in streams])

    def test_a_hung_node_can_be_killed(self):
        client = self.connect(self.server, 1)
        self.server.control("hang", 1)
        self.server.control("stop", 1)
        self.assertRaises(ConnectionError, client.receive)


class Handshake(CqlmemTest):
    def test_other_versions_are_refused(self):
        client = self.connect(self.serve(), startup=False)
        self.assertEqual(client.call(OPTIONS)[0], SUPPORTED)
        self.refused(0x000A, "(5)", client.call, 1, b"\0\0", version=5)
        self.assertEqual(client.socket.recv(1), b"", "and the connection is closed")

    def test_requests_need_startup(self):
        client = self.connect(self.serve(), startup=False)
        self.refused(0x000A, "STARTUP", client.query, "SELECT * FROM system.local")

    def test_credentials(self):
        server = self.serve("--user", "u", "--password", "secret")
        client = self.connect(server)
        self.assertEqual(client.opened, AUTHENTICATE)
        for user, password in (("u", "secre"), ("u", "secretx"), ("v", "secret"), ("", "")):
            self.refused(0x0100, f"Provided username {user} and/or password are incorrect",
                         client.log_in, user, password)
        self.assertEqual(client.log_in("u", "secret"), AUTH_SUCCESS)
        self.assertEqual(len(client.query("SELECT * FROM system.local")), 1)
        client = self.connect(server)
        self.refused(0x000A, "SASL", client.query, "SELECT * FROM system.local")
        self.assertEqual(self.connect(self.serve()).opened, READY)


class Synthetic(CqlmemTest):
    BYTES = 5000

    def open(self, *options):
        self.server = self.serve("--synthetic", self.BYTES, "--keyspace", "ks", *options)
        client = self.connect(self.server)
        client.query("CREATE TABLE ks.t (id uuid PRIMARY KEY, image_crc int, image_bytes bigint, image blob)")
        return client, client.prepare("SELECT id, image_crc, image_bytes, image FROM ks.t WHERE id = ?")

    def test_rows_that_do_not_exist_are_made_up(self):
        client, select = self.open()
        seen = set()
        for key in ids(3):
            (got, crc, count, blob), = client.execute(select, key, skip=True)
            self.assertEqual((got, struct.unpack(">q", count)[0], len(blob)), (key, self.BYTES, self.BYTES))
            self.assertEqual(struct.unpack(">I", crc)[0], crc32c(blob))
            seen.add(blob)
        self.assertEqual(len(seen), 1)
        client.query("INSERT INTO ks.t (id, image) VALUES (?, 0x0102)", ids(1)[0])
        self.assertEqual(client.execute(select, ids(1)[0])[0][3], b"\1\2")

    def sweep(self, count, *options):
        """What came of `count` calls, one after the other."""
        client, select = self.open(*options)
        results = []
        for key in ids(count):
            try:
                (got, crc, _, blob), = client.execute(select, key)
                sound = struct.unpack(">I", crc)[0] == crc32c(blob)
                results.append("ok" if got == key and sound else "blob" if got == key else "key")
            except ServerError as error:
                results.append(hex(error.code))
            except ConnectionError:
                results.append("reset")
                client = self.connect(self.server)
        return results

    def test_one_in_n_fails(self):
        for option, want in (("overload", "0x1001"), ("unprepared", "0x2500"), ("corrupt", "blob"),
                             ("wrong-key", "key"), ("rst", "reset")):
            with self.subTest(option):
                self.assertEqual(self.sweep(6, f"--{option}-every", 3), ["ok", "ok", want] * 2)

    def test_one_in_n_is_not_answered(self):
        client, select = self.open("--drop-every", 2)
        streams = [client.send(EXECUTE, client.execute_body(select, key)) for key in ids(4)]
        self.assertEqual([client.receive()[0] for _ in range(2)], streams[0::2])

    def test_one_in_n_is_answered_behind_others(self):
        client, select = self.open("--late-every", 3, "--late-ms", 1000)
        streams = [client.send(EXECUTE, client.execute_body(select, key)) for key in ids(7)]
        early, late = [0, 1, 3, 4, 6], [2, 5]
        self.assertEqual([client.receive()[0] for _ in streams], [streams[i] for i in early + late])

    def test_many_requests_at_once_over_many_threads(self):
        server = self.serve("--synthetic", self.BYTES, "--keyspace", "ks", "--threads", 3)
        clients = [self.connect(server) for _ in range(6)]
        clients[0].query("CREATE TABLE ks.t (id uuid PRIMARY KEY, image blob)")
        select = clients[0].prepare("SELECT id, image FROM ks.t WHERE id = ?")
        sent = [[c.send(EXECUTE, c.execute_body(select, key)) for key in ids(50)] for c in clients]
        for client, streams in zip(clients, sent):
            self.assertEqual([client.receive()[0] for _ in streams], streams)

    def test_delayed_answers_come_in_order(self):
        client, select = self.open("--delay-ms", 3)
        sent = [client.send(EXECUTE, client.execute_body(select, key)) for key in ids(20)]
        self.assertEqual([client.receive()[0] for _ in sent], sent)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


if __name__ == "__main__":
    unittest.main()
