"""Objects that go to another process: what arrives, where it lies, what stays open."""

import gc
import os
import pickle

import pytest
import torch
from sterna.torch import parcel


@pytest.fixture
def ends():
    a, b = parcel.pair()
    with a, b:
        yield a, b


def round_trip(ends, obj, number=5):
    parcel.send(ends[0], number, obj)
    got_number, got, fds = parcel.receive(ends[1])
    assert (got_number, fds) == (number, [])
    return got


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(10),
        torch.tensor(3.5),
        torch.empty(0, 3),
        torch.ones(3, dtype=torch.bool),
        torch.randn(5, 7).t(),
        torch.randn(9)[2:5],
        torch.randn(3, 2, dtype=torch.bfloat16),
        torch.randn(2, 2, dtype=torch.complex64),
        torch.randn(2, 2, dtype=torch.complex64).conj(),
        torch.randn(2, 3, requires_grad=True),
        torch.nn.Parameter(torch.ones(2)),
    ],
    ids=lambda t: f"{type(t).__name__}-{t.dtype}-{t.dim()}d",
)
def test_a_tensor_arrives_equal(ends, tensor):
    got = round_trip(ends, tensor)
    assert torch.equal(got, tensor)
    assert (got.dtype, got.shape) == (tensor.dtype, tensor.shape)
    assert (type(got), got.requires_grad) == (type(tensor), tensor.requires_grad)


def test_images_keep_their_channels_last(ends):
    images = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    got = round_trip(ends, images)
    assert torch.equal(got, images)
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_structures_keep_their_shape(ends):
    x = torch.arange(3)
    got = round_trip(ends, {"x": x, "again": x, "l": [1, "two", (b"3", None)]})
    assert got["l"] == [1, "two", (b"3", None)]
    assert torch.equal(got["x"], x) and got["again"] is got["x"]


def test_tensors_are_shared_aligned_and_writable(ends):
    got = round_trip(ends, [torch.zeros(3, dtype=torch.uint8), torch.zeros(100)])
    for tensor in got:
        assert tensor.data_ptr() % parcel.ALIGNMENT == 0
        tensor += 1
    assert got[0].tolist() == [1, 1, 1] and bool((got[1] == 1).all())


def test_saving_one_tensor_saves_no_other(ends):
    small = round_trip(ends, [torch.zeros(3), torch.zeros(100_000)])[0]
    assert len(pickle.dumps(small)) < 10_000


def test_a_tensor_outlives_sockets_and_neighbours():
    a, b = parcel.pair()
    with a, b:
        first, _ = round_trip((a, b), [torch.full((1000,), 7), torch.zeros(1000)])
    gc.collect()
    assert bool((first == 7).all())


def test_descriptors_come_along(ends):
    fd = os.memfd_create("test")
    os.write(fd, b"hello")
    parcel.send(ends[0], 1, "with a file", [fd])
    os.close(fd)
    _, obj, (other,) = parcel.receive(ends[1])
    assert (obj, os.pread(other, 9, 0)) == ("with a file", b"hello")
    os.close(other)


def test_nothing_stays_open(ends):
    before = len(os.listdir("/proc/self/fd"))
    kept = [round_trip(ends, torch.zeros(100)) for _ in range(50)]
    with pytest.raises(AttributeError):  # of what cannot be pickled neither
        parcel.send(ends[0], 1, lambda: 1)
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(kept) == 50


def test_the_end_is_told(ends):
    parcel.send(ends[0], 1, "last")
    ends[0].close()
    assert parcel.receive(ends[1]) == (1, "last", [])
    assert parcel.receive(ends[1]) is None
