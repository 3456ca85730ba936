#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Devices that an operator moves: uvfio migrate, save, restore and resume, over a UNIX socket, TCP and a
# file, with a driver at work, cancelled, refused, and with the other side dying on the way.
# shellcheck source-path=SCRIPTDIR source=tap.sh
. "$(dirname "$0")/tap.sh"
: "${CLIENT:?a driver that follows its device}"
need python3 python3
peer=$(dirname "$0")/move_peer.py
pids=()
stop_all() {
	local p
	for p in "${pids[@]}"; do kill "$p" 2>/dev/null; done
	for p in "${pids[@]}"; do wait "$p" 2>/dev/null; done
	pids=()
}
trap 'stop_all; rm -rf "$work"' EXIT
dev=0000:01:00.0

# serve NAME DEVICE: a server of one device, at $work/NAME; its pid is in $server
serve() {
	rm -f "$work/$1" "$work/$1.control"
	"$UVFIO" serve --control "$work/$1.control" --device "$2,socket=$work/$1" >>"$work/$1.log" 2>&1 &
	server=$!
	pids+=("$server")
	local i
	for ((i = 0; i < 1000; i++)); do
		"$UVFIO" list --control "$work/$1.control" >/dev/null 2>&1 && return 0
		sleep 0.01
	done
	echo "the server $1 does not come up" >>"$work/log"
	return 1
}
ask() { # SERVER COMMAND [ARG …]
	local name=$1 command=$2
	shift 2
	"$UVFIO" "$command" --control "$work/$name.control" "$@"
}
place() { # SERVER
	ask "$1" show $dev --json | python3 -c 'import json, sys
print(json.load(sys.stdin).get("move", {"place": "here"})["place"])'
}
is_at() { [ "$(place "$1")" = "$2" ]; }

# restore SERVER URI [OPTION …]: wait there; its pid is in $restoring
restore() {
	local name=$1 uri=$2 i
	shift 2
	: >"$work/restoring" # what another one has said
	ask "$name" restore $dev --from "$uri" "$@" >"$work/restored" 2>"$work/restoring" &
	restoring=$!
	for ((i = 0; i < 1000; i++)); do
		grep -q waiting "$work/restoring" && return 0
		kill -0 $restoring 2>/dev/null || return 1
		sleep 0.01
	done
	return 1
}
# move FROM TO URI [OPTION …]: the status of `uvfio migrate`; that of the other side is in $restored
move() {
	local from=$1 to=$2 uri=$3
	shift 3
	restore "$to" "$uri" --link "$work/dev" || return 1
	ask "$from" migrate $dev --to "$uri" "$@" >"$work/out" 2>"$work/log"
	local status=$?
	# It may have failed before it came there.
	[ $status = 0 ] || [ ! -S "${uri#unix:}" ] || kill $restoring
	wait $restoring
	restored=$?
	cat "$work/restoring" "$work/restored" >>"$work/log"
	return $status
}
port=$((20000 + $$ % 20000))

# ---- every kind of stream ----

serve a pcitest,memory=1M
serve b pcitest,memory=1M
move a b "unix:$work/m"
ok $? "moved over a UNIX socket"
is "the other side says so, too" 0 $restored
is "there: here" here "$(place b)"
is "here: gone" gone "$(place a)"
is "its link leads to its socket" "$work/b" "$(readlink "$work/dev")"
if [ -e "$work/m" ]; then fail "the socket where it was waited for goes"; else pass "the socket where it was waited for goes"; fi
ask a migrate $dev --to "unix:$work/m" 2>"$work/err"
is "what is gone is not moved again" 1 $?
matches "and why" "*not here any more*" "$(cat "$work/err")"
move b a "tcp:127.0.0.1:$port"
ok $? "and back over TCP, to where it had gone from"
check "it is here again" is_at a here
ask a save $dev "$work/state" >"$work/log" 2>&1
ok $? "saved into a file"
check "and gone" is_at a gone
ask b reset $dev
ask b restore $dev --from "file:$work/state" >"$work/log" 2>&1
ok $? "taken out of it by the other server"
ask a restore $dev --from "file:$work/state" >"$work/err" 2>&1
is "not a second time" 1 $?
matches "and why" "*taken out of this file already*" "$(cat "$work/err")"
check "here it is gone all the same" is_at a gone
ask a save $dev "$work/other" 2>"$work/err"
is "what is gone is not saved" 1 $?
if [ -e "$work/other" ]; then fail "and no file is left"; else pass "and no file is left"; fi
ask b save $dev "$work/state" 2>"$work/err"
is "no file is written over" 1 $?
matches "and why" "*there already*" "$(cat "$work/err")"
check "and the device has stayed" is_at b here
ask a restore $dev --force --from "file:$work/state" >"$work/log" 2>&1
ok $? "with --force a second time"
ask a migrate $dev --json --to "file:$work/json" >"$work/out" 2>"$work/log"
ok $? "migrate --to file: is the same as save"
python3 - "$work/out" <<'PY' >"$work/log" 2>&1
import json, sys
text = open(sys.argv[1]).read()
result = json.loads(text[text.rindex("\n{\n") + 1 if "\n{\n" in text else 0:])
assert result["device"] == "0000:01:00.0" and result["step"] == "done" and result["bytes"] > 1000, result
PY
ok $? "--json gives the result"
stop_all

