"""What the tests against a real Cassandra share: clusters, a second client, data to compare.

A cluster has a name and is shared by all tests that ask for it. Under ctest it runs already, in
STERNA_LIVE/NAME; a test file that is run by hand starts its own and ends it:

  STERNA=build/sterna tools/python live tests/live/test_ingest.py
"""

import atexit
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cli"))

from cassandra.auth import PlainTextAuthProvider  # noqa: E402
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster as Driver, ExecutionProfile  # noqa: E402
from cassandra.policies import RoundRobinPolicy  # noqa: E402
from cassandra.query import tuple_factory  # noqa: E402

from support import STERNA, TIME_LIMIT_S, CommandTest, Result  # noqa: E402

TOOL = os.path.join(HERE, "..", "..", "tools", "cassandra")
OPTIONS = {  # also in CMakeLists.txt
    "one": ["--nodes=1"],
    "three": ["--nodes=3"],
    "secure": ["--auth", "--tls=mutual"],
    "tight": ["--yaml", "native_transport_max_concurrent_requests_in_bytes_per_ip: 400000"],
}
ADMIN = ("cassandra", "cassandra")


class Cluster:
    known = {}

    def __init__(self, name):
        shared = os.environ.get("STERNA_LIVE")
        if shared:
            told = self.tool("status", os.path.join(shared, name))
        else:
            where = tempfile.mkdtemp(prefix=f"sterna-{name}-")
            atexit.register(self.remove, where)
            told = self.tool("up", where, "--fast-jvm", "--owner", os.getpid(), *OPTIONS[name])
        told = json.loads(told)
        self.dir, self.hosts, self.port = told["dir"], told["hosts"], told["port"]
        self.tls, self.contact_points = told["tls"], ",".join(told["contact_points"])
        self.drivers = []

    @classmethod
    def get(cls, name):
        if name not in cls.known:
            cls.known[name] = cls(name)
        return cls.known[name]

    @staticmethod
    def tool(*words):
        return subprocess.run([TOOL, *map(str, words)], stdout=subprocess.PIPE, check=True).stdout

    @classmethod
    def remove(cls, where):
        cls.tool("down", "--now", where)
        shutil.rmtree(where, ignore_errors=True)

    def kill(self, number):
        self.tool("kill", self.dir, number)

    def stop(self, number):
        self.tool("stop", self.dir, number)

    def cont(self, number):
        self.tool("cont", self.dir, number)

    def start(self, number):
        self.tool("start", self.dir, number)

    def pid(self, number):
        with open(os.path.join(self.dir, f"n{number}", "pid")) as file:
            return int(file.read())

    def driver(self, user=ADMIN):
        """A session of the other client, shared, with rows as tuples."""
        if not self.drivers:
            more = {}
            if self.tls:
                context = ssl.create_default_context(cafile=f"{self.tls}/ca.crt")
                context.check_hostname = False  # the driver checks addresses in its own way
                context.load_cert_chain(f"{self.tls}/client.crt", f"{self.tls}/client.key")
                more = {"ssl_context": context, "auth_provider": PlainTextAuthProvider(*user)}
            profile = ExecutionProfile(RoundRobinPolicy(), request_timeout=60,
                                       row_factory=tuple_factory)
            driver = Driver(self.hosts, self.port, protocol_version=4,
                            execution_profiles={EXEC_PROFILE_DEFAULT: profile}, **more)
            atexit.register(driver.shutdown)
            self.drivers.append(driver.connect())
        return self.drivers[0]

    def keyspace(self, replicas=1):
        """A new one."""
        name = "t" + uuid.uuid4().hex[:12]
        self.driver().execute(
            f"CREATE KEYSPACE {name} WITH replication = "
            f"{{'class': 'NetworkTopologyStrategy', 'datacenter1': {replicas}}}")
        return name


def crc32c(data, table=[]):
    """CRC-32C as our own columns hold it: a signed int."""
    if not table:
        for i in range(256):
            for _ in range(8):
                i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
            table.append(i)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return crc - 2**32 if crc >= 2**31 else crc


class Running:
    """A command that goes on while the test does something to its store. What it shows on a terminal
    is collected; wait_for() looks at that."""

    def __init__(self, args, env):
        self.args = args
        self.process = subprocess.Popen([STERNA, *map(str, args)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env={**env, "STERNA_PROGRESS": "tty"})
        self.out, self.err, self.ended = b"", b"", False
        self.changed = threading.Condition()
        self.threads = [threading.Thread(target=self.collect, args=(name,), daemon=True)
                        for name in ("stdout", "stderr")]
        for thread in self.threads:
            thread.start()

    def collect(self, name):
        pipe = getattr(self.process, name)
        while data := pipe.read1():
            with self.changed:
                if name == "stdout":
                    self.out += data
                else:
                    self.err += data
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait_for(self, what):
        """what(text shown so far) is not None: returned. Fails if the command ends before."""
        with self.changed:
            while True:
                got = what(self.err.decode(errors="replace"))
                if got is not None:
                    return got
                if self.ended:
                    raise AssertionError(f"{self.args}: ended too early: {self.err[-2000:]!r} "
                                         f"{self.out[-2000:]!r}")
                if not self.changed.wait(TIME_LIMIT_S):
                    raise AssertionError(f"{self.args}: does not go on: {self.err[-500:]!r}")

    def wait_for_text(self, pattern):
        return self.wait_for(lambda text: re.search(pattern, text))

    def epoch(self):
        return max(map(int, re.findall(r"epoch (\d+)", self.err.decode(errors="replace"))),
                   default=0)

    def wait_for_epochs(self, more):
        """Until so many more epochs than now have begun."""
        want = self.epoch() + more
        self.wait_for(lambda _: True if self.epoch() >= want else None)

    def end(self, which=None):
        if which is not None:
            self.process.send_signal(which)
        code = self.process.wait(TIME_LIMIT_S)
        for thread in self.threads:
            thread.join(TIME_LIMIT_S)
        return Result(code, self.out, self.err)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for thread in self.threads:
            thread.join()
        self.process.stdout.close()
        self.process.stderr.close()


class LiveTest(CommandTest):
    cluster_name = "one"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cluster = Cluster.get(cls.cluster_name)
        cls.driver = cls.cluster.driver()

    @classmethod
    def rows(cls, text, *values):
        return list(cls.driver.execute(text, values or None))

    @classmethod
    def url(cls, keyspace, dataset, hosts=None, **options):
        """Of a data set; options are the URL's."""
        text = "&".join(f"{key}={value}" for key, value in options.items())
        return (f"cassandra://{hosts or cls.cluster.contact_points}/{keyspace}/{dataset}"
                + (f"?{text}" if text else ""))

    @classmethod
    def environment(cls):
        """No cache of another test's, no password of the user's."""
        env = {**os.environ, "XDG_CACHE_HOME": cls.path("cache"), "STERNA_CACHE": cls.path("cache")}
        env.pop("STERNA_PASSWORD", None)
        return env

    @classmethod
    def command(cls, *args, env=None, **more):
        return super().command(*args, env={**cls.environment(), **(env or {})}, **more)

    @classmethod
    def start(cls, *args):
        return Running(args, cls.environment())

    def assert_whole(self, figures):
        """Of a reading with --verify --json."""
        self.assertEqual((figures["missing"], figures["duplicates"], figures["errors"]), (0, 0, 0))

    def read_whole(self, url, n, *args):
        got = self.sterna("read", url, "--verify", "--json", *args).json
        self.assert_whole(got)
        self.assertEqual(got["samples"], n)
        return got
