#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""`uvfio run` in containers: crun with a container engine's capabilities, mounts and system call
profile; bubblewrap; unshare; chroot.  What the README says of them is what passes here.

Usage: container_test.py UVFIO EXAMPLE.  As root; skips what is not installed.

The profiles: `engine` is the file that Debian's containers-common installs (Podman's default).
`docker` forbids what Docker's default profiles forbid of what matters to us: namespaces and mounts
without SYS_ADMIN; pidfd_getfd, kcmp and (until version 20.10) process_vm_readv without SYS_PTRACE; and
io_uring and userfaultfd always.  `ubuntu` permits namespaces and no mounts in them, as AppArmor does
to an ordinary user of Ubuntu 24.04.  docker_test.py has Docker itself.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "support"))
from containers import drive, drives, finish, images, is_root, point, skip, with_mounts  # noqa: E402

UVFIO, EXAMPLE = (os.path.realpath(a) for a in sys.argv[1:3])
DRIVE = drive(UVFIO, EXAMPLE)
MOUNTS = with_mounts(DRIVE)
PROFILE = "/usr/share/containers/seccomp.json"
CAPS = ("CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP "
        "NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE").split()
ARCHES = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]


def engine_profile(caps):
    """The template for an engine, as the engine would fill it in."""
    with open(PROFILE, encoding="utf-8") as f:
        source = json.load(f)
    calls = []
    for rule in source["syscalls"]:
        needs, bars = rule.get("includes") or {}, rule.get("excludes") or {}
        if "amd64" not in needs.get("arches", ["amd64"]) or "amd64" in bars.get("arches", []):
            continue
        if not set(needs.get("caps", [])) <= set(caps) or set(bars.get("caps", [])) & set(caps):
            continue
        calls.append({k: rule[k] for k in ("names", "action", "args", "errnoRet") if rule.get(k)})
    profile = {"defaultAction": source["defaultAction"], "architectures": ARCHES, "syscalls": calls}
    if "defaultErrnoRet" in source:
        profile["defaultErrnoRet"] = source["defaultErrnoRet"]
    return profile


def docker_profile(caps):
    denied = ["io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd"]
    calls = []
    if "CAP_SYS_PTRACE" not in caps:
        denied += ["kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv",
                   "process_vm_writev"]
    if "CAP_SYS_ADMIN" not in caps:
        denied += ["unshare", "setns", "mount", "umount2", "open_tree", "move_mount", "fsopen",
                   "fsconfig", "fsmount", "fspick", "mount_setattr", "bpf", "perf_event_open"]
        calls.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38})
        for bit in (25, 26, 27, 28, 29, 30, 17):  # CLONE_NEW...
            calls.append({"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                          "args": [{"index": 0, "value": 1 << bit, "valueTwo": 1 << bit,
                                    "op": "SCMP_CMP_MASKED_EQ"}]})
    calls.append({"names": denied, "action": "SCMP_ACT_ERRNO", "errnoRet": 1})
    return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ARCHES, "syscalls": calls}


def ubuntu_profile(_):
    denied = ["mount", "umount2", "open_tree", "move_mount", "fsopen", "fsmount", "mount_setattr"]
    return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ARCHES,
            "syscalls": [{"names": denied, "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}


def configuration(user, more_caps, profile, command):
    caps = ["CAP_" + c for c in CAPS + more_caps]
    held = caps if user == 0 else []
    linux = {"namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount")],
             "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list",
                             "/proc/scsi", "/sys/firmware"],
             "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                               "/proc/sysrq-trigger"]}
    if profile:
        linux["seccomp"] = profile(caps)
    return {
        "ociVersion": "1.0.2",
        "process": {"terminal": False, "user": {"uid": user, "gid": user}, "args": command,
                    "cwd": "/", "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
                    "capabilities": {"bounding": caps, "effective": held, "permitted": held,
                                     "inheritable": []}},
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]}],
        "linux": linux}


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=120, check=False)
    return done.returncode, done.stdout


def in_root(folder, script):
    """Run @script with @folder bound to the whole tree, in a mount namespace of its own."""
    return run(["unshare", "-m", "sh", "-ec", f"mount --rbind / '{folder}'; {script}"])


def in_container(folder, user, more_caps, profile, command):
    with open(f"{folder}/config.json", "w", encoding="utf-8") as f:
        json.dump(configuration(user, more_caps, profile, command), f)
    return in_root(f"{folder}/rootfs", "umount -R -l /sys/fs/cgroup 2>/dev/null || true; "
                   "mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null || true; "
                   "exec crun --cgroup-manager=disabled run -b "
                   f"'{folder}' uvfio-test-{os.getpid()}")


def looks():
    """A command that looks at the device in every way that a shell has."""
    script = """cd /; d=/sys/bus/pci/devices/0000:01:00.0
        cat $d/vendor; basename "$(readlink -f $d/driver)"
        [ -d $d ] && [ -r $d/config ] && [ ! -e $d/nothing ] && [ -L $d/iommu_group ] && [ -w /dev/vfio/vfio ] &&
            [ "$(ls $d/iommu_group/devices)" = 0000:01:00.0 ] && [ "$(find /sys/bus/pci/devices -name 0000:01:00.0)" = $d ] &&
            ls -lR $d/ >/dev/null && ls /sys/bus/pci/devices | grep -q 0000:01:00.0 && echo same
        cd $d && /bin/pwd && cat vendor
        echo 1 2>/dev/null >$d/made-here || echo no"""
    return [*DRIVE[:4], "--", "sh", "-c", script]