# ---- what it may not do ----

serve a pcitest
ask a migrate $dev >"$work/err" 2>&1
is "without --to: a wrong call" 2 $?
wrong() { # STATUS WORD ARGUMENT …: refused, and WORD is in the reason
	local status=$1 word=$2 name=${*:3}
	ask a "${@:3}" $dev >"$work/err" 2>&1
	is "$name: refused" "$status" $?
	matches "$name: and why" "*$word*" "$(cat "$work/err")"
}
wrong 1 "is no place" migrate --to ftp:x
wrong 1 "a path has" migrate --to unix:
wrong 1 "is no place" migrate --to file:
wrong 1 "is no place" restore --from file:
wrong 1 "1 to 65535" migrate --to tcp:127.0.0.1:99999
wrong 1 "1 to 65535" restore --from tcp:127.0.0.1:0
wrong 1 "waiting there" migrate --to "unix:$work/nobody"
wrong 2 "bytes in a second" migrate --to unix:x --bandwidth fast
wrong 2 "give a time" migrate --to unix:x --downtime 5
wrong 2 "give one of them" migrate --to unix:x --cancel
ask a save $dev unix:x 2>"$work/err"
is "a URI is no file to save into" 2 $?
check "of all that nothing has come" is_at a here

# Who waits is not put off by somebody who looks whether it does.
serve b pcitest
restore b "unix:$work/m"
ask a restore $dev --from "unix:$work/m" 2>"$work/err"
is "nobody else can wait there" 1 $?
matches "and why" "*already*" "$(cat "$work/err")"
ask a migrate $dev --to "unix:$work/m" >"$work/log" 2>&1
ok $? "who waits there gets the device"
wait $restoring
is "and says so" 0 $?
stop_all

# ---- a driver at work ----

serve a pcitest
serve b pcitest
ln -sfn "$work/a" "$work/dev"
moves=6
coproc DRIVER { exec "$CLIENT" "unix:$work/dev" 200 $moves 2>&1; }
driver=$DRIVER_PID
exec 7<&"${DRIVER[0]}"
read -r -t 60 -u 7 line
is "a driver is at work" working "$line"
from=a to=b
for ((i = 0; i < moves; i++)); do
	case $i in
	1) uri=tcp:127.0.0.1:$((port + 1)) ;;
	*) uri=unix:$work/m ;;
	esac
	move $from $to "$uri" || break
	[ $restored = 0 ] || break
	read -r -t 60 -u 7 lost && read -r -t 60 -u 7 line || break
	[ "$lost $line" = "lost continued" ] || break
	other=$from from=$to to=$other
done
ok $((i != moves)) "moved $i times while it is at work"
read -r -t 60 -u 7 line
exec 7<&-
is "it has noticed pauses, and nothing else" "done $moves" "$line"
wait "$driver"
is "all that came back was what had gone" 0 $?

# ---- cancelled, in the middle of its work ----

# stalled [OPTION …]: a move that the other side does not answer; $moving, $lying
stalled() {
	python3 "$peer" "$work/m" stall >"$work/peer" 2>&1 &
	lying=$!
	local i
	for ((i = 0; i < 1000; i++)); do
		[ -S "$work/m" ] && break
		sleep 0.01
	done
	ask $from migrate $dev --to "unix:$work/m" "$@" >"$work/log" 2>&1 &
	moving=$!
	for ((i = 0; i < 1000; i++)); do
		grep -q waiting "$work/peer" && return 0
		sleep 0.01
	done
}
ln -sfn "$work/$from" "$work/dev"
coproc DRIVER { exec "$CLIENT" "unix:$work/dev" 2000 0 2>&1; }
driver=$DRIVER_PID
exec 7<&"${DRIVER[0]}"
read -r -t 60 -u 7 line
stalled
check "a move is under way" is_at $from leaving
ask $from migrate --cancel $dev
is "uvfio migrate --cancel" 0 $?
wait $moving
is "ends it" 1 $?
matches "with the reason" "*cancelled*" "$(cat "$work/log")"
wait $lying
matches "the other side is told why" "*cancelled*" "$(cat "$work/peer")"
check "it has stayed" is_at $from here

