"""Random numbers of a sample's transform: a function of seed, epoch and sample, of nothing else.

So an augmentation is the same whatever worker, rank, order or batch size a sample meets, and after
a resume. The generators that transforms use are seeded before each sample: `random`, numpy's global
one if numpy is imported, and torch's on the CPU (no other device's, which transforms do not use and
which would be slow to seed).
"""

from __future__ import annotations

import hashlib
import random
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TO_64_BITS = (1 << 64) - 1


def sample_seed(seed: int, epoch: int, sample_id: bytes) -> int:
    """BLAKE2b-64 of seed and epoch (64 bits each, little-endian) and the 16 bytes of the id."""
    told = struct.pack("<QQ", seed & _TO_64_BITS, epoch & _TO_64_BITS) + sample_id
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "little")


def seed_all(value: int) -> None:
    """Seeds the three generators with 64 bits (numpy's takes only the lower 32)."""
    random.seed(value)
    torch.default_generator.manual_seed(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(value & 0xFFFFFFFF)


@contextmanager
def kept() -> Iterator[None]:
    """What is seeded in here leaves the program's own random numbers as they were."""
    python, torchs = random.getstate(), torch.default_generator.get_state()
    numpy = sys.modules.get("numpy")
    numpys = numpy.random.get_state() if numpy is not None else None
    try:
        yield
    finally:
        random.setstate(python)
        torch.default_generator.set_state(torchs)
        if numpy is not None and numpys is not None:
            numpy.random.set_state(numpys)
