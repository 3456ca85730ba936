#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Linux guests under QEMU 11 with -device vfio-user-pci on disks that `uvfio serve` serves.

Usage: guest_vfio_user.py UVFIO RULES WRITER [CASE ...]   TAP; statically linked: RULES, the rule program; WRITER, live_guest
Each case starts a server of its own.  What cannot be fetched makes the whole test a skip, by name.
"""
import os
import re
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from guest import TIMEOUT, WAIT, must, require, run_cases, vfio_user  # noqa: E402

UVFIO, RULES, WRITER = (os.path.realpath(path) for path in sys.argv[1:4])
UPGRADES = int(os.environ.get("UVFIO_UPGRADES", "3"))
WRITERS = 4

MAKE = ("printf 'n\\np\\n1\\n2048\\n+32M\\nw\\n' | fdisk /dev/{0} >/dev/null; " + WAIT.format("/dev/{0}p1") +
        " && mke2fs -F /dev/{0}p1 >/dev/null")
WRITE = "mount -t ext4 /dev/{0}p1 /mnt && dd if=/dev/urandom of=/mnt/random bs=64k count=128 2>/dev/null && " \
    "cp /bin/busybox /mnt/ && (cd /mnt && md5sum random busybox >sums) && umount /mnt"
VERIFY = "mount -t ext4 /dev/{0}p1 /mnt && (cd /mnt && md5sum -c sums >/dev/null) && umount /mnt"
# Writes for ever behind the partition: the I/O under which other things happen.
LOAD = ("(while [ -b /dev/{0} ] && dd if=/dev/urandom of=/dev/{0} bs=64k count=64 seek=600 conv=fsync 2>/dev/null; "
        "do :; done) & load=$!")


def progress(guest):
    """How many writes have been acknowledged to each writer."""
    return [int(n) for n in must(guest, "cat " + " ".join(f"/tmp/{n}" for n in range(WRITERS))).split()]


def gets_on(guest):
    """All writers do."""
    before = progress(guest)
    deadline = time.monotonic() + TIMEOUT
    while any(now <= then for now, then in zip(progress(guest), before)):
        require(time.monotonic() < deadline, f"the writers do not get on: {before}; " + must(guest, "dmesg | tail -20"))


def upgraded_under_writers(bench, guest):
    """The server is exchanged while the guest writes, reads back and judges; QEMU keeps its socket."""
    must(guest, f"live_guest /dev/nvme0n1 {WRITERS} /tmp >/tmp/log 2>&1 & "
                f"for w in 0 1 2 3; do {WAIT.format('/tmp/$w')} || break; done")
    servers = {process_of(bench)}
    for _ in range(UPGRADES):
        gets_on(guest)
        upgrade = subprocess.run([UVFIO, "upgrade", "--control", bench.path("control")], capture_output=True, text=True)
        require(upgrade.returncode == 0, upgrade.stderr)
        servers.add(process_of(bench))
    require(len(servers) == UPGRADES + 1, f"the servers were {servers}")
    gets_on(guest)
    must(guest, "killall -TERM live_guest; wait")
    require(not must(guest, "cat /tmp/log"), must(guest, "cat /tmp/log"))
    complaints = must(guest, "dmesg | grep -iE 'nvme.*(timeout|error|abort|reset|fail|polled)|I/O error'; true")
    require(not complaints, complaints)
    counts = progress(guest)
    require(guest.power_off() == 0, "QEMU: " + guest.errors())
    bench.alive()
    found = subprocess.run([WRITER, "--judge", bench.path("disk.img"), *map(str, counts)], capture_output=True, text=True)
    print(found.stdout, end="")
    require(found.returncode == 0, "what was acknowledged is not all in the image: " + found.stdout)


def process_of(bench):
    """The one that has the clients."""
    return subprocess.run(["pgrep", "-P", str(bench.server.pid)], check=True, capture_output=True, text=True).stdout.strip()


def life_of_a_disk(bench, **options):
    bench.serve_devices(f"nvme,file={bench.disk('disk.img')},socket={bench.path('disk.sock')}",
                        options=("--control", bench.path("control")))
    guest = bench.boot("disk", files=(WRITER,), **options)
    must(guest, WAIT.format("/dev/nvme0n1"))
    must(guest, MAKE.format("nvme0n1"))
    must(guest, WRITE.format("nvme0n1"))
    must(guest, VERIFY.format("nvme0n1"))
    complaints = must(guest, "dmesg | grep -iE 'nvme.*(timeout|error|abort|reset|fail)'; true")
    require(not complaints, complaints)
    require(guest.power_off() == 0, "QEMU: " + guest.errors())
    bench.alive()
    bench.clean("disk")
    guest = bench.boot("disk", **options)
    must(guest, WAIT.format("/dev/nvme0n1p1"))
    must(guest, VERIFY.format("nvme0n1"))
    upgraded_under_writers(bench, guest)


def partition_format_write_and_read_back_after_reboot(bench):
    life_of_a_disk(bench)


def memory_that_is_not_shared(bench):
    life_of_a_disk(bench, shared=False)


def two_devices(bench):
    bench.serve("one", "two")
    guest = bench.boot("one", "two")
    for name in ("nvme0n1", "nvme1n1"):
        must(guest, WAIT.format("/dev/" + name))
        must(guest, MAKE.format(name))
        must(guest, WRITE.format(name))
    for name in ("nvme0n1", "nvme1n1"):
        must(guest, VERIFY.format(name))
    guest.power_off()
    bench.alive()
    bench.clean("one")
    bench.clean("two")


def hot_plug_and_unplug_under_io(bench):
    # QEMU 11.1 aborts when a vfio-user device that has MSI-X is unplugged: it takes its
    # overlay of the pending bits out of the BAR only when the BAR has gone.
    bench.serve("one", "two", interrupts="msi")
    guest = bench.boot("one")
    must(guest, WAIT.format("/dev/nvme0n1"))
    for turn in range(3):
        guest.qmp("device_add", **vfio_user(bench.path("two.sock"), bus="rp1", id=f"plug{turn}"))
        must(guest, WAIT.format("/dev/nvme1n1"))
        if turn == 0:
            must(guest, MAKE.format("nvme1n1"))
            must(guest, WRITE.format("nvme1n1"))
        must(guest, WAIT.format("/dev/nvme1n1p1"))
        must(guest, VERIFY.format("nvme1n1"))
        must(guest, LOAD.format("nvme0n1"))
        must(guest, LOAD.format("nvme1n1"))
        must(guest, "dd if=/dev/nvme1n1 of=/dev/null bs=64k count=128 2>/dev/null")
        guest.qmp("device_del", id=f"plug{turn}")
        guest.await_event("DEVICE_DELETED", lambda data: data.get("device") == f"plug{turn}")
        # The writer may have made a plain file in the place of the node that went.
        must(guest, "wait $load; [ -b /dev/nvme1n1 ] || rm -f /dev/nvme1n1; n=0; "
                    "while [ -e /sys/block/nvme1n1 ] && [ $n -lt 600 ]; do usleep 50000; n=$((n+1)); done; "
                    "[ ! -e /sys/block/nvme1n1 ]")
        must(guest, "killall dd sh 2>/dev/null; dd if=/dev/nvme0n1 of=/dev/null bs=64k count=16 2>/dev/null")
        bench.alive()
    guest.power_off()
    bench.alive()
    bench.clean("two")


def reset_of_the_guest_under_io(bench):
    bench.serve("disk")
    guest = bench.boot("disk")
    must(guest, WAIT.format("/dev/nvme0n1"))
    must(guest, MAKE.format("nvme0n1"))
    must(guest, WRITE.format("nvme0n1"))
    for _ in range(3):
        must(guest, LOAD.format("nvme0n1"))
        must(guest, "dd if=/dev/nvme0n1 of=/dev/null bs=64k count=64 2>/dev/null")
        guest.qmp("system_reset")
        guest.ready()
        must(guest, WAIT.format("/dev/nvme0n1p1"))
        bench.alive()
        must(guest, VERIFY.format("nvme0n1"))
    guest.power_off()
    bench.alive()
    bench.clean("disk")


def qemu_killed_under_io(bench):
    bench.serve("disk")
    for turn in range(3):
        guest = bench.boot("disk")
        must(guest, WAIT.format("/dev/nvme0n1"))
        if turn == 0:
            must(guest, MAKE.format("nvme0n1"))
            must(guest, WRITE.format("nvme0n1"))
            must(guest, "sync")
        must(guest, VERIFY.format("nvme0n1"))
        must(guest, LOAD.format("nvme0n1"))
        must(guest, "dd if=/dev/nvme0n1 of=/dev/null bs=64k count=64 2>/dev/null")
        guest.process.send_signal(signal.SIGKILL)
        guest.process.wait()
        bench.alive()
    bench.clean("disk")


def behind_an_iommu_with_vfio_pci_in_the_guest(bench):
    """The guest's kernel is the VFIO; the rule program drives our device through both."""
    bench.serve("one", "two")
    guest = bench.boot("one", "two",
                       modules=("irqbypass", "vfio", "vfio_iommu_type1", "vfio-pci-core", "vfio-pci"),
                       files=(RULES,), machine="q35,kernel-irqchip=split", append="intel_iommu=on",
                       port="ioh3420",  # the link of a pcie-root-port does not come back after a bus reset
                       args=("-device", "intel-iommu,intremap=on,caching-mode=on"))
    devices = must(guest, "cd /sys/bus/pci/drivers/nvme && echo 0000*; cd /").split()
    require(len(devices) == 2, f"the guest has {devices}")
    for device in devices:
        must(guest, f"echo vfio-pci > /sys/bus/pci/devices/{device}/driver_override; "
                    f"echo {device} > /sys/bus/pci/drivers/nvme/unbind; echo {device} > /sys/bus/pci/drivers_probe; "
                    f"[ -e /sys/bus/pci/drivers/vfio-pci/{device} ]")
    name = os.path.basename(RULES)
    # What is about the device; how memory is mapped is the guest's kernel's own.
    sections = "A.1,A.3,A.4,A.5,A.6,A.7,A.8,A.10,D.1,F"
    must(guest, f"{name} --device {devices[0]} --other {devices[1]} --section {sections} --as 6.12 >/tmp/lines 2>&1; true")
    text = must(guest, "grep -vE '\\[(PASS|SKIP)' /tmp/lines | head -60")
    # QEMU's IOMMU cannot enforce snooping for a vfio-user device, so the guest's kernel does not offer it.
    wrong = [line for line in text.split("\n") if "FAIL" in line and "A.1/extension/dma-cc" not in line]
    passed = re.search(r"(\d+) passed, \d+ failed", text)
    require(not wrong and passed and int(passed.group(1)) > 450, text)
    guest.power_off()
    bench.alive()


