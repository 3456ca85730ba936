#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A Linux guest that writes to an NVMe controller and is moved, live, by QEMU's own migration over TCP (E.3).

Usage: live_migration.py UVFIO PROGRAM [CASE ...]     TAP; PROGRAM is live_guest, linked statically
The device is vfio-pci with enable-migration=on, under `uvfio run`: source and target are two runs in two network
namespaces, which have nothing in common but a wire and the image.  The guest's writers check what they read; when it has
ended, the host looks for all that was acknowledged to them.  One controller has no P2P states; two have them, and all that
is written to the disk of one comes from the memory of the other, and is read back to there.  With the argument 7.2 it is
Debian 12's QEMU, over the migration region (E.1).  UVFIO_MOVES=N: so many moves each, by default 3.  What cannot be fetched
makes the whole test a skip, by name.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from guest import Guest, GuestError, MIB, TIMEOUT, TOP, WAIT, fetch_guest, initramfs, must, require  # noqa: E402
from guest import attempt, Bench, Failure  # noqa: E402

UVFIO, PROGRAM = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])
MODULES = ("nvme-keyring", "nvme-auth", "nvme-core", "nvme")
MOVES = int(os.environ.get("UVFIO_MOVES", "3"))
WRITERS = 4
PORT = 4444
REGION = "7.2"  # the last QEMU with the migration region (E.1)


class Namespaces:
    """Two network namespaces and a wire between them."""

    def __init__(self):
        self.names = [f"uvfio-{os.getpid()}-{n}" for n in range(2)]
        self.addresses = ["192.0.2.1", "192.0.2.2"]

    def __enter__(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        subprocess.run(["ip", "-n", self.names[0], "link", "add", "wire", "type", "veth", "peer", "name", "wire",
                        "netns", self.names[1]], check=True)
        for name, address in zip(self.names, self.addresses):
            subprocess.run(["ip", "-n", name, "address", "add", address + "/24", "dev", "wire"], check=True)
            for device in ("wire", "lo"):
                subprocess.run(["ip", "-n", name, "link", "set", device, "up"], check=True)
        return self

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)


def switch(ports):
    """A PCIe switch, within which Linux allows DMA between devices."""
    args = ["-device", "pcie-root-port,id=top,slot=20,chassis=20", "-device", "x3130-upstream,id=up,bus=top"]
    for n in range(ports):
        args += ["-device", f"xio3130-downstream,id=down{n},bus=up,chassis={30 + n},slot={30 + n}"]
    return args


def launch(bench, initrd, specs, options, more, prefix=()):
    """QEMU under `uvfio run` with these devices."""
    folder = tempfile.mkdtemp(dir=bench.folder)
    wrapper, control = (os.path.join(folder, name) for name in ("qemu", "control"))
    command = [*prefix, UVFIO, "run", "--control", control]
    args = switch(len(specs))
    for n, spec in enumerate(specs):
        command += ["--device", spec]
        args += ["-device", f"vfio-pci,host=0000:{n + 1:02x}:00.0,bus=down{n},id=dev{n}{options}"]
    with open(wrapper, "w") as f:
        f.write("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in command) + f" -- '{bench.qemu}' \"$@\"\n")
    os.chmod(wrapper, 0o755)
    guest = Guest(wrapper, bench.kernel, initrd, folder, args + more, memory="256M", shared=False)
    guest.control = control
    bench.guests.append(guest)
    return guest


