"""Writes the formats that the recipes read, by the formats' descriptions and not by the recipes."""

import hashlib
import io
import json
import os
import struct
import tarfile

# ---- WebDataset ----


def write_tar(path, files):
    """files: [(name, bytes)] in this order."""
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


# ---- MDS: docs.mosaicml.com, "Dataset Format" ----


def mds_shard(columns, samples):
    """columns: [(name, encoding, fixed size or None)]; samples: [{name: encoded bytes}]"""
    bodies = []
    for sample in samples:
        sizes = b"".join(struct.pack("<I", len(sample[name]))
                         for name, _, size in columns if size is None)
        bodies.append(sizes + b"".join(sample[name] for name, _, _ in columns))
    config = json.dumps({"column_names": [name for name, _, _ in columns]}).encode()
    at = 4 + 4 * (len(samples) + 1) + len(config)
    starts = [at]
    for body in bodies:
        starts.append(starts[-1] + len(body))
    return (struct.pack("<I", len(samples)) + struct.pack(f"<{len(starts)}I", *starts) + config
            + b"".join(bodies))


def write_mds(folder, columns, shards, compress=None, compression=None):
    """shards: a list of samples each."""
    os.makedirs(folder)
    index = {"version": 2, "shards": []}
    for number, samples in enumerate(shards):
        raw = mds_shard(columns, samples)
        name = f"shard.{number:05}.mds"
        stored, packed = raw, None
        if compress:
            stored = compress(raw)
            packed = {"basename": f"{name}.{compression.partition(':')[0]}", "bytes": len(stored),
                      "hashes": {"sha1": hashlib.sha1(stored).hexdigest()}}
        with open(os.path.join(folder, packed["basename"] if packed else name), "wb") as file:
            file.write(stored)
        index["shards"].append({
            "column_names": [name for name, _, _ in columns],
            "column_encodings": [encoding for _, encoding, _ in columns],
            "column_sizes": [size for _, _, size in columns],
            "compression": compression, "format": "mds", "hashes": ["sha1"], "version": 2,
            "raw_data": {"basename": name, "bytes": len(raw),
                         "hashes": {"sha1": hashlib.sha1(raw).hexdigest(), "xxh64": "0" * 16}},
            "samples": len(samples), "size_limit": 1 << 26, "zip_data": packed})
    with open(os.path.join(folder, "index.json"), "w") as file:
        json.dump(index, file)


# ---- TFRecord: tensorflow.org, "TFRecord and tf.train.Example"; protobuf.dev, "Encoding" ----


def crc32c(data):
    """Bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)


def tfrecord(data):
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def varint(n):
    n %= 2**64
    out = bytearray()
    while n >= 128:
        out.append(n % 128 + 128)
        n //= 128
    out.append(n)
    return bytes(out)


def field(number, data):
    """With a length."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def feature(values, packed=True):
    if all(isinstance(v, bytes) for v in values):
        return field(1, b"".join(field(1, v) for v in values))
    if all(isinstance(v, int) for v in values):
        numbers = (field(1, b"".join(map(varint, values))) if packed
                   else b"".join(varint(1 << 3) + varint(v) for v in values))
        return field(3, numbers)
    floats = [struct.pack("<f", v) for v in values]
    return field(2, field(1, b"".join(floats)) if packed
                 else b"".join(varint(1 << 3 | 5) + v for v in floats))


def example(features, packed=True):
    """name -> bytes, int, float or a list of one of them."""
    entries = b""
    for name, values in features.items():
        values = values if isinstance(values, list) else [values]
        entries += field(1, field(1, name.encode()) + field(2, feature(values, packed)))
    return field(1, entries)
