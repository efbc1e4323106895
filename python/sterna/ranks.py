"""Which rank of how many this process is. Never imports a framework to find out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .errors import InvalidError


class Place(NamedTuple):
    rank: int
    world_size: int
    source: str  # where that is known from


_SPECIAL_STEPS = 0xFFFFFFF0  # of SLURM: a batch script, an interactive shell: no parallel job


def _from_torch(modules: Mapping[str, Any]) -> Place | None:
    dist: Any = modules.get("torch.distributed")
    # A module that is being imported right now has nothing in it yet.
    available = getattr(dist, "is_available", None)
    if available is None or not available() or not dist.is_initialized():
        return None
    return Place(dist.get_rank(), dist.get_world_size(), "torch.distributed")


def _from_jax(modules: Mapping[str, Any]) -> Place | None:
    """Only if jax.distributed is initialised: asking before that would start its backends."""
    jax: Any = modules.get("jax")
    distributed = getattr(jax, "distributed", None)
    initialised = getattr(distributed, "is_initialized", None)
    if initialised is not None:
        known = initialised()
    else:  # jax before 0.4.34
        state = getattr(modules.get("jax._src.distributed"), "global_state", None)
        known = getattr(state, "client", None) is not None
    if not known:
        return None
    return Place(jax.process_index(), jax.process_count(), "jax")


def _number(environ: Mapping[str, str], name: str) -> int:
    try:
        return int(environ[name])
    except ValueError:
        raise InvalidError(
            f"{name}={environ[name]!r} in the environment is no number: set it right, or give "
            "rank= and world_size="
        ) from None


def _pair(environ: Mapping[str, str], rank: str, size: str) -> Place | None:
    """Both or none: one alone says nothing."""
    if rank not in environ or size not in environ:
        return None
    return Place(_number(environ, rank), _number(environ, size), f"environment: {rank}, {size}")


def _from_slurm(environ: Mapping[str, str]) -> Place | None:
    """Inside a step that srun began. A batch script has SLURM_NTASKS too, but is one process."""
    if "SLURM_STEP_ID" not in environ or _number(environ, "SLURM_STEP_ID") >= _SPECIAL_STEPS:
        return None
    step = "SLURM_STEP_NUM_TASKS"
    return _pair(environ, "SLURM_PROCID", step if step in environ else "SLURM_NTASKS")


def _from_environment(environ: Mapping[str, str]) -> Place | None:
    return (
        _pair(environ, "RANK", "WORLD_SIZE")
        or _from_slurm(environ)
        or _pair(environ, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")
        or _pair(environ, "PMI_RANK", "PMI_SIZE")
    )


def _from_arguments(rank: int | None, world_size: int | None) -> Place | None:
    if rank is None and world_size is None:
        return None
    if rank is None or world_size is None:
        raise InvalidError("rank= and world_size= belong together: give both or neither")
    return Place(rank, world_size, "arguments")


def detect(
    rank: int | None = None,
    world_size: int | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    modules: Mapping[str, Any] | None = None,
) -> Place:
    """The first that says it: the arguments; torch.distributed, if it is imported and initialised;
    jax likewise; RANK and WORLD_SIZE; a step of SLURM; Open MPI; PMI. Else rank 0 of 1.

    Raises InvalidError if what is said cannot be."""
    environ = os.environ if environ is None else environ
    modules = sys.modules if modules is None else modules
    found: Callable[[], Place | None]
    for found in (
        lambda: _from_arguments(rank, world_size),
        lambda: _from_torch(modules),
        lambda: _from_jax(modules),
        lambda: _from_environment(environ),
    ):
        place = found()
        if place is None:
            continue
        if not 0 <= place.rank < place.world_size:
            raise InvalidError(
                f"rank {place.rank} of {place.world_size} ({place.source}): ranks count from 0 to "
                "world size - 1"
            )
        return place
    return Place(0, 1, "alone")