class Moving:
    """A guest that is on one of the two sides, and the images of its disks."""

    def __init__(self, bench, namespaces, devices):
        self.bench, self.namespaces, self.devices = bench, namespaces, devices
        self.side, self.count = 0, 0
        self.initrd = initramfs(bench.folder, bench.kernel, MODULES, (PROGRAM,))
        self.guest = self.start(0, False)
        self.guest.ready()

    def start(self, side, incoming):
        """QEMU on a side, for a guest that boots or one that comes."""
        self.count += 1
        guest = launch(self.bench, self.initrd, [spec + (",incoming=yes" if incoming else "") for spec in self.devices],
                       f",{self.bench.enable}=on", ["-incoming", "defer"] if incoming else [],
                       ["ip", "netns", "exec", self.namespaces.names[side]])
        guest.qmp("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        guest.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 30, "downtime-limit": 2000})
        return guest

    def move(self, cancel=False):
        """To the other side; or begin with it, and give it up."""
        source, other = self.guest, 1 - self.side
        target = self.start(other, True)
        uri = f"tcp:{self.namespaces.addresses[other]}:{PORT}"
        target.qmp("migrate-incoming", uri=uri)
        if cancel:
            source.qmp("migrate-set-parameters", **{"max-bandwidth": 1 * MIB})
        source.qmp("migrate", uri=uri)
        source.await_event("MIGRATION", lambda data: data["status"] == "active")
        if cancel:
            source.qmp("migrate_cancel")
            source.await_event("MIGRATION", lambda data: data["status"] == "cancelled")
            source.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 30})
            target.kill()
            return
        ended = source.await_event("MIGRATION", lambda data: data["status"] in ("completed", "failed"))
        require(ended["data"]["status"] == "completed",
                f"{source.qmp('query-migrate')}; source: {source.errors()}; target: {target.errors()}")
        target.await_event("MIGRATION", lambda data: data["status"] in ("completed", "failed"))
        info = source.qmp("query-migrate")
        print(f"# downtime {info.get('downtime')} ms, {info.get('vfio', {}).get('transferred')} bytes of devices, "
              f"{info['ram']['transferred']} of memory")
        faultless(source, paused=True)
        source.kill()
        self.guest, self.side = target, other

    def progress(self):
        said = must(self.guest, f"cat /tmp/disk*/[0-{WRITERS - 1}]")
        require(all(word.isdigit() for word in said.split()), "the guest complains: " + said)
        return [int(n) for n in said.split()]

    def goes_on(self):
        """All writers get on."""
        before = self.progress()
        deadline = time.monotonic() + TIMEOUT
        while any(now <= then for now, then in zip(self.progress(), before)):
            require(time.monotonic() < deadline, f"the guest's writers do not get on: {before}; "
                    + must(self.guest, "dmesg | tail -20"))


def faultless(guest, paused=False):
    """No transfer of a device was refused, and QEMU could map everything.  A device that is to be quiet has 100 ms for what
    is under way; on a busy machine what comes later is refused, and is done at the target."""
    found = subprocess.run([UVFIO, "faults", "--json", "--control", guest.control], capture_output=True, text=True)
    require(found.returncode == 0, found.stderr)
    faults = [device for machine in json.loads(found.stdout)["machines"] for device in machine["devices"]]
    require(faults and all(device["total"] == len(device["faults"]) for device in faults), found.stdout)
    late = ("quiet",) if paused else ()
    require(all(fault["reason"] in late for device in faults for fault in device["faults"]), found.stdout)
    said = guest.errors()
    require(not re.search("map_dma|dma_map|bad address", said.lower()), "QEMU could not map a BAR: " + said)


def image(bench, name):
    path = bench.path(name)
    with open(path, "wb") as f:
        f.truncate(32 * MIB)
    return path


def moves(bench, keys, nr_devices=1):
    images = [image(bench, f"disk{n}") for n in range(nr_devices)]
    with Namespaces() as namespaces:
        m = Moving(bench, namespaces, [f"nvme,file={path}{bench.keys}{keys}" for path in images])
        for n in range(nr_devices):
            must(m.guest, WAIT.format(f"/dev/nvme{n}n1"))
        # Linux numbers them as they become ready; those of the devices in their order:
        places = [must(m.guest, f"readlink -f /sys/class/nvme/nvme{n}/device") for n in range(nr_devices)]
        for n, disk in enumerate(sorted(range(nr_devices), key=lambda disk: places[disk])):
            other = f"{places[1 - disk]}/p2pmem/allocate" if nr_devices == 2 else ""
            must(m.guest, f"mkdir /tmp/disk{n}; "
                 f"live_guest /dev/nvme{disk}n1 {WRITERS} /tmp/disk{n} {other} >/tmp/log{n} 2>&1 &")
        for n in range(nr_devices):
            for w in range(WRITERS):
                must(m.guest, WAIT.format(f"/tmp/disk{n}/{w}"))
        cancelled = 0
        for n in range(MOVES):
            if n % 5 == 1:
                m.move(cancel=True)
                cancelled += 1
                m.goes_on()
            m.move()
            m.goes_on()
        must(m.guest, "killall -TERM live_guest; wait; true")
        logs = must(m.guest, "cat /tmp/log*")
        require(not logs, logs)
        complaints = must(m.guest, "dmesg | grep -iE 'nvme.*(timeout|error|abort|reset|fail)'; true")
        require(not complaints, complaints)
        counts = m.progress()
        faultless(m.guest)
        print(f"# QEMU {bench.version}, {nr_devices} devices: moved {MOVES} times, given up {cancelled} times")
        require(m.guest.power_off() == 0, "QEMU: " + m.guest.errors())
    for n, path in enumerate(images):
        own = counts[n * WRITERS:(n + 1) * WRITERS]
        found = subprocess.run([PROGRAM, "--judge", path, *map(str, own)], capture_output=True, text=True)
        print(found.stdout, end="")
        require(found.returncode == 0, "what was acknowledged is not all in the image: " + found.stdout)


