#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Linux's ioatdma driver in guests: by QEMU's vfio-pci under `uvfio run`, and by vfio-user from `uvfio serve`.

Usage: guest_ioat.py UVFIO [WORD]          TAP; WORD: only cases whose name has it
When it is loaded the driver copies a buffer with each device and gives up on one that does not do that right and
interrupt when it has.  What cannot be fetched makes a case a skip, by name.
"""
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from guest import Bench, attempt, fetch_guest, must, require  # noqa: E402

UVFIO = os.path.realpath(sys.argv[1])
MODULES = ("dca", "ioatdma")


def reload(guest, style, channels):
    """The driver is loaded anew with an interrupt style, and all channels of the device must work; the interrupts."""
    must(guest, f"rmmod ioatdma && dmesg -c >/dev/null && insmod /lib/ioatdma.ko ioat_interrupt_style={style}")
    names = must(guest, "cd /sys/bus/pci/drivers/ioatdma && echo 0000*; cd /").split()
    log = must(guest, "dmesg; true")
    require(len(names) == 1 and names[0] != "0000*", f"{style}: bound: {names}; {log}")
    found = must(guest, "ls /sys/class/dma").split()
    require(len(found) == channels, f"{style}: channels: {found}; {log}")
    complaints = must(guest, "dmesg | grep -iE 'self-test|selftest|halted|fail|timed out|WARN|BUG|Reset channel'; true")
    require(not complaints, complaints)
    # MSI-X has a vector a channel, and the self-test is on the first.  The driver may have seen the second completion when
    # it was told of the first; its interrupt is held back until the channel's is rearmed, and comes a little later.
    for _ in range(200):
        lines = must(guest, f"grep ioat-{style} /proc/interrupts; true").split("\n")
        counts = sum(int(word) for word in lines[0].split()[1:] if word.isdigit())
        if counts >= 2:
            break
    require(counts >= 1, f"{style}: interrupts: {lines}")
    return counts


def loaded(guest, style, channels=1):
    """An interrupt comes each time; and, where the machine is not so busy that one does for both copies, a second one
    after it, which shows that the driver can rearm it."""
    counts = []
    while len(counts) < 8 and (not counts or counts[-1] < 2):
        counts.append(reload(guest, style, channels))
    require(counts[-1] >= 2, f"{style}: interrupts: {counts}")


def try_styles(guest, styles, channels=1):
    for style in styles:
        loaded(guest, style, channels)
    require(guest.power_off() == 0, "QEMU: " + guest.errors())


def wrapped(bench, spec, qemu, *options):
    """QEMU as the VFIO program of a run."""
    wrapper = bench.path("qemu")
    with open(wrapper, "w") as f:
        f.write(f"#!/bin/sh\nexec '{UVFIO}' run {' '.join(options)} --device '{spec}' -- {qemu} \"$@\"\n")
    os.chmod(wrapper, 0o755)
    return wrapper


def vfio_pci(bench, spec, styles, channels=1, host="0000:01:00.0"):
    """QEMU 7.2."""
    bench.qemu = wrapped(bench, spec, shutil.which("qemu-system-x86_64"))
    guest = bench.boot(modules=MODULES, args_after=("-device", f"vfio-pci,host={host}"), shared=False)
    try_styles(guest, styles, channels)


TOKEN = "2ab74924-c335-45f4-9b16-8569e5b08258"
PF = f"ioat,vfs=2,numvfs=2,vf_token={TOKEN}"


def vf_token(bench):
    """QEMU 11, which knows tokens where it has no iommufd, on a VF of a PF that vfio-pci has."""
    bench.qemu = wrapped(bench, PF, bench.qemu, "--policy", "enable_sriov=Y")
    guest = bench.boot(modules=MODULES, shared=False,
                       args_after=("-device", f"vfio-pci,host=0000:01:00.1,vf-token={TOKEN}"))
    try_styles(guest, ("msix",))


def vf_iommufd(bench):
    bench.qemu = wrapped(bench, "ioat,vfs=2,numvfs=2,driver=pci-pf-stub", bench.qemu)
    guest = bench.boot(modules=MODULES, shared=False,
                       args_after=("-object", "iommufd,id=i0", "-device", "vfio-pci,host=0000:01:00.1,iommufd=i0"))
    try_styles(guest, ("msix",))


PF_DRIVER = """
import fcntl, os, struct, sys
container, group = os.open("/dev/vfio/vfio", os.O_RDWR), os.open("/dev/vfio/1", os.O_RDWR)
fcntl.ioctl(group, 0x3b68, struct.pack("i", container))
fcntl.ioctl(container, 0x3b66, 3)
device = fcntl.ioctl(group, 0x3b6a, bytearray(sys.argv[1].encode() + bytes(1)))
print("open", flush=True)
sys.stdin.read()
"""


def pf_driver_killed(bench):
    """The PF is opened, killed and so reset behind the guest's back, which finds its device again."""
    control = bench.path("control.sock")
    bench.serve_devices(f"{PF},socket={bench.path('pf.sock')},vf-sockets={bench.path('vf-%u.sock')}",
                        options=("--policy", "enable_sriov=Y", "--control", control))
    guest = bench.boot("vf-1", modules=MODULES)
    loaded(guest, "msix")
    for _ in range(3):
        with subprocess.Popen([UVFIO, "run", "--machine", control, "--sysfs", "off", "--", "python3", "-c", PF_DRIVER,
                               f"0000:01:00.0 vf_token={TOKEN}"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as driver:
            said = driver.stdout.readline()
            driver.kill()
        require(said == b"open\n", f"the PF driver said {said}")
        loaded(guest, "msix")
    bench.alive()
    require(guest.power_off() == 0, "QEMU: " + guest.errors())


def vf_by_vfio_user(bench, keys):
    """A VF's socket has the token, if there is one."""
    bench.serve_devices(f"ioat,vfs=2,numvfs=2,socket={bench.path('pf.sock')},"
                        f"vf-sockets={bench.path('vf-%u.sock')}{keys}",
                        options=("--policy", "enable_sriov=Y"))
    guest = bench.boot("vf-1", modules=MODULES)
    try_styles(guest, ("msix",))
    bench.alive()


def vfio_user(bench, keys, styles, channels=1, **options):
    bench.serve_devices(f"ioat,socket={bench.path('dma.sock')}{keys}")
    guest = bench.boot("dma", modules=MODULES, **options)
    try_styles(guest, styles, channels)
    bench.alive()


OLD, NEW = ("trixie", "amd64"), ("trixie-backports", "amd64")
# name, kernel, function, its arguments
CASES = [
    ("vfio-pci, exact", OLD, vfio_pci, ("ioat,mmio=exact", ("msix",)), {}),
    ("vfio-pci, registers not mapped, INTx too", OLD, vfio_pci, ("ioat,mmio=none", ("msix", "intx")), {}),
    ("vfio-pci, MSI", OLD, vfio_pci, ("ioat,interrupts=msi", ("msi",)), {}),
    ("vfio-pci, four channels", OLD, vfio_pci, ("ioat,channels=4", ("msix",)), {"channels": 4}),
    ("vfio-pci, version 3.2", OLD, vfio_pci, ("ioat,version=3.2", ("msix",)), {}),
    ("vfio-pci, version 3.3", OLD, vfio_pci, ("ioat,version=3.3", ("msix",)), {}),
    ("vfio-pci, a newer kernel", NEW, vfio_pci, ("ioat", ("msix", "intx")), {}),
    ("vfio-pci, a VF of a PF that the host has", OLD, vfio_pci, ("ioat,vfs=2,numvfs=2,driver=pci-pf-stub", ("msix",)),
     {"host": "0000:01:00.1"}),
    ("vfio-pci, a VF with its token", OLD, vf_token, (), {}),
    ("vfio-pci on an iommufd, a VF of a PF that the host has", OLD, vf_iommufd, (), {}),
    ("vfio-user, a VF of a PF that the host has", OLD, vf_by_vfio_user, (",driver=pci-pf-stub",), {}),
    ("vfio-user, a VF with its token", OLD, vf_by_vfio_user, (",vf_token=" + TOKEN,), {}),
    ("vfio-user, a VF whose PF's driver is killed", OLD, pf_driver_killed, (), {}),
    ("vfio-user", OLD, vfio_user, ("", ("msix", "intx")), {}),
    ("vfio-user, memory that is not shared", OLD, vfio_user, ("", ("msix",)), {"shared": False}),
    ("vfio-user, a newer kernel", NEW, vfio_user, (",delay=100us", ("msix",)), {}),
]


def main():
    cases = [case for case in CASES if all(word in case[0] for word in sys.argv[2:])]
    print(f"1..{len(cases)}")
    failed = False
    for number, (name, kernel, function, args, options) in enumerate(cases, 1):
        qemu, folder, why = fetch_guest(kernel)
        if not why and function is vfio_pci and not shutil.which("qemu-system-x86_64"):
            why = "qemu-system-x86_64 is missing (package qemu-system-x86)"
        if why:
            print(f"ok {number} - {name} # SKIP {why}")
            continue
        failed |= not attempt(number, name, Bench(UVFIO, qemu, folder),
                              lambda bench: function(bench, *args, **options))
    return 1 if failed else 0


sys.exit(main())
