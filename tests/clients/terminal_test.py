#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""On a terminal the program behaves as if it ran by itself: ^C, ^\\, ^Z, fg, bg, window size, hangup.

Usage: terminal_test.py UVFIO
Each case runs with uvfio in front of the program and without; what is seen must be the same.
"""
import errno
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

UVFIO = os.path.realpath(sys.argv[1])
TIMEOUT = 20
failures = []


class Terminal:
    """A shell with job control on a terminal of its own."""

    def __init__(self):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            # A background job has the first two ignored, one of nohup the last.
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            os.environ["PS1"] = "$ "
            os.environ["LC_ALL"] = "C"
            os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
        attr = termios.tcgetattr(self.fd)
        attr[3] &= ~termios.ECHO
        termios.tcsetattr(self.fd, termios.TCSANOW, attr)
        self.seen = ""

    def send(self, text):
        os.write(self.fd, text.encode())

    def key(self, letter):
        self.send(chr(ord(letter) & 0x1F) if letter != "\\" else "\x1c")

    def await_text(self, text):
        """Wait until the text appears; returns what came up to it."""
        end = time.monotonic() + TIMEOUT
        while text not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise TimeoutError(f"no {text!r} in {self.seen!r}")
            try:
                data = os.read(self.fd, 4096)
            except OSError as e:
                if e.errno != errno.EIO:
                    raise
                data = b""
            if not data:
                raise EOFError(f"no {text!r} in {self.seen!r}")
            self.seen += data.decode(errors="replace")
        at = self.seen.index(text) + len(text)
        before, self.seen = self.seen[:at], self.seen[at:]
        return before

    def status(self):
        self.send("echo status=$?.\n")
        return self.await_text("status=") and self.await_text(".")[:-1]

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def interrupt(t, run):
    t.send(f"{run} sh -c 'echo ready; read x'\n")
    t.await_text("ready")
    t.key("c")
    t.await_text("$ ")  # the key also throws away what is typed too early
    return t.status()


def interrupt_caught(t, run):
    # Were it told twice, there would be two lines.
    t.send(f"{run} bash -c 'trap \"echo caught; n=1\" INT; echo ready; until [ \"$n\" ]; do read -t 1; done; read -t 0.3; exit 9'\n")
    t.await_text("ready")
    t.key("c")
    t.send("")
    t.await_text("caught")
    text = t.await_text("$ ")
    return t.status(), "caught" in text


def quit_key(t, run):
    t.send(f"ulimit -c 0; {run} sh -c 'echo ready; read x'\n")
    t.await_text("ready")
    t.key("\\")
    t.await_text("$ ")
    return t.status()


def suspend(t, run):
    t.send(f"{run} sh -c 'echo ready; read x; echo got $x; exit 5'\n")
    t.await_text("ready")
    t.key("z")
    t.await_text("Stopped")
    stopped = t.status()
    t.send("jobs\n")
    t.await_text("Stopped")
    t.send("fg >/dev/null\n")
    t.send("hello\n")
    t.await_text("got hello")
    return stopped, t.status()


def suspend_by_itself(t, run):
    t.send(f"{run} sh -c 'kill -STOP $$; echo on; exit 6'\n")
    t.await_text("Stopped")
    stopped = t.status()
    t.send("fg >/dev/null\n")
    t.await_text("on")
    return stopped, t.status()


def background_read(t, run):
    t.send(f"{run} sh -c 'read x; echo got $x; exit 3' &\n")
    t.send("until jobs | grep Stopped; do sleep 0.01; done\n")
    t.await_text("Stopped")
    t.send("fg >/dev/null\n")
    t.send("hello\n")
    t.await_text("got hello")
    return t.status()


def kill_job(t, run):
    t.send(f"{run} sh -c 'echo ready; sleep 100' &\n")
    t.await_text("ready")
    t.send("kill %1; wait %1\n")
    return t.status()


def window(t, run):
    t.send(f"{run} bash -c 'trap \"stty size\" WINCH; echo ready; read -t 5; read -t 5; exit 2'\n")
    t.await_text("ready")
    fcntl.ioctl(t.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 17, 71, 0, 0))
    t.await_text("17 71")
    t.send("\n\n")
    return t.status()


def is_tty(t, run):
    t.send(f"{run} sh -c 'tty; stty -a | head -1 | cut -c1-5; ps -o tpgid=,pgid= -p $$ | xargs' | cat\n")
    t.await_text("/dev/pts/")
    return t.await_text("speed")[-5:]


def foreground(t, run):
    """The program is in the foreground process group."""
    t.send(f"{run} python3 -c 'import os; print(\"group\", os.tcgetpgrp(0) == os.getpgrp(), \"end\")'\n")
    t.await_text("group")
    return t.await_text("end")


def hangup(t, run):
    """The terminal goes away: the program gets SIGHUP, and nothing stays."""
    with tempfile.TemporaryDirectory() as d:
        t.send(f"{run} bash -c 'trap \"echo hup >{d}/hup; exit\" HUP; echo $$ >{d}/pid; echo ready; while :; do sleep 0.05; done'\n")
        t.await_text("ready")
        t.close()
        end = time.monotonic() + TIMEOUT
        while not os.path.exists(f"{d}/hup") and time.monotonic() < end:
            time.sleep(0.01)
        return os.path.exists(f"{d}/hup")


CASES = [interrupt, interrupt_caught, quit_key, suspend, suspend_by_itself, background_read, kill_job,
         window, is_tty, foreground, hangup]

for case in CASES:
    results = []
    for run in ("", f"{UVFIO} run --"):
        t = Terminal()
        try:
            t.await_text("$ ")
            results.append(case(t, run))
        except (TimeoutError, EOFError) as e:
            results.append(f"{type(e).__name__}: {e}")
        try:
            if case is not hangup:
                t.close()
        except (OSError, ChildProcessError):
            pass
    same = results[0] == results[1] and "Error" not in str(results[0])
    print(f"{'ok  ' if same else 'FAIL'} {case.__name__}: {results[0]!r}"
          + ("" if same else f" alone, {results[1]!r} under uvfio run"))
    if not same:
        failures.append(case.__name__)

end = time.monotonic() + TIMEOUT
while True:
    left = subprocess.run(["pgrep", "-fx", f"{UVFIO} run --.*"], capture_output=True, text=True).stdout.split()
    if not left or time.monotonic() > end:
        break
    time.sleep(0.05)
print("ok   nothing left" if not left else f"FAIL left: {left}")
sys.exit(1 if failures or left else 0)
