"""MosaicML Streaming's shards (MDS) into a store:

    python examples/convert/mds.py /data/imagenet-mds/train imagenet.sterna --split train

FOLDER has an index.json. Texts and numbers become columns; images, arrays, bytes and JSON become
fields. Compressed shards need what compressed them: zstd the package zstandard (or pyarrow), gz and
bz2 nothing. Arrays need numpy, and columns of kind `pil` PIL."""

import bz2
import decimal
import gzip
import hashlib
import json
import os
import struct

import recipe

SCALARS = {"int": "<q", "uint8": "<B", "uint16": "<H", "uint32": "<I", "uint64": "<Q",
           "int8": "<b", "int16": "<h", "int32": "<i", "int64": "<q",
           "float16": "<e", "float32": "<f", "float64": "<d"}
NUMBERS = {"str_int": int, "str_float": float, "str_decimal": decimal.Decimal}
DTYPES = {8: "uint8", 9: "int8", 16: "uint16", 17: "int16", 18: "float16", 32: "uint32",
          33: "int32", 34: "float32", 64: "uint64", 65: "int64", 66: "float64"}
KINDS = {"jpeg": "image", "png": "image", "pil": "image", "json": "json"}


def zstd(data):
    try:
        import zstandard
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except ImportError:
        import pyarrow
        return pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd").read()


UNPACK = {"zstd": zstd, "gz": gzip.decompress, "bz2": bz2.decompress}


def array(data, config):
    """One byte tells the type and the next the number of axes, unless the encoding's name did."""
    import numpy

    dtype, _, shape = config.partition(":")
    at = 0
    if not dtype:
        dtype, at = DTYPES[data[0]], 1
    if shape:
        shape = tuple(map(int, shape.split(",")))
    else:
        axes, item = data[at] >> 2, 1 << (data[at] & 3)
        shape = numpy.frombuffer(data, f"<u{item}", axes, at + 1)
        at += 1 + axes * item
    return numpy.frombuffer(data, dtype, offset=at).reshape(shape)


def pixels(data):
    import PIL.Image

    width, height, mode_bytes = struct.unpack_from("<III", data)
    mode = data[12:12 + mode_bytes].decode()
    return PIL.Image.frombytes(mode, (width, height), data[12 + mode_bytes:])


def decode(column, encoding, data):
    kind, _, config = encoding.partition(":")
    if kind in SCALARS:
        return struct.unpack(SCALARS[kind], data)[0]
    if kind in ("bytes", "jpeg", "png", "json"):
        return data
    if kind == "str":
        return data.decode()
    if kind in NUMBERS:
        return NUMBERS[kind](data.decode())
    if kind == "ndarray":
        return array(data, config)
    if kind == "pil":
        return pixels(data)
    why = "runs code of whoever wrote it" if kind == "pkl" else "is not known here"
    raise ValueError(f"column {column}: encoding {encoding} {why}; leave it out: --leave {column}")


def check(path, data, told):
    """Length, and those checksums that Python knows."""
    if len(data) != told["bytes"]:
        raise ValueError(f"{path}: {len(data)} bytes, the index says {told['bytes']}")
    for name, digest in told["hashes"].items():
        if name in hashlib.algorithms_available and hashlib.new(name, data).hexdigest() != digest:
            raise ValueError(f"{path}: {name} differs from the index's")


def read_shard(folder, shard):
    """A shard's bytes, unpacked."""
    if shard["format"] != "mds":
        raise ValueError(f"{folder}: a shard of format {shard['format']}, not mds")
    raw = os.path.join(folder, shard["raw_data"]["basename"])
    packed = shard.get("zip_data")
    if packed and not os.path.exists(raw):
        path = os.path.join(folder, packed["basename"])
        method = shard["compression"].partition(":")[0]
        with open(path, "rb") as file:
            data = file.read()
        check(path, data, packed)
        if method not in UNPACK:
            raise ValueError(f"{path}: compression {method} is not known here")
        data = UNPACK[method](data)
    else:
        with open(raw, "rb") as file:
            data = file.read()
    check(raw, data, shard["raw_data"])
    return data


def rows(data, shard):
    """The bytes of each column: the number of samples and where each begins stand at the front; a
    sample begins with the lengths of those columns that have no fixed one."""
    n, = struct.unpack_from("<I", data)
    starts = struct.unpack_from(f"<{n + 1}I", data, 4)
    name = shard["raw_data"]["basename"]
    if n != shard["samples"]:
        raise ValueError(f"{name}: {n} samples, the index says {shard['samples']}")
    for begin, end in zip(starts, starts[1:]):
        sizes = []
        for size in shard["column_sizes"]:
            if size is None:
                size, = struct.unpack_from("<I", data, begin)
                begin += 4
            sizes.append(size)
        if begin + sum(sizes) != end:
            raise ValueError(f"{name}: a sample's columns do not fill it")
        columns = []
        for size in sizes:
            columns.append(data[begin:begin + size])
            begin += size
        yield columns


def samples(folders, leave=()):
    for folder, shard in shards(folders):
        data = read_shard(folder, shard)
        name = os.path.splitext(shard["raw_data"]["basename"])[0]
        columns = list(zip(shard["column_names"], shard["column_encodings"]))
        for row, values in enumerate(rows(data, shard)):
            sample = {"path": f"{recipe.stem(folder)}/{name}/{row:07d}"}
            for (column, encoding), value in zip(columns, values):
                if column not in leave:
                    sample[column] = decode(column, encoding, value)
            yield sample


def shards(folders):
    for folder in folders:
        with open(os.path.join(folder, "index.json"), encoding="utf-8") as file:
            index = json.load(file)
        if index["version"] != 2:
            raise ValueError(f"{folder}: version {index['version']} of MDS, not 2")
        for shard in index["shards"]:
            yield folder, shard


def main():
    p = recipe.parser("MosaicML Streaming's shards (MDS) into a store.", "FOLDER")
    args = p.parse_args()
    known = [shard for _, shard in shards(args.source)]
    kinds = {column: KINDS.get(encoding.partition(":")[0])
             for shard in known
             for column, encoding in zip(shard["column_names"], shard["column_encodings"])}
    return recipe.write(args, samples(args.source, args.leave), kind_of=kinds.get,
                        total=sum(shard["samples"] for shard in known))


if __name__ == "__main__":
    recipe.run(main)
