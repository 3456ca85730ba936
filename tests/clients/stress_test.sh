#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `unmap` is a barrier, through every door of one server at once (tests/stress): joined programs with a container and with
# an iommufd, and vfio-user clients with files and with messages, each with two copy engines, a disk and a test device.
# Usage: stress_test.sh UVFIO DMA-STRESS; environment: STRESS_SECONDS (60), STRESS_SEED
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
stress=$(realpath "$2")
seconds=${STRESS_SECONDS:-60}
seed=${STRESS_SEED:-$RANDOM}
cd "$work" || exit 1
export XDG_RUNTIME_DIR=$work
socket=$work/control.sock
trap '[ -z "$keeper" ] || kill -TERM "$keeper" 2>/dev/null; wait; rm -rf "$work"' EXIT

kinds=(ioat ioat pcitest nvme)
declare -A option=([ioat]=,start-delay=0 [nvme]=,file=)
doors=(group cdev files messages)
declare -A devices=()
arguments=()
number=0
for door in "${doors[@]}"; do
	for kind in "${kinds[@]}"; do
		number=$((number + 1))
		spec=$kind${option[$kind]:-}
		if [ "$kind" = nvme ]; then
			truncate -s 16M "disk$number"
			spec+=$work/disk$number
		fi
		case $door in
		group | cdev) device=$(printf '0000:%02x:00.0,via=%s' $number $door) ;;
		files) device=unix:$work/$number.sock ;;
		messages) device=unix:$work/$number.sock,share=no ;;
		esac
		arguments+=(--device "$spec,socket=$work/$number.sock")
		devices[$door]+=" $kind=$device"
	done
done
"$UVFIO" serve --control "$socket" "${arguments[@]}" 2>serve.err &
keeper=$!
served() {
	local i
	"$UVFIO" list --control "$socket" || return
	for ((i = 1; i <= number; i++)); do [ -S "$work/$i.sock" ] || return; done
}
await "a server with ${number} devices" served

pids=()
for i in "${!doors[@]}"; do
	door=${doors[i]}
	run=()
	case $door in group | cdev) run=("$UVFIO" run --machine "$socket" --sysfs off --) ;; esac
	# shellcheck disable=SC2086
	"${run[@]}" "$stress" "$seconds" $((seed + i)) "$door" ${devices[$door]} >"$door.out" 2>&1 &
	pids+=($!)
done
for i in "${!doors[@]}"; do
	wait "${pids[i]}"
	status=$?
	is "${doors[i]}: nothing unmapped was touched" 0 $status
	sed 's/^/# /' "${doors[i]}.out"
done
kill -TERM "$keeper"
wait "$keeper"
is "the server ends as it should" 0 $?
grep -v "DMA \(read\|write\) of\|more DMA faults" serve.err | sed "s/^/# /"
keeper=
finish
