#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Clients whose memory never comes, each kind through each door that it can be mapped through: nobody else's unmap, reset
# or close waits for them (tests/stress/main.c does all of that), and their own do not, either.  Memory that a userfaultfd is
# to fill is the exception: the DMA fails at once (docs/differences.md).
# Usage: blocked_test.sh UVFIO DMA-STRESS DMA-BLOCKER
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
stress=$(realpath "$2")
blocker=$(realpath "$3")
cd "$work" || exit 1
export XDG_RUNTIME_DIR=$work
socket=$work/control.sock
keeper=
pids=()
trap 'kill -KILL "${pids[@]}" $keeper 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
patience=60 # s, until something counts as waiting

# KIND DOOR DEVICE
blockers=("uffd group 0000:01:00.0" "uffd cdev 0000:02:00.0" "fuse group 0000:03:00.0" "fuse cdev 0000:04:00.0"
	"silent messages $work/5.sock")
arguments=()
for i in 1 2 3 4 5; do arguments+=(--device "pcitest,socket=$work/$i.sock"); done
# The others: 6 and 7 by a container, 8 and 9 by an iommufd, and so on.
for i in 6 8 10 12; do
	arguments+=(--device "ioat,start-delay=0,socket=$work/$i.sock" --device "pcitest,socket=$work/$((i + 1)).sock")
done
"$UVFIO" serve --control "$socket" "${arguments[@]}" 2>serve.err &
keeper=$!
served() {
	local i
	"$UVFIO" list --control "$socket" || return
	for i in $(seq 13); do [ -S "$work/$i.sock" ] || return; done
}
await "a server" served
join() { "$UVFIO" run --machine "$socket" --sysfs off -- "$@"; }

# ---- they get stuck ----

# hear NUMBER: the next line that this blocker says
hear() {
	line=
	read -r -t $patience line <&$((20 + $1))
}
tell() { echo "$2" >&$((10 + $1)); }
state() { if [ "$1" = uffd ]; then echo failed; else echo stuck; fi; }
started=()
start_blockers() {
	started=()
	local i
	for i in "${!blockers[@]}"; do
		read -r kind door device <<<"${blockers[i]}"
		rm -f "go$i" "said$i"
		mkfifo "go$i" "said$i"
		if [ "$door" = messages ]; then
			"$blocker" "$kind" "$device" <"go$i" >"said$i" 2>"blocker$i.err" &
		else
			join "$blocker" "$kind" "$device,via=$door" <"go$i" >"said$i" 2>"blocker$i.err" &
		fi
		pids[i]=$!
		eval "exec $((10 + i))>go$i $((20 + i))<said$i"
		hear "$i"
		heard=$?
		# The end of what it says, without a word (not that it takes its time): it ends.
		if [ -z "$line" ] && [ $heard -gt 0 ] && [ $heard -le 128 ]; then
			wait ${pids[i]}
			if [ $? = 77 ]; then
				skip "$1: $kind, $door: stuck" "$(cat "blocker$i.err")"
				continue
			fi
		fi
		is "$1: $kind, $door: $(state $kind)" "$(state $kind)" "$line"
		sed 's/^/# /' "blocker$i.err"
		started+=("$i")
	done
}

# ---- the others go on ----

others() { # WHEN
	local i waiting=()
	join timeout -s KILL $patience "$stress" 2 1 group ioat=0000:06:00.0,via=group pcitest=0000:07:00.0,via=group >6.out 2>&1 &
	waiting[6]=$!
	join timeout -s KILL $patience "$stress" 2 2 cdev ioat=0000:08:00.0,via=cdev pcitest=0000:09:00.0,via=cdev >8.out 2>&1 &
	waiting[8]=$!
	timeout -s KILL $patience "$stress" 2 3 files ioat="unix:$work/10.sock" pcitest="unix:$work/11.sock" >10.out 2>&1 &
	waiting[10]=$!
	timeout -s KILL $patience "$stress" 2 4 messages ioat="unix:$work/12.sock,share=no" \
		pcitest="unix:$work/13.sock,share=no" >12.out 2>&1 &
	waiting[12]=$!
	for i in 6 8 10 12; do
		wait ${waiting[i]}
		is "$1: others map, unmap, reset and close: $(sed -n 's/^\([a-z]*\): seed.*/\1/p' $i.out)" 0 $?
		grep -E 'BAD|little' $i.out | sed 's/^/# /'
	done
}

start_blockers once
others "all of them stuck"
for i in "${started[@]}"; do
	read -r kind door _ <<<"${blockers[i]}"
	tell "$i" status
	hear "$i"
	is "$kind, $door: its device is as it was" "$([ $kind = uffd ] && echo failed || echo busy)" "$line"
	for what in reset unmap stop; do
		tell "$i" $what
		hear "$i"
		is "$kind, $door: its own $what does not wait" "$what ok" "$line"
		tell "$i" rest
		hear "$i"
		is "$kind, $door: after $what the device is at rest" "$([ $what = reset ] && echo idle || echo failed)" "$line"
		tell "$i" again
		hear "$i"
		is "$kind, $door: and then $(state $kind) again" "$(state $kind)" "$line"
	done
	tell "$i" close
	hear "$i"
	is "$kind, $door: nor does its close" closed "$line"
	eval "exec $((10 + i))>&- $((20 + i))<&-"
	wait "${pids[i]}"
	is "$kind, $door: exit status" 0 $?
done

# ---- they are killed ----

start_blockers "once more"
exec 3>&2 2>/dev/null # what bash has to say of killed jobs
for i in "${started[@]}"; do
	kill -KILL "${pids[i]}"
done
others "they were killed"
for i in "${started[@]}"; do
	eval "exec $((10 + i))>&- $((20 + i))<&-"
	wait "${pids[i]}"
done
exec 2>&3
pids=()
free() { ! "$UVFIO" list --control "$socket" | awk '{ print $6 }' | grep -q vfio; }
await "everything is given back" free
check "and can be used" timeout -s KILL $patience "$stress" 1 5 again pcitest="unix:$work/1.sock" pcitest="unix:$work/2.sock" \
	pcitest="unix:$work/3.sock" pcitest="unix:$work/4.sock" pcitest="unix:$work/5.sock"
kill -TERM "$keeper"
wait "$keeper"
is "the server ends as it should" 0 $?
keeper=
finish
