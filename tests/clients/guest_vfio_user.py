#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Linux guests under QEMU 11 with -device vfio-user-pci on disks that `uvfio serve` serves.

Usage: guest_vfio_user.py UVFIO RULES [CASE ...]          TAP; RULES is the statically linked rule program
Each case starts a server of its own.  What cannot be fetched makes the whole test a skip, by name.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.join(HERE, "..", "..")
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from guest import Guest, GuestError, initramfs, vfio_user  # noqa: E402

UVFIO, RULES = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])
MIB = 1 << 20
os.environ["PATH"] += ":/sbin:/usr/sbin"


class Failure(Exception):
    pass


def require(condition, what):
    if not condition:
        raise Failure(what)


class Bench:
    """A scratch folder, a server and guests; everything ends with it."""

    def __init__(self, qemu, kernel):
        self.qemu, self.kernel = qemu, kernel
        self.folder = tempfile.mkdtemp(prefix="uvfio-guest.")
        self.guests, self.server, self.initrd = [], None, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for guest in self.guests:
            guest.kill()
        if self.server and self.server.poll() is None:
            self.server.kill()
            self.server.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def disk(self, name, size=64 * MIB):
        with open(self.path(name), "wb") as f:
            f.truncate(size)
        return self.path(name)

    def serve(self, *names, **keys):
        """One server with an NVMe controller for each NAME.img at NAME.sock; returns when they listen."""
        extra = "".join(f",{key}={value}" for key, value in keys.items())
        command = [UVFIO, "serve"]
        for name in names:
            if not os.path.exists(self.path(name + ".img")):
                self.disk(name + ".img")
            command += ["--device", f"nvme,file={self.path(name)}.img,socket={self.path(name)}.sock{extra}"]
        # Readiness as systemd has it: a datagram with READY=1.
        import socket
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = self.path("notify")
        if os.path.exists(path):
            os.unlink(path)
        notify.bind(path)
        notify.settimeout(30)
        self.log = open(self.path("server.log"), "a")
        self.server = subprocess.Popen(command, env=dict(os.environ, NOTIFY_SOCKET=path), stderr=self.log,
                                       stdin=subprocess.DEVNULL)
        while b"READY=1" not in notify.recv(4096).split(b"\n"):
            pass
        notify.close()

    def boot(self, *devices, modules=(), files=(), **options):
        """A guest with the devices behind root ports rp0, rp1, …; two more ports are empty."""
        import json
        if not self.initrd:
            self.initrd = initramfs(self.folder, self.kernel, modules, files)
        args = list(options.pop("args", ()))
        for n in range(len(devices) + 2):
            args += ["-device", f"pcie-root-port,id=rp{n},slot={n + 1}"]
        for n, name in enumerate(devices):
            args += ["-device", json.dumps(vfio_user(self.path(name + ".sock"), bus=f"rp{n}", id=name))]
        guest = Guest(self.qemu, self.kernel, self.initrd, self.folder, args, **options)
        self.guests.append(guest)
        return guest.ready()

    def alive(self):
        require(self.server.poll() is None, "the server has ended")

    def clean(self, name):
        """The host's e2fsck on the first partition."""
        result = subprocess.run(["e2fsck", "-fn", self.path(name + ".img") + "?offset=1048576"],
                                capture_output=True, text=True)
        require(result.returncode == 0, "e2fsck: " + result.stdout + result.stderr)


def must(guest, command):
    status, text = guest.run(command)
    require(status == 0, f"{command}: {status}: {text}")
    return text


WAIT = "n=0; while [ ! -e {0} ] && [ $n -lt 600 ]; do usleep 50000; n=$((n+1)); done; [ -e {0} ]"
MAKE = ("printf 'n\\np\\n1\\n2048\\n\\nw\\n' | fdisk /dev/{0} >/dev/null; " + WAIT.format("/dev/{0}p1") +
        " && mke2fs -F /dev/{0}p1 >/dev/null")
WRITE = "mount -t ext4 /dev/{0}p1 /mnt && dd if=/dev/urandom of=/mnt/random bs=64k count=128 2>/dev/null && " \
    "cp /bin/busybox /mnt/ && (cd /mnt && md5sum random busybox >sums) && umount /mnt"
VERIFY = "mount -t ext4 /dev/{0}p1 /mnt && (cd /mnt && md5sum -c sums >/dev/null) && umount /mnt"
# Writes for ever, and says how often: the I/O under which other things happen.
LOAD = "(while dd if=/dev/urandom of=/dev/{0} bs=64k count=64 seek={1} conv=fsync 2>/dev/null; do :; done) & load=$!"


