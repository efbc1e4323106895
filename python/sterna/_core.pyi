"""The C library, as Python objects: thin, typed, without policy. `sterna`'s modules are its users.

Everything here releases the GIL while it waits or moves bytes, may be called from any thread, and
raises the exception of `sterna.errors` that belongs to the C library's code. Waiting calls return
to Python's signal handlers at least every 100 ms. ids are 16 bytes each, big-endian UUIDs, many of
them one after another in any bytes-like object.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, final

__version__: str
abi: str  # of the C library that is inside or linked, such as "0.1.0"

@final
class Array:
    """Read-write memory of a batch or read-only memory of a selection: C-contiguous, no copy.

    Holds what it lies in alive. Offers the buffer protocol and DLPack (device CPU; the legacy
    struct unless max_version >= (1, 0); BufferError where it is read-only and the consumer cannot
    be told so).
    """

    shape: tuple[int, ...]
    dtype: str  # as numpy names it: "uint8", "int64" ...
    nbytes: int
    address: int  # of the first byte
    readonly: bool
    def __len__(self) -> int: ...
    def __getitem__(self, i: int, /) -> Any: ...  # a value; of two dimensions a row: Array
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def tolist(self) -> list[Any]: ...

@final
class Field:
    """One field of all rows of a batch: pieces of bytes of different lengths."""

    name: str
    kind: str  # "image", "mask", "bytes", "text", "json", "npy"
    data: Array | None  # uint8, all rows one after another if they lie so, else None
    offsets: Array | None  # int64[n], of each row in data; None where data is
    lengths: Array  # int64[n]; 0 where a row has none
    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> Array | None: ...  # uint8; None: null or masked
    def samples(self) -> list[Array | None]: ...
    def copy_into(self, to: Any, /) -> Array:
        """Copies all rows into writable memory, row i at the offset it returns (int64[n])."""
    def copy_bytes(self) -> int:
        """Bytes that copy_into() needs."""

@final
class Batch:
    """A lease on a batch's memory: given back when the batch and all its arrays are gone."""

    epoch: int
    step: int
    n_rows: int
    n_valid: int
    n_bytes: int
    last_in_epoch: bool
    index: Array  # int64[n_rows], in the selection. All of these are copies that may be written
    ids: Array  # uint8[n_rows, 16]
    valid: Array  # bool[n_rows]: 0 for padded and masked rows
    errors: Array  # int32[n_rows]: 0, or the code a row's sample failed with
    labels: Array  # int64[n_rows]; sterna.NO_LABEL where there is none
    fields: tuple[str, ...]
    def __len__(self) -> int: ...
    def field(self, f: int, /) -> Field: ...
    def reason(self, row: int, /) -> str: ...  # why it has an error, in words; "" without one
    def state(self) -> bytes: ...

@final
class Store:
    def __new__(
        cls,
        url: str,
        mode: Literal["read", "write", "create"] = "read",
        *,
        dataset_id: bytes | None = None,
        replication: str | None = None,
        password: str | None = None,
    ) -> Store: ...
    def info(self) -> dict[str, Any]:
        """format_version, dataset_id (bytes), n_samples, n_bytes, last_run, read_only."""
    def fields(self) -> list[tuple[str, str]]:
        """Name and kind of each, in order."""
    def columns(self) -> list[tuple[str, str]]:
        """Name and type of each."""
    def classes(self) -> list[tuple[int, str, int]]:
        """Label, name, samples of each."""
    def runs(self) -> list[dict[str, Any]]: ...
    def select(
        self,
        *,
        where: str | None = None,
        name: str | None = None,
        file: str | None = None,
        ids_file: str | None = None,
        ids: Any = None,
        as_of_run: int = 0,
        columns: Sequence[str] = (),
        time_limit_ms: int = 0,
    ) -> Selection: ...
    def query(
        self,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        ids: Any = None,
        as_of_run: int = 0,
        time_limit_ms: int = 0,
    ) -> dict[str, list[Any]]:
        """Values by column, rows in the order of path (of ids, if given)."""
    def split(
        self,
        parts: Sequence[tuple[str, float]],
        *,
        by: str | None = None,
        stratify: str | None = None,
        where: str | None = None,
        selection: Selection | None = None,
        seed: int = 0,
        exact: bool = False,
        save: bool = False,
    ) -> tuple[list[Selection], list[dict[str, Any]]]:
        """A selection for each part, and the report (part, stratum, n, n_groups, share_wanted,
        share_got). With save they also stay in the store under their names."""
    def close(self) -> None: ...

@final
class Selection:
    n: int
    n_bytes: int
    run: int
    max_bytes: int
    where: str
    hash: bytes
    dataset_id: bytes
    columns: tuple[str, ...]
    def ids(self) -> Array: ...  # uint8[n, 16]
    def lengths(self, f: int, /) -> Array: ...  # uint32[n], of field f of the store
    def labels(self) -> Array: ...  # int64[n]
    def column(self, name: str, /, index: Any = None) -> list[Any]:
        """Values of a carried column: all, or those at int64 positions `index`."""
    def save(self, path: str, /) -> None: ...
    def save_as(self, store: Store, name: str, /) -> None: ...
    def close(self) -> None: ...