def containers(folder):
    os.mkdir(f"{folder}/rootfs")
    status, output = in_container(folder, 0, [], None, ["echo", "hello"])
    if status or output != "hello\n":
        skip("containers", f"crun cannot start one here: {output.strip()}")
        return
    engine = engine_profile if os.path.exists(PROFILE) else None
    for user in (0, 65534):
        who = "root" if user == 0 else "user 65534"
        if engine:
            drives(f"Podman's default profile, {who}",
                   in_container(folder, user, [], engine, DRIVE))
        else:
            skip(f"Podman's default profile, {who}", f"no {PROFILE}")
        drives(f"seccomp=unconfined, {who}", in_container(folder, user, [], None, DRIVE))
        drives(f"Docker's rules, SYS_ADMIN and SYS_PTRACE, {who}",
               in_container(folder, user, ["SYS_ADMIN", "SYS_PTRACE"], docker_profile, DRIVE))
        if shutil.which("qemu-img"):
            for mmio in ("exact", "polled"):
                status, output = in_container(folder, user, [], docker_profile, images(UVFIO, mmio))
                point(status == 0 and output.endswith("same\n"),
                      f"Docker's rules alone, qemu-img, --mmio {mmio}, {who}", output)
        else:
            skip("qemu-img", "qemu-img is missing (package qemu-utils)")
        drives(f"Docker's rules alone, {who}",
               in_container(folder, user, [], docker_profile, DRIVE))
        status, output = in_container(folder, user, [], docker_profile, looks())
        point(status == 0 and output == "0x1234\nvfio-pci\nsame\n/sys/bus/pci/devices/0000:01:00.0\n"
              "0x1234\nno\n",
              f"Docker's rules alone, what a shell finds, {who}", output)
        drives(f"namespaces without mounts, {who}",
               in_container(folder, user, [], ubuntu_profile, DRIVE))
        status, output = in_container(folder, user, [], docker_profile, MOUNTS)
        point(status == 125 and "cannot make a user and a mount namespace" in output
              and "--cap-add SYS_ADMIN --cap-add SYS_PTRACE" in output,
              f"Docker's rules, --sandbox mounts, {who}: refused, with the remedy", output)
        status, output = in_container(folder, user, [], ubuntu_profile, MOUNTS)
        point(status == 125 and "slaves of the mounts" in output,
              f"namespaces without mounts, --sandbox mounts, {who}: refused", output)
    status, output = in_container(folder, 0, [], docker_profile, [UVFIO, "doctor"])
    point(status == 0 and "unshare(CLONE_NEWUSER | CLONE_NEWNS): Operation not permitted" in output
          and "--cap-add SYS_ADMIN --cap-add SYS_PTRACE" in output
          and "pidfd_getfd of a child: Operation not permitted" in output,
          "doctor says that it works, and what it lacks", output)


def main():
    if not is_root():
        return 0
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        if run([*nobody, UVFIO, "--version"])[0]:
            print("1..0 # SKIP an ordinary user cannot run", UVFIO)
            return 0
        if shutil.which("crun"):
            containers(folder)
        else:
            skip("containers", "crun is missing (package crun)")
        if shutil.which("bwrap"):
            bwrap = ["bwrap", "--dev-bind", "/", "/", "--proc", "/proc", "--unshare-pid"]
            drives("bubblewrap, root", run([*bwrap, *DRIVE]))
            drives("bubblewrap, ordinary user", run([*nobody, *bwrap, "--unshare-user", *DRIVE]))
        else:
            skip("bubblewrap", "bwrap is missing (package bubblewrap)")
        drives("unshare, ordinary user", run([*nobody, "unshare", "-Urmpf", "--mount-proc", *DRIVE]))
        os.mkdir(f"{folder}/root")
        drives("chroot to the root of a mount", in_root(f"{folder}/root",
               f"chroot '{folder}/root' " + " ".join(DRIVE)))
        os.mkdir(f"{folder}/plain")
        plain = (f"for d in bin lib lib64 usr etc dev proc sys tmp '{os.path.dirname(UVFIO)}'; do "
                 f"[ -e /$d ] || continue; mkdir -p '{folder}/plain'/$d; "
                 f"mount --rbind /$d '{folder}/plain'/$d; done; chroot '{folder}/plain' ")
        drives("chroot to a plain directory", in_root(f"{folder}/root", plain + " ".join(DRIVE)))
        status, output = in_root(f"{folder}/root", plain + " ".join(MOUNTS))
        point(status == 125 and "mount --rbind" in output,
              "chroot to a plain directory, --sandbox mounts: refused, with the remedy",
              f"{status}\n{output}")
    return finish()


sys.exit(main())
