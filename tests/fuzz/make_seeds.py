#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Write the seed corpus of a harness: inputs that reach far, for the fuzzer to change.

usage: make_seeds.py NAME FOLDER      NAME: handover, irqs, migration, nvme, sysfs, vconfig, wire, wire_stream
"""
import os
import random
import struct
import sys

IOVA, PAGE = 0x100000, 4096

# What fuzz_wire.c does for a byte: indices into its table of kinds.
ANY, MAP, UNMAP, READ, WRITE, IRQS, ENABLE, RING, FEATURE, RESET, WAIT = 0, 2, 3, 4, 5, 8, 9, 11, 13, 14, 15


def identify(slot=0):
    """An Identify Controller command whose answer goes to the fifth page."""
    return struct.pack("<2I2Q2Q6I", 6 | slot << 16, 0, 0, 0, IOVA + 4 * PAGE, 0, 1, 0, 0, 0, 0, 0)


def wire():
    by_message = bytes([MAP, 0x01, 16, 0, 0])             # IOVA + one page, 16 pages, no descriptor
    by_file = bytes([MAP, 0x00, 16, 0, 0x01])             # IOVA, 16 pages, the memfd
    answer = bytes([WAIT, 5]) + identify()
    yield bytes([0])
    yield bytes([1]) + by_file + bytes([ENABLE, 0, RING, 0, 1, WAIT])
    yield bytes([1]) + by_message + bytes([ENABLE, 1, RING, 0, 1]) + answer + bytes([WAIT, 5, WAIT, 5])
    yield bytes([2]) + by_message + bytes([ENABLE, 1, RING, 0, 3]) + answer * 3 + bytes([WAIT, 5] * 8)
    yield bytes([1]) + by_message + bytes([ENABLE, 1, RING, 0, 1, UNMAP, 0x80, WAIT, 5, RESET])
    yield bytes([1]) + by_message + bytes([ENABLE, 1, RING, 0, 1, RESET, WAIT, 3])
    yield bytes([1]) + by_file + bytes([UNMAP, 0x00, 16, UNMAP, 0x80])
    # SET_IRQS: MSI-X, two eventfds; all off; each index signalled.
    yield bytes([1, IRQS, 8, 0x0a, 4 | 32, 2, 0]) + bytes(16) + bytes([IRQS, 0, 0, 1 | 32, 2, 0, 0]) + bytes(16)
    yield bytes([1]) + b"".join(bytes([IRQS, 8, 0x09, 4 | 32, i, 0]) + bytes(16) for i in range(5))
    yield bytes([1]) + b"".join(bytes([READ, 1, 3, off, 0]) for off in range(0, 64, 4))
    yield bytes([1]) + b"".join(bytes([WRITE, 0x21, 3, off, 0, 4, 0xff, 0xff, 0xff, 0xff]) for off in range(0, 64, 4))
    yield bytes([1]) + b"".join(bytes([FEATURE, number, 8, op]) + bytes(14) for number in range(13) for op in (1, 2, 6))
    for command in range(1, 19):
        yield bytes([1, ANY, command, 0, 32, 0]) + bytes(32)


def message(number, command, payload=b"", flags=0):
    return struct.pack("<HHIII", number, command, 16 + len(payload), flags, 0) + payload


def wire_stream():
    version = message(1, 1, struct.pack("<HH", 0, 1) + b'{"capabilities":{"max_msg_fds":8,"max_data_xfer_size":1048576,'
                      b'"max_dma_maps":65535,"pgsizes":4096,"twin_socket":{"supported":true},"write_multiple":true,'
                      b'"migration":{"pgsize":4096,"max_bitmap_size":268435456}}}\0')
    session = [
        message(2, 4, struct.pack("<4I", 16, 0, 0, 0)),
        message(3, 5, struct.pack("<4I2Q", 32, 0, 0, 0, 0, 0)),
        message(4, 6, struct.pack("<4I", 16, 0, 0, 0)),
        message(5, 7, struct.pack("<4I", 16, 0, 2, 0)),
        message(6, 2, struct.pack("<2I3Q", 32, 3, 0, IOVA, 16 * PAGE)),
        message(7, 8, struct.pack("<5I", 20, 4 | 32, 2, 0, 1)),
        message(8, 9, struct.pack("<Q2I", 0, 7, 64)),
        message(9, 10, struct.pack("<Q2I", 4, 7, 2) + b"\6\0"),
        message(10, 10, struct.pack("<Q2I", 0x1000, 0, 4) + b"\1\0\0\0", 0x10),
        message(11, 15, struct.pack("<Q", 2) + struct.pack("<Q2IQ", 0x3c, 7, 1, 5) * 2),
        message(12, 16, struct.pack("<2I", 8, 4 << 16 | 5)),
        message(13, 13),
        message(14, 3, struct.pack("<2I2Q", 24, 2, 0, 0)),
        message(15, 17, struct.pack("<2I", 4096, 4096)),
        message(16, 18, struct.pack("<2I", 8, 0)),
        message(17, 11, struct.pack("<2Q", IOVA, 64) + bytes(64), 1),
    ]
    yield b"\0\0" + version
    yield b"\0\0" + message(1, 1, b"\0\0\0\0")
    yield b"\x20\x10" + version + b"".join(session)
    for one in session:
        yield b"\x08\x02" + version + one


# What fuzz_sysfs.c does for a byte, and its table of paths.
WALK, OPEN, READ_FILE, READ_DIR, STORE, SETATTR, POLL, RELEASE, INTERRUPT, READLINK, RAW = 0, 3, 5, 7, 8, 10, 11, 12, 13, 14, 15
CONFIG, OVERRIDE, METHOD, REMOVE, RESCAN, ENABLE, BAR, PROBE, UNBIND, UIO_UNBIND, UIO = 2, 3, 5, 6, 20, 8, 11, 18, 24, 28, 34
PATHS, OPCODES = 48, 35


def walk(path):
    return bytes([WALK, path])


def store(path, word):
    return walk(path) + bytes([OPEN, 1, 0, STORE, 0, 0, word, 0])


def sysfs():
    for first in range(0, PATHS, 6):
        yield b"\0" + b"".join(walk(path) + bytes([OPEN, 2, 0, READ_FILE, 0, 0, 0xff, 0, 16, 0, 0, 0, READ_DIR, 0, 0, 0xfe, 0,
                                                  READLINK, 0]) for path in range(first, first + 6))
    # driver_override, unbind, probe: to uio and back; what is removed comes again.
    yield (b"\0" + store(OVERRIDE, 4) + store(UNBIND, 0) + store(PROBE, 0) + store(UIO_UNBIND, 0) + store(OVERRIDE, 10) +
           store(PROBE, 0))
    # Binding by name, and by dynamic ids.
    yield b"\0" + store(OVERRIDE, 4) + store(UNBIND, 0) + store(27, 0) + store(UIO_UNBIND, 0) + store(27, 1)
    yield b"\0" + store(UNBIND, 0) + store(29, 9) + store(UIO_UNBIND, 0) + store(25, 9) + store(23, 0) + store(26, 9)
    yield b"\0" + store(REMOVE, 5) + walk(CONFIG) + store(RESCAN, 5) + walk(CONFIG)
    yield b"\0" + store(METHOD, 7) + store(METHOD, 8) + store(4, 5) + store(ENABLE, 5) + store(ENABLE, 6) + store(19, 6)
    # config and a BAR: read, and bytes written.
    for path in (CONFIG, BAR, 12, 15):
        yield b"\0" + walk(path) + bytes([OPEN, 2, 0, READ_FILE, 0, 0, 64, 0, STORE, 0, 1, 0x84, 0, 6, 0, 0, 0, READ_FILE, 0, 1, 4, 0])
    # uio: a read that waits, poll, write, interrupt, unbind meanwhile.
    uio = walk(UIO) + bytes([OPEN, 2, 0])
    yield b"\0" + uio + bytes([POLL, 0, 1, 1, 0, READ_FILE, 0, 0, 4, 0, INTERRUPT, 1, STORE, 0, 0, 0x84, 0, 1, 0, 0, 0, RELEASE, 0, 0])
    yield b"\0" + uio + bytes([READ_FILE, 0, 0, 4, 0]) + store(UIO_UNBIND, 1) + uio
    yield b"\0" + walk(CONFIG) + bytes([SETATTR, 7, 0, 0o644 & 255, 1, 1, 1, 0, 0])
    for number in range(OPCODES):
        yield b"\0" + walk(1) + bytes([RAW, number, 0, 48]) + bytes(48)
    yield b"\xff" + walk(1)


def migration():
    """Each device; each way to change each section, once."""
    for device in range(3):
        yield bytes([device, 0, 0])
        for op in range(16):
            for section in range(3):
                yield bytes([device, 1, op, section, op * 7, 0, section, 1 + op % 15, 3])


# What fuzz_nvme_vfs.c does for a byte; an input for it begins with VFS.
VFS, TURN, MANAGE, ATTACH, HOST, RESETS, BRING_UP, CHECK = 0xe0, 8, 9, 11, 12, 13, 14, 15
ASSIGN_QUEUES, ASSIGN_VECTORS, ONLINE, OFFLINE = 0, 12, 2, 4


def manage(action, cntlid, number=0):
    return bytes([MANAGE, action, cntlid, number, 1])


def nvme():
    yield from noise("nvme")
    for seed in noise("nvme-vfs"):
        yield bytes([VFS]) + seed
    make = bytes([VFS, HOST, 3])  # four VFs
    given = b"".join(manage(ASSIGN_QUEUES, i, 3) + manage(ASSIGN_VECTORS, i, 2) + manage(ONLINE, i) for i in range(1, 5))
    used = b"".join(bytes([TURN, i, BRING_UP, 0, CHECK]) for i in range(1, 5))
    yield make + given + bytes([CHECK]) + used
    yield make + given + used + bytes([TURN, 1, RESETS, 0, TURN, 2, RESETS, 0x80, RESETS, 0x40, CHECK])
    yield make + given + used + manage(OFFLINE, 1) + manage(OFFLINE, 2) + bytes([HOST, 0x02, CHECK, HOST, 1, HOST, 2, CHECK])
    yield make + given + used + bytes([ATTACH, 8, 0x1e, 1, CHECK, ATTACH, 0, 6, 1, CHECK])
    # All that there is, and one more.
    for kind in (ASSIGN_QUEUES, ASSIGN_VECTORS):
        yield make + bytes([BRING_UP, 0]) + b"".join(manage(kind, i, n) for i, n in ((1, 6), (2, 6), (3, 2), (3, 3), (4, 1))) + bytes([CHECK])
    # The host's own driver, which moves vectors.
    yield bytes([VFS, HOST, 0, HOST, 3, BRING_UP, 0x10, BRING_UP, 0x11, BRING_UP, 0x72, CHECK]) + used


def handover():
    """Both records as they are; each way to change them, in some places."""
    for which in range(2):
        yield bytes([which, 10, 0xff, 0xff])
        for op in range(16):
            for at in range(op, 420, 83):
                yield bytes([which, op, at & 255, at >> 8, 5 + at % 19, at % 7, 3, 1])
        yield bytes([which | 2]) + struct.pack("<6I", 1, 1 << 20, 8, 8, 1, 0) + bytes(64)


def noise(name):
    chance = random.Random(name)
    for length in (16, 64, 64, 200, 200, 500, 500, 500):
        yield bytes(chance.randrange(256) for _ in range(length))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.split("\n\n", 1)[1])
    name, folder = sys.argv[1:]
    made = {"handover": handover, "migration": migration, "nvme": nvme, "sysfs": sysfs, "wire": wire, "wire_stream": wire_stream}
    seeds = made.get(name, lambda: noise(name))
    os.makedirs(folder, exist_ok=True)
    for number, seed in enumerate(seeds()):
        with open(f"{folder}/seed-{number:03}", "wb") as file:
            file.write(seed)


if __name__ == "__main__":
    main()
