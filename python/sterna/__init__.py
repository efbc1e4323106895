"""Image data sets kept far away, in shuffled batches.

    import sterna

    ds = sterna.open("cassandra://db1,db2/imagenet/train").where("width >= 64")
    train, val = ds.split({"train": 0.9, "val": 0.1}, by="wnid", seed=7)
    with train.loader(batch_size=256, seed=42) as loader:
        for batch in loader:
            batch.image, batch.label, batch.ids

sterna.open() tells what there is of a store; Dataset chooses samples and fetches them by id; Loader
reads epochs of them, and goes on exactly where a saved state was. sterna.ingest(), sterna.writer()
and sterna.copy() fill stores. sterna.torch is imported when it is first used. Everything may be
called from any thread; what went wrong is one of sterna.errors."""

from __future__ import annotations

import importlib
from typing import Any

from . import _core, errors
from .batch import NO_LABEL, Batch
from .checks import probe, verify
from .copies import copy
from .dataset import Dataset, Parts
from .dataset import open as open
from .errors import BudgetError as BudgetError
from .errors import BusyError as BusyError
from .errors import CanceledError as CanceledError
from .errors import ConflictError as ConflictError
from .errors import ConnectionError as ConnectionError
from .errors import CorruptError as CorruptError
from .errors import DecodeError as DecodeError
from .errors import Error
from .errors import ForkedError as ForkedError
from .errors import FormatError as FormatError
from .errors import InvalidError as InvalidError
from .errors import IOError as IOError
from .errors import MismatchError as MismatchError
from .errors import NotFound as NotFound
from .errors import OutOfMemoryError as OutOfMemoryError
from .errors import ProtocolError as ProtocolError
from .errors import QueryError as QueryError
from .errors import ReadOnlyError as ReadOnlyError
from .errors import RefusedError as RefusedError
from .errors import TimeoutError as TimeoutError
from .errors import TooManyErrors as TooManyErrors
from .fields import Ragged
from .ids import Ids
from .loader import Loader
from .npy import NpyArray
from .state import merge_states, state_info
from .stats import Stats
from .writer import Writer, ingest, writer

__version__: str = _core.__version__

__all__ = [  # without `open` and what else would hide a builtin
    "Batch",
    "Dataset",
    "Error",
    "Ids",
    "Loader",
    "NO_LABEL",
    "NpyArray",
    "Parts",
    "Ragged",
    "Stats",
    "Writer",
    "copy",
    "errors",
    "ingest",
    "merge_states",
    "probe",
    "state_info",
    "verify",
    "writer",
]

_FRAMEWORKS = ("torch", "dali", "jax", "tf")  # imported when they are first used


def __getattr__(name: str) -> Any:
    if name not in _FRAMEWORKS:
        raise AttributeError(f"module 'sterna' has no attribute {name!r}")
    try:
        return importlib.import_module(f"sterna.{name}")
    except ModuleNotFoundError as e:
        if e.name != f"sterna.{name}":
            raise  # the framework itself is missing
        raise AttributeError(f"this version has no sterna.{name}") from None
