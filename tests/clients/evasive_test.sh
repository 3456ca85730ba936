#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Programs that take other ways than the filter sees: what they get is sound, or an error.
# Usage: evasive_test.sh UVFIO CLIENT
. "$(dirname "$0")/lib.sh"
client=$(realpath "$2")
if [ "$(id -u)" = 0 ]; then
	cp "$UVFIO" "$client" "$work"
fi

way() { # MMIO NAME
	sound "$2 ($1)" "${user[@]}" "$UVFIO" run --mmio "$1" --device nvme,memory=16M \
		--device nvme,memory=16M -- "$client" "$2"
}

# A process outside of the run that is handed the device: it can look, no more, and when the run has
# ended there is nothing to be seen.
outside() {
	python3 - "$work/socket" "$UVFIO" "$client" <<'EOF'
import array, errno, fcntl, os, socket, subprocess, sys
path, uvfio, client = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
run = subprocess.Popen([uvfio, "run", "--mmio", "exact", "--device", "nvme,memory=16M",
                        "--device", "nvme,memory=16M", "--", client, "give-away", path])
sock = listener.accept()[0]
fds = array.array("i")
_, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_LEN(4))
fds.frombytes(ancillary[0][2][:4])
fd, bar = fds[0], 16 << 40

def fails(call, *wanted):
    try:
        call()
    except OSError as e:
        assert e.errno in wanted, e
    else:
        raise AssertionError("no error")

assert os.pread(fd, 4, bar + 0x24) == b"\x03\x00\x03\x00"
assert os.pread(fd, 4, 7 << 40) == b"\xff\xff\xff\xff"
fails(lambda: os.pwrite(fd, b"1234", bar + 0x24), errno.EPERM)
fails(lambda: fcntl.ioctl(fd, 0x3b6f, 0), errno.ENOTTY)  # VFIO_DEVICE_RESET
sock.send(b"x")
assert run.wait() == 0
assert os.pread(fd, 4, bar + 0x24) == b""
EOF
}
outside
is "a device handed to a process outside of the run" 0 $?
await "no server is left, although the device is still held" no_servers

user=()
# In a default container opens for reading are seen, and some of what this does is not permitted.
here=${UVFIO_DEFAULT_CONTAINER-}
if [ ! "$here" ]; then
	way none unseen-opens
	matches "it is said" "*opened where uvfio does not see it*" "$(cat "$work/err")"
	is "once" 1 "$(wc -l <"$work/err")"
fi
for mmio in none exact polled; do
	way $mmio reopened
	way $mmio hands-changed
done
way none restricted-opens && silent restricted-opens
for mmio in exact none; do
	way $mmio unseen-transfers
	[ "$here" ] || way $mmio foreign-memory
done
own_tables=own-tables${UVFIO_OLD_KERNEL:+-old}
[ "$here" ] || { way none "$own_tables" && silent "$own_tables"; }
way none racing-numbers
way none namespaces && silent namespaces
way none shared-memory && silent shared-memory
way none stopped && silent stopped
way none stopped-in-a-call && silent stopped-in-a-call
if [ "$(id -u)" = 0 ]; then
	user=(setpriv --reuid 65534 --regid 65534 --clear-groups)
	UVFIO=$work/$(basename "$UVFIO")
	client=$work/$(basename "$client")
	for name in unseen-opens reopened hands-changed restricted-opens unseen-transfers "$own_tables" namespaces shared-memory stopped; do
		case $here,$name in ?*,unseen-opens | ?*,own-tables*) continue ;; esac
		way none $name
	done
fi

finish
