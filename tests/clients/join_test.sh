#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Programs that join a machine of `uvfio serve`: data, modes of mapped registers, contention with one another and
# with sockets, and what is left of who dies.
# Usage: join_test.sh UVFIO DOOR-CLIENT JOIN-CLIENT NVME-EXAMPLE
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
door=$(realpath "$2")
client=$(realpath "$3")
nvme=$(realpath "$4")
need pgrep procps
cd "$work" || exit 1
export XDG_RUNTIME_DIR=$work
socket=$work/control.sock # not the default place, which is everybody's
keeper=
trap '[ -z "$keeper" ] || kill -KILL $(pgrep -P "$keeper") "$keeper" 2>/dev/null; rm -rf "$work"' EXIT

start() {
	"$UVFIO" serve --control "$socket" --device nvme,memory=32M,socket=a.sock \
		--device nvme,memory=32M,socket=b.sock 2>serve.err &
	keeper=$!
	await "$1" "$UVFIO" list --control "$socket"
	is "$1: who is answered finds all devices" 2 "$("$UVFIO" list --control "$socket" | grep -c '0000:')"
}
run() { timeout -k 5 280 "$UVFIO" run --machine "$socket" "$@"; }
one=0000:01:00.0
two=0000:02:00.0
users() { "$UVFIO" list --control "$socket" | awk -v d="$1" '$2 == d { print $6 }'; }
unused() { [ "$(users "$one")$(users "$two")" = -- ]; }

# ---- options ----

refused() { # NAME STATUS PATTERN ARG …
	local name=$1 status=$2 pattern=$3
	shift 3
	timeout 60 "$UVFIO" run "$@" -- true >log 2>&1
	is "refused: $name: status" "$status" $?
	matches "refused: $name: message" "$pattern" "$(cat log)"
}
refused "no server" 125 "*no server answers at $socket*To start one there: uvfio serve --control $socket*" --machine "$socket"
refused "--device" 2 "*--machine m and --device: *give one of the two*" --machine m --device nvme,memory=1M
refused "--policy" 2 "*--machine m and --policy: *" --policy dma_entry_limit=7 --machine m
refused "--control" 2 "*--machine m and --control: *" --control x.sock --machine m
refused "a name that is none" 2 "*cannot name a machine*" --machine ..

# ---- one program ----

start "a server starts"
is "the program's exit status" 7 "$(run -- sh -c 'exit 7'; echo $?)"
is "it sees the devices" "$one $two" "$(run -- sh -c 'cd /sys/bus/pci/drivers/vfio-pci && echo 0000:*')"
is "and the groups" "1 2 devices vfio" "$(run -- ls -x /dev/vfio | xargs)"
if run --sysfs on -- true 2>log; then
	d=/sys/bus/pci/devices
	is "its /sys is the machine's: it can be written" "vfio-pci x" "$(run --sysfs on -- sh -ec \
		"cat $d/$one/driver_override; echo x > $d/$one/driver_override; cat $d/$one/driver_override" | xargs)"
	is "of its own, with the driver" "vfio-pci 0" "$(run --sysfs on -- sh -ec \
		"cat $d/$one/driver_override; echo 1 > $d/$one/reset; echo $one > $d/$one/driver/unbind
		test ! -e $d/$one/driver; echo $one > /sys/bus/pci/drivers/vfio-pci/bind; echo $?" | xargs)"
	is "a device without its driver is not there for others" "ENODEV" "$(run --sysfs on -- sh -ec \
		"echo $one > $d/$one/driver/unbind; echo uio_pci_generic > $d/$one/driver_override
		echo $one > /sys/bus/pci/drivers_probe; test -e /dev/uio0 || exit 1" && run -- "$client" $one)"
	is "and is theirs to take" "open" "$(run --sysfs on -- sh -ec \
		"echo $one > $d/$one/driver/unbind; echo vfio-pci > $d/$one/driver_override
		echo $one > /sys/bus/pci/drivers_probe" && run -- "$client" $one)"
else
	skip "its /sys is the machine's" "/sys cannot be served here: $(tail -1 log)"
fi
mkdir out
run --mmio polled -- "$door" "$work/out" >log 2>&1
ok $? "an odd VFIO program"
for mode in exact polled; do
	run --mmio $mode -- "$nvme" write -p 5 -c 256 $one >log 2>&1 &&
		run --mmio $mode -- "$nvme" read -v -p 5 -c 256 -i $one >>log 2>&1
	ok $? "an NVMe driver, $mode"
done
await "nothing stays open" unused
if command -v qemu-img >/dev/null; then
	head -c 8M /dev/urandom >in.img
	run -- qemu-img convert -n -O raw in.img nvme://$one/1 >log 2>&1
	ok $? "qemu-img writes"
	run -- qemu-img convert -O raw nvme://$one/1 out.img >log 2>&1
	ok $? "qemu-img reads"
	cmp -n 8388608 in.img out.img >log 2>&1
	ok $? "and it is the same: the next program finds what the last one wrote"
else
	skip "qemu-img" "qemu-img is missing (package qemu-utils)"
fi

# ---- several ----

# hold DEVICE: a program that has it open, in a run of its own, until its input ends
hold() {
	mkfifo go said
	run -- "$client" "$1" hold <go >said 2>hold.err &
	holder=$!
	exec 8>go 9<said
	read -r -t 60 line <&9
	is "a program holds $1" open "$line"
}
let_go() {
	exec 8>&-
	wait "$holder"
	is "$1" 0 $?
	exec 9<&-
	rm go said
}
hold $one
is "another program finds the group busy" EBUSY "$(run -- "$client" $one)"
is "but not the other one" open "$(run -- "$client" $two)"
is "control says who has it" vfio "$("$UVFIO" show --json --control "$socket" $one | grep -o '"door": *"vfio"' | grep -o vfio | tail -1)"
"$nvme" identify "unix:$work/a.sock" >log 2>&1
is "a socket's client is refused" 1 $(($? != 0))
"$nvme" identify "unix:$work/b.sock" >log 2>&1
ok $? "but not at the other socket"
let_go "the first one ends well"
await "and nothing stays open" unused
"$nvme" identify "unix:$work/a.sock" >log 2>&1
ok $? "then the socket's client has it"

# ---- deaths ----

hold $one
server=$(pgrep -f "run --machine $socket.* $client" | while read -r p; do
	[ "$(cat /proc/"$p"/comm)" = uvfio-server ] && echo "$p"
done)
kill -KILL "$server"
wait "$holder"
exec 8>&- 9<&-
rm go said
await "a runner that is killed releases everything" unused
is "and the next program has it" open "$(run -- "$client" $one)"

hold $two
kill -KILL $(pgrep -P "$keeper") "$keeper" 2>/dev/null # the one ends with the other
wait "$keeper" 2>/dev/null
for ((i = 0; i < 100; i++)); do # the death of a process is not at one moment
	echo ask >&8
	read -r -t 60 line <&9
	[ "$line" != "EIO SIGBUS" ] || break
done
is "without the server the program gets errors" "EIO SIGBUS" "$line"
let_go "and goes on"
matches "the runner says why" "*the server of the machine $socket has ended*" "$(cat hold.err)"
start "a new server starts"
is "and is joined" open "$(run -- "$client" $two 2>&1)"
kill -TERM "$keeper"
wait "$keeper"
is "it ends as it should" 0 $?
keeper=
finish
