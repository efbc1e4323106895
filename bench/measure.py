"""What the benchmark scripts share: running programs, rows of a table, ratios of medians."""

import json
import statistics
import subprocess
import sys

ROWS = []  # what was printed


def call(*args, core=None):
    command = (["taskset", "-c", core] if core else []) + [str(a) for a in args]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(command)}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def call_json(*args, core=None):
    return json.loads(call(*args, core=core).strip().splitlines()[-1])


def row(what, value, unit="", target=None, met=None):
    verdict = "" if target is None else f"  target {target}: {'met' if met else 'MISSED'}"
    print(f"{what:<58} {value:>10} {unit}{verdict}", flush=True)
    ROWS.append({"what": what, "value": value, "unit": unit, "target": target, "met": met})


def ratio(what, ours, theirs, target, at_most=False):
    """Of medians; the smallest and largest of the pairs behind it. The target is a floor, or a
    ceiling; None: there is none."""
    pairs = sorted(a / b for a, b in zip(ours, theirs))
    value = statistics.median(ours) / statistics.median(theirs)
    met = None if target is None else value <= target if at_most else value >= target
    shown = None if target is None else f"{'<=' if at_most else '>='} {target}"
    row(what, f"{value:.2f}", f"(pairs {pairs[0]:.2f} to {pairs[-1]:.2f})", shown, met)


def write_rows(path):
    """A JSON object a line, behind what is there."""
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(r) + "\n" for r in ROWS)
