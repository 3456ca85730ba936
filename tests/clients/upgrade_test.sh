#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Servers that are restarted with their state (--state), or exchanged (`uvfio upgrade`), under a client at work.
# Environment: CLIENT, the driver of the test device; WRITER, who writes to a disk, and DURABILITY, who judges that;
# UPGRADE_RESTARTS, how many restarts (5); DISK_RESTARTS, the same of the disk's server (2); UPGRADES, how many
# exchanges (5)
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
: "${CLIENT:?the driver of the test device}" "${WRITER:?who writes to a disk}" "${DURABILITY:?who judges it}"
restarts=${UPGRADE_RESTARTS:-5}
disk_restarts=${DISK_RESTARTS:-2}
upgrades=${UPGRADES:-5}
states=$scratch/states
socket=$scratch/dev.sock
device=pcitest,memory=1M,socket=$socket
server=
client=
trap 'kill -9 $server $client 2>/dev/null; rm -rf "$scratch"' EXIT
mkdir -m 700 "$states"

# serve [OPTIONS]: start a server in the background; its pid is $server, its messages are in $scratch/log
serve() {
	"$UVFIO" serve --control off --state "$states" --device "$device" "$@" >>"$scratch/log" 2>&1 &
	server=$!
}

# wait_line FILE TEXT COUNT: until FILE has so many lines that begin with TEXT
wait_line() {
	for _ in $(seq 600); do
		[ "$(grep -c "^$2" "$1" 2>/dev/null)" -ge "$3" ] && return 0
		sleep 0.05
	done
	return 1
}

wait_socket() {
	for _ in $(seq 600); do
		[ -S "$socket" ] && return 0
		kill -0 "$server" 2>/dev/null || return 1
		sleep 0.05
	done
	return 1
}

# stop: SIGTERM, and the exit status
stop() {
	kill -TERM "$server"
	wait "$server"
}

# ---- a client at work ----

serve
wait_socket
"$CLIENT" "unix:$socket" 2000 "$restarts" >"$scratch/client" 2>&1 &
client=$!
wait_line "$scratch/client" working 1
statuses=
left=
for i in $(seq "$restarts"); do
	stop
	statuses+=$?
	left+=$(find "$states" -type f -name '*.state' | wc -l)
	serve
	wait_line "$scratch/client" continued "$i" || break
	# Used up: no server finds it again.
	left+=$(find "$states" -type f | wc -l)
done
wait "$client"
is "a client goes on where it was, however often its server is restarted" "done $restarts" "$(tail -n 1 "$scratch/client")"
is "the server ends well each time" "$(printf '0%.0s' $(seq "$restarts"))" "$statuses"
is "there is one state between two servers, and none afterwards" "$(printf '10%.0s' $(seq "$restarts"))" "$left"

# ---- what is refused ----

stop
state=$(find "$states" -name '*.state')
cp "$state" "$scratch/good"
: >"$scratch/log"
device=pcitest,memory=2M,socket=$socket
serve
wait "$server"
is "a device that is said differently: the server does not start" 1 $?
matches "and says why" "*is the state of another device: pcitest,memory=1M,*" "$(cat "$scratch/log")"
is "the state stays" "$state" "$(find "$states" -type f)"

device=pcitest,memory=1M,socket=$socket
size=$(stat -c %s "$scratch/good")
printf '\xff' | dd of="$state" bs=1 seek=$((size - 200)) conv=notrunc status=none
: >"$scratch/log"
serve
wait "$server"
is "a damaged state: the server does not start" 1 $?
matches "and names the device" "*--device pcitest,memory=1M,*" "$(cat "$scratch/log")"
is "the damaged state stays" "$state" "$(find "$states" -type f)"

