#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# An NVMe device is moved between two servers that see its file, while a client writes to it; source, target or client
# is killed at a random point. Exactly one side has the device afterwards, and what was acknowledged is there.
# Environment: DURABILITY, which judges the file; WRITER, the client; MOVE_KILLS, how many moves (50)
# shellcheck source=tests/clients/tap.sh
. "$(dirname "$0")/tap.sh"
: "${DURABILITY:?the judge}" "${WRITER:?the client}"
moves=${MOVE_KILLS:-50}
device=0000:01:00.0
image=$scratch/disk.img
promises=$scratch/promises
link=$scratch/device.sock
declare -A server
writer=
trap 'kill -9 ${server[*]} $writer 2>/dev/null; rm -rf "$scratch"' EXIT
truncate -s 1M "$image"

# serve SIDE [KEYS]: a server for a or b
serve() {
	local side=$1
	rm -f "$scratch/$side".*
	# The server itself, without the small parent that waits for it: that one is killed, too, then.
	"$UVFIO" serve --control "$scratch/$side.ctl" \
		--device "nvme,file=$image,serial=moved,socket=$scratch/$side.sock${2:-}" >"$scratch/$side.log" 2>&1 &
	server[$side]=$!
}

# wait_for COMMAND...: until it succeeds, 10 s
wait_for() {
	for _ in $(seq 1000); do
		"$@" && return 0
		sleep 0.01
	done
	return 1
}

has_line() { grep -q "^$2" "$1" 2>/dev/null; }

# kill_side SIDE: with SIGKILL, the parent and the server, and wait for their end
kill_side() {
	local pid=${server[$1]} child
	child=$(pgrep -P "$pid")
	kill -9 $pid $child 2>/dev/null
	wait "$pid" 2>/dev/null
	for pid in $child; do wait_for gone "$pid"; done
	server[$1]=
}

# It has ended, whether or not somebody has asked how yet.
gone() { [ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

# place SIDE: where a server says that its device is, like "here" or "in doubt"; nothing when there is none
place() {
	[ -n "${server[$1]}" ] || return 0
	"$UVFIO" show --control "$scratch/$1.ctl" --json "$device" 2>/dev/null |
		sed -n 's/.*"place": *"\([^"]*\)".*/\1/p' | head -1
}

locks() { grep -c "^[0-9]*: OFDLCK *ADVISORY *WRITE .*:$(stat -c %i "$image") " /proc/locks; }

# use SIDE: a new client writes through it
use() { timeout 20 "$WRITER" "unix:$scratch/$1.sock" "$promises" "$RANDOM" 50 >"$scratch/use.$1" 2>&1; }

broken=0
# complain POINT WHAT
complain() {
	broken=$((broken + 1))
	cat "$scratch"/{a,b,writer,migrate,restore}.log "$scratch"/use.* >"$scratch/log" 2>/dev/null
	ok 1 "move $1: $2"
}

# settle: whoever is in doubt is told, as an operator would: it is where there is a server that can go on
settle() {
	local a b
	a=$(place a)
	b=$(place b)
	if [ "$b" = "in doubt" ]; then
		"$UVFIO" resume --control "$scratch/b.ctl" "$device" --force >>"$scratch/log" 2>&1
		[ "$a" = "in doubt" ] && "$UVFIO" resume --control "$scratch/a.ctl" "$device" --gone >>"$scratch/log" 2>&1
	elif [ "$a" = "in doubt" ]; then
		# The other one has not got it, or has died with it.
		if [ "$b" = here ]; then
			"$UVFIO" resume --control "$scratch/a.ctl" "$device" --gone >>"$scratch/log" 2>&1
		else
			"$UVFIO" resume --control "$scratch/a.ctl" "$device" --force >>"$scratch/log" 2>&1
		fi
	fi
	# It had gone, and died there: a reset makes a new one of what is here.
	if [ "$(place a)" = gone ] && [ -z "${server[b]}" ]; then
		"$UVFIO" reset --control "$scratch/a.ctl" "$device" >>"$scratch/log" 2>&1
	fi
}

doubts=0
arrived=0
# one_move POINT VICTIM
one_move() {
	local point=$1 victim=$2 side used=0 migrate restore
	# Of one that did not get to its end.
	for side in a b; do [ -n "${server[$side]:-}" ] && kill_side "$side"; done
	serve a
	serve b ,incoming=yes
	ln -sfn "$scratch/a.sock" "$link"
	wait_for test -S "$scratch/a.sock" && wait_for test -S "$scratch/b.sock" || return 1
	"$WRITER" "unix:$link" "$promises" "$point" >"$scratch/writer.log" 2>&1 &
	writer=$!
	wait_for has_line "$scratch/writer.log" ready || return 1
	"$UVFIO" restore --control "$scratch/b.ctl" --timeout 20s --link "$link" "$device" --from "unix:$scratch/move" \
		>"$scratch/restore.log" 2>&1 &
	restore=$!
	wait_for test -S "$scratch/move" || return 1
	"$UVFIO" migrate --control "$scratch/a.ctl" --timeout 20s "$device" --to "unix:$scratch/move" >"$scratch/migrate.log" 2>&1 &
	migrate=$!
	sleep "$(printf '0.%03d' $((RANDOM % 60)))"
	case $victim in
	source) kill_side a ;;
	target) kill_side b ;;
	client) kill -9 "$writer" ;;
	esac
	wait "$migrate" 2>/dev/null
	# It waits for ever for one that was killed before it came.
	grep -q 'has been moved' "$scratch/migrate.log" || kill -TERM "$restore" 2>/dev/null
	wait "$restore" 2>/dev/null
	rm -f "$scratch/move"
	[ "$(locks)" -le 1 ] || complain "$point" "two have the storage"
	[[ "$(place a) $(place b)" = *doubt* ]] && doubts=$((doubts + 1))
	settle
	[ "$(place b)" = here ] && [ "$(place a)" = gone ] && arrived=$((arrived + 1))
	# What is acknowledged from here on is, too, until it is ended.
	kill -9 "$writer" 2>/dev/null
	wait "$writer" 2>/dev/null
	writer=
	for side in a b; do
		[ -n "${server[$side]}" ] && use "$side" && used=$((used + 1))
	done
	[ "$used" = 1 ] || complain "$point" "$used can use the device ($victim was killed; a: $(place a), b: $(place b))"
	[ "$(locks)" -le 1 ] || complain "$point" "two have the storage in the end"
	for side in a b; do [ -n "${server[$side]}" ] && kill_side "$side"; done
	"$DURABILITY" verify "$image" "$promises" >"$scratch/judged" 2>&1 || {
		cat "$scratch/judged" >>"$scratch/a.log"
		complain "$point" "what was acknowledged is not there"
	}
}

victims=(source target client nobody)
point=0
while [ "$point" -lt "$moves" ] && [ "$broken" -lt 5 ]; do
	point=$((point + 1))
	one_move "$point" "${victims[point % 4]}" || complain "$point" "it does not begin"
done
echo "# $point moves, $arrived arrived, in $doubts of them somebody was in doubt, $(cut -d' ' -f1 "$scratch/judged") pages looked at, $broken broken"
[ "$broken" = 0 ] && [ "$arrived" -gt 0 ]
ok $? "$moves moves in which source, target or client are killed: one side has the device, and all that was acknowledged"
finish
