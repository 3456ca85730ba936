#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The other side of a move, which does not do as it should.

move_peer.py SOCKET yours            a target that hangs up when it is told that the device is its own
move_peer.py SOCKET stall            a target that never says READY, prints "waiting", and what it is told
move_peer.py SOCKET version          a target that says NO, with bytes that a terminal would obey
move_peer.py SOCKET half FILE        a source that sends half of what FILE holds, and hangs up
move_peer.py SOCKET source FILE      a source that sends what FILE holds, and hangs up at READY
"""
import os
import socket
import struct
import sys

HELLO, WELCOME, DATA, END, READY, YOURS, HAVE, NO = range(1, 9)


def send(s, kind, payload=b""):
    s.sendall(struct.pack("<II", kind, len(payload)) + payload)


def receive(f):
    head = f.read(8)
    if len(head) < 8:
        return None, b""
    kind, length = struct.unpack("<II", head)
    return kind, f.read(length)


def listen(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    s, _ = listener.accept()
    os.unlink(path)
    return s


def target(path, what):
    s = listen(path)
    f = s.makefile("rb")
    assert receive(f)[0] == HELLO
    if what == "version":
        send(s, NO, b"\033[31mthe other side is of version 7")
        f.read()
        return
    send(s, WELCOME)
    while receive(f)[0] == DATA:
        pass
    if what == "stall":
        print("waiting", flush=True)
        print(receive(f)[1].decode(), flush=True)
        return
    send(s, READY)
    assert receive(f)[0] == YOURS


def source(path, what, name):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    f = s.makefile("rb")
    with open(name, "rb") as saved:
        saved.seek(16)
        state = saved.read()
    s.sendall(state if what == "source" else state[: len(state) // 2])
    assert receive(f)[0] == WELCOME
    assert what == "half" or receive(f)[0] == READY


if len(sys.argv) > 3:
    source(sys.argv[1], sys.argv[2], sys.argv[3])
else:
    target(sys.argv[1], sys.argv[2])
