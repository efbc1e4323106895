"""What the tests against a real Cassandra share: clusters, a second client, data to compare.

A cluster has a name and is shared by all tests that ask for it. Under ctest it runs already, in
STERNA_LIVE/NAME; a test file that is run by hand starts its own and ends it:

  STERNA=build/sterna tools/venv tests/live/test_ingest.py
"""

import atexit
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cli"))

from cassandra.auth import PlainTextAuthProvider  # noqa: E402
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster as Driver, ExecutionProfile  # noqa: E402
from cassandra.policies import RoundRobinPolicy  # noqa: E402
from cassandra.query import tuple_factory  # noqa: E402

from support import CommandTest  # noqa: E402

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
