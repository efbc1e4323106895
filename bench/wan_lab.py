"""Programs at the two ends of an emulated link (tools/wan), each run in namespaces of its own, so that
none of them inherits what TCP has learned from another."""

import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
import uuid

HERE = os.path.dirname(os.path.realpath(__file__))
SERVER, PORT, READY_PORT = "10.77.0.1", 9042, 7799
SAMPLE_BYTES, BATCH = 110_000, 128
PAYLOAD_SHARE = 1448 / 1538  # of what Ethernet carries, with TCP's timestamps
IPERF3_FLOWS_MAX = 128


class Link:
    def __init__(self, rtt_ms, mbit, loss=0.0, cc="cubic"):
        self.rtt_ms, self.mbit, self.loss, self.cc = rtt_ms, mbit, loss, cc

    @property
    def payload_bytes_per_s(self):
        return self.mbit * 1e6 / 8 * PAYLOAD_SHARE

    @property
    def product_bytes(self):
        return self.payload_bytes_per_s * self.rtt_ms / 1e3

    @property
    def key(self):
        return (self.rtt_ms, self.mbit, self.loss, self.cc)

    def options(self):
        return ["--rtt-ms", self.rtt_ms, "--mbit", self.mbit, "--loss", self.loss, "--cc", self.cc]

    def __str__(self):
        loss = f", loss {self.loss:g}" if self.loss else ""
        return f"{self.rtt_ms:g} ms, {self.mbit / 1000:g} Gb/s{loss}, {self.cc}"


class Failed(Exception):
    pass


class Lab:
    def __init__(self, build, scratch):
        self.build, self.scratch = os.path.abspath(build), scratch
        self.n_runs = 0
        self.links = []  # wan's account of each run

    def program(self, *parts):
        return os.path.join(self.build, *parts)

    def path(self, name):
        return os.path.join(self.scratch, name)

    def ids(self, count):
        path = self.path(f"ids{count}")
        if not os.path.exists(path):
            with open(path, "w", encoding="ascii") as file:
                file.writelines(f"{uuid.uuid5(uuid.NAMESPACE_OID, str(i))}\n" for i in range(count))
        return path

    # ---- one run ----

    def run(self, link, server, client, options=(), env=None, meanwhile=None):
        """The client's stdout. meanwhile(): called in another thread when the client starts."""
        told = self.path("wan.json")
        command = [self.program("wan"), "run", *link.options(), "--json", told, *options, "--", *server, "---", *client]
        helper = threading.Thread(target=meanwhile) if meanwhile else None
        with open(self.path("log"), "w", encoding="utf-8") as log:
            process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=log, env={**os.environ, **(env or {})})
            if helper:
                helper.start()
            out = process.communicate()[0].decode()
        if helper:
            helper.join()
        if process.returncode != 0:
            with open(self.path("log"), encoding="utf-8") as log:
                raise Failed(f"{' '.join(map(str, client))}: exit {process.returncode}\n{log.read()}{out}")
        with open(told, encoding="utf-8") as file:
            self.links.append(json.load(file))
        return out

    def run_cql(self, link, client, nodes=1, faults=(), seconds=0, meanwhile=None):
        """A command in front of cqlmem: what wan_client tells of it."""
        self.n_runs += 1
        control = self.path(f"control{self.n_runs}")
        listen = [word for i in range(nodes) for word in ("--listen", f"10.77.0.{i + 1 + (i > 0)}:{PORT}")]
        if nodes > 1:
            listen += ["--rf", "2"]
        server = [sys.executable, "-B", os.path.join(HERE, "wan_server"), self.program("bench/cqlmem/cqlmem"),
                  READY_PORT, control, "--synthetic", SAMPLE_BYTES, *listen, *faults]
        wrapped = [sys.executable, "-B", os.path.join(HERE, "wan_client"), seconds, *client]
        # A cache of its own: nothing is known of the cluster when the command starts.
        out = self.run(link, server, wrapped, ["--ready-port", READY_PORT, "--addresses", nodes],
                       env={"STERNA_CACHE": self.path(f"cache{self.n_runs}")},
                       meanwhile=(lambda: meanwhile(control)) if meanwhile else None)
        told = json.loads(out.strip().splitlines()[-1])
        if told["status"] not in (0, 130):
            raise Failed(f"{' '.join(map(str, client))}: exit {told['status']}\n{told['err']}")
        return told

    # ---- the programs ----

    def iperf3(self, link, flows, warm_s, seconds):
        """Payload bytes a second of so many flows, all the other way (-R): from the server."""
        out = self.run(link, ["iperf3", "-s"],
                       ["iperf3", "-c", SERVER, "-R", "-P", min(flows, IPERF3_FLOWS_MAX), "-O", warm_s, "-t", seconds,
                        "-J"])
        return json.loads(out)["end"]["sum_received"]["bits_per_second"] / 8

    def bare(self, link, connections, warm_s, seconds):
        """The bare receive loop, with more asked for than the path and its queue can hold."""
        each = max(4, math.ceil(64 / connections),
                   math.ceil(2 * (link.product_bytes + 0.1 * link.payload_bytes_per_s) / connections / SAMPLE_BYTES))
        got = self.run_cql(link, [self.program("bench/bench_bare_receive"), f"{SERVER}:{PORT}",
                                  "--connections", connections, "--outstanding", min(each, 1024),
                                  "--warm", warm_s, "--seconds", seconds])
        told = json.loads(got["out"].replace("inf", "null"))  # of nothing at all
        return {"bytes_per_s": told["samples"] * SAMPLE_BYTES / told["seconds"], "cpu_us": told["cpu_us"],
                "connections": connections}

    def store(self):
        return (f"cassandra://{SERVER}:{PORT}/bench/sample?table=bench.sample&id=id&image=data&image_crc=crc")

    def read(self, link, samples, seconds=0, epochs=0, **more):
        """`sterna read` with its defaults, for so long or so many epochs."""
        got = self.run_cql(link, [self.program("sterna"), "read", self.store(), "--ids", self.ids(samples),
                                  "--batch-size", BATCH, "--epochs", epochs, "--json", "--quiet"],
                           seconds=seconds, **more)
        lines = got["out"].strip().splitlines()
        if not lines:
            raise Failed(f"sterna read told nothing\n{got['err']}")
        told = json.loads(lines[-1])
        if told.get("failure"):
            raise Failed(told["failure"])
        return {**told, "process": {key: got[key] for key in ("seconds", "cpu_s", "rss_bytes_max", "connections")}}

    def batches(self, link, samples, seconds, **more):
        """When each batch came: [(seconds since the loader was opened, bytes)]."""
        got = self.run_cql(link, [self.program("bench/bench_wan_read"), self.store(), "--ids", self.ids(samples),
                                  "--batch-size", BATCH, "--seconds", seconds], **more)
        return json.loads(got["out"])


def order(control, *lines):
    """Gives cqlmem commands; returns when they have been carried out."""
    with socket.socket(socket.AF_UNIX) as caller:
        deadline = time.monotonic() + 60
        while True:
            try:
                caller.connect(control)
                break
            except OSError:  # the server is not up yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        with caller.makefile("rw") as stream:
            for line in lines:
                stream.write(line + "\n")
                stream.flush()
                if stream.readline() != "ok\n":
                    raise Failed(f"cqlmem: {line}")
