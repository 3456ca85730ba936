#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Two NVMe controllers in a Linux guest: peer-to-peer DMA, for which QEMU maps the BARs of each for the other; vIOMMU.

Usage: guest_p2p.py UVFIO PROGRAM [CASE ...]          TAP; PROGRAM is guest_p2p, linked statically
Linux's nvme driver puts its submission queues into the controller memory buffers and offers the rest to peers (p2pmem).
What is read from one disk goes into the buffer of the other controller, and what is written comes from there.  What
cannot be fetched makes the whole test a skip, by name.
"""
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from guest import WAIT, must, require, run_cases, vfio_user  # noqa: E402

UVFIO, PROGRAM = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])
KERNEL = ("trixie-backports", "amd64")  # the others have no peer-to-peer DMA
MODULES = ("nvme-keyring", "nvme-auth", "nvme-core", "nvme")
DEVICE = "nvme,memory=16M,cmb=8M"
# An IOMMU that the guest's kernel uses for everything, page by page, and that says each map and unmap at once.
IOMMU = {"machine": "q35,kernel-irqchip=split", "append": "intel_iommu=on iommu.strict=1 iommu.passthrough=0"}
IOMMU_ARGS = ("-device", "intel-iommu,intremap=on,caching-mode=on")


def switch(device):
    """A PCIe switch, within which Linux allows DMA between devices; device(n) is QEMU's of port n."""
    args = ["-device", "pcie-root-port,id=top,slot=20,chassis=20", "-device", "x3130-upstream,id=up,bus=top"]
    for n in range(2):
        args += ["-device", f"xio3130-downstream,id=down{n},bus=up,chassis={30 + n},slot={30 + n}",
                 "-device", device(n)]
    return args


def wrap(bench, mmio):
    """QEMU under `uvfio run`, with a trace."""
    wrapper = bench.path("qemu")
    command = f"'{UVFIO}' run --trace '{bench.path('trace')}'" + f" --device {DEVICE},mmio={mmio}" * 2
    with open(wrapper, "w") as f:
        f.write(f"#!/bin/sh\nexec {command} -- '{bench.qemu}' \"$@\"\n")
    os.chmod(wrapper, 0o755)
    bench.qemu = wrapper


def boot(bench, device, args=(), **options):
    return bench.boot(modules=MODULES, files=(PROGRAM,), args=args, args_after=switch(device), **options)


def disks(guest):
    """The controllers' folders in /sys, each with the disks of the other and of its own."""
    for n in range(2):
        must(guest, WAIT.format(f"/dev/nvme{n}n1"))
    folders = [must(guest, f"readlink -f /sys/class/nvme/nvme{n}/device") for n in range(2)]
    return [(folders[n], f"/dev/nvme{1 - n}n1", f"/dev/nvme{n}n1") for n in range(2)]


def peers_work(guest):
    complaints = "dmesg | grep -iE 'nvme.*(timeout|error|abort|reset|fail)|DMAR.*fault'; true"
    for folder, other, own in disks(guest):
        require(int(must(guest, f"cat {folder}/p2pmem/published")) == 1, "the buffer is not offered to peers")
        size, available = (int(must(guest, f"cat {folder}/p2pmem/{name}")) for name in ("size", "available"))
        require(available < size, "no submission queue is in the buffer")
        must(guest, f"guest_p2p {folder}/p2pmem/allocate {other}")
        must(guest, f"guest_p2p {folder}/p2pmem/allocate {other} 4096")
        must(guest, f"guest_p2p {folder}/p2pmem/allocate {own}")
    require(not must(guest, complaints), must(guest, complaints))


def end(bench, guest):
    require(guest.power_off() == 0, "QEMU: " + guest.errors())
    said = guest.errors()
    require(not re.search("p2p|peer-to-peer|dma_map", said.lower()), "QEMU could not map a BAR: " + said)


def vfio_user_devices(bench, **options):
    bench.serve_devices(*(f"{DEVICE},socket={bench.path(name)}.sock" for name in ("one", "two")))
    return boot(bench, lambda n: json.dumps(vfio_user(bench.path(("one", "two")[n] + ".sock"), bus=f"down{n}")),
                **options)


def vfio_pci(bench, mmio="exact", iommufd=False, args=(), **options):
    wrap(bench, mmio)
    suffix = ",iommufd=iommufd0" if iommufd else ""
    if iommufd:
        args = ("-object", "iommufd,id=iommufd0", *args)
    return boot(bench, lambda n: f"vfio-pci,host=0000:{n + 1:02x}:00.0,bus=down{n}{suffix}", args, shared=False,
                **options)


def traced(bench, pattern):
    with open(bench.path("trace")) as f:
        return len(re.findall(pattern, f.read()))


def by_vfio_user(bench):
    guest = vfio_user_devices(bench)
    peers_work(guest)
    end(bench, guest)
    bench.alive()


def by_a_container(bench):
    guest = vfio_pci(bench)
    peers_work(guest)
    end(bench, guest)


def by_an_iommufd(bench):
    guest = vfio_pci(bench, iommufd=True)
    peers_work(guest)
    end(bench, guest)
    require(traced(bench, "IOMMU_IOAS_MAP_FILE .* = 0") > 0, "QEMU has not mapped a BAR as a dma-buf")
    require(not traced(bench, "IOMMU_IOAS_MAP[A-Z_]* .* = -14"), "QEMU could not map a BAR")


def behind_an_iommu(bench, maps, **how):
    """Page by page, by the thousand."""
    guest = vfio_pci(bench, args=IOMMU_ARGS, **IOMMU, **how)
    disks(guest)
    must(guest, "dd if=/dev/urandom of=/dev/nvme0n1 bs=64k count=128 conv=fsync 2>/dev/null && "
                "dd if=/dev/nvme0n1 of=/dev/nvme1n1 bs=64k count=128 conv=fsync 2>/dev/null && "
                "echo 3 >/proc/sys/vm/drop_caches && cmp -n 8388608 /dev/nvme0n1 /dev/nvme1n1")
    complaints = must(guest, "dmesg | grep -iE 'nvme.*(timeout|error|abort|reset|fail)|DMAR.*fault'; true")
    require(not complaints, complaints)
    require(guest.power_off() == 0, "QEMU: " + guest.errors())
    # 4096 pages were read or written by devices, each mapped for its own.
    require(traced(bench, maps + " .* = 0") > 4096, f"{traced(bench, maps + ' .* = 0')} {maps}")


def behind_an_iommu_with_a_container(bench):
    behind_an_iommu(bench, "IOMMU_MAP_DMA")


def behind_an_iommu_with_an_iommufd(bench):
    behind_an_iommu(bench, "IOMMU_IOAS_MAP", iommufd=True)


CASES = [
    by_vfio_user,
    by_a_container,
    by_an_iommufd,
    behind_an_iommu_with_a_container,
    behind_an_iommu_with_an_iommufd,
]


sys.exit(run_cases(CASES, sys.argv[3:], UVFIO, KERNEL))
