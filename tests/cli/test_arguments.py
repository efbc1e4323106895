"""Wrong arguments: one line that says what is wrong, exit code 2, and nothing done."""

import os
import unittest

from support import CommandTest

HEX = "0" * 64

WRONG = [
    (["frobnicate"], "frobnicate"),
    (["raed"], "did you mean read"),
    (["--nope"], "--nope"),
    (["help", "frobnicate"], "frobnicate"),
    (["ingest"], "missing"),
    (["ingest", "s"], "missing"),
    (["ingest", "s", "d", "extra"], "extra"),
    (["ingest", "s", ""], "empty"),
    (["ingest", "s", "d", "--dataset-id", "no-uuid"], "no-uuid"),
    (["ingest", "s", "d", "--field", "novalue"], "novalue"),
    (["ingest", "s", "d", "--field", "a="], "a="),
    (["ingest", "s", "d", "--field", "=.txt"], "=.txt"),
    (["ingest", "s", "d", "--field", "a=.txt", "--field", "a=.json"], "two fields"),
    (["ingest", "s", "d", "--max-bytes", "0"], "--max-bytes"),
    (["ingest", "s", "d", "--max-bytes", "4Q"], "4Q"),
    (["ingest", "s", "d", "--max-bytes", "99999999T"], "99999999T"),
    (["ingest", "s", "d", "--on-error", "ignore"], "skip|stop"),
    (["ingest", "s", "d", "--threads", "0"], "--threads"),
    (["ingest", "s", "d", "--threads", "1025"], "1 to 1024"),
    (["ingest", "s", "d", "--allow-skipped", "-1"], "'-1'"),
    (["ingest", "s", "d", "--allow-skipped", "few"], "few"),
    (["ingest", "s", "d", "--replication", "3"], "--create"),
    (["ingest", "s", "d", "--create", "--replication", "3"], "of clusters"),
    (["ingest", "s", "d", "--create=yes"], "takes no value"),
    (["ingest", "s", "d", "--print-ddl"], "no tables"),
    (["ingest", "cassandra://h/k", "d", "--print-ddl"], "/KEYSPACE/DATASET"),
    (["ingest", "cassandra://h/k/d", "d", "--print-ddl", "--replication", "x"], "replication"),
    (["info"], "missing"),
    (["info", "s", "t"], "t"),
    (["info", "s", "--jsno"], "did you mean --json"),
    (["info", "s", "--json=1"], "takes no value"),
    (["info", "-j", "s"], "-j"),
    (["query"], "missing"),
    (["query", "s", "1", "2"], "2"),
    (["query", "s", "--format", "xml"], "table|csv|json"),
    (["query", "s", "--columns", "a,,b"], "empty name"),
    (["query", "s", "--as-of", "0"], "--as-of"),
    (["query", "s", "--limit", "many"], "many"),
    (["query", "s", "--limit"], "N is missing"),
    (["query", "s", "--time-limit", "0"], "--time-limit"),
    (["query", "s", "--time-limit", "nan"], "nan"),
    (["query", "s", "--time-limit", "1e9"], "--time-limit"),
    (["query", "s", "--save", "x", "--limit", "3"], "--limit"),
    (["query", "s", "--save", "x", "--format", "csv"], "--format"),
    (["split", "s"], "--parts"),
    (["split", "s", "--parts", "train"], "train"),
    (["split", "s", "--parts", "train=0"], "train=0"),
    (["split", "s", "--parts", "train=-1"], "train=-1"),
    (["split", "s", "--parts", "train=1,"], "empty"),
    (["split", "s", "--parts", "=1"], "=1"),
    (["split", "s", "--parts", "a=0.5,a=0.5"], "two parts"),
    (["plan", "s"], "--step"),
    (["plan", "s", "--step", "1.5"], "1.5"),
    (["plan", "s", "--step", "1", "--batch-size", "0"], "--batch-size"),
    (["read"], "missing"),
    (["read", "s", "--batch-size", "0"], "1 to"),
    (["read", "s", "--batch-size", "-1"], "'-1'"),
    (["read", "s", "--batch-size", "+8"], "+8"),
    (["read", "s", "--batch-size", "8x"], "8x"),
    (["read", "s", "--batch-size", "1e3"], "1e3"),
    (["read", "s", "--batch-size", " 8"], "' 8'"),
    (["read", "s", "--batch-size="], "''"),
    (["read", "s", "--batch-size", "99999999999999999999"], "--batch-size"),
    (["read", "s", "--batch", "8"], "did you mean --batch-size"),
    (["read", "s", "--batchsize=8"], "did you mean --batch-size"),
    (["read", "s", "--seed", "x"], "--seed"),
    (["read", "s", "--seed"], "missing"),
    (["read", "s", "--seed", "18446744073709551616"], "--seed"),
    (["read", "s", "--epochs", "one"], "--epochs"),
    (["read", "s", "--order", "random"], "strict|arrival"),
    (["read", "s", "--uneven", "round"], "pad|drop|exact"),
    (["read", "s", "--on-error", "skip"], "raise|substitute|mask"),
    (["read", "s", "--rank", "1", "--world-size", "1"], "--rank"),
    (["read", "s", "--rank", "4", "--world-size", "4"], "--rank"),
    (["read", "s", "--world-size", "0"], "--world-size"),
    (["read", "s", "--memory", "0"], "--memory"),
    (["read", "s", "--memory", "-4G"], "-4G"),
    (["read", "s", "--memory", "4 G"], "4 G"),
    (["read", "s", "--memory", "G"], "'G'"),
    (["read", "s", "--max-rate", "fast"], "--max-rate"),
    (["read", "s", "--fields", ""], "--fields"),
    (["read", "s", "--max-errors", "3"], "--on-error"),
    (["read", "s", "--expect-selection", "abc"], "64 hex digits"),
    (["read", "s", "--expect-selection", "g" + HEX[1:]], "64 hex digits"),
    (["read", "s", "--where", "1", "--selection", "x"], "exclude"),
    (["read", "s", "--where", "1", "--ids", "x"], "exclude"),
    (["read", "s", "--selection", "x", "--ids", "y"], "exclude"),
    (["read", "s", "--selection", "x", "--as-of", "1"], "exclude"),
    (["read", "s", "--where="], "empty"),
    (["read", "s", "--state="], "empty"),
    (["read", "s", "--", "--json"], "--json"),
    (["verify"], "missing"),
    (["verify", "s", "--prefix", "p"], "--source"),
    (["verify", "s", "--where", "1", "--selection", "x"], "exclude"),
    (["verify", "s", "--threads", "many"], "many"),
]


