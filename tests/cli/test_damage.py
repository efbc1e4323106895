"""Stores, selections and states that are cut short, foreign, of a newer version, or rotten: each is
told in one message, and no byte of them ends the command by a signal."""

import os
import random
import shutil
import sqlite3
import struct
import unittest

from support import CommandTest, write

SEED = 20


def change(path, at, new):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(new)


def read(path):
    with open(path, "rb") as file:
        return file.read()


class DamageTest(CommandTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.good, cls.files = cls.make_store("good", classes=3, each=12)

    def copy(self, name):
        store = self.path(name)
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(self.good, store)
        shutil.rmtree(os.path.join(store, "cache"), ignore_errors=True)
        return store

    def assert_refused(self, store, *parts, commands=("info", "query", "verify", "read")):
        """By each command that opens it, also the one that would make it."""
        for name in commands:
            with self.subTest(command=name):
                self.assert_one_message(self.sterna(name, store, code=1), *parts)
        if "ingest" not in commands and len(commands) == 4:
            before = {name: read(os.path.join(store, name)) for name in ("data.mdb", "catalog.sqlite")
                      if os.path.exists(os.path.join(store, name))}
            got = self.sterna("ingest", store, self.path("photos"), "--quiet", code=1)
            self.assert_one_message(got, *parts)
            for name, data in before.items():
                self.assertEqual(read(os.path.join(store, name)), data, f"{name} was changed")


class Stores(DamageTest):
    def test_bytes_cut_short(self):
        whole = os.path.getsize(os.path.join(self.good, "data.mdb"))
        for size in (whole - 1, whole // 2, 12288, 8192, 8191, 4096, 100, 1, 0):
            with self.subTest(size=size):
                store = self.copy("cut")
                os.truncate(os.path.join(store, "data.mdb"), size)
                self.assert_refused(store, "data.mdb", f"truncated: {size} bytes" if size else "empty")

    def test_catalogue_cut_short(self):
        whole = os.path.getsize(os.path.join(self.good, "catalog.sqlite"))
        for size in (whole - 1, whole // 2, 4096, 100, 50, 1, 0):
            with self.subTest(size=size):
                store = self.copy("cut-catalog")
                os.truncate(os.path.join(store, "catalog.sqlite"), size)
                self.assert_refused(store, "catalog.sqlite")

    def test_half_of_a_store(self):
        for name in ("data.mdb", "catalog.sqlite"):
            with self.subTest(name=name):
                store = self.copy("half")
                os.unlink(os.path.join(store, name))
                self.assert_refused(store, name)

    def test_foreign_files_of_these_names(self):
        noise = random.Random(SEED).randbytes(40000)
        for name in ("data.mdb", "catalog.sqlite"):
            for data in (noise, b"hello\n", b"\0" * 30000):
                with self.subTest(name=name, data=data[:6]):
                    store = self.copy("foreign")
                    os.unlink(os.path.join(store, name))
                    write(os.path.join(store, name), data)
                    self.assert_refused(store, name)

    def test_a_database_of_another_program(self):
        store = self.copy("other-db")
        catalog = os.path.join(store, "catalog.sqlite")
        os.unlink(catalog)
        db = sqlite3.connect(catalog)
        db.execute("create table sample (id, path)")
        db.commit()
        db.close()
        self.assert_refused(store, "catalog.sqlite", "no catalogue")

    def test_bytes_of_one_store_and_catalogue_of_another(self):
        other = self.path("other")
        write(self.path("one", "a", "x.jpg"), next(d for d in self.files.values() if d[:2] == b"\xff\xd8"))
        self.sterna("ingest", other, self.path("one"), "--quiet")
        store = self.copy("mixed")
        shutil.copy(os.path.join(other, "data.mdb"), os.path.join(store, "data.mdb"))
        self.sterna("info", store)
        got = self.sterna("read", store, "--quiet", code=1)
        self.assert_one_message(got, "sample ")
        self.assertEqual(len(self.sterna("verify", store, "--quiet", code=4).lines), len(self.files))

    def test_newer_catalogue(self):
        store = self.copy("newer")
        db = sqlite3.connect(os.path.join(store, "catalog.sqlite"))
        db.execute("pragma user_version = 7")
        db.commit()
        db.close()
        self.assert_refused(store, "catalog.sqlite", "version 7", "newer")

    def test_newer_values(self):
        store = self.copy("newer-values")
        data = os.path.join(store, "data.mdb")
        path, image = sorted(self.files.items())[4]
        content = read(data)
        at = content.find(image) - 16
        value = content[at:at + 16] + image
        self.assertEqual(value[:4], b"\x01\0\0\0")
        write(data, content.replace(value, b"\x07" + value[1:]))  # in pages no longer used, too
        got = self.sterna("read", store, "--quiet", code=1)
        self.assert_one_message(got, "sample ", "version 7")
        got = self.sterna("verify", store, "--quiet", code=4)
        self.assertEqual(len(got.lines), 1)
        self.assertIn(path, got.lines[0])
        masked = self.sterna("read", store, "--json", "--on-error", "mask").json
        self.assertEqual((masked["errors"], masked["missing"]), (1, 0))

    def test_newer_lmdb_file(self):
        store = self.copy("newer-lmdb")
        for page in (0, 4096):
            change(os.path.join(store, "data.mdb"), page + 20, struct.pack("<I", 9))
        self.assert_refused(store, "data.mdb", "version 9")


class Selections(DamageTest):
    def saved(self):
        path = self.path("saved.sel")
        self.sterna("query", self.good, "label < 2", "--save", path, "--columns", "path")
        return path

    def assert_refused_selection(self, path, *parts):
        for args in (("read", "--selection"), ("verify", "--selection")):
            got = self.sterna(args[0], self.good, args[1], path, code=1)
            self.assert_one_message(got, path, *parts)

    def test_cut_short(self):
        path = self.saved()
        whole = read(path)
        for size in (len(whole) - 1, len(whole) // 2, 112, 111, 8, 1, 0):
            with self.subTest(size=size):
                write(path, whole[:size])
                self.assert_refused_selection(path)

    def test_foreign_and_newer(self):
        path = self.saved()
        change(path, 8, struct.pack("<I", 3))
        self.assert_refused_selection(path, "version 3")
        write(path, random.Random(SEED).randbytes(5000))
        self.assert_refused_selection(path, "no selection file")

    def test_any_flipped_byte_is_found(self):
        path = self.saved()
        whole = read(path)
        draw = random.Random(SEED)
        for at in sorted(draw.sample(range(len(whole)), 40)):
            write(path, whole[:at] + bytes([whole[at] ^ (1 << draw.randrange(8))]) + whole[at + 1:])
            with self.subTest(at=at):
                got = self.sterna("read", self.good, "--selection", path, code=1)
                self.assert_one_message(got, path)


class States(DamageTest):
    def saved(self):
        path = self.path("state")
        if os.path.exists(path):
            os.unlink(path)
        self.sterna("read", self.good, "--batch-size", 8, "--state", path, "--quiet")
        return path

    def test_newer(self):
        path = self.saved()
        change(path, 8, struct.pack("<H", 5))
        got = self.sterna("read", self.good, "--batch-size", 8, "--state", path, code=1)
        self.assert_one_message(got, path, "version 5")

    def test_any_flipped_byte_is_found(self):
        path = self.saved()
        whole = read(path)
        draw = random.Random(SEED)
        for at in range(0, len(whole), 3):
            write(path, whole[:at] + bytes([whole[at] ^ (1 << draw.randrange(8))]) + whole[at + 1:])
            with self.subTest(at=at):
                got = self.sterna("read", self.good, "--batch-size", 8, "--state", path, code=1)
                self.assert_one_message(got, path)


class Rot(DamageTest):
    """Flipped bits anywhere: what comes may be an error or differences, and never a signal."""

    def look(self, store, at):
        for args in (("info",), ("query",), ("verify", "--quiet"),
                     ("read", "--quiet", "--on-error", "mask"), ("read", "--quiet")):
            got = self.command(args[0], store, *args[1:])
            self.assertIn(got.code, (0, 1, 4), f"{args}, byte {at}: {got.code}, {got.err!r}")
            if got.code == 1:
                self.assert_one_message(got)

    def test_catalogue(self):
        name = "catalog.sqlite"
        whole = read(os.path.join(self.good, name))
        draw = random.Random(SEED)
        for at in sorted(draw.sample(range(len(whole)), 25)):
            store = self.copy("rot")
            change(os.path.join(store, name), at, bytes([whole[at] ^ (1 << draw.randrange(8))]))
            with self.subTest(at=at):
                self.look(store, at)

    def test_values(self):
        name = "data.mdb"
        whole = read(os.path.join(self.good, name))
        draw = random.Random(SEED)
        for path in draw.sample(sorted(self.files), 10):
            first = whole.find(self.files[path]) - 16
            at = first + draw.randrange(16 + len(self.files[path]))
            store = self.copy("rot-values")
            change(os.path.join(store, name), at, bytes([whole[at] ^ (1 << draw.randrange(8))]))
            with self.subTest(at=at):
                self.look(store, at)


if __name__ == "__main__":
    unittest.main()
