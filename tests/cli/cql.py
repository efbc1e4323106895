"""A CQL server in memory (cqlmem) for a test, and a client of protocol version 4 by hand, so that
what ours says is checked by something that is not ours."""

import os
import socket
import struct
import subprocess

CQLMEM = os.environ.get("CQLMEM", "cqlmem")
TIME_LIMIT_S = 60

ERROR, STARTUP, READY, AUTHENTICATE, OPTIONS, SUPPORTED = 0, 1, 2, 3, 5, 6
QUERY, RESULT, PREPARE, EXECUTE, REGISTER, EVENT = 7, 8, 9, 10, 11, 12
AUTH_RESPONSE, AUTH_SUCCESS = 15, 16
VOID, ROWS, SET_KEYSPACE, PREPARED, SCHEMA_CHANGE = 1, 2, 3, 4, 5
BIGINT, BLOB, BOOLEAN, INT, UUID, TEXT, LIST, MAP, SET = 2, 3, 4, 9, 12, 13, 0x20, 0x21, 0x22


class Server:
    """cqlmem with these options; hosts is [(host, port)] of its nodes."""

    def __init__(self, *options):
        nodes = max(1, options.count("--listen"))
        self.process = subprocess.Popen([CQLMEM, "--control", *map(str, options)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        lines = [self.process.stdout.readline().strip() for _ in range(nodes)]
        self.hosts = [(h.strip("[]"), int(p)) for h, p in (line.rsplit(":", 1) for line in lines)]

    def control(self, command, node):
        """stop, start, hang or resume; it has happened on return."""
        self.process.stdin.write(f"{command} {node}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line == "ok\n", line

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(TIME_LIMIT_S)

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.close()


class ServerError(Exception):
    def __init__(self, code, message, rest):
        super().__init__(f"0x{code:04x}: {message}")
        self.code, self.message, self.rest = code, message, rest


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        assert self.at + count <= len(self.data), "cut short"
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def string(self):
        return self.take(self.number(">H")).decode()

    def bytes(self):
        count = self.number(">i")
        return None if count < 0 else self.take(count)

    def type(self):
        kind = self.number(">H")
        inner = {LIST: 1, SET: 1, MAP: 2}.get(kind, 0)
        return (kind, *(self.type() for _ in range(inner))) if inner else kind

    def metadata(self, prepared=False):
        flags, count = self.number(">i"), self.number(">i")
        key = [self.number(">H") for _ in range(self.number(">i"))] if prepared else []
        state = self.bytes() if flags & 2 else None
        columns = []
        if not flags & 4:
            if flags & 1:
                self.string(), self.string()
            for _ in range(count):
                if not flags & 1:
                    self.string(), self.string()
                columns.append((self.string(), self.type()))
        return count, columns, state, key


class Rows(list):
    """Tuples of raw bytes; columns [(name, type)] are empty if they were not sent."""
    columns, state = (), None


class Prepared:
    def __init__(self, reader):
        self.id = reader.take(reader.number(">H"))
        _, self.params, _, self.key = reader.metadata(prepared=True)
        _, self.columns, _, _ = reader.metadata()


def parse_result(reader):
    kind = reader.number(">i")
    if kind == ROWS:
        count, columns, state, _ = reader.metadata()
        rows = Rows(tuple(reader.bytes() for _ in range(count))
                    for _ in range(reader.number(">i")))
        rows.columns, rows.state = columns, state
        return rows
    if kind == PREPARED:
        return Prepared(reader)
    if kind == SCHEMA_CHANGE:
        return tuple(reader.string() for _ in range(2))
    return reader.string() if kind == SET_KEYSPACE else None


def raw(value):
    """A bind value: int is an int column's, ("big", n) a bigint's; None is null, ... is unset."""
    if value is None:
        return struct.pack(">i", -1)
    if value is ...:
        return struct.pack(">i", -2)
    if isinstance(value, tuple):
        value = struct.pack(">q", value[1])
    elif isinstance(value, int):
        value = struct.pack(">i", value)
    elif isinstance(value, str):
        value = value.encode()
    return struct.pack(">i", len(value)) + value


class Client:
    def __init__(self, host, startup=True):
        self.socket = socket.create_connection(host, TIME_LIMIT_S)
        self.stream = 0
        if startup:
            self.opened = self.call(STARTUP, b"\0\1\0\x0bCQL_VERSION\0\x053.0.0")[0]

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.close()

    def send(self, opcode, body=b"", version=4):
        self.stream = self.stream % 32000 + 1
        self.socket.sendall(struct.pack(">BBhBi", version, 0, self.stream, opcode, len(body)) + body)
        return self.stream

    def receive_exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise ConnectionError(f"closed behind {len(data)} of {count} bytes")
            data += part
        return data

    def receive(self):
        """(stream, opcode, body)"""
        _, _, stream, opcode, count = struct.unpack(">BBhBi", self.receive_exactly(9))
        return stream, opcode, self.receive_exactly(count)

    def call(self, opcode, body=b"", **more):
        """(opcode, Reader) of the answer; ServerError."""
        stream = self.send(opcode, body, **more)
        got, opcode, body = self.receive()
        reader = Reader(body)
        if opcode == ERROR:
            raise ServerError(reader.number(">i"), reader.string(), reader)
        assert got == stream, f"answer of stream {got}, not {stream}"
        return opcode, reader

    def log_in(self, user, password):
        token = f"\0{user}\0{password}".encode()
        return self.call(AUTH_RESPONSE, struct.pack(">i", len(token)) + token)[0]

    @staticmethod
    def options(values, page=0, state=None, timestamp=None, skip=False):
        flags = (1 if values else 0) | (2 if skip else 0) | (4 if page else 0)
        flags |= (8 if state else 0) | (32 if timestamp is not None else 0)
        body = struct.pack(">HB", 1, flags)
        if values:
            body += struct.pack(">H", len(values)) + b"".join(map(raw, values))
        if page:
            body += struct.pack(">i", page)
        if state:
            body += raw(state)
        if timestamp is not None:
            body += struct.pack(">q", timestamp)
        return body

    def query(self, text, *values, **more):
        text = text.encode()
        body = struct.pack(">i", len(text)) + text + self.options(values, **more)
        return parse_result(self.call(QUERY, body)[1])

    def prepare(self, text):
        text = text.encode()
        return parse_result(self.call(PREPARE, struct.pack(">i", len(text)) + text)[1])

    @staticmethod
    def execute_body(prepared, *values, **more):
        return struct.pack(">H", len(prepared.id)) + prepared.id + Client.options(values, **more)

    def execute(self, prepared, *values, **more):
        return parse_result(self.call(EXECUTE, self.execute_body(prepared, *values, **more))[1])

    def pages(self, page, text, *values):
        rows = self.query(text, *values, page=page)
        all_rows = list(rows)
        while rows.state is not None:
            rows = self.query(text, *values, page=page, state=rows.state)
            assert len(rows) <= page
            all_rows += rows
        return all_rows
