"""Rows of bytes of different lengths, as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, List

import torch

from .parcel import memory_of


class Ragged:
    """One field of a batch: N rows of uint8, such as encoded images.

    data     uint8[bytes]: all rows in one run, each at a multiple of 64 bytes
    offset   int64[N]: where in `data` a row begins
    length   int64[N]: its bytes; 0 also for a row that is missing (null in the store, or masked)

    The memory is the batch's own, not a copy, and lives as long as this or any view of it. Rows
    that did not come in one run (arrival order, lengths that were not known before) are copied into
    one when `data` or `offset` is asked for; list() and samples() do without.

    Moves like a tensor: to(), cuda(), pin_memory(). Any thread may read it.
    """

    __slots__ = ("length", "_data", "_offset", "_field")

    def __init__(
        self,
        data: torch.Tensor | None,
        offset: torch.Tensor | None,
        length: torch.Tensor,
        field: Any = None,
    ) -> None:
        """`field`, a batch's field in pieces, stands for data and offset if they are None."""
        self.length = length
        self._data, self._offset, self._field = data, offset, field

    @property
    def data(self) -> torch.Tensor:
        return self._run()[0]

    @property
    def offset(self) -> torch.Tensor:
        return self._run()[1]

    @property
    def device(self) -> torch.device:
        return self.length.device

    @property
    def is_one_run(self) -> bool:
        """Whether `data` needs no copy."""
        return self._field is None

    def __len__(self) -> int:
        return self.length.numel()

    def __getitem__(self, row: int) -> torch.Tensor:
        """A view of one row: uint8[its length]."""
        n = len(self)
        if not -n <= row < n:
            raise IndexError(f"row {row} of {n}")
        if self._field is not None:
            return _piece(self._field[row % n])
        data, offset = self._run()
        start = int(offset[row])
        return data[start : start + int(self.length[row])]

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self.list())

    def list(self) -> list[torch.Tensor]:
        """A view of each row: what decoders such as torchvision's decode_jpeg take."""
        if self._field is not None:
            return [_piece(row) for row in self._field.samples()]
        data, offset = self._run()
        return [data[a : a + n] for a, n in zip(offset.tolist(), self.length.tolist())]

    def samples(self) -> List[memoryview]:
        """The same as memoryviews, which cost a tenth: what PIL, OpenCV or numpy take. CPU only."""
        if self._field is not None:
            return [memoryview(b"" if row is None else row) for row in self._field.samples()]
        if self.device.type != "cpu":
            raise TypeError(f"samples() needs CPU memory, this is on {self.device}: use list()")
        data, offset = self._run()
        memory = memoryview(memory_of(data)).cast("B")
        return [memory[a : a + n] for a, n in zip(offset.tolist(), self.length.tolist())]

    def padded(self, value: int = 0) -> torch.Tensor:
        """A copy as uint8[N, longest row], filled up with `value`."""
        return torch.nn.utils.rnn.pad_sequence(self.list(), batch_first=True, padding_value=value)

    def nested(self) -> torch.Tensor:
        """As a nested tensor: jagged and over the same memory where torch has this (2.4 and newer),
        else a copy. Nested tensors are a prototype of torch's."""
        jagged = getattr(torch.nested, "nested_tensor_from_jagged", None)
        if jagged is None:
            return torch.nested.nested_tensor(self.list())
        end = torch.tensor([self.data.numel()], device=self.device)
        return jagged(self.data, torch.cat([self.offset, end]), self.length)

    def to(self, device: Any, non_blocking: bool = False) -> Ragged:
        """On another device."""
        parts = (self.data, self.offset, self.length)
        return Ragged(*(part.to(device, non_blocking=non_blocking) for part in parts))

    def cuda(self, device: Any = None, non_blocking: bool = False) -> Ragged:
        return self.to("cuda" if device is None else device, non_blocking=non_blocking)

    def cpu(self) -> Ragged:
        return self.to("cpu")

    def pin_memory(self, *args: Any) -> Ragged:
        return Ragged(*(t.pin_memory(*args) for t in (self.data, self.offset, self.length)))

    def is_pinned(self) -> bool:
        return self.data.is_pinned()

    def __reduce__(self) -> tuple[Any, ...]:
        return Ragged, (self.data, self.offset, self.length)

    def __repr__(self) -> str:
        return f"Ragged({len(self)} rows, {int(self.length.sum())} bytes, {self.device})"

    def gathered(self, empty: Callable[[int], torch.Tensor]) -> Ragged:
        """A copy in one run, in the memory that `empty(n_bytes)` gives: uint8[n_bytes]."""
        if self._field is None:
            run, offset = self._run()
            return Ragged(empty(run.numel()).copy_(run), offset, self.length)
        data = empty(self._field.copy_bytes())
        offset = torch.from_dlpack(self._field.copy_into(memory_of(data)))
        return Ragged(data, offset, self.length)

    def _run(self) -> tuple[torch.Tensor, torch.Tensor]:
        if self._field is not None:
            run = self.gathered(lambda n_bytes: torch.empty(n_bytes, dtype=torch.uint8))
            self._data, self._offset, self._field = run._data, run._offset, None
        assert self._data is not None and self._offset is not None
        return self._data, self._offset


def ragged_of(field: Any) -> Ragged:
    """Of a batch's field, without a copy."""
    length = torch.from_dlpack(field.lengths)
    if field.data is None:
        return Ragged(None, None, length, field)
    return Ragged(torch.from_dlpack(field.data), torch.from_dlpack(field.offsets), length)


def _piece(row: Any) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8) if row is None else torch.from_dlpack(row)
