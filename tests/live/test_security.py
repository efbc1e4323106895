"""Passwords and certificates: who is let in, who is refused, what is said, and what never is."""

import contextlib
import os
import socket
import ssl
import threading
import unittest
import uuid

from live import Cluster, LiveTest
from support import make_folder, write


class Impostor:
    """A server with a certificate of another kind. It counts the bytes that clients send it inside
    the encryption: none must come."""

    def __init__(self, tls, certificate):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(f"{tls}/{certificate}.crt", f"{tls}/server.key")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = self.received = 0
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            with contextlib.suppress(OSError), plain, \
                    self.context.wrap_socket(plain, server_side=True) as s:
                s.settimeout(10)
                self.received += len(s.recv(100))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)


class Secure(LiveTest):
    cluster_name = "secure"
    # Words that stand nowhere else, so that they can be looked for.
    PASSWORD = "pass-of-our-own-" + uuid.uuid4().hex
    WRONG = "pass-that-is-wrong-" + uuid.uuid4().hex

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keyspace = cls.cluster.keyspace()
        cls.user = "u" + uuid.uuid4().hex[:8]
        cls.driver.execute(f"CREATE ROLE {cls.user} WITH PASSWORD = '{cls.PASSWORD}' "
                           "AND LOGIN = true")
        cls.driver.execute(f"GRANT ALL ON KEYSPACE {cls.keyspace} TO {cls.user}")
        tls = cls.cluster.tls
        cls.ours = {"tls": "verify", "ca": f"{tls}/ca.crt", "cert": f"{tls}/client.crt",
                    "key": f"{tls}/client.key"}
        cls.right = cls.path("right")
        write(cls.right, cls.PASSWORD.encode() + b"\n")
        cls.files = make_folder(cls.path("photos"), classes=2, each=10)
        cls.store = cls.secure_url(password_file=cls.right)
        got = cls.command("ingest", cls.store, cls.path("photos"), "--create", "--quiet")
        if got.code != 0:
            raise AssertionError(f"ingest: {got.out!r} {got.err!r}")

    @classmethod
    def secure_url(cls, user=None, hosts=None, **options):
        user = cls.user if user is None else user
        hosts = (f"{user}@" if user else "") + (hosts or cls.cluster.contact_points)
        kept = {k: v for k, v in {**cls.ours, **options}.items() if v is not None}
        return cls.url(cls.keyspace, "pets", hosts, **kept)

    def silent(self, *args, **more):
        """Runs the command; no password is ever told."""
        got = self.sterna(*args, **more)
        for word in (self.PASSWORD, self.WRONG):
            self.assertNotIn(word.encode(), got.out + got.err)
        return got

    def refused(self, url, *parts, env=None, code=5):
        self.assert_one_message(self.silent("info", url, code=code, env=env), *parts)

    # -- passwords --

    def test_reads_and_verifies_through_all_of_it(self):
        self.read_whole(self.store, len(self.files), "--uneven", "exact")
        self.silent("verify", self.store, "--source", self.path("photos"))
        report = self.path("report.html")
        self.silent("read", self.store, "--report", report)
        with open(report) as file:
            self.assertNotIn(self.PASSWORD, file.read())

    def test_password_in_the_environment(self):
        self.silent("info", self.secure_url(), env={"STERNA_PASSWORD": self.PASSWORD})

    def test_the_file_goes_before_the_environment(self):
        self.silent("info", self.store, env={"STERNA_PASSWORD": self.WRONG})

    def test_wrong_password(self):
        wrong = self.path("wrong")
        write(wrong, self.WRONG.encode())
        self.refused(self.secure_url(password_file=wrong), self.user, "127.0.0.1")
        self.refused(self.secure_url(), self.user, env={"STERNA_PASSWORD": self.WRONG})

    def test_unknown_user(self):
        self.refused(self.secure_url(user="nobody"), "nobody", env={"STERNA_PASSWORD": self.WRONG})

    def test_no_password(self):
        # There is no terminal to ask at.
        self.refused(self.secure_url(), self.user, "STERNA_PASSWORD")

    def test_no_user(self):
        self.refused(self.secure_url(user=""), "user")

    def test_password_file_that_is_not_there(self):
        self.refused(self.secure_url(password_file=self.path("nothing")), self.path("nothing"))

    def test_password_in_the_url_is_refused_unseen(self):
        self.refused(self.secure_url(user=f"{self.user}:{self.PASSWORD}"), "password", code=2)
        self.refused(self.secure_url(password=self.PASSWORD), "password", code=2)

    def test_rights_that_are_missing(self):
        other = self.cluster.keyspace()
        url = self.url(other, "pets", f"{self.user}@{self.cluster.contact_points}", **self.ours,
                       password_file=self.right)
        got = self.command("ingest", url, self.path("photos"), "--create", "--quiet")
        self.assertNotIn(got.code, (0, 3))
        self.assert_one_message(got, self.user)

    def test_tables_that_an_administrator_has_made(self):
        keyspace, user = self.cluster.keyspace(), "u" + uuid.uuid4().hex[:8]
        self.driver.execute(f"CREATE ROLE {user} WITH PASSWORD = '{self.PASSWORD}' AND LOGIN = true")
        for right in ("SELECT", "MODIFY"):  # and not CREATE
            self.driver.execute(f"GRANT {right} ON KEYSPACE {keyspace} TO {user}")
        url = self.url(keyspace, "pets", f"{user}@{self.cluster.contact_points}", **self.ours,
                       password_file=self.right)
        ingest = ("ingest", url, self.path("photos"), "--create", "--json")
        got = self.silent(*ingest, code=5)
        self.assert_one_message(got, user)
        for statement in self.silent(*ingest, "--print-ddl").out.decode().split(";"):
            if statement.strip() and "CREATE KEYSPACE" not in statement:
                self.driver.execute(statement)
        self.assertEqual(self.silent(*ingest).json["added"], len(self.files))
        self.read_whole(url, len(self.files), "--uneven", "exact")

    # -- certificates --

    def test_another_authority(self):
        self.refused(self.secure_url(password_file=self.right, ca=f"{self.cluster.tls}/other-ca.crt"),
                     "127.0.0.1", "certificate")

    def test_authorities_of_the_system(self):
        self.refused(self.secure_url(password_file=self.right, ca=None), "certificate")

    def test_another_name(self):
        # The certificate is for the addresses.
        self.refused(self.secure_url(password_file=self.right,
                                     hosts=f"localhost:{self.cluster.port}"), "localhost")

    def impostor(self, certificate, *parts):
        with Impostor(self.cluster.tls, certificate) as server:
            self.refused(self.secure_url(password_file=self.right,
                                         hosts=f"127.0.0.1:{server.port}"), *parts)
            self.assertGreater(server.connections, 0)
            self.assertEqual(server.received, 0)

    def test_certificate_that_is_over(self):
        self.impostor("expired", "expired")

    def test_certificate_for_elsewhere(self):
        self.impostor("wrong-name", "127.0.0.1")

    def test_the_server_wants_a_certificate_of_ours(self):
        self.refused(self.secure_url(password_file=self.right, cert=None, key=None), "certificate")

    def test_certificate_file_that_is_not_there(self):
        missing = self.path("no.crt")
        self.refused(self.secure_url(password_file=self.right, ca=missing), missing, code=1)

    def test_plain_client_at_an_encrypted_port(self):
        url = self.url(self.keyspace, "pets", f"{self.user}@{self.cluster.contact_points}",
                       password_file=self.right)
        self.refused(url, "want TLS")

    def test_encrypted_client_at_a_plain_port(self):
        plain = Cluster.get("one")  # cluster_name = "one"
        self.refused(self.secure_url(password_file=self.right, hosts=plain.contact_points),
                     "without TLS", code=1)

    def test_nobody_is_there(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))  # taken, but nobody listens
            address = f"127.0.0.1:{s.getsockname()[1]}"
            self.refused(self.secure_url(password_file=self.right, hosts=address), address)


if __name__ == "__main__":
    unittest.main()
