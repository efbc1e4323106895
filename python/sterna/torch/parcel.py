"""Objects for another process, through a socket: tensors travel as shared memory.

A parcel is one message with one descriptor: of an anonymous file (memfd) in which the pickled
object lies, and behind it the memory of its tensors. The receiver maps the file, and its tensors
lie there. There are no names in /dev/shm that could be left behind, and no limit on their size; the
sender may be gone before the parcel is opened. Messages are small whatever the object, so that a
sender hardly ever waits for the receiver.
"""

from __future__ import annotations

import ctypes
import io
import os
import pickle
import socket
import struct
from collections.abc import Sequence
from typing import Any

import torch

ALIGNMENT = 64
MAX_FDS = 8  # of one message
_HEAD = struct.Struct("<QQQ")  # number, bytes of the pickle, bytes of the file


def pair() -> tuple[socket.socket, socket.socket]:
    """Sockets for parcels: each message is received whole, by one of all who wait for it."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(sock: socket.socket, number: int, obj: Any, fds: Sequence[int] = ()) -> None:
    """Sends `obj`, with a number and more descriptors (which stay open here).

    Tensors that are dense and in CPU memory are shared; all else is pickled, and must be picklable.
    """
    pickler = _Pickler()
    head = pickler.pickle(obj)
    fd = os.memfd_create("sterna-parcel", os.MFD_CLOEXEC)
    try:
        _write(fd, 0, head)
        start = aligned(len(head))
        for place, tensor in pickler.tensors:
            _write(fd, start + place, memory_of(tensor))
        size = start + pickler.n_bytes
        os.truncate(fd, size)
        socket.send_fds(sock, [_HEAD.pack(number, len(head), size)], [fd, *fds])
    finally:
        os.close(fd)


def receive(sock: socket.socket) -> tuple[int, Any, list[int]] | None:
    """The number, the object and the other descriptors (the caller's to close); None: the other
    side has closed."""
    message, fds, _, _ = socket.recv_fds(sock, _HEAD.size, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    if not message:
        return None
    fd, *more = fds
    try:
        number, head_bytes, size = _HEAD.unpack(message)
        head = os.pread(fd, head_bytes, 0)
        start = aligned(head_bytes)
        shared = _map(fd, size) if size > start else None
        return number, _Unpickler(head, shared, start).load(), more
    except BaseException:
        for other in more:
            os.close(other)
        raise
    finally:
        os.close(fd)


def memory_of(tensor: torch.Tensor) -> ctypes.Array[ctypes.c_ubyte]:
    """A dense tensor's memory, as a writable buffer; the tensor lives as long as the buffer."""
    n_bytes = tensor.numel() * tensor.element_size()
    memory = (ctypes.c_ubyte * n_bytes).from_address(tensor.data_ptr())
    memory.owner = tensor  # type: ignore[attr-defined]
    return memory


def aligned(n_bytes: int) -> int:
    return (n_bytes + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


class _Pickler(pickle.Pickler):
    """Leaves tensors out: they are in `tensors`, each with its place in the memory behind."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        super().__init__(self._file, protocol=5)
        self.tensors: list[tuple[int, torch.Tensor]] = []
        self.n_bytes = 0

    def pickle(self, obj: Any) -> bytes:
        self.dump(obj)
        return self._file.getvalue()

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is not torch.Tensor or not _is_plain(obj):
            return NotImplemented
        # Images may lie with their channels last; what else is not dense becomes so.
        obj = obj.resolve_conj().resolve_neg()
        channels_last = (
            obj.dim() == 4
            and not obj.is_contiguous()
            and obj.is_contiguous(memory_format=torch.channels_last)
        )
        dense = obj.permute(0, 2, 3, 1) if channels_last else obj.contiguous()
        place = self.n_bytes
        self.tensors.append((place, dense))
        self.n_bytes += aligned(dense.numel() * dense.element_size())
        return _tensor_at, (place, dense.dtype, tuple(dense.shape), channels_last)


class _Unpickler(pickle.Unpickler):
    def __init__(self, head: bytes, shared: torch.Tensor | None, start: int) -> None:
        super().__init__(io.BytesIO(head))
        self._shared, self._start = shared, start

    def find_class(self, module: str, name: str) -> Any:
        if module == __name__ and name == _tensor_at.__name__:
            return self._tensor
        return super().find_class(module, name)

    def _tensor(self, place: int, dtype: torch.dtype, shape: tuple[int, ...], last: bool) -> Any:
        dense = _tensor_at(place + self._start, dtype, shape, self._shared)
        return dense.permute(0, 3, 1, 2) if last else dense


def _tensor_at(
    place: int, dtype: torch.dtype, shape: tuple[int, ...], shared: torch.Tensor | None
) -> torch.Tensor:
    """A tensor in shared memory, with a storage of its own: saving it saves nothing else."""
    n = 1
    for extent in shape:
        n *= extent
    if n == 0:
        return torch.empty(shape, dtype=dtype)
    assert shared is not None
    n_bytes = n * torch.empty((), dtype=dtype).element_size()
    return torch.frombuffer(memory_of(shared[place : place + n_bytes]), dtype=dtype).view(shape)


def _map(fd: int, size: int) -> torch.Tensor:
    """The file's memory, which needs no descriptor once it is mapped."""
    return torch.from_file(f"/proc/self/fd/{fd}", shared=True, size=size, dtype=torch.uint8)


def _is_plain(tensor: torch.Tensor) -> bool:
    return (
        tensor.device.type == "cpu"
        and tensor.layout == torch.strided
        and not tensor.requires_grad
        and not tensor.is_quantized
    )


def _write(fd: int, offset: int, data: Any) -> None:
    view = memoryview(data)
    while len(view) > 0:  # one write moves 2 GiB at most
        n = os.pwrite(fd, view, offset)
        offset += n
        view = view[n:]
