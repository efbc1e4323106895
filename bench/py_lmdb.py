"""py-lmdb on one core: the same values in the same order, the results of four batches kept alive.

    py_lmdb.py STORE KEYS --epochs 3 --batch-size 256

KEYS is what the program `order` wrote. No checksum is computed: py-lmdb has none."""

import argparse
import collections
import json
import time

import lmdb

KEY_BYTES = 17


def read_epoch(env, keys, batch_size):
    kept = collections.deque(maxlen=4)
    n_bytes = 0
    start = time.perf_counter()
    with env.begin(buffers=False) as txn:
        for first in range(0, len(keys), batch_size):
            batch = [txn.get(key) for key in keys[first : first + batch_size]]
            n_bytes += sum(map(len, batch))
            kept.append(batch)
    return {"seconds": time.perf_counter() - start, "samples": len(keys), "bytes": n_bytes}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("keys")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=256)
    args = parser.parse_args()
    env = lmdb.open(args.store, readonly=True, lock=False, readahead=False, max_readers=1024)
    with open(args.keys, "rb") as file:
        raw = file.read()
    keys = [raw[i : i + KEY_BYTES] for i in range(0, len(raw), KEY_BYTES)]
    n = len(keys) // args.epochs
    epochs = []
    for epoch in range(args.epochs):
        result = read_epoch(env, keys[epoch * n : (epoch + 1) * n], args.batch_size)
        result["samples_per_s"] = result["samples"] / result["seconds"]
        epochs.append(result)
    print(json.dumps({"version": lmdb.__version__, "samples": n, "epochs": epochs}))


if __name__ == "__main__":
    main()
