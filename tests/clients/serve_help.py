#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of `uvfio serve` need of its surroundings.

serve_help.py notified SOCKET           wait until systemd would be told READY=1
serve_help.py activate [NAME=]PATH... -- COMMAND...   pass listening sockets, as systemd does
serve_help.py hold PATH FILE            be a client; says so in FILE, and there how the server ended it
serve_help.py keep DEVICE FILE          have a device open through /dev/vfio and never look at its REQ interrupt; says
                                        so in FILE
"""
import fcntl
import os
import signal
import socket
import struct
import sys


def notified(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    while "READY=1" not in sock.recv(4096).decode().split("\n"):
        pass
    return 0


def activate(args):
    split = args.index("--")
    names = []
    for fd, arg in enumerate(args[:split], 3):
        name, _, path = arg.rpartition("=")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(path)
        sock.listen()
        names.append(name or "unknown")
        os.dup2(sock.detach(), fd)
        os.set_inheritable(fd, True)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=":".join(names))
    os.execvp(args[split + 1], args[split + 1:])


def hold(path, out):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(path)
    text = b'{"capabilities":{}}\0'
    # VERSION: id, command, size, flags, errno; 0.1
    sock.sendall(struct.pack("<HHIIIHH", 1, 1, 20 + len(text), 0, 0, 0, 1) + text)
    reply = sock.recv(4096)
    with open(out, "w") as file:
        print("holds" if len(reply) >= 20 else "refused", file=file, flush=True)
        try:
            end = sock.recv(4096)
            print("ended" if not end else "spoken to", file=file, flush=True)
        except ConnectionResetError:
            print("ended", file=file, flush=True)


def keep(device, out):
    number = os.path.basename(os.readlink(f"/sys/bus/pci/devices/{device}/iommu_group"))
    container = os.open("/dev/vfio/vfio", os.O_RDWR)
    group = os.open(f"/dev/vfio/{number}", os.O_RDWR)
    fcntl.ioctl(group, 0x3B68, struct.pack("i", container))  # VFIO_GROUP_SET_CONTAINER
    fcntl.ioctl(container, 0x3B66, 3)  # VFIO_SET_IOMMU: VFIO_TYPE1v2_IOMMU
    fcntl.ioctl(group, 0x3B6A, device.encode() + b"\0")  # VFIO_GROUP_GET_DEVICE_FD
    with open(out, "w") as file:
        print("keeps", file=file)
    signal.pause()


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    sys.exit({"notified": notified, "hold": hold, "keep": keep}[command](*rest) if command != "activate" else activate(rest))
