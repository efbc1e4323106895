"""What bench/wan measures beside the matrix: a cold epoch, a node that stalls, answers that are late."""

import json
import os
import statistics
import sys
import time

from wan_lab import BATCH, HERE, READY_PORT, SAMPLE_BYTES, Failed, Link, order

NODES, STALLED = 3, 1  # with two replicas; the stalled one is not the contact point
COLD_SAMPLES = 5000


def link():
    return Link(150, 2000, 0, "cubic")


def cold_epoch(lab):
    """From the start of the process to its end, all of an epoch shuffled sample by sample."""
    got = lab.read(link(), COLD_SAMPLES, epochs=1)
    return {"seconds": got["process"]["seconds"], "open_s": got["open_s"], "first_batch_s": got["first_batch_s"],
            "epoch_s": got["seconds"], "link_alone_s": COLD_SAMPLES * SAMPLE_BYTES / link().payload_bytes_per_s}


def rates(batches, start_s, until_s, width_s=1.0):
    """Bytes a second in windows from start_s on; the last window is a whole one."""
    n = int((until_s - start_s) / width_s + 1e-9)
    windows = [0.0] * n
    for at_s, n_bytes in batches:
        i = int((at_s - start_s) // width_s)
        if 0 <= i < n:
            windows[i] += n_bytes / width_s
    return windows


def stalled_node(lab, warm_s=8, stall_s=2, after_s=6):
    """Rates in windows of 1 s around a stall of one of three nodes."""
    at = {}

    def stall(control):
        order(control)  # it is up
        time.sleep(warm_s)
        at["hang"] = time.monotonic()
        order(control, f"hang {STALLED}")
        time.sleep(stall_s)
        order(control, f"resume {STALLED}")

    got = lab.batches(link(), 4000, warm_s + stall_s + after_s + 2, nodes=NODES, meanwhile=stall)
    hang_s = at["hang"] - got["start_s"]
    before = statistics.mean(rates(got["batches"], hang_s - 3, hang_s))
    windows = rates(got["batches"], hang_s, hang_s + stall_s + after_s)
    return {"before_mb_per_s": before / 1e6, "windows_mb_per_s": [round(w / 1e6, 1) for w in windows],
            "least_share": min(windows[1:]) / before if before else 0.0}


def intervals(batches, warm_s):
    times = [at_s for at_s, _ in batches if at_s >= warm_s]
    return [b - a for a, b in zip(times, times[1:])]


def percentile(values, share):
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def late_answers(lab, seconds=24, warm_s=5, every=100):
    """Time between batches, with and without answers that are half a second late."""
    result = {}
    for name, faults in (("clean", ()), ("late", ("--late-every", every, "--late-ms", 500))):
        got = lab.batches(link(), 4000, seconds, nodes=NODES, faults=faults)
        took = intervals(got["batches"], warm_s)
        result[name] = {"batches": len(took), "median_ms": 1e3 * statistics.median(took),
                        "p99_ms": 1e3 * percentile(took, 0.99)}
    read = lab.read(link(), 4000, seconds=seconds / 2, nodes=NODES, faults=("--late-every", every, "--late-ms", 500))
    result["ratio"] = result["late"]["p99_ms"] / result["clean"]["p99_ms"]
    result["hedges"] = read.get("hedges")
    hedged = read.get("hedged_bytes")
    result["hedged_share"] = None if hedged is None else hedged / read["bytes"]
    return result


# ---- a real Cassandra ----

SELECT = "SELECT id, image_bytes, image_crc, image FROM bench.photographs_data WHERE id = ?"


def cassandra(lab, images, count=3000, warm_s=60, seconds=10, connections=32):
    """One node at the far end of 150 ms and 1 Gb/s; the bare loop and `sterna read`, one after the other."""
    far = Link(150, 1000, 0, "cubic")
    directory = lab.path("cassandra")
    os.makedirs(directory)
    server = [sys.executable, "-B", os.path.join(HERE, "wan_cassandra"), directory, READY_PORT, lab.program("sterna"),
              images, count]
    watch = f"{sys.executable} -B {HERE}/wan_client"
    each = int(2 * far.product_bytes / connections / SAMPLE_BYTES) + 4
    # The store's address is known when the server has it. The bare loop also warms the JVM.
    client = (f"store=$(cat {directory}/store); address=${{store#cassandra://}}; address=${{address%%/*}}\n"
              f"{watch} 0 {lab.program('bench/bench_bare_receive')} $address --connections {connections} "
              f"--outstanding {each} --warm {warm_s} --seconds {seconds} --ids {directory}/ids --select '{SELECT}'\n"
              f"STERNA_CACHE={lab.path('cassandra-cache')} {watch} {warm_s / 2 + seconds} "
              f"{lab.program('sterna')} read $store "
              f"--batch-size {BATCH} --epochs 0 --json --quiet\n")
    lines = lab.run(far, server, ["sh", "-c", client], ["--ready-port", READY_PORT, "--ready-s", 900]).splitlines()
    told = [json.loads(line) for line in lines]
    for one in told:
        if one["status"] not in (0, 130):
            raise Failed(one["err"])
    bare, read = (json.loads(one["out"].strip().splitlines()[-1]) for one in told)
    steady = read["epochs"][1:] or read["epochs"]
    rate = sum(e["bytes"] for e in steady) / sum(e["seconds"] for e in steady)
    bare_rate = bare["bytes"] / bare["seconds"]
    return {"bare_mb_per_s": bare_rate / 1e6, "sterna_mb_per_s": rate / 1e6, "ratio": rate / bare_rate,
            "share": rate / far.payload_bytes_per_s, "first_batch_s": read["open_s"] + read["first_batch_s"]}
