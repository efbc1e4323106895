"""The two ends of test_wan.py's links.

  serve [CC|-] [ADDRESS]     a server for one client
  datagrams COUNT            sends numbered datagrams; prints what the server saw
  stream BYTES [ADDRESS]     receives so much; prints whether it was right, and how it came"""

import hashlib
import json
import os
import select
import socket
import struct
import sys

PORT = 7700
BLOCK = hashlib.sha256(b"wan").digest() * 2047  # 65504 bytes
QUIET_S = 2.0  # longer than any delay here: when nothing comes for so long, all has come


def cc_of(connection):
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


def counter(protocol, name):
    with open("/proc/self/net/snmp", encoding="ascii") as file:
        names, values = [line.split()[1:] for line in file if line.startswith(protocol + ":")]
    return int(dict(zip(names, values))[name])


def count_datagrams(udp, connection):
    """Until the client's word came, and nothing more after it."""
    received, overtaken, highest, said = 0, 0, -1, False
    while True:
        ready, _, _ = select.select([udp, *([] if said else [connection])], [], [], QUIET_S if said else None)
        if not ready:
            return {"received": received, "overtaken": overtaken, "overruns": counter("Udp", "RcvbufErrors")}
        if connection in ready:
            said = True
            connection.recv(1)
        if udp in ready:
            number, = struct.unpack_from(">I", udp.recv(2048))
            received += 1
            overtaken += number < highest
            highest = max(highest, number)


def serve(cc="-", address="10.77.0.1"):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    udp.bind((address, PORT))
    listener = socket.create_server((address, PORT))
    if cc != "-":
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, cc.encode())
    connection, _ = listener.accept()
    kind, number = struct.unpack(">cQ", connection.recv(9, socket.MSG_WAITALL))
    if kind == b"d":
        answer = count_datagrams(udp, connection)
    else:
        for at in range(0, number, len(BLOCK)):
            connection.sendall(BLOCK[:number - at])
        connection.recv(1, socket.MSG_WAITALL)  # it has all
        answer = {"server_cc": cc_of(connection), "resent": counter("Tcp", "RetransSegs")}
    connection.sendall(json.dumps(answer).encode() + b"\n")
    connection.recv(1)  # until it is closed


def call(kind, number, address="10.77.0.1"):
    connection = socket.create_connection((address, PORT))
    connection.sendall(struct.pack(">cQ", kind, int(number)))
    return connection


def datagrams(count):
    connection = call(b"d", count)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.connect(("10.77.0.1", PORT))
    for number in range(int(count)):
        udp.send(struct.pack(">I", number) + bytes(96))
    connection.sendall(b".")
    sys.stdout.write(connection.makefile().readline())


def stream(count, *address):
    connection = call(b"s", count, *address)
    whole, at = True, 0
    while at < int(count):
        got = connection.recv(1 << 20)
        if not got:
            sys.exit("the server closed the connection")
        begin = at % len(BLOCK)
        want = BLOCK[begin:] + BLOCK * (len(got) // len(BLOCK) + 1)
        whole = whole and want.startswith(got)
        at += len(got)
    connection.sendall(b".")
    seen = json.loads(connection.makefile().readline())
    print(json.dumps({**seen, "whole": whole, "client_cc": cc_of(connection), "pid": os.getpid()}))


if __name__ == "__main__":
    {"serve": serve, "datagrams": datagrams, "stream": stream}[sys.argv[1]](*sys.argv[2:])
