"""States as dicts of plain str and int, which torch.save(weights_only), DCP and JSON all take.

`state` is the C library's record in base64, and alone says where to go on; the other items are what
it says, for people."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Union

from . import _core
from .errors import FormatError, InvalidError

FORMAT = 1

StateDict = dict[str, Any]
StateLike = Union[Mapping[str, Any], bytes]

_COPIED = ("epoch", "step", "seed", "batch_size", "world_size", "rank", "order", "uneven")


def to_dict(state: bytes) -> StateDict:
    """A state dict of the C library's record."""
    info = _core.state_info(state)
    return {
        "format": FORMAT,
        **{name: info[name] for name in _COPIED},
        "selection": info["selection_hash"].hex(),
        "samples": info["n"],
        "state": base64.b64encode(state).decode("ascii"),
    }


def _check_format(state: Mapping[str, Any]) -> None:
    if "format" not in state or "state" not in state:
        raise FormatError(
            "no state of a sterna loader: a dict with "
            f"{', '.join(map(repr, list(state)[:8])) or 'nothing in it'}; give what state_dict() "
            "returned"
        )
    if state["format"] != FORMAT:
        raise FormatError(
            f"state dict of format {state['format']}, this version reads {FORMAT}: use the "
            "version of sterna that wrote it"
        )


def to_bytes(state: StateLike) -> bytes:
    """The C library's record in a state dict (or as it is), checked.

    Raises FormatError if it is none, is damaged, or is of another version."""
    if isinstance(state, Mapping):
        _check_format(state)
        try:
            record = base64.b64decode(state["state"], validate=True)
        except (binascii.Error, TypeError, ValueError) as e:
            raise FormatError(f"state dict is damaged: its item 'state' is no base64: {e}") from e
        _check_agrees(state, to_dict(record))
        return record
    if isinstance(state, (bytes, bytearray, memoryview)):
        record = bytes(state)
        _core.state_info(record)
        return record
    raise InvalidError(f"a state is a dict or bytes, not {type(state).__name__}")


def _check_agrees(state: Mapping[str, Any], told: StateDict) -> None:
    """Somebody may have changed `epoch` by hand and expect that it counts."""
    for name in _COPIED:
        if name in state and state[name] != told[name]:
            raise FormatError(
                f"state dict contradicts itself: {name} is {state[name]!r}, but the record in "
                f"'state' says {told[name]!r}; it cannot be edited (see Loader.set_epoch)"
            )


def state_info(state: StateLike) -> dict[str, Any]:
    """All that a state says.

    plan_version, seed, epoch, n (samples), batch_size, rank, world_size, order, uneven, shuffle,
    step (batches of the epoch before it), base_step (step at which this world size took over),
    steps (batches of the epoch on this rank), delivered (positions of the epoch that this state
    knows to be used), finished (nothing of the epoch is left) and selection (hash, hex)."""
    info = dict(_core.state_info(to_bytes(state)))
    info["selection"] = info.pop("selection_hash").hex()
    return info


def merge_states(states: Sequence[StateLike]) -> StateDict:
    """One state of the states of all ranks, in any order, from which any number of ranks goes on.

    Needed in arrival order when the world size changes; in strict order any one rank's state is
    enough. Raises MismatchError if a rank is missing or they are not of one run and moment."""
    return to_dict(_core.merge_states([to_bytes(state) for state in states]))
