"""Memory from which a GPU copies without waiting: owned by torch, filled by sterna.

It comes from torch's caching host allocator, fresh for each batch: torch knows when copies out of
it have ended, also when the tensor is gone by then, and only then uses it again. Memory of another
allocator would not be safe: torch does not note copies out of that.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch

from .ragged import Ragged
from .tensors import map_tensors

_warned = False


def is_possible() -> bool:
    """Whether there is CUDA, without which nothing can be pinned; warned of once, as DataLoader
    does."""
    global _warned
    if torch.cuda.is_available():
        return True
    if not _warned:
        _warned = True
        warnings.warn(
            "pin_memory=True, but there is no CUDA device: batches are not pinned", stacklevel=3
        )
    return False


def empty(n_bytes: int) -> torch.Tensor:
    """Pinned memory, uint8[n_bytes]."""
    return torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True)


def placed(value: Any, memory: torch.Tensor) -> Any:
    """The same structure with its tensors in pinned memory: views of `memory` where they lie there
    already, copies of the others."""

    def place(part: Any) -> Any:
        if not isinstance(part, Ragged) or not part.is_one_run:
            return _copied(part)
        start, n_bytes = part.data.data_ptr() - memory.data_ptr(), part.data.numel()
        if not 0 <= start <= memory.numel() - n_bytes:
            return _copied(part)
        data = memory[start : start + n_bytes]
        return Ragged(data, _copied(part.offset), _copied(part.length))

    return map_tensors(value, place)


def copied(value: Any) -> Any:
    """The same structure with its tensors in pinned memory: one copy, also of rows apart."""
    return map_tensors(value, _copied)


def _copied(tensor: Any) -> Any:
    if isinstance(tensor, Ragged):
        parts = tensor.gathered(empty)
        return Ragged(parts.data, _copied(parts.offset), _copied(parts.length))
    if not isinstance(tensor, torch.Tensor):
        return tensor.pin_memory()
    if tensor.device.type != "cpu" or tensor.layout != torch.strided:
        return tensor
    n_bytes = tensor.numel() * tensor.element_size()
    to = empty(n_bytes).view(tensor.dtype).as_strided(tensor.size(), _dense_strides(tensor))
    return to.copy_(tensor)


def _dense_strides(tensor: torch.Tensor) -> tuple[int, ...]:
    """As torch would lay out a copy: channels last stay so."""
    return torch.empty_like(tensor, device="meta").stride()
