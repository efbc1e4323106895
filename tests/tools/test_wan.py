"""wan: that the link is as long, as fast and as lossy as it says, and that nothing is left behind.

Bounds of counts are five standard deviations or more; times are compared with the least of many."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

WAN = os.environ.get("WAN", "wan")
HERE = os.path.dirname(os.path.realpath(__file__))
TIME_LIMIT_S = 120  # far more than any run needs: against hanging, not a measurement
PEER = [sys.executable, "-B", os.path.join(HERE, "wan_peer.py")]
TRIES = 8  # of a rate that a busy machine may not reach
PAYLOAD_SHARE = 1448 / 1538
NOBODY = 65534


def run(options, server, client, wan=(WAN,), **more):
    done = subprocess.run([*wan, "run", *map(str, options), "--", *server, "---", *client],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=TIME_LIMIT_S, **more)
    return done


SILENT = ("sleep", "600")  # a server that does not listen


def why_not():
    done = run(["--ready-port", 0], SILENT, ["true"])
    return done.stderr.strip() if done.returncode == 125 else None


class WanTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="sterna-wan-")
        cls.addClassCleanup(shutil.rmtree, cls.dir, ignore_errors=True)

    def wan(self, options, server, client, status=0, **more):
        done = run(options, server, client, **more)
        self.assertEqual(done.returncode, status, done.stderr)
        self.out, self.err = done.stdout, done.stderr
        return json.loads(done.stderr.splitlines()[-1]) if status != 125 else None

    def pings(self, *options, count=20):
        if not shutil.which("ping"):
            self.skipTest("no ping here (iputils-ping)")
        self.wan(["--ready-port", 0, *options], SILENT,
                 ["ping", "-n", "-c", str(count), "-i", "0.05" if os.geteuid() == 0 else "0.2", "10.77.0.1"])
        times = [float(line.partition("time=")[2].split()[0]) for line in self.out.splitlines() if "time=" in line]
        self.assertEqual(len(times), count, self.out)
        return times

    def peer(self, *options, server=(), client=()):
        """wan_peer.py at both ends: what both saw, and wan's own account."""
        told = self.wan(options, [*PEER, "serve", *map(str, server)], [*PEER, *map(str, client)])
        return json.loads(self.out), told

    def assert_share(self, part, whole, p):
        deviation = math.sqrt(whole * p * (1 - p))
        self.assertAlmostEqual(part, whole * p, delta=5 * deviation + 1)


class Delay(WanTest):
    def test_round_trips(self):
        for rtt_ms in (0, 20, 150):
            with self.subTest(rtt_ms):
                least = min(self.pings("--rtt-ms", rtt_ms))
                self.assertGreaterEqual(least, rtt_ms)
                self.assertLess(least, rtt_ms + 3)

    def test_jitter_comes_on_top_and_changes(self):
        times = self.pings("--rtt-ms", 20, "--jitter-ms", 30, count=40)
        self.assertGreaterEqual(min(times), 20)
        self.assertLess(min(times), 20 + 60)
        self.assertGreater(max(times) - min(times), 10)

    def test_jitter_keeps_the_order_and_reorder_does_not(self):
        seen, told = self.peer("--rtt-ms", 20, "--mbit", 10, "--jitter-ms", 30, "--queue-ms", 10000,
                               client=("datagrams", 2000))
        self.assertEqual((seen["received"] + seen["overruns"], seen["overtaken"]), (2000, 0))
        seen, told = self.peer("--rtt-ms", 20, "--mbit", 10, "--reorder", 0.02, "--queue-ms", 10000,
                               client=("datagrams", 5000))
        self.assert_share(told["to_server"]["reordered"], told["to_server"]["packets"], 0.02)
        self.assertGreater(seen["overtaken"], 20)


class Loss(WanTest):
    def test_datagrams_are_lost_as_told(self):
        seen, told = self.peer("--mbit", 20, "--loss", 0.02, "--queue-ms", 10000,
                               client=("datagrams", 10000))
        lost = told["to_server"]["lost"]
        self.assert_share(lost, lost + told["to_server"]["packets"], 0.02)
        # But for a few packets to the other port, all of them are the datagrams.
        self.assertAlmostEqual(10000 - seen["received"] - seen["overruns"], lost, delta=20)
        self.assertEqual(told["to_server"]["queue_drops"], 0)

    def test_loss_falls_on_segments_not_on_super_packets(self):
        seen, told = self.peer("--rtt-ms", 2, "--mbit", 1000, "--loss", 0.01, "--seed", 3,
                               server=("reno",), client=("stream", 30_000_000))
        down = told["to_client"]
        self.assertTrue(seen["whole"], "what was cut arrives as it was sent")
        self.assert_share(down["lost"], down["lost"] + down["packets"], 0.01)
        self.assertGreater(down["lost"], 100)
        # A super-packet of up to 45 segments, lost whole, would be sent again whole.
        self.assertLess(seen["resent"], 3 * down["lost"] + 100)

    def test_a_full_queue_drops(self):
        seen, told = self.peer("--mbit", 1, "--queue-ms", 20, client=("datagrams", 2000))
        up = told["to_server"]
        self.assertGreater(up["queue_drops"], 1000)
        self.assertLessEqual(up["queue_ms_max"], 20)
        self.assertGreaterEqual(up["queue_drops"] + seen["received"] + seen["overruns"], 2000)


