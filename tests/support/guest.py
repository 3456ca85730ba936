# SPDX-License-Identifier: BSD-3-Clause
"""A Linux guest in QEMU that obeys: its init is a shell on the serial port, and QMP moves its hardware.

Nothing here sleeps: a guest's answer, an event of QMP or the end of the process is awaited.
"""
import json
import os
import queue
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

TOP = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..")
MIB = 1 << 20
TIMEOUT = float(os.environ.get("UVFIO_GUEST_TIMEOUT", "240"))

os.environ["PATH"] += ":/sbin:/usr/sbin"

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
while read -r module; do
    [ ! -e "/lib/$module.ko" ] || insmod "/lib/$module.ko"
done </lib/order
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo
echo "guest: ready"
while read -r line; do
    eval "$line"
    echo "guest: status $?"
done
"""


class GuestError(Exception):
    pass


def initramfs(folder, kernel, modules=(), files=()):
    """Busybox, the named modules of the kernel (in the order of their dependencies), files for /bin."""
    root = os.path.join(folder, "root")
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "dev", "proc", "sys", "tmp", "lib", "mnt"):
        os.makedirs(os.path.join(root, name))
    shutil.copy(shutil.which("busybox"), os.path.join(root, "bin/busybox"))
    for path in files:
        shutil.copy(path, os.path.join(root, "bin"))
    with open(os.path.join(root, "lib/order"), "w") as order:
        for module in modules:
            found = subprocess.run(["find", os.path.join(kernel, "modules/"), "-name", module + ".ko*"],
                                   check=True, capture_output=True, text=True).stdout.split()
            for path in found:  # what is built in is not found, and not missed
                copy = shutil.copy(path, os.path.join(root, "lib"))
                if copy.endswith(".xz"):
                    subprocess.run(["xz", "-d", copy], check=True)
                elif copy.endswith(".zst"):
                    subprocess.run(["zstd", "-q", "-d", "--rm", copy], check=True)
            order.write(module + "\n")
    init = os.path.join(root, "init")
    with open(init, "w") as f:
        f.write(INIT)
    os.chmod(init, 0o755)
    out = os.path.join(folder, "initramfs")
    with open(out, "wb") as f:
        names = subprocess.run(["find", "."], cwd=root, check=True, capture_output=True).stdout
        subprocess.run(["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"], cwd=root, input=names,
                       stdout=f, check=True)
    return out


class Stream:
    """A connected socket, read line by line with a deadline.

    A thread takes what comes as it comes, whatever the test waits for meanwhile: a serial port that nobody reads
    makes the guest's kernel wait for each character that it prints, with its console locked, and a UNIX socket is
    full after some hundred of them."""

    def __init__(self, connected, process, errors):
        self.socket, self.process, self.errors, self.buffer = connected, process, errors, b""
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            try:
                data = self.socket.recv(65536)
            except OSError:
                data = b""
            if not data:
                self.lines.put(None)
                return
            *lines, self.buffer = (self.buffer + data).split(b"\n")
            for line in lines:
                self.lines.put(line)

    def line(self, deadline):
        try:
            line = self.lines.get(timeout=max(0.001, deadline - time.monotonic()))
        except queue.Empty:
            raise GuestError(f"no answer in time; the last of it: {self.buffer[-300:]!r}") from None
        if line is None:
            self.lines.put(None)  # for whoever asks again
            raise GuestError(f"QEMU ended ({self.process.wait()}): {self.errors()}")
        return line.decode(errors="replace").rstrip("\r")

    def send(self, text):
        self.socket.sendall(text.encode())


class Guest:
    """QEMU's process, its serial port and its QMP socket."""

    def __init__(self, qemu, kernel, initrd, folder, args=(), memory="512M", shared=True, machine="q35",
                 append="", cpus=2):
        listeners = {}
        command = [qemu, "-display", "none", "-nodefaults", "-no-user-config", "-accel", "tcg,thread=multi",
                   "-cpu", "max,-cx16", "-smp", str(cpus), "-m", memory, "-kernel", os.path.join(kernel, "vmlinuz"),
                   "-initrd", initrd, "-append",
                   "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable random.trust_cpu=on " + append]
        machine += ",smbus=off,sata=off,vmport=off,i8042=off"
        if shared:
            machine += ",memory-backend=mem0"
            command += ["-object", f"memory-backend-memfd,id=mem0,size={memory},share=on"]
        command += ["-machine", machine]
        # The sockets are ours and listen already, so that nobody must wait for QEMU to make them.
        for name in ("serial", "qmp"):
            path = os.path.join(folder, name + ".sock")
            if os.path.exists(path):
                os.unlink(path)
            listeners[name] = socket.socket(socket.AF_UNIX)
            listeners[name].bind(path)
            listeners[name].listen(1)
            command += ["-chardev", f"socket,id={name},path={path}"]
        command += ["-serial", "chardev:serial", "-mon", "chardev=qmp,mode=control"]
        self.log = open(os.path.join(folder, "qemu.log"), "a+")
        self.process = subprocess.Popen(command + list(args), stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log)
        self.console = []
        self.events = []
        try:
            self.serial = self.accept(listeners["serial"])
            self.monitor = self.accept(listeners["qmp"])
            self.monitor.line(time.monotonic() + TIMEOUT)
            self.qmp("qmp_capabilities")
        except BaseException:
            self.kill()
            raise
        finally:
            for listener in listeners.values():
                listener.close()

    def accept(self, listener):
        deadline = time.monotonic() + TIMEOUT
        while not select.select([listener], [], [], 0.1)[0]:
            if self.process.poll() is not None:
                raise GuestError("QEMU did not start: " + self.errors())
            if time.monotonic() > deadline:
                raise GuestError("QEMU did not connect")
        return Stream(listener.accept()[0], self.process, self.errors)

    def errors(self):
        self.log.flush()
        with open(self.log.name) as f:
            text = f.read()
        return text if len(text) < 3000 else text[:1500] + "\n…\n" + text[-1500:]

    # ---- the serial port ----

    def await_line(self, pattern):
        deadline = time.monotonic() + TIMEOUT
        seen = []
        while True:
            try:
                line = self.serial.line(deadline)
            except GuestError as e:
                raise GuestError(f"{e}; wanted {pattern!r}; console: " + " | ".join(self.console[-15:])) from None
            self.console.append(line)
            seen.append(line)
            found = re.search(pattern, line)
            if found:
                return found, seen

    def ready(self):
        """The init has come up (again)."""
        self.await_line("guest: ready")
        return self

    def start(self, command):
        self.serial.send(command.replace("\n", "; ") + "\n")

    def finish(self):
        """The status of what start() began, and what it printed."""
        found, seen = self.await_line(r"guest: status (\d+)")
        return int(found.group(1)), "\n".join(seen[:-1])

    def run(self, command):
        self.start(command)
        return self.finish()

    # ---- QMP ----

    def qmp(self, command, **arguments):
        self.monitor.send(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        deadline = time.monotonic() + TIMEOUT
        while True:
            answer = json.loads(self.monitor.line(deadline))
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise GuestError(f"{command}: {answer['error']['desc']}")
            elif "return" in answer:
                return answer["return"]

    def await_event(self, name, matches=lambda data: True):
        deadline = time.monotonic() + TIMEOUT
        while True:
            for i, event in enumerate(self.events):
                if event["event"] == name and matches(event.get("data", {})):
                    return self.events.pop(i)
            answer = json.loads(self.monitor.line(deadline))
            if "event" in answer:
                self.events.append(answer)

    def power_off(self):
        """The guest's own way down; QEMU's exit status."""
        self.serial.send("sync; poweroff -f\n")
        return self.process.wait(TIMEOUT)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def vfio_user(path, **properties):
    """-device vfio-user-pci at a socket."""
    device = {"driver": "vfio-user-pci", "socket": {"type": "unix", "path": path}}
    device.update(properties)
    return device


# ---- a server, its disks and its guests ----


class Failure(Exception):
    pass


def require(condition, what):
    if not condition:
        raise Failure(what)


class Bench:
    """A scratch folder, a server and guests; everything ends with it."""

    def __init__(self, uvfio, qemu, kernel):
        self.uvfio, self.qemu, self.kernel = os.path.realpath(uvfio), qemu, kernel
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
        for name in names:
            if not os.path.exists(self.path(name + ".img")):
                self.disk(name + ".img")
        self.serve_devices(*(f"nvme,file={self.path(name)}.img,socket={self.path(name)}.sock{extra}"
                             for name in names))

    def serve_devices(self, *specs, options=()):
        """One server with these devices; returns when they listen."""
        command = [self.uvfio, "serve", *options]
        for spec in specs:
            command += ["--device", spec]
        # Readiness as systemd has it: a datagram with READY=1.
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
        """A guest with the devices behind root ports rp0, rp1, …; two more ports are empty.
        @args come before them on QEMU's command line, @args_after behind."""
        if not self.initrd:
            self.initrd = initramfs(self.folder, self.kernel, modules, files)
        args = list(options.pop("args", ()))
        after = list(options.pop("args_after", ()))
        port = options.pop("port", "pcie-root-port")
        for n in range(len(devices) + 2):
            args += ["-device", f"{port},id=rp{n},slot={n + 1},chassis={n + 1}"]
        for n, name in enumerate(devices):
            args += ["-device", json.dumps(vfio_user(self.path(name + ".sock"), bus=f"rp{n}", id=name))]
        guest = Guest(self.qemu, self.kernel, self.initrd, self.folder, args + after, **options)
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


# Awaits a file of the guest.
WAIT = "n=0; while [ ! -e {0} ] && [ $n -lt 600 ]; do usleep 50000; n=$((n+1)); done; [ -e {0} ]"


def fetch_guest(kernel=("trixie",)):
    """QEMU, a kernel's folder, None; or two empty strings and why they cannot be had."""
    for program, package in (("busybox", "busybox-static"), ("cpio", "cpio"), ("e2fsck", "e2fsprogs")):
        if not shutil.which(program):
            return "", "", f"{program} is missing (package {package})"
    found = []
    for command in (["fetch-qemu"], ["fetch-kernel", *kernel]):
        command[0] = os.path.join(TOP, "scripts", command[0])
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            return "", "", (result.stderr.strip().split("\n") or ["?"])[-1]
        found.append(result.stdout.strip())
    return os.path.join(found[0], "qemu-system-x86_64"), found[1], None


def attempt(number, name, bench, case):
    """Run case(bench), say in TAP what came of it, and end the bench.  True when it passed."""
    with bench:
        try:
            case(bench)
            print(f"ok {number} - {name}")
            return True
        except (Failure, GuestError, subprocess.TimeoutExpired, OSError) as e:
            print(f"not ok {number} - {name}")
            lines = [str(e), traceback.format_exc()]
            for log in ("server.log", "qemu.log"):
                if os.path.exists(bench.path(log)):
                    with open(bench.path(log)) as f:
                        lines += [log + ": " + line for line in f.read().split("\n")[-20:]]
            for line in "\n".join(lines).split("\n"):
                print("# " + line)
            return False
        finally:
            sys.stdout.flush()


def run_cases(cases, names, uvfio, kernel=("trixie",)):
    """Each of the functions on a bench of its own; the exit status.  names: these alone; those with an exclamation
    mark: all but these; none: all."""
    qemu, folder, why = fetch_guest(kernel)
    if why:
        print(f"1..0 # SKIP {why}")
        return 0
    cases = [case for case in cases if "!" + case.__name__ not in names and
             (case.__name__ in names or all(name.startswith("!") for name in names))]
    print(f"1..{len(cases)}")
    passed = [attempt(number, case.__name__.replace("_", " "), Bench(uvfio, qemu, folder), case)
              for number, case in enumerate(cases, 1)]
    return 0 if all(passed) else 1
