"""Which part of the data this process reads, and whether all processes agree on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.distributed as dist

from sterna import errors
from sterna.state import StateDict, merge_states


@dataclass(frozen=True)
class DataRank:
    """A process among those that share the data, and the process groups over which they compare
    what they were told: none where torch.distributed is not in use."""

    rank: int
    world_size: int
    source: str
    groups: tuple[Any, ...] = ()


def data_rank(process_group: Any = None, device_mesh: Any = None) -> DataRank | None:
    """The rank that a process group or device mesh gives; None if neither is given.

    process_group  its ranks read different samples
    device_mesh    places along any of its dimensions read different samples, so it must have data
                   dimensions only: mesh["dp"] of a mesh over ("dp", "tp"). Processes that differ
                   only in other dimensions (peers of model parallelism) get the same samples.
    """
    if process_group is not None and device_mesh is not None:
        raise errors.InvalidError("give process_group or device_mesh, not both")
    if process_group is not None:
        return _of_group(process_group)
    if device_mesh is not None:
        return _of_mesh(device_mesh)
    return None


def default_groups() -> tuple[Any, ...]:
    """Of a rank that was found in torch.distributed."""
    return (dist.group.WORLD,) if dist.is_available() and dist.is_initialized() else ()


def _of_group(group: Any) -> DataRank:
    rank = dist.get_rank(group)
    if rank < 0:
        raise errors.InvalidError(
            "this process is no member of process_group: only its members can read with it"
        )
    return DataRank(rank, dist.get_world_size(group), "process_group", (group,))


def _of_mesh(mesh: Any) -> DataRank:
    place = mesh.get_coordinate()
    if place is None:
        raise errors.InvalidError("this process is not in device_mesh")
    shape = tuple(mesh.mesh.shape)
    rank = 0
    for coordinate, extent in zip(place, shape):
        rank = rank * extent + coordinate
    groups = tuple(mesh.get_group(dim) for dim in range(len(shape)))
    return DataRank(rank, mesh.mesh.numel(), "device_mesh", groups)


def compare(groups: tuple[Any, ...], tell: Callable[[], dict[str, Any]]) -> None:
    """Whether all ranks of all groups were told the same; MismatchError, on every rank, names the
    first thing that differs, both values, and who has them. A rank that cannot even tell says so
    to the others before it raises. A collective call."""
    error: Exception | None = None
    told: dict[str, Any] = {}
    try:
        told = tell()
    except Exception as e:
        error = e
    me = {"rank": dist.get_rank(), "error": None if error is None else repr(error), **told}
    for group in groups:
        _check_equal(_gather(me, group))
    if error is not None:
        raise error


def _check_equal(everyone: list[dict[str, Any]]) -> None:
    for one in everyone:
        if one["error"] is not None and one["rank"] != dist.get_rank():
            raise errors.MismatchError(f"rank {one['rank']} cannot begin to read: {one['error']}")
    first = everyone[0]
    for other in everyone[1:]:
        for name, value in first.items():
            if name != "rank" and other.get(name, value) != value:
                raise errors.MismatchError(
                    f"ranks would not read the same: {name} is {value} on rank {first['rank']}, "
                    f"but {other[name]} on rank {other['rank']}"
                )


def merged(state: StateDict, groups: tuple[Any, ...]) -> StateDict:
    """The states of all ranks in one. A collective call."""
    states = [state]
    for group in groups:  # along one dimension after the other
        states = [one for many in _gather(states, group) for one in many]
    return merge_states(states)


def _gather(obj: Any, group: Any) -> list[Any]:
    everyone: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(everyone, obj, group=group)
    return everyone
