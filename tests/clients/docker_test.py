#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""`uvfio run` in Docker's own containers, with its default profile.

Usage: docker_test.py UVFIO EXAMPLE RULES COMPARE_RULES.  As root; skipped where there is no dockerd
(package docker.io).  A daemon of the test's own is started: no network, all its files in a folder
that goes again.  The image is empty; the containers get this machine's /usr and /etc.
"""
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "support"))
from containers import drive, drives, finish, images, is_root, point, with_mounts  # noqa: E402

UVFIO, EXAMPLE, RULES, COMPARE = (os.path.realpath(a) for a in sys.argv[1:5])
DRIVE = drive(UVFIO, EXAMPLE)
MOUNTS = with_mounts(DRIVE)
SOURCE = os.path.dirname(os.path.dirname(COMPARE))
BUILD = os.path.dirname(UVFIO)


def image():
    """An empty root, in a machine with a merged /usr."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name in ("usr", "etc", "dev", "proc", "sys", "tmp", "run", "var"):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        for name in ("bin", "lib", "lib64", "sbin"):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.SYMTYPE
            entry.linkname = f"usr/{name}"
            tar.addfile(entry)
    return data.getvalue()


class Daemon:
    def __init__(self, folder):
        self.host = f"unix://{folder}/socket"
        with open(f"{folder}/daemon.json", "w", encoding="utf-8") as f:
            f.write("{}")
        self.process = subprocess.Popen(
            ["dockerd", "--config-file", f"{folder}/daemon.json", "--storage-driver", "vfs",
             "--bridge", "none", "--iptables=false", "--ip6tables=false", "--data-root",
             f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid",
             "--host", self.host], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def wait(self):
        """True when it listens; else what it said."""
        said = ""
        for line in self.process.stdout:
            said += line
            if "API listen on" in line:
                # What it goes on to say must not fill the pipe.
                threading.Thread(target=self.process.stdout.read, daemon=True).start()
                return True, said
        return False, said

    def docker(self, *args, data=None):
        done = subprocess.run(["docker", "--host", self.host, *args], input=data,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
                              check=False)
        return done.returncode, done.stdout.decode(errors="replace")

    def run(self, options, command):
        volumes = []
        for folder in ("/usr", "/etc", SOURCE, BUILD):
            volumes += ["--volume", f"{folder}:{folder}:ro"]
        return self.docker("run", "--rm", "--network", "none", *volumes, *options, "uvfio-test",
                           *command)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def tests(daemon):
    run = daemon.run
    point(daemon.docker("import", "-", "uvfio-test", data=image())[0] == 0, "an image")
    status, output = run([], [UVFIO, "doctor"])
    point(status == 0 and "note  namespaces" in output, "doctor", output)
    for user in ("0", "65534"):
        options = ["--user", user]
        drives(f"user {user}", run(options, DRIVE))
        if shutil.which("qemu-img"):
            for mmio in ("exact", "polled"):
                status, output = run(options, images(UVFIO, mmio))
                point(status == 0 and output.endswith("same\n"),
                      f"user {user}: qemu-img, --mmio {mmio}", output)
        status, output = run(options, MOUNTS)
        point(status == 125 and "cannot make a user and a mount namespace" in output,
              f"user {user}: --sandbox mounts is refused", output)
    drives("--cap-drop ALL", run(["--cap-drop", "ALL"], DRIVE))
    drives("--read-only", run(["--read-only"], DRIVE))
    drives("--read-only, only /tmp can be written",
           run(["--read-only", "--tmpfs", "/tmp", "--volume", "/usr:/dev/shm:ro"], DRIVE))
    status, output = run(["--read-only", "--volume", "/usr:/dev/shm:ro"], DRIVE)
    point(status == 125 and "must be writable" in output, "nothing can be written: refused", output)
    drives("--cap-add SYS_ADMIN --cap-add SYS_PTRACE",
           run(["--cap-add", "SYS_ADMIN", "--cap-add", "SYS_PTRACE", "--security-opt",
                "apparmor=unconfined"], MOUNTS))
    drives("--security-opt seccomp=unconfined", run(["--security-opt", "seccomp=unconfined"],
                                                    DRIVE))
    status, output = run([], [COMPARE, "--uvfio", UVFIO, "--rules", RULES,
                              "--may-skip", "sysfs cannot be written"])
    point(status == 0 and "not ok" not in output, "the rules",
          "".join(l + "\n" for l in output.splitlines() if not l.startswith("ok")))


def main():
    if not is_root():
        return 0
    for program in ("dockerd", "docker"):
        if not shutil.which(program):
            print(f"1..0 # SKIP {program} is missing (package docker.io)")
            return 0
    if not os.path.islink("/bin"):
        print("1..0 # SKIP this machine's /usr is not merged")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(folder)
        try:
            listens, said = daemon.wait()
            if not listens:
                print("1..0 # SKIP dockerd does not start here:", said.strip().splitlines()[-1:])
                return 0
            tests(daemon)
        finally:
            daemon.stop()
    return finish()


sys.exit(main())