stalled
kill -INT $moving
wait $moving
is "SIGINT ends it" 1 $?
wait $lying
check "it has stayed" is_at $from here

stalled --timeout 500ms
wait $moving
is "--timeout ends it" 1 $?
matches "with the reason" "*in the time given*" "$(cat "$work/log")"
wait $lying
check "it has stayed" is_at $from here
ask $from migrate --cancel $dev 2>"$work/err"
is "what is not moved is not cancelled" 1 $?

# ---- the other side dies ----

stalled
kill -9 $lying
wait $moving
is "SIGKILL of the target" 1 $?
matches "is a reason" "*has gone*" "$(cat "$work/log")"
check "it has stayed" is_at $from here
rm -f "$work/m"

# One that says READY, and hangs up when it is told that the device is its own.
python3 "$peer" "$work/m" yours >"$work/peer" 2>&1 &
lying=$!
await "another target" test -S "$work/m"
ask $from migrate $dev --to "unix:$work/m" >"$work/log" 2>&1
is "one that goes when it has been told that it is its own" 1 $?
wait $lying
matches "it is in doubt" "*uvfio resume $dev --force*" "$(cat "$work/log")"
check "show says so" is_at $from "in doubt"
ask $from resume $dev 2>"$work/err"
is "an operator has to say where it is" 1 $?
matches "and is told why" "*twice*" "$(cat "$work/err")"
ask $from resume $dev --force
is "it is here" 0 $?
ask $from resume $dev --force 2>"$work/err"
is "once" 1 $?
read -r -t 120 -u 7 line
exec 7<&-
is "the driver has noticed nothing of all this" "done 0" "$line"
wait "$driver"
is "and its data is what it was" 0 $?
stop_all

# ---- the source dies ----

serve a pcitest
serve b pcitest
ask a save $dev "$work/recorded" >/dev/null
restore b "unix:$work/m"
python3 "$peer" "$work/m" half "$work/recorded" >"$work/peer" 2>&1
wait $restoring
is "a source that goes in the middle" 1 $?
matches "is a reason" "*has gone*" "$(cat "$work/restoring")"
check "there nothing has changed" is_at b here
# A source that goes when all has come, and nothing was said.
restore b "unix:$work/m"
python3 "$peer" "$work/m" source "$work/recorded" >"$work/peer" 2>&1
wait $restoring
is "one that goes when all has come" 1 $?
matches "leaves doubt" "*uvfio resume $dev --force*" "$(cat "$work/restoring")"
check "show says so" is_at b "in doubt"
ask b resume $dev --force
is "an operator says that it is here" 0 $?
check "so it is" is_at b here
stop_all

# ---- what does not fit ----

refused() { # NAME SPEC WORD: device a does not become SPEC, and says WORD
	serve b "$2"
	restore b "unix:$work/m"
	ask a migrate $dev --to "unix:$work/m" >"$work/log" 2>&1
	is "$1: refused" 1 $?
	matches "$1: the source hears why" "*$3*" "$(cat "$work/log")"
	wait $restoring
	matches "$1: the target says why" "*$3*" "$(cat "$work/restoring")"
	check "$1: it has stayed" is_at a here
	check "$1: there it is as it was" is_at b here
	kill "$server"
	wait "$server" 2>/dev/null
}
serve a pcitest,memory=1M
refused "another model" ioat "this is a ioat"
refused "another BAR" pcitest,memory=2M "BAR 2"
refused "other vectors" pcitest,memory=1M,vectors=4 "MSI-X vectors"
refused "other ids" pcitest,memory=1M,device=0x9999 "same options"
python3 "$peer" "$work/m" version >"$work/peer" 2>&1 &
lying=$!
await "a target of another version" test -S "$work/m"
ask a migrate $dev --to "unix:$work/m" >"$work/log" 2>&1
is "is refused" 1 $?
wait $lying
matches "what it says is passed on, without what a terminal would obey" "*version 7*" "$(cat "$work/log")"
if grep -q $'\033' "$work/log"; then fail "no escape sequence"; else pass "no escape sequence"; fi
check "it has stayed" is_at a here
stop_all

# ---- the other models ----

serve a ioat
serve b ioat
move a b "unix:$work/m"
ok $? "an I/OAT engine is moved"
stop_all
truncate -s 1M "$work/disk"
serve a "nvme,file=$work/disk"
serve b "nvme,file=$work/disk,incoming=yes"
move a b "unix:$work/m"
ok $? "an NVMe controller is moved, its storage handed over"
move b a "tcp:127.0.0.1:$((port + 2))"
ok $? "and back"
is "both say so" 0 $restored
stop_all
done_testing