def virtual_functions(bench):
    """Linux drives two VFs of one controller, each with an image of its own, and resets one of them."""
    image, other = bench.disk("one.img"), bench.disk("two.img")
    bench.serve_devices(f"nvme,file={image},attach=vf0,ns=file={other}:attach=vf1,vfs=2,numvfs=2,driver=nvme,"
                        f"socket={bench.path('pf.sock')},vf-sockets={bench.path('vf%u.sock')}")
    guest = bench.boot("vf0", "vf1")
    # One subsystem: how its disks are called depends on who was first.
    disks = must(guest, "n=0; while [ $(ls /sys/block | grep -c '^nvme.*n[0-9]*$') -lt 2 ] && [ $n -lt 600 ]; do "
                        "usleep 50000; n=$((n+1)); done; ls /sys/block | grep '^nvme[0-9]*n[0-9]*$'").split()
    require(len(disks) == 2, f"the guest has {disks}")
    for disk in disks:
        must(guest, MAKE.format(disk))
        must(guest, WRITE.format(disk))
    identify = must(guest, "cat /sys/class/nvme/nvme*/cntlid /sys/class/nvme/nvme*/subsysnqn").split()
    require(sorted(identify[:2]) == ["1", "2"], identify)
    require(identify[2] == identify[3], "two subsystems")
    must(guest, LOAD.format(disks[0]))
    for _ in range(3):
        must(guest, "echo 1 > /sys/class/nvme/nvme1/device/reset")
        must(guest, "dd if=/dev/{} of=/dev/null bs=64k count=16 2>/dev/null".format(disks[0]))
    for disk in disks:
        must(guest, VERIFY.format(disk))
    guest.power_off()
    bench.alive()
    bench.clean("one")
    bench.clean("two")


CASES = [
    partition_format_write_and_read_back_after_reboot,
    memory_that_is_not_shared,
    two_devices,
    hot_plug_and_unplug_under_io,
    reset_of_the_guest_under_io,
    qemu_killed_under_io,
    behind_an_iommu_with_vfio_pci_in_the_guest,
    virtual_functions,
]


sys.exit(run_cases(CASES, sys.argv[4:], UVFIO))
