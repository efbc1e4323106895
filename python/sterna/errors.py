"""What can go wrong. Every exception of this package derives from `Error`, and where Python has a
builtin for it from that too; each message says what, where and what to do."""

from __future__ import annotations

import builtins


class Error(Exception):
    """The base of all others. `code` is the C library's (negative), 0 if it comes from Python."""

    code: int = 0


class InvalidError(Error, ValueError):
    """An argument is wrong, or two contradict each other."""

    code = -1


class OutOfMemoryError(Error, MemoryError):
    """The system has no memory left."""

    code = -2


class IOError(Error, OSError):
    """A read or write failed."""

    code = -3


class NotFound(Error, LookupError):
    """No such store, selection, sample, column or field."""

    code = -4


class FormatError(Error, ValueError):
    """Not a file of ours, cut short, or written by a newer version."""

    code = -5


class CorruptError(Error, OSError):
    """Bytes differ from their checksum."""

    code = -6


class ConflictError(Error, ValueError):
    """The same id with other bytes."""

    code = -7


class BudgetError(Error, MemoryError):
    """The memory budget is too small, or the consumer holds all of it."""

    code = -8


class TimeoutError(Error, builtins.TimeoutError):
    """No answer in time."""

    code = -9


class CanceledError(Error):
    """The loader was cancelled or closed while someone waited for it."""

    code = -10


class ConnectionError(Error, builtins.ConnectionError):
    """No server answers."""

    code = -11


class BusyError(Error, OSError):
    """Another process is writing."""

    code = -12


class MismatchError(Error, ValueError):
    """A state or selection of another data set, plan or rank."""

    code = -13


class QueryError(Error, ValueError):
    """The SQL is wrong or not allowed."""

    code = -14


class ForkedError(Error, RuntimeError):
    """Used in a child of the process that opened it: open it again there."""

    code = -15


class TooManyErrors(Error):
    """More samples failed than max_errors allows."""

    code = -16


class DecodeError(Error, ValueError):
    """The bytes are intact, but no valid image."""

    code = -17


class ProtocolError(Error, builtins.ConnectionError):
    """The other side answered something it must not."""

    code = -18


class ReadOnlyError(Error, PermissionError):
    """The store cannot be written by this user."""

    code = -19


class RefusedError(Error, PermissionError):
    """The server refused us: credentials, certificate or rights."""

    code = -20


BY_CODE: dict[int, type[Error]] = {
    kind.code: kind
    for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, Error)
}