def one_controller(bench):
    """Which cannot be quiet and answer: it goes from RUNNING to STOP."""
    moves(bench, "" if bench.keys else ",migration-can=pre-copy")


def two_controllers(bench):
    """Which both have to do P2P: QEMU migrates several devices only then."""
    moves(bench, ",cmb=8M", 2)


def two_without_p2p(bench):
    """Which QEMU does not migrate, and says so: at once, or when it is to."""
    initrd = initramfs(bench.folder, bench.kernel)
    specs = ["pcitest", "pcitest,migration-can=pre-copy"]
    reason = "migration is supported only if all of them support P2P migration"
    try:
        launch(bench, initrd, specs, f",{bench.enable}=on", ["-S"])
        raise Failure("QEMU has started")
    except GuestError as e:
        require(reason in str(e), str(e))
    guest = launch(bench, initrd, specs, "", ["-S"])
    try:
        guest.qmp("migrate", uri=f"tcp:127.0.0.1:{PORT}")
        raise Failure("QEMU migrates")
    except GuestError as e:
        require(reason in str(e), str(e))
    faultless(guest)


# Each with the kernel that it needs: the smaller one has no peer-to-peer DMA.
KERNELS = {one_controller: ("trixie",), two_controllers: ("trixie-backports", "amd64"), two_without_p2p: ("trixie",)}


def bench_of(version, path, kernel):
    """A bench, and what this QEMU needs: before 8.0 it knows the region alone, and does not like it (E.1)."""
    bench = Bench(UVFIO, path, kernel)
    bench.enable = "x-enable-migration" if version == REGION else "enable-migration"
    bench.version = version
    bench.keys = ",migration=region" if version == REGION else ""
    return bench


def main(names):
    if os.getuid() != 0 or not shutil.which("ip"):
        print("1..0 # SKIP network namespaces take root, and ip (package iproute2)")
        return 0
    kernels = {}
    for suite in KERNELS.values():
        qemu, kernels[suite], why = fetch_guest(suite)
        if why:
            print(f"1..0 # SKIP {why}")
            return 0
    qemus = [("11.1", qemu)]
    found = subprocess.run([os.path.join(TOP, "scripts", "fetch-qemu"), "trixie"], capture_output=True, text=True)
    if found.returncode == 0:
        qemus.append(("10.0", os.path.join(found.stdout.strip(), "qemu-system-x86_64")))
    own = shutil.which("qemu-system-x86_64")
    if names == [REGION]:
        if not own or f"version {REGION}" not in subprocess.run([own, "--version"], capture_output=True, text=True).stdout:
            print(f"1..0 # SKIP no QEMU {REGION}, which Debian 12 has (package qemu-system-x86)")
            return 0
        qemus = [(REGION, own)]
    cases = [(version, path, case) for version, path in qemus for case in KERNELS
             if not names or case.__name__ in names or version in names]
    if names == [REGION]:
        cases = cases[:1]  # it moves no more than one device
    print(f"1..{len(cases)}")
    passed = [attempt(number, f"QEMU {version}: {case.__name__.replace('_', ' ')}",
                      bench_of(version, path, kernels[KERNELS[case]]), case)
              for number, (version, path, case) in enumerate(cases, 1)]
    return 0 if all(passed) else 1


sys.exit(main(sys.argv[3:]))
