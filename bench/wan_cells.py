"""The matrix of bench/wan: which links, and what is measured on each."""

import statistics

from wan_lab import SAMPLE_BYTES, Failed, Link

RTTS_MS, LOSSES, CONTROLS, MBITS = (0, 20, 150), (0.0, 1e-4, 1e-3), ("bbr", "cubic"), (1000, 2000)
FAST = Link(150, 10000, 0.0, "cubic")
FAST_CONNECTIONS = (32, 64)  # of the bare loop there
# What the targets name; cubic where they name no control: it is what nearly every server has.
QUICK = ((0, 1000, 0.0, "cubic"), (20, 2000, 0.0, "cubic"), (150, 1000, 0.0, "cubic"), (150, 2000, 0.0, "cubic"),
         (150, 1000, 1e-4, "cubic"), (150, 1000, 1e-3, "cubic"), (150, 1000, 1e-4, "bbr"), (150, 1000, 1e-3, "bbr"),
         FAST.key)


def matrix():
    """Clean links first, each rate by itself, the fast one last."""
    cells = [Link(rtt, mbit, loss, cc) for rtt in RTTS_MS for mbit in MBITS for loss in LOSSES for cc in CONTROLS]
    return [*cells, FAST]


def goal(link):
    """Least share that a target asks for, or None."""
    if link.mbit == FAST.mbit:
        return None  # that one is against the bare loop
    if link.loss == 0:
        return 0.98
    if (link.rtt_ms, link.mbit) != (150, 1000):
        return None
    return 0.97 if link.cc == "bbr" else {1e-4: 0.95, 1e-3: 0.75}.get(link.loss)


class Times:
    """How long each program runs: TCP on a long link needs seconds to get to its rate."""

    def __init__(self, link, quick):
        long = link.rtt_ms >= 100 or link.loss > 0
        self.warm_s = (5 if link.loss else 4) if long else 1
        self.steady_s = 5 if quick else 7
        self.bare_s = 3 if quick else 6
        epoch_s = 4000 * SAMPLE_BYTES / link.payload_bytes_per_s
        ramp_s = self.warm_s if link.loss else 0  # longer than the first epoch
        self.read_s = 2 + ramp_s + 1.6 * epoch_s + self.steady_s


def flows(link):
    if link.mbit == FAST.mbit:
        return (32, 64)
    return (128,) if link.loss and link.cc == "cubic" else (64,) if link.loss else (32,)


# ---- sterna's figures ----


def tail(epochs, seconds):
    """The last epochs that are so long together, none of them the first."""
    chosen, total = [], 0.0
    for epoch in reversed(epochs[1:]):
        chosen.append(epoch)
        total += epoch["seconds"]
        if total >= seconds:
            break
    return chosen


def pace(epochs):
    """Bytes a second and CPU a sample of these epochs."""
    seconds, count = sum(e["seconds"] for e in epochs), sum(e["samples"] for e in epochs)
    return (count * SAMPLE_BYTES / seconds if seconds else 0.0,
            1e6 * sum(e["cpu_s"] for e in epochs) / count if count else None)


def first_epoch(read, samples, steady_rate):
    """How long it took; over a steady one; the same without the wait for the connections."""
    first = read["epochs"][0] if read["epochs"] else None
    if not first or first["samples"] < samples:
        return {}
    steady_s, connect_s = samples * SAMPLE_BYTES / steady_rate, first["stall_s"]["connect"]
    return {"first_epoch_s": first["seconds"], "first_epoch_ratio": first["seconds"] / steady_s,
            "first_epoch_ratio_connected": (first["seconds"] - connect_s) / steady_s}


def figures(link, read, samples, steady_s):
    steady = tail(read["epochs"], steady_s)
    settled = sum(e["seconds"] for e in steady) >= 1
    rate, cpu_us = pace(steady if settled else read["epochs"])  # else the ramp is in it
    first_s = read["open_s"] + read["first_batch_s"] if read["batches"] else None
    return {"bytes_per_s": rate, "settled": settled, "cpu_us": cpu_us,
            "open_s": read["open_s"], "first_batch_s": first_s,
            "first_batch_round_trips": 1e3 * first_s / link.rtt_ms if link.rtt_ms and first_s else None,
            **(first_epoch(read, samples, rate) if settled else {}),
            "in_flight_bytes_max": read["in_flight_bytes_max"], "memory_bytes_max": read["memory_bytes_max"],
            "memory_budget_bytes": read["memory_budget_bytes"], "rss_bytes_max": read["process"]["rss_bytes_max"],
            "connections": read.get("connections_max") or read.get("connections") or read["process"]["connections"],
            **{key: read.get(key)
               for key in ("rtt_ms", "window_bytes", "hedges", "hedged_bytes", "retries", "verdict")}}


# ---- one cell ----


def bare(lab, link, connections, times):
    counts = sorted({*FAST_CONNECTIONS, connections}) if link.mbit == FAST.mbit else [connections]
    return [lab.bare(link, n, times.warm_s, times.bare_s) for n in counts]


def measure(lab, link, samples, quick):
    """All of one round. Fails only if the lab does: what sterna cannot do is a figure, too."""
    times, before = Times(link, quick), len(lab.links)
    result = {"kind": "cell", "rtt_ms": link.rtt_ms, "mbit": link.mbit, "loss": link.loss, "cc": link.cc,
              "payload_bytes_per_s": link.payload_bytes_per_s}
    result["iperf3"] = {str(n): lab.iperf3(link, n, times.warm_s, times.steady_s) for n in flows(link)}
    result["iperf3_best"] = max(result["iperf3"].values())
    result["reference"] = max(result["iperf3_best"], link.payload_bytes_per_s)
    try:
        read = lab.read(link, samples, seconds=times.read_s)
        result["sterna"] = figures(link, read, samples, times.steady_s)
        result["sterna"]["share"] = result["sterna"]["bytes_per_s"] / result["reference"]
    except Failed as failure:
        result["failure"] = str(failure)
    connections = max(1, result["sterna"]["connections"]) if "sterna" in result else 32
    result["bare"] = bare(lab, link, connections, times)
    if result.get("sterna", {}).get("cpu_us"):
        same = next(b for b in result["bare"] if b["connections"] == connections)
        result["sterna"]["cpu_ratio"] = result["sterna"]["cpu_us"] / same["cpu_us"]
    result["ends"] = {end: lab.links[-1][end] for end in ("server", "client")}
    result["lab"] = {key: max(told[way][key] for told in lab.links[before:] for way in ("to_client", "to_server"))
                     for key in ("late_ms_max", "late_us_mean", "device_drops", "memory_drops")
                     if key in lab.links[-1]["to_client"]}
    return result


def median(rounds, *keys):
    """Of a figure over rounds; None where no round has it."""
    values = []
    for result in rounds:
        value = result
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            values.append(value)
    return statistics.median(values) if values else None
