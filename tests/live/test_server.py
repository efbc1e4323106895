"""What our tables and our writing rely on, asked of the server itself through the other client."""

import unittest
import uuid

from cassandra import ConsistencyLevel, InvalidRequest
from cassandra.query import SimpleStatement

from live import LiveTest

DATA = """CREATE TABLE {}.ds_data (
  id uuid PRIMARY KEY, image_crc int, image_bytes bigint, image blob
) WITH compression = {{'enabled': 'false'}}
  AND caching = {{'keys': 'ALL', 'rows_per_partition': 'NONE'}}
  AND bloom_filter_fp_chance = 0.01
  AND compaction = {{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'T4'}}
  AND speculative_retry = 'NONE'
  AND default_time_to_live = 0"""


class Server(LiveTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keyspace = cls.cluster.keyspace()
        cls.driver.execute(f"CREATE TABLE {cls.keyspace}.lock (k text PRIMARY KEY, v blob, n int)")

    def test_takes_the_options_of_the_data_table(self):
        self.driver.execute(DATA.format(self.keyspace))
        row = self.rows("SELECT compaction, compression, caching, speculative_retry, "
                        "bloom_filter_fp_chance FROM system_schema.tables WHERE keyspace_name = %s "
                        "AND table_name = 'ds_data'", self.keyspace)[0]
        self.assertTrue(row[0]["class"].endswith("UnifiedCompactionStrategy"), row[0])
        self.assertEqual(row[0]["scaling_parameters"], "T4")
        self.assertEqual(dict(row[1]), {"enabled": "false"})
        self.assertEqual(dict(row[2]), {"keys": "ALL", "rows_per_partition": "NONE"})
        self.assertIn(row[3].upper(), ("NEVER", "NONE"))  # two words for the same
        self.assertEqual(row[4], 0.01)

    def test_refuses_what_an_older_one_would_not_know(self):
        # So a mistake in the DDL is an error and not an option that is passed over.
        with self.assertRaises(Exception) as raised:
            self.driver.execute(f"CREATE TABLE {self.keyspace}.bad (k int PRIMARY KEY) "
                                "WITH compaction = {'class': 'IncrementalCompactionStrategy'}")
        self.assertIn("IncrementalCompactionStrategy", str(raised.exception))

    def test_a_lightweight_transaction_tells_who_won(self):
        insert = f"INSERT INTO {self.keyspace}.lock (k, v, n) VALUES (%s, %s, %s) IF NOT EXISTS"
        for serial in (ConsistencyLevel.SERIAL, ConsistencyLevel.LOCAL_SERIAL):
            key = uuid.uuid4().hex
            statement = SimpleStatement(insert, consistency_level=ConsistencyLevel.LOCAL_QUORUM,
                                        serial_consistency_level=serial)
            first = self.driver.execute(statement, (key, b"mine", 1))
            # Applied: one column, one row.
            self.assertEqual(first.column_names, ["[applied]"])
            self.assertEqual([tuple(r) for r in first], [(True,)])
            # Not applied: the row that is there behind it, in the order of the table's columns.
            second = self.driver.execute(statement, (key, b"theirs", 2))
            self.assertEqual(second.column_names, ["[applied]", "k", "n", "v"])
            self.assertEqual([tuple(r) for r in second], [(False, key, 1, b"mine")])
            # Its own answer lost, a client that asks again sees that it was itself.
            again = self.driver.execute(statement, (key, b"mine", 1))
            self.assertEqual([tuple(r) for r in again], [(False, key, 1, b"mine")])

    def test_a_conditional_update_takes_one_value_for_another(self):
        key = uuid.uuid4().hex
        self.driver.execute(f"INSERT INTO {self.keyspace}.lock (k, n) VALUES (%s, 1)", (key,))
        update = f"UPDATE {self.keyspace}.lock SET n = %s WHERE k = %s IF n = %s"
        self.assertEqual(self.rows(update, 2, key, 1), [(True,)])
        self.assertEqual(self.rows(update, 3, key, 1), [(False, 2)])
        # A condition does not go with a timestamp of the client's.
        with self.assertRaises(InvalidRequest):
            self.driver.execute(f"UPDATE {self.keyspace}.lock USING TIMESTAMP 1 SET n = 4 "
                                f"WHERE k = %s IF n = 2", (key,))

    def test_of_two_writes_the_later_timestamp_wins(self):
        key = uuid.uuid4().hex
        insert = f"INSERT INTO {self.keyspace}.lock (k, n) VALUES (%s, %s) USING TIMESTAMP %s"
        self.driver.execute(insert, (key, 1, 2000))
        self.driver.execute(insert, (key, 2, 1000))
        self.assertEqual(self.rows(f"SELECT n FROM {self.keyspace}.lock WHERE k = %s", key), [(1,)])

    def test_an_added_column_does_not_disturb_a_prepared_statement(self):
        table = f"{self.keyspace}.wide"
        self.driver.execute(f"CREATE TABLE {table} (k int PRIMARY KEY, a int)")
        self.driver.execute(f"INSERT INTO {table} (k, a) VALUES (1, 2)")
        select = self.driver.prepare(f"SELECT k, a FROM {table} WHERE k = ?")
        self.driver.execute(f"ALTER TABLE {table} ADD b blob")
        self.assertEqual(list(self.driver.execute(select, (1,))), [(1, 2)])


if __name__ == "__main__":
    unittest.main()
