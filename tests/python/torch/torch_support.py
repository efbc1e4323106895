"""What the tests of sterna.torch share: transforms that workers can find, and rows of batches."""

import os
import random
import sys

import torch
from torch.utils.data import default_collate

if "numpy" not in sys.modules:
    import numpy  # noqa: F401  so that it is seeded everywhere


def first_bytes(sample):
    """Stands for decoding: the length, and eight bytes from the encoded image's end."""
    image = sample["image"]
    sample["image"] = torch.tensor([len(image), *image[-8:]])
    return sample


def draw(sample):
    """A random number of each generator."""
    import numpy

    return {
        "index": sample["index"],
        "valid": sample["valid"],
        "python": random.random(),
        "numpy": float(numpy.random.rand()),
        "torch": torch.rand(3),
    }


def fail_at_17(sample):
    if sample["index"] == 17:
        raise ValueError("cannot decode this")
    return first_bytes(sample)


def die_at_17(sample):
    if sample["index"] == 17:
        os._exit(9)
    return first_bytes(sample)


def wait_at_17(sample):
    """Until somebody writes into the fifo that the environment names; tells first that it waits."""
    if sample["index"] == 17:
        with open(os.environ["STERNA_TEST_WAITS"], "w") as told:
            told.write(str(os.getpid()))
        with open(os.environ["STERNA_TEST_FIFO"]) as fifo:
            fifo.read()
    return first_bytes(sample)


def collate_badly(samples):
    raise KeyError("collate")


def indices_and_pid(samples):
    return {"index": default_collate([s["index"] for s in samples]), "pid": os.getpid()}


def valid_indices(batch):
    return batch["index"][batch["valid"]].tolist()


def same(a, b):
    """Whether two batches are equal in every tensor and value."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "samples"):
        return [bytes(row) for row in a.samples()] == [bytes(row) for row in b.samples()]
    return a == b


def plain(samples):
    """Rows as values that can be compared."""
    return [
        {k: bytes(v) if isinstance(v, memoryview) else v for k, v in sample.items()}
        for sample in samples
    ]


IMAGES = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5).to(memory_format=torch.channels_last)


def channels_last(sample):
    return IMAGES, IMAGES[0, 0].t(), "text"


def as_is(samples):
    return samples[0]


def size_and_corner(image):
    """Of a PIL image."""
    return torch.tensor([*image.size, *image.getpixel((0, 0))])


def fail_always(image):
    raise ValueError("no")