class WrongArguments(CommandTest):
    def test_each_has_one_message_and_code_2(self):
        self.assertTrue(WRONG)
        for args, part in WRONG:
            with self.subTest(args=args):
                got = self.command(*args, cwd=self.dir)
                self.assertEqual(got.code, 2, got.err)
                self.assertEqual(got.out, b"")
                self.assert_one_message(got, part)
        self.assertEqual(os.listdir(self.dir), [])

    def test_a_password_in_a_url_is_refused_and_not_shown(self):
        for url in ("cassandra://me:hush@host/k/d", "cassandra://me:hush/hush@host:9042/k/d",
                    "cassandra://:hush@host/k/d?dc=x", "cassandra://me:hush@@host/k/d",
                    "postgres://me:hush@host/k/d"):
            for args in (["info", url], ["ingest", url, self.dir], ["read", url]):
                with self.subTest(args=args):
                    got = self.sterna(*args, code=2)
                    self.assert_one_message(got, "://...")
                    self.assertNotIn(b"hush", got.err)

    def test_statements_are_printed_without_a_server(self):
        got = self.sterna("ingest", "cassandra://nowhere.invalid/keys/birds", "none", "--create",
                          "--replication", "dc1=3", "--field", "mask=.png", "--print-ddl")
        self.assertEqual(got.err, b"")
        text = got.out.decode()
        self.assertRegex(text, r"\ACREATE KEYSPACE IF NOT EXISTS [^;]*dc1[^;]*3[^;]*;\n")
        for table in ("data", "chunk", "meta", "run", "info"):
            self.assertRegex(text, rf"(?m)^CREATE TABLE IF NOT EXISTS [^ ]*birds_{table}\b")
        for column in ("image", "mask"):
            self.assertRegex(text, rf"\b{column}\b\W+blob")
        self.assertTrue(text.endswith(";\n"))
        alone = self.sterna("ingest", "cassandra://nowhere.invalid/keys/birds", "none",
                            "--print-ddl").out.decode()
        self.assertNotIn("KEYSPACE", alone)

    def test_no_command_prints_usage(self):
        got = self.sterna(code=2)
        self.assertIn(b"Usage: sterna COMMAND", got.err)
        self.assertEqual(got.out, b"")

    def test_control_characters_stay_on_one_line(self):
        got = self.sterna("read", "s", "--seed", "1\n2\x1b[31m\xff", code=2)
        self.assert_one_message(got, r"1\x0a2\x1b[31m")


class Help(CommandTest):
    COMMANDS = ["ingest", "info", "query", "split", "plan", "read", "verify"]

    def test_overview_names_each_command(self):
        for args in (["help"], ["--help"], ["-h"]):
            text = self.sterna(*args).out.decode()
            for name in self.COMMANDS:
                self.assertIn(name, text)

    def test_each_command_explains_its_options(self):
        for name in self.COMMANDS:
            one = self.sterna("help", name)
            self.assertEqual(one.err, b"")
            self.assertEqual(one.out, self.sterna(name, "--help").out)
            self.assertEqual(one.out, self.sterna(name, "-h").out)
            self.assertIn(f"Usage: sterna {name} STORE".encode(), one.out)
            self.assertLessEqual(max(map(len, one.lines)), 100)

    def test_help_wins_over_mistakes(self):
        self.sterna("read", "--nope", "--help")

    def test_read_has_all_documented_options(self):
        text = self.sterna("help", "read").out.decode()
        for name in ("where selection ids as-of batch-size epochs order seed no-shuffle rank "
                     "world-size uneven memory fields on-error max-errors threads max-rate "
                     "expect-selection state verify json report quiet").split():
            self.assertRegex(text, rf"(?m)^  --{name}\b")

    def test_version(self):
        self.assertRegex(self.sterna("--version").out.decode(), r"\Asterna \d+\.\d+\.\d+\n\Z")


if __name__ == "__main__":
    unittest.main()
