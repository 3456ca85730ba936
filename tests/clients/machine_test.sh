#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Devices in a program's own process (uvfio/machine.h): examples/host.c, driven over vfio-user and controlled as a server.
# Environment: HOST, the program; NVME, the tool of examples/; DRIVE, the smallest driver
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
: "${HOST:?a program with a machine}" "${NVME:?the NVMe tool}" "${DRIVE:?the smallest driver}"
host=
trap '[ -z "$host" ] || kill -9 "$host" 2>/dev/null; rm -rf "$work"' EXIT

# start ARGS...: the program, until it has made its devices; what it says is in $work/out
start() {
	rm -f "$work/out"
	mkfifo "$work/pipe"
	"$HOST" "$@" >"$work/pipe" 2>"$work/err" &
	host=$!
	exec 8<"$work/pipe"
	rm "$work/pipe"
	read -r said <&8
}

stop() { # its status
	kill "$host"
	wait "$host"
	local status=$?
	host=
	exec 8<&-
	return $status
}

control() { # COMMAND ARGS...
	local command=$1
	shift
	"$UVFIO" "$command" --control "$work/control" "$@" 2>&1
}

truncate -s 64M "$work/disk.img"
for loop in own caller; do
	flag=()
	[ $loop = own ] || flag=(-c)
	start "${flag[@]}" "$work/control" "nvme,file=$work/disk.img,socket=$work/a" "pcitest,socket=$work/b,mode=0660"
	is "loop=$loop: it says its first device" "0000:01:00.0: nvme,file=$work/disk.img,socket=$work/a" "$said"
	if said=$("$NVME" write -p 7 -d 32 -c 8000 "unix:$work/a" 2>&1 &&
		"$NVME" read -v -p 7 -d 32 -c 8000 "unix:$work/a" 2>&1); then
		pass "loop=$loop: a disk is written and read"
	else
		fail "loop=$loop: a disk is written and read" "$said"
	fi
	if said=$("$NVME" read -o share=no -v -p 7 -d 32 -c 8000 "unix:$work/a" 2>&1); then
		pass "loop=$loop: by messages"
	else
		fail "loop=$loop: by messages" "$said"
	fi
	matches "loop=$loop: two devices at once" "*is 1234:5054*" "$("$DRIVE" "unix:$work/b" 2>&1 & "$NVME" identify "unix:$work/a" >/dev/null; wait)"
	matches "loop=$loop: list" "*0000:01:00.0*nvme*0000:02:00.0*pcitest*" "$(control list)"
	matches "loop=$loop: show" "*$work/a*" "$(control show 0000:01:00.0)"
	matches "loop=$loop: reset" "" "$(control reset 0000:01:00.0)"
	matches "loop=$loop: nothing is added from outside" "*the program adds devices to its machine*" \
		"$(control add "nvme,memory=1M,socket=$work/c")"
	matches "loop=$loop: programs do not join" "*this machine is a program's own*" \
		"$("$UVFIO" run --machine "$work/control" -- true 2>&1)"
	is "loop=$loop: one is removed" "" "$(control remove 0000:02:00.0 >/dev/null || echo failed)"
	if [ -e "$work/b" ]; then fail "loop=$loop: its socket is gone"; else pass "loop=$loop: its socket is gone"; fi
	stop
	is "loop=$loop: it ends by a signal" 0 $?
	if [ -e "$work/a" ] || [ -e "$work/b" ] || [ -e "$work/control" ]; then
		fail "loop=$loop: its sockets are gone"
	else
		pass "loop=$loop: its sockets are gone"
	fi
done

# It ends while its disk is used, and while somebody waits for the user to let go of it.
start "$work/control" "nvme,memory=64M,socket=$work/a"
"$NVME" perf -t 600 -r -d 16 "unix:$work/a" >/dev/null 2>&1 &
perf=$!
in_use() { control show 0000:01:00.0 | grep -q "user .*pid"; }
await "a disk is in use" in_use
control remove 0000:01:00.0 >"$work/removal" &
removal=$!
leaving() { control show 0000:01:00.0 | grep -q "being removed"; }
await "its user is asked for it" leaving
stop
is "the program ends all the same" 0 $?
wait $removal
grep -qE "the program ends|has ended the connection" "$work/removal" # whichever comes first
ok $? "who waits is told"
wait $perf
[ $? = 1 ]
ok $? "and so is the user"

# A program that is killed leaves sockets behind, which do not keep the next one out.
start "$work/control" "nvme,memory=1M,socket=$work/a"
kill -9 "$host"
wait "$host" 2>/dev/null
exec 8<&-
start "$work/control" "nvme,memory=1M,socket=$work/a"
is "after a crash" "0000:01:00.0: nvme,memory=1M,socket=$work/a" "$said"
said=$("$HOST" "$work/other" "nvme,memory=1M,socket=$work/a" 2>&1)
matches "a socket that is in use is not taken" "host: *listening on $work/a already*" "$said"
matches "nor removed by who did not make it" "*is 1234:4e56*" "$("$DRIVE" "unix:$work/a" 2>&1)"
stop
is "it ends by a signal" 0 $?
finish