def life_of_a_disk(bench, **options):
    bench.serve("disk")
    guest = bench.boot("disk", **options)
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
    guest.power_off()
    bench.alive()


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
    bench.serve("one", "two")
    guest = bench.boot("one")
    must(guest, WAIT.format("/dev/nvme0n1"))
    for turn in range(3):
        guest.qmp("device_add", **vfio_user(bench.path("two.sock"), bus="rp1", id=f"plug{turn}"))
        must(guest, WAIT.format("/dev/nvme1n1"))
        must(guest, LOAD.format("nvme0n1", 0))
        must(guest, LOAD.format("nvme1n1", 0))
        must(guest, "dd if=/dev/nvme1n1 of=/dev/null bs=64k count=128 2>/dev/null")
        guest.qmp("device_del", id=f"plug{turn}")
        guest.await_event("DEVICE_DELETED", lambda data: data.get("device") == f"plug{turn}")
        must(guest, "n=0; while [ -e /dev/nvme1n1 ] && [ $n -lt 600 ]; do usleep 50000; n=$((n+1)); done; "
                    "[ ! -e /dev/nvme1n1 ]")
        must(guest, "killall dd sh 2>/dev/null; dd if=/dev/nvme0n1 of=/dev/null bs=64k count=16 2>/dev/null")
        bench.alive()
    guest.power_off()
    bench.alive()


def reset_of_the_guest_under_io(bench):
    bench.serve("disk")
    guest = bench.boot("disk")
    must(guest, WAIT.format("/dev/nvme0n1"))
    must(guest, MAKE.format("nvme0n1"))
    must(guest, WRITE.format("nvme0n1"))
    for _ in range(3):
        must(guest, LOAD.format("nvme0n1", 600))
        must(guest, "dd if=/dev/nvme0n1 of=/dev/null bs=64k count=64 2>/dev/null")
        guest.qmp("system_reset")
        guest.ready()
        must(guest, WAIT.format("/dev/nvme0n1p1"))
        bench.alive()
    must(guest, "dd if=/dev/nvme0n1 of=/dev/null bs=64k 2>/dev/null")
    guest.power_off()
    bench.alive()


def qemu_killed_under_io(bench):
    bench.serve("disk")
    for _ in range(3):
        guest = bench.boot("disk")
        must(guest, WAIT.format("/dev/nvme0n1"))
        must(guest, LOAD.format("nvme0n1", 0))
        must(guest, "dd if=/dev/nvme0n1 of=/dev/null bs=64k count=64 2>/dev/null")
        guest.process.send_signal(signal.SIGKILL)
        guest.process.wait()
        bench.alive()


def behind_an_iommu_with_vfio_pci_in_the_guest(bench):
    """The guest's kernel is the VFIO; the rule program drives our device through both."""
    bench.serve("one", "two")
    guest = bench.boot("one", "two", modules=("irqbypass", "vfio", "vfio_iommu_type1", "vfio-pci-core", "vfio-pci"),
                       files=(RULES,), machine="q35,kernel-irqchip=split", append="intel_iommu=on",
                       args=("-device", "intel-iommu,intremap=on,caching-mode=on"))
    devices = must(guest, "cd /sys/bus/pci/drivers/nvme && echo 0000*; cd /").split()
    require(len(devices) == 2, f"the guest has {devices}")
    for device in devices:
        must(guest, f"echo vfio-pci > /sys/bus/pci/devices/{device}/driver_override; "
                    f"echo {device} > /sys/bus/pci/drivers/nvme/unbind; echo {device} > /sys/bus/pci/drivers_probe; "
                    f"[ -e /sys/bus/pci/drivers/vfio-pci/{device} ]")
    name = os.path.basename(RULES)
    status, text = guest.run(f"{name} --device {devices[0]} --other {devices[1]} --as 6.12 >/tmp/lines 2>&1; "
                             "s=$?; grep -v ' ok' /tmp/lines | head -40; (exit $s)")
    require(status == 0, text)
    guest.power_off()
    bench.alive()


CASES = [
    partition_format_write_and_read_back_after_reboot,
    memory_that_is_not_shared,
    two_devices,
    hot_plug_and_unplug_under_io,
    reset_of_the_guest_under_io,
    qemu_killed_under_io,
    behind_an_iommu_with_vfio_pci_in_the_guest,
]


def fetch(*command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        print("1..0 # SKIP cannot be fetched: " + (result.stderr.strip().split("\n") or ["?"])[-1])
        sys.exit(0)
    return result.stdout.strip()


def main():
    for program, package in (("busybox", "busybox-static"), ("cpio", "cpio"), ("e2fsck", "e2fsprogs")):
        if not shutil.which(program):
            print(f"1..0 # SKIP {program} is missing (package {package})")
            return 0
    scripts = os.path.join(TOP, "scripts")
    qemu = os.path.join(fetch(os.path.join(scripts, "fetch-qemu")), "qemu-system-x86_64")
    kernel = fetch(os.path.join(scripts, "fetch-kernel"), "trixie")
    cases = [case for case in CASES if len(sys.argv) < 4 or case.__name__ in sys.argv[3:]]
    print(f"1..{len(cases)}")
    failed = False
    for number, case in enumerate(cases, 1):
        name = case.__name__.replace("_", " ")
        with Bench(qemu, kernel) as bench:
            try:
                case(bench)
                print(f"ok {number} - {name}")
            except (Failure, GuestError, subprocess.TimeoutExpired, OSError) as e:
                failed = True
                print(f"not ok {number} - {name}")
                lines = [str(e)] + traceback.format_exc().split("\n")[-6:]
                with open(bench.path("server.log")) as log:
                    lines += ["server: " + line for line in log.read().split("\n")[-20:]]
                for line in "\n".join(lines).split("\n"):
                    print("# " + line)
        sys.stdout.flush()
    return 1 if failed else 0


sys.exit(main())
