#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What is in the trees of /sys that are the run's.

tree.py print DEVICE…        a line a file: its name, kind, mode and contents, or where a link leads
tree.py compare PLAIN LIVE   such lines of a run without FUSE and of one with it: what differs
                             otherwise than docs/sysfs.md says ("As plain files")
"""
import os
import re
import sys

TREES = ["bus/pci/drivers/vfio-pci", "bus/pci/drivers/uio_pci_generic", "class/uio", "module/vfio",
         "module/vfio_pci", "module/vfio_iommu_type1", "module/uio", "module/uio_pci_generic"]
# What cannot be had from a plain file, by its last name; so is what has no permission to read.
MISSING = re.compile(r"resource[0-5](_wc)?|rom|autosuspend_delay_ms|runtime_status")


def contents(path):
    try:
        with open(path, "rb") as file:
            return file.read().hex()
    except OSError as error:
        return error.strerror


def show(path):
    if os.path.islink(path):
        # The functions are elsewhere, and links to them lead there.
        real = os.path.realpath(path).replace("/sys/devices/uvfio/", "/sys/bus/pci/devices/")
        print(path, "link", "777", real + ("" if os.path.exists(path) else " (nothing)"))
        return
    mode = f"{os.stat(path).st_mode & 0o777:o}"
    if not os.path.isdir(path):
        print(path, "file", mode, contents(path) if not MISSING.fullmatch(os.path.basename(path)) else "")
        return
    print(path, "directory", mode, "")
    for name in sorted(os.listdir(path)):
        show(os.path.join(path, name))


def print_all(devices):
    os.chdir("/sys")
    for path in [f"bus/pci/devices/{name}/." for name in devices] + TREES:
        if os.path.exists(path):
            show(path)
    groups = {os.path.basename(os.path.realpath(f"bus/pci/devices/{name}/iommu_group")) for name in devices}
    for path in sorted(f"kernel/iommu_groups/{group}" for group in groups):
        show(path)
    slots = {str(int(name[:4], 16) << 8 | int(name[5:7], 16)) for name in devices}
    for path in sorted(f"bus/pci/slots/{slot}" for slot in slots):
        if os.path.exists(path):
            show(path)


def read(name):
    with open(name, encoding="ascii") as file:
        lines = [line.rstrip("\n").split(" ", 3) for line in file]
    return {path: (kind, int(mode, 8), value) for path, kind, mode, value in lines}


def as_plain(path, entry):
    """The plain file that there should be for what is in the live tree, or None."""
    kind, mode, value = entry
    name = os.path.basename(path)
    if kind != "file" or name == "config":
        return entry
    return (kind, mode & 0o444, value) if mode & 0o444 and not MISSING.fullmatch(name) else None


def compare(plain, live):
    plain, live = read(plain), read(live)
    bad = 0
    for path in sorted(plain.keys() | live.keys()):
        want = as_plain(path, live[path]) if path in live else None
        if plain.get(path) != want:
            bad += 1
            print(f"{path}: {plain.get(path)}, but live {live.get(path)}")
    files = sum(kind == "file" for kind, _, _ in plain.values())
    print(f"{files} files, {len(live) - len(plain)} more in the live tree, {bad} differences")
    return bad > 0 or files < 50


if __name__ == "__main__":
    if sys.argv[1] == "print":
        print_all(sys.argv[2:])
    else:
        sys.exit(compare(*sys.argv[2:]))
