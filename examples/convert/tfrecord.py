"""TFRecord files of tf.train.Example into a store:

    python examples/convert/tfrecord.py train-*.tfrecord pets.sterna --split train \\
        --name image/object/bbox/label=boxes

Neither TensorFlow nor protobuf is needed. A single number or text becomes a column, bytes a field,
several values a field of kind json. Checksums are verified; that is quick if the package crc32c or
google-crc32c is there."""

import gzip
import struct

import recipe

ALIASES = {"image/encoded": "image", "image_raw": "image", "image/class/label": "label",
           "image/class/text": "class", "image/filename": "file", "image/height": "height",
           "image/width": "width", "image/channels": "channels", "image/format": "format"}

# ---- CRC-32C ----


def table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


def slow_crc32c(data, table=tuple(table())):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


try:
    from google_crc32c import value as crc32c
except ImportError:
    try:
        from crc32c import crc32c
    except ImportError:
        crc32c = slow_crc32c


def masked(crc):
    """As TFRecord stores it."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


# ---- records ----


def opened(path):
    """Some are packed by gzip as a whole; their names need not tell."""
    with open(path, "rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if is_packed else open(path, "rb")


def take(path, file, n):
    data = file.read(n)
    if len(data) != n:
        raise ValueError(f"{path}: ends within a record")
    return data


def checked(path, data, crc):
    if struct.pack("<I", masked(crc32c(data))) != crc:
        raise ValueError(f"{path}: a checksum is wrong")
    return data


def records(path):
    """length u64 | its checksum u32 | bytes | their checksum u32"""
    with opened(path) as file:
        while head := file.read(8):
            head += take(path, file, 8 - len(head))
            length, = struct.unpack("<Q", checked(path, head, take(path, file, 4)))
            data = take(path, file, length)
            yield checked(path, data, take(path, file, 4))


# ---- protobuf ----


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def message(data):
    """(number, value) of each field; numbers as int, all that has a length as bytes."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = varint(data, at)
        elif wire in (1, 2, 5):
            length, at = varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            value, at = data[at:at + length], at + length
        else:
            raise ValueError(f"wire type {wire}")
        if at > len(data):
            raise ValueError("a field is longer than its message")
        yield number, value


def integers(data):
    """Int64List: packed or one by one, two's complement in 64 bits."""
    for _, value in message(data):
        if isinstance(value, int):
            yield value
            continue
        at = 0
        while at < len(value):
            number, at = varint(value, at)
            yield number

def feature(data):
    """The list of a Feature: bytes (1), floats (2) or integers (3)."""
    for number, value in message(data):
        if number == 1:
            return [item for _, item in message(value)]
        if number == 2:
            packed = b"".join(item for _, item in message(value))
            return list(struct.unpack(f"<{len(packed) // 4}f", packed))
        if number == 3:
            return [i - (1 << 64) if i >> 63 else i for i in integers(value)]
    return []


def example(data):
    """name -> list of values."""
    found = {}
    for number, features in message(data):
        for entry_number, entry in message(features) if number == 1 else ():
            entry = dict(message(entry))
            found[entry[1].decode()] = feature(entry.get(2, b""))
    return found


# ---- samples ----


def text_or_bytes(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def samples(paths):
    for path in paths:
        for row, data in enumerate(records(path)):
            sample = {"path": f"{recipe.stem(path)}/{row:09d}"}
            for name, values in example(data).items():
                values = [text_or_bytes(v) if isinstance(v, bytes) else v for v in values]
                if values:
                    sample[name] = values[0] if len(values) == 1 else values
            yield sample


def main():
    p = recipe.parser("TFRecord files of tf.train.Example into a store.", "FILE")
    args = p.parse_args()
    return recipe.write(args, samples(args.source), ALIASES)


if __name__ == "__main__":
    recipe.run(main)