class Rate(WanTest):
    def iperf3(self, *options):
        if not shutil.which("iperf3"):
            self.skipTest("no iperf3 here")
        told = self.wan(options, ["iperf3", "-s"],
                        ["iperf3", "-c", "10.77.0.1", "-R", "-P", "4", "-t", "3", "-O", "1", "-J"])
        return json.loads(self.out)["end"]["sum_received"]["bits_per_second"], told

    def test_goodput_is_the_payload_of_the_rate(self):
        """Never more; and not less, unless the machine has other things to do: the best of some."""
        for rtt_ms, mbit in ((0, 200), (20, 100)):
            with self.subTest(rtt_ms=rtt_ms):
                shares = []
                while max(shares, default=0) <= 0.9 and len(shares) < TRIES:
                    bits_per_s, told = self.iperf3("--rtt-ms", rtt_ms, "--mbit", mbit)
                    shares.append(bits_per_s / (mbit * 1e6 * PAYLOAD_SHARE))
                    # By wan's clock: iperf3's starts when it is its turn, with a queue before it.
                    self.assertLessEqual(told["to_client"]["wire_bytes"] * 8,
                                         mbit * 1e6 * (told["seconds"] + 0.2))
                self.assertGreater(max(shares), 0.9, shares)


class Ends(WanTest):
    def test_congestion_control_is_the_connections(self):
        with open("/proc/sys/net/ipv4/tcp_available_congestion_control", encoding="ascii") as file:
            for name in file.read().split():
                with self.subTest(name):
                    seen, told = self.peer("--cc", name, "--client-cc", "reno", client=("stream", 1000))
                    self.assertEqual((seen["server_cc"], seen["client_cc"]), (name, "reno"))
                    self.assertEqual(told["server"]["congestion_control"], name)

    def test_an_unknown_one_is_refused(self):
        self.wan(["--cc", "nosuch"], SILENT, ["true"], status=125)
        self.assertIn("modprobe tcp_nosuch", self.err)

    def test_buffers(self):
        told = self.wan(["--server-wmem-max", 8388608, "--client-rmem-max", 65536, "--ready-port", 0], SILENT,
                        ["cat", "/proc/sys/net/ipv4/tcp_rmem"])
        self.assertEqual(told["server"]["tcp_wmem"][2], 8388608)
        self.assertEqual(told["client"]["tcp_rmem"][2], 65536)
        self.assertEqual([int(n) for n in self.out.split()], told["client"]["tcp_rmem"])

    def test_more_addresses(self):
        seen, _ = self.peer("--addresses", 3, server=("-", "10.77.0.4"),
                            client=("stream", 1000, "10.77.0.4"))
        self.assertTrue(seen["whole"])


