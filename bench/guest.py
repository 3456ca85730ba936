#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""4 KiB random reads in a Linux guest: a disk served over vfio-user, and QEMU's own nvme, the limit.

Usage: guest.py UVFIO GUEST-READS [ROUNDS]
Both disks have a file of their own with the same contents in the same folder; one guest has both, and
they are read in turns.
"""
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(TOP, "tests", "support"))
from guest import Bench, must, fetch_guest, WAIT  # noqa: E402

SIZE = 256 << 20
READS = {1: 4000, 32: 20000}


def row(what, value, limit=None):
    text = f"  {what:<58} {value:10.1f} {'kIOPS':<6}"
    if limit is not None:
        text += f" >= {limit:8.1f}  {'ok' if value >= limit else 'MISSED'}"
    print(text)
    return limit is not None and value < limit


def main():
    uvfio, reads = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 7
    qemu, kernel, why = fetch_guest()
    if why:
        print(f"guest: cannot be fetched: {why}")
        return 2
    with Bench(uvfio, qemu, kernel) as bench:
        for name in ("served", "emulated"):
            path = bench.disk(name + ".img", SIZE)
            subprocess.run(["dd", "if=/dev/urandom", "of=" + path, "bs=1M", f"count={SIZE >> 20}",
                            "conv=notrunc", "status=none"], check=True)
        bench.serve("served")
        emulated = {"driver": "nvme", "serial": "emulated", "drive": "disk", "bus": "rp1"}
        guest = bench.boot("served", files=(reads,), args_after=(
            "-blockdev", json.dumps({"driver": "file", "filename": bench.path("emulated.img"), "node-name": "disk"}),
            "-device", json.dumps(emulated)))
        disks = {}
        for n in (0, 1):
            must(guest, WAIT.format(f"/dev/nvme{n}n1"))
            serial = must(guest, f"cat /sys/block/nvme{n}n1/device/serial").strip()
            disks["emulated" if serial == "emulated" else "served"] = f"/dev/nvme{n}n1"
        figures = {}
        name = os.path.basename(reads)
        for _ in range(rounds):
            for disk, device in disks.items():
                for depth, count in READS.items():
                    text = must(guest, f"{name} {device} {SIZE} {depth} {count}")
                    figures.setdefault((disk, depth), []).append(float(text.split()[-1]))
        guest.power_off()
    print(f"a guest under TCG, 4 KiB random reads of a file (medians of {rounds} alternating runs)")
    missed = False
    for depth in READS:
        limit = statistics.median(figures["emulated", depth])
        row(f"QEMU's emulated nvme, depth {depth}", limit)
        missed |= row(f"served over vfio-user, depth {depth}", statistics.median(figures["served", depth]), limit)
    return 1 if missed else 0


sys.exit(main())