: >"$scratch/log"
serve --fresh
wait_socket
"$CLIENT" "unix:$socket" 10 >"$scratch/client" 2>&1
is "--fresh: the device begins anew" "done 0" "$(tail -n 1 "$scratch/client")"
is "and the state is put aside" "${state%.state}.refused" "$(find "$states" -type f)"
stop
rm -f "$states"/*

cp "$scratch/good" "${state%.state}.used"
: >"$scratch/log"
serve
wait "$server"
is "a state that a server had begun to use is not used again" 1 $?
matches "and what to do is said" "*rename it to .state*" "$(cat "$scratch/log")"
rm -f "$states"/*

cp "$scratch/good" "$state"
chmod 666 "$state"
: >"$scratch/log"
serve
wait "$server"
is "a state that others may write is refused" 1 $?
rm -f "$states"/*

chmod 777 "$states"
: >"$scratch/log"
serve
wait "$server"
is "so is a directory that others may write to" 1 $?
chmod 700 "$states"

serve
wait_socket
"$UVFIO" serve --control off --state "$states" --device "pcitest,socket=$scratch/other.sock" 2>"$scratch/second"
is "two servers do not share a directory" 1 $?
matches "which is said" "*another server uses it*" "$(cat "$scratch/second")"
kill -9 "$server"
wait "$server" 2>/dev/null
is "a server that is killed leaves no state" 0 "$(find "$states" -type f | wc -l)"
server=

# ---- exchanged under a client ----

# The executable is a copy of our own, which can become another one.
rm -f "$socket" # it was left behind
cp "$UVFIO" "$scratch/uvfio"
control=$scratch/control.sock
"$scratch/uvfio" serve --control "$control" --device "$device" >"$scratch/log" 2>&1 &
server=$!
wait_socket
"$CLIENT" "unix:$socket" 1000000000 >"$scratch/client" 2>&1 &
client=$!
wait_line "$scratch/client" working 1
done=0
pids=$(pgrep -P "$server")
for i in $(seq "$upgrades"); do
	"$UVFIO" upgrade --control "$control" 2>>"$scratch/upgrade" && done=$((done + 1))
	pids+=" $(pgrep -P "$server")"
done
is "the server is exchanged $upgrades times" "$upgrades" "$done"
is "each time it is another process" $((upgrades + 1)) "$(tr ' ' '\n' <<<"$pids" | sort -u | wc -l)"
kill -0 "$client"
is "the client is at work" 0 $?
is "and has lost nothing" working "$(cat "$scratch/client")"

before=$(pgrep -P "$server")
printf '#!/bin/sh\nexit 3\n' >"$scratch/new"
chmod +x "$scratch/new"
mv "$scratch/new" "$scratch/uvfio"
"$UVFIO" upgrade --control "$control" 2>"$scratch/upgrade"
is "a new executable that fails: refused" 1 $?
matches "and the command says why" "*the server goes on as before*" "$(cat "$scratch/upgrade")"
is "the old server goes on" "$before" "$(pgrep -P "$server")"
rm "$scratch/uvfio"
"$UVFIO" upgrade --control "$control" 2>"$scratch/upgrade"
is "an executable that is missing: refused" 1 $?
cp "$UVFIO" "$scratch/uvfio"
"$UVFIO" add --control "$control" "pcitest,socket=$scratch/added.sock" >/dev/null
"$UVFIO" upgrade --control "$control" 2>"$scratch/upgrade"
is "with a device that was added by command: refused" 1 $?
matches "which says what to do" "*remove it first*" "$(cat "$scratch/upgrade")"
"$UVFIO" remove --control "$control" 0000:02:00.0
"$UVFIO" upgrade --control "$control"
is "without it there is an upgrade again" 0 $?
is "the client has noticed nothing" working "$(cat "$scratch/client")"
kill "$client"
wait "$client" 2>/dev/null
"$CLIENT" "unix:$socket" 100 >"$scratch/client" 2>&1
is "the next client finds the device as ever" "done 0" "$(tail -n 1 "$scratch/client")"
stop
is "and the server ends well" 0 $?
server=
client=

# ---- a disk, which is written meanwhile; its doorbells are mapped ----

truncate -s 1M "$scratch/disk"
rm -f "$states"/*
serve_disk() {
	"$scratch/uvfio" serve --control "$control" --state "$states" \
		--device "nvme,file=$scratch/disk,serial=kept,mmap=on,socket=$scratch/disk.sock" >>"$scratch/log" 2>&1 &
	server=$!
}
serve_disk
await "a server of a disk starts" test -S "$scratch/disk.sock"
"$WRITER" "unix:$scratch/disk.sock" "$scratch/promises" 1 0 mapped >"$scratch/client" 2>&1 &
client=$!
await "it is written" grep -q ready "$scratch/client"
grep -q uvfio-bars "/proc/$client/maps"
is "by doorbells that are mapped" 0 $?
done=0
written=
writes_on() { [ "$(sha1sum <"$scratch/promises")" != "$written" ]; }
for i in $(seq "$upgrades"); do
	written=$(sha1sum <"$scratch/promises")
	"$UVFIO" upgrade --control "$control" 2>>"$scratch/upgrade" && done=$((done + 1))
	await "it is written on" writes_on
done
is "the server of a disk is exchanged $upgrades times" "$upgrades" "$done"
# And restarted: the writer connects again, and finds its controller as it was.
statuses=
for i in $(seq "$disk_restarts"); do
	stop
	statuses+=$?
	serve_disk
	wait_line "$scratch/client" followed "$i" || break
	written=$(sha1sum <"$scratch/promises")
	await "it is written on" writes_on
done
is "the server of a disk is restarted $disk_restarts times, and ends well" "$(printf '0%.0s' $(seq "$disk_restarts"))" "$statuses"
is "each time its writer goes on where it was" "$disk_restarts" "$(grep -c '^followed' "$scratch/client")"
is "and never begins anew" 0 "$(grep -c '^restarted' "$scratch/client")"
kill -0 "$client"
is "the writer is at work" 0 $?
kill -9 "$client"
wait "$client" 2>/dev/null
client=
"$DURABILITY" verify "$scratch/disk" "$scratch/promises" >"$scratch/judged" 2>&1
is "what was acknowledged is there" 0 $?
stop
is "and this server ends well" 0 $?
server=
finish