class Commands(WanTest):
    def test_exit_status_is_the_clients(self):
        for client, status in ((["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137),
                               (["/no/such"], 127), (["/etc/passwd"], 126)):
            with self.subTest(client):
                self.wan(["--ready-port", 0], SILENT, client, status=status)

    def test_mistakes(self):
        for words in ((), ("run",), ("run", "--", "true"), ("run", "--", "true", "---"), ("run", "--", "---", "true"),
                      ("run", "--loss", "2", "--", "true", "---", "true"), ("run", "--mbit", "x"), ("--no-such",),
                      ("run", "--ready-port", "1.5", "--", "true", "---", "true")):
            done = subprocess.run([WAN, *words], capture_output=True, text=True, timeout=TIME_LIMIT_S)
            self.assertEqual(done.returncode, 125, words)
            self.assertRegex(done.stderr, "wan")

    def test_a_server_that_does_not_come_up(self):
        self.wan([], ["sh", "-c", "exit 3"], ["true"], status=125)
        self.assertIn("ended with status 3 before it listened", self.err)
        self.wan(["--ready-s", 0.1], SILENT, ["true"], status=125)
        self.assertIn("does not listen", self.err)

    def test_stdout_is_the_clients_and_the_server_is_ended(self):
        ended, ready = os.path.join(self.dir, "ended"), os.path.join(self.dir, "ready")
        server = (f"trap 'echo ended >{ended}; exit' TERM; echo server; >{ready}; "
                  "while :; do sleep 0.01; done")
        client = f"while ! [ -e {ready} ]; do sleep 0.01; done; echo client $STERNA_WAN_CLIENT"
        told = os.path.join(self.dir, "json")
        done = run(["--ready-port", 0, "--json", told], ["sh", "-c", server], ["sh", "-c", client])
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "client 10.77.0.2\n", "server\n"))
        self.assertTrue(os.path.exists(ended))
        with open(told, encoding="ascii") as file:
            self.assertEqual(json.load(file)["status"], 0)

    def test_waits_for_the_port_that_is_asked_for(self):
        port = 7711
        server = ("import socket, time; a = socket.create_server(('', 7710)); time.sleep(0.3); "
                  f"b = socket.create_server(('', {port})); time.sleep(600)")
        client = f"import socket; socket.create_connection(('10.77.0.1', {port}))"
        self.wan(["--ready-port", port], [sys.executable, "-c", server], [sys.executable, "-c", client])

    def alive(self, token):
        """Processes that have these words in their command line."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    if token.encode() in file.read():
                        found.append(int(pid))
            except OSError:
                pass  # it has gone
        return found

    def await_none(self, token):
        deadline = time.monotonic() + TIME_LIMIT_S
        while self.alive(token):
            self.assertLess(time.monotonic(), deadline, f"still there: {self.alive(token)}")
            time.sleep(0.01)

    def start(self, number):
        """wan with a server, a daemon of it, and a client, whose command lines have the number."""
        server = f"setsid sleep {number}.1 & exec sleep {number}.2"
        wan = subprocess.Popen([WAN, "run", "--ready-port", "0", "--", "sh", "-c", server, "---",
                                "sh", "-c", f"echo here; exec sleep {number}.3"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(wan.stdout.close)
        self.assertEqual(wan.stdout.readline(), b"here\n")
        deadline = time.monotonic() + TIME_LIMIT_S
        while len(self.alive(f"sleep\0{number}.")) < 3:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        return wan

    def test_nothing_is_left_behind(self):
        base = 10_000_000 + os.getpid() * 10
        for how, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)):
            with self.subTest(how):
                number = base + int(how) % 10
                wan = self.start(number)
                wan.send_signal(how)
                self.assertEqual(wan.wait(TIME_LIMIT_S), status)
                self.await_none(f"sleep\0{number}.")


class Ways(WanTest):
    def test_netem_if_the_kernel_has_it(self):
        done = run(["--by", "netem", "--rtt-ms", 40, "--mbit", 100, "--loss", 0.01, "--ready-port", 0], SILENT,
                   ["true"])
        if done.returncode == 125:
            self.assertRegex(done.stderr, "netem|ip: ")
            self.skipTest(done.stderr.strip())
        self.assertEqual(json.loads(done.stderr.splitlines()[-1])["by"], "netem")
        self.assertGreaterEqual(min(self.pings("--by", "netem", "--rtt-ms", 40)), 40)

    def test_as_a_user_without_rights(self):
        """In a mount namespace of its own, where that user may open the TUN device."""
        if os.geteuid() != 0:
            self.skipTest("the other tests have shown it: this is no root")
        if not shutil.which("setpriv"):
            self.skipTest("no setpriv here")
        copy = shutil.copy(WAN, self.dir)
        os.chmod(self.dir, 0o755)
        prepare = ("mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && "
                   f'exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups "$0" "$@"')
        wan = ["unshare", "-m", "sh", "-c", prepare, copy]
        done = run(["--rtt-ms", 30, "--ready-port", 0, "--cc", "reno"], SILENT,
                   ["sh", "-c", "cat /proc/self/uid_map; ping -n -c 3 -i 0.2 10.77.0.1"], wan=wan, cwd="/")
        if "user namespace" in done.stderr or "mknod" in done.stderr or "mount" in done.stderr:
            self.skipTest(done.stderr.strip())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.splitlines()[0].split(), ["0", str(NOBODY), "1"])
        times = [float(line.partition("time=")[2].split()[0]) for line in done.stdout.splitlines()
                 if "time=" in line]
        self.assertGreaterEqual(min(times), 30)


def setUpModule():
    reason = why_not()
    if reason:
        raise unittest.SkipTest(f"no network namespaces with TUN devices here: {reason}")


if __name__ == "__main__":
    unittest.main()