@final
class Loader:
    """Reads ahead as soon as it exists."""

    def __new__(
        cls,
        store: Store,
        selection: Selection,
        *,
        batch_size: int = 256,
        seed: int = 0,
        epoch: int = 0,
        epochs: int = 1,  # 0: endless
        shuffle: bool = True,
        order: Literal["strict", "arrival"] = "strict",
        uneven: Literal["pad", "drop", "exact"] = "pad",
        rank: int = 0,
        world_size: int = 1,
        memory_bytes: int = 0,
        on_error: Literal["raise", "substitute", "mask"] = "raise",
        max_errors: int | None = None,
        fields: Sequence[str] | None = None,
        threads: int = 0,
        max_rate: int = 0,
        request_timeout_ms: int = 0,
        max_attempts: int = 0,
        state: bytes | None = None,
        expect_selection: bytes | None = None,
    ) -> Loader: ...
    steps: int  # batches of a full epoch on this rank
    def next(self, timeout_ms: int = -1, /) -> Batch | None:
        """None after the last epoch's last batch; TimeoutError when the time is over."""
    def fileno(self) -> int: ...
    def state(self) -> bytes: ...
    def stats(self) -> dict[str, Any]: ...  # struct sterna_stats; stall_ns a dict by cause
    def path(self) -> dict[str, Any]: ...  # struct sterna_path
    def exceptions(self) -> list[dict[str, Any]]: ...  # id, epoch, index, code, message
    def cancel(self) -> None: ...
    def close(self) -> None: ...
    def give_buffer(self, buffer: Any, /) -> None:
        """Lends writable memory (at a multiple of 64) for one batch: the oldest buffer is for the
        next batch that has no memory yet, all of whose fields then lie in it, one after another;
        one that is too short is let go unused. The buffer is held until nothing can write to it
        and the batch is gone. InvalidError in arrival order and where lengths are not known:
        Field.copy_into() is the way there."""

@final
class Fetcher:
    """Samples by id, any number of requests at once."""

    def __new__(
        cls,
        store: Store,
        *,
        fields: Sequence[str] | None = None,
        memory_bytes: int = 0,
        threads: int = 0,
        max_rate: int = 0,
        request_timeout_ms: int = 0,
        max_attempts: int = 0,
    ) -> Fetcher: ...
    def submit(self, ids: Any, /) -> int: ...  # its ticket; the batch has its rows in this order
    def poll(self, timeout_ms: int = 0, /) -> tuple[int, Batch] | None:
        """The first that is complete; None: nothing yet, or nothing is under way."""
    def fileno(self) -> int: ...  # readable while poll(0) has something
    def cancel(self, ticket: int, /) -> None: ...
    def stats(self) -> dict[str, Any]: ...  # as a loader's
    def path(self) -> dict[str, Any]: ...
    def close(self) -> None: ...

@final
class Ingest:
    def __new__(cls, store: Store, source: str, replace: bool = False) -> Ingest: ...
    def add(
        self,
        path: str,
        blobs: Sequence[tuple[str, str, Any]],  # field, kind, bytes-like or None
        cells: Sequence[tuple[str, int | float | str | None]],
        id: bytes | None = None,
    ) -> str: ...  # outcome: "added", "unchanged" ...
    def declare_classes(self, names: Sequence[str]) -> list[int]: ...  # their labels
    def commit(self) -> int: ...  # the run
    def close(self) -> None: ...

def ingest_folder(
    store: Store,
    directory: str,
    *,
    prefix: str | None = None,
    metadata: str | None = None,
    fields: Sequence[tuple[str, str, str | None]] = (),  # name, pattern, kind or None
    max_bytes: int = 0,
    memory_bytes: int = 0,
    threads: int = 0,
    stop_on_error: bool = False,
    replace: bool = False,
    progress: Callable[[dict[str, Any]], Any] | None = None,  # an exception stops it
    report: Callable[[str, str, str], Any] | None = None,  # outcome, path, why
) -> dict[str, Any]: ...
def copy(
    source: Store,
    to: Store,
    selection: Selection | None = None,
    *,
    memory_bytes: int = 0,
    threads: int = 0,
    replace: bool = False,
    progress: Callable[[dict[str, Any]], Any] | None = None,
    report: Callable[[str, bytes, str, str], Any] | None = None,  # outcome, id, path, why
) -> dict[str, Any]: ...
def plan_batch(
    n: int,
    epoch: int,
    step: int,
    *,
    batch_size: int = 256,
    seed: int = 0,
    shuffle: bool = True,
    uneven: Literal["pad", "drop", "exact"] = "pad",
    rank: int = 0,
    world_size: int = 1,
    state: bytes | None = None,
) -> tuple[list[int], list[bool]]: ...  # indices in the selection; valid
def state_info(state: bytes, /) -> dict[str, Any]: ...
def merge_states(states: Sequence[bytes], /) -> bytes: ...
def state_at_step(state: bytes, step: int, /) -> bytes:
    """The state with another number of batches of its epoch delivered (strict order only)."""

def save_state(state: bytes, selection: Selection, path: str, /) -> None: ...
def load_state(path: str, /) -> tuple[bytes, Selection | None]: ...
def parse_id(text: str, /) -> bytes: ...
def format_id(id: Any, /) -> str: ...
def take_log() -> list[tuple[int, str]]:
    """Lines the C library has logged since the last call (at most 1000 are kept): level 1 error,
    2 warning, 3 info; and the line."""

def main(argv: Sequence[str], /) -> int:
    """The command, `sterna`: its exit code. argv[0] is its name."""
