# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of containers share: points of TAP, and the programs that run in there."""
import os

number = failed = 0


def point(good, name, output=""):
    global number, failed
    number += 1
    print(f"{'ok' if good else 'not ok'} {number} - {name}", flush=True)
    if not good:
        failed += 1
        print("".join(f"# {line}\n" for line in output.splitlines()[-40:]), end="", flush=True)


def skip(name, why):
    global number
    number += 1
    print(f"ok {number} - {name} # SKIP {why}", flush=True)


def finish():
    """The plan, and the exit status."""
    print(f"1..{number}")
    return failed != 0


def drive(uvfio, example):
    """A command that lets a driver identify a controller."""
    return [uvfio, "run", "--device", "nvme,memory=16M,serial=abc", "--", example, "0000:01:00.0"]


def with_mounts(command):
    """The same, which must have mounts of its own."""
    return [*command[:2], "--sandbox", "mounts", *command[2:]]


def drives(name, result):
    """Did the driver find what it should?  @result: status and output."""
    status, output = result
    point(status == 0 and 'serial "abc ' in output, name, f"status {status}\n{output}")


def images(uvfio, mmio):
    """A command that writes a namespace and reads it, by QEMU's driver in user space.  The files are
    in a folder of its own: /dev/shm may be the machine's."""
    run_it = f"'{uvfio}' run --mmio {mmio} --device nvme,memory=8M -- sh -c"
    return ["sh", "-ec", "cd /dev/shm; mkdir uvfio-images-$$; cd uvfio-images-$$; "
            "trap 'rm -r /dev/shm/uvfio-images-$$' EXIT; head -c 8M /dev/urandom > in; "
            f"{run_it} 'qemu-img convert -n -f raw -O raw in nvme://0000:01:00.0/1 && "
            "qemu-img convert -f raw -O raw nvme://0000:01:00.0/1 out'; cmp in out; echo same"]


def is_root():
    """False: that has been said, in place of a plan."""
    if os.geteuid() == 0:
        return True
    print("1..0 # SKIP not run as root")
    return False
