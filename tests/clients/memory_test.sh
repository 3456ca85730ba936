#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Memory of every kind for DMA, and BARs, through type 1.  Usage: memory_test.sh UVFIO CLIENT
. "$(dirname "$0")/lib.sh"
client=$(realpath "$2")

# Huge pages: some if there are none and we may have them; given back at the end.
huge=/proc/sys/vm/nr_hugepages
before=
if [ -w "$huge" ] && [ "$(cat "$huge")" = 0 ]; then
	before=0
	echo 8 >"$huge" 2>/dev/null
	trap 'echo $before >"$huge"; rm -rf "$work"' EXIT
fi

ask() { # NAME TEST [ARGUMENT …] -- [OPTION …]: in a run
	local name=$1 args=()
	shift
	while [ "$1" != -- ]; do
		args+=("$1")
		shift
	done
	shift
	sound "$name" "$UVFIO" run "$@" --device pcitest --device pcitest -- "$client" "${args[@]}"
	sed -n 's/^SKIP /# not here: /p' "$work/out"
}

for mmio in exact polled none; do
	ask "$mmio: kinds of memory" kinds -- --mmio $mmio
	ask "$mmio: what the program changes later" changes -- --mmio $mmio
	ask "$mmio: other processes" processes -- --mmio $mmio
	ask "$mmio: a program that executes itself" exec -- --mmio $mmio
	[ $mmio != none ] || continue
	ask "$mmio: BARs" bars -- --mmio $mmio
	ask "$mmio: BARs that come and go" bars-change -- --mmio $mmio
done

# A run that has joined a served machine.
"$UVFIO" serve --control "$work/control" --device pcitest,socket="$work/a" \
	--device pcitest,socket="$work/b" 2>"$work/serve" &
server=$!
served() { "$UVFIO" list --control "$work/control" && [ -S "$work/a" ] && [ -S "$work/b" ]; }
await "the server is there" served
for test in kinds changes processes exec bars bars-change; do
	timeout -s KILL 90 "$UVFIO" run --machine "$work/control" -- "$client" $test >"$work/out" \
		2>"$work/err"
	is "joined: $test" 0 $?
	grep FAIL "$work/out" | sed 's/^/# /'
done
kill $server
wait $server
is "the server ends well" 0 $?

# An ordinary user: what is behind a mapping is known by the program's own descriptors, or not at all.
if ordinary_user "$client"; then
	for test in kinds changes processes exec bars bars-change; do
		timeout -s KILL 90 "${as_user[@]}" "$work/tree/uvfio" run --device pcitest \
			--device pcitest -- "$work/tree/$(basename "$client")" $test \
			>"$work/out" 2>"$work/err"
		is "ordinary user: $test" 0 $?
		grep FAIL "$work/out" | sed 's/^/# /'
	done
else
	skip "ordinary user" "$not_as_root"
fi

# QEMU maps the BARs of each device for the other, and warns when that fails.
two_in_qemu() { # MMIO LINES PATTERN
	"$UVFIO" run --mmio "$1" --trace "$work/trace" --device pcitest --device pcitest -- \
		qemu-system-x86_64 -machine q35,accel=tcg -m 128 -display none -nodefaults \
		-device vfio-pci,host=0000:01:00.0 -device vfio-pci,host=0000:02:00.0 \
		>"$work/out" 2>"$work/err" &
	local run=$!
	# The firmware has given them addresses when this has come.
	if await "$1: QEMU maps BARs" at_least "$2" "$3"; then
		is "$1: QEMU has no warning" "" "$(grep -i "warning\|fail\|error" "$work/err")"
	fi
	kill $run
	wait $run 2>/dev/null
	await "$1: QEMU: no server is left" no_servers
}
at_least() { # LINES PATTERN
	[ "$(grep -c "$2" "$work/trace")" -ge "$1" ]
}
if type qemu-system-x86_64 >/dev/null 2>&1; then
	: >"$work/trace"
	two_in_qemu exact 3 "IOMMU_MAP_DMA (helper.* = 0"
	: >"$work/trace"
	two_in_qemu polled 20 "IOMMU_MAP_DMA.* = 0"
else
	skip "two devices in QEMU" "qemu-system-x86_64 is not installed (package qemu-system-x86)"
fi

said() { # NAME PATTERN: unless the test before was skipped
	grep -q "cannot be mapped here" "$work/out" || is "$1" yes "$(grep -q "$2" "$work/err" && echo yes)"
}

# Memory that can neither be pinned nor recognised.
ask "refused: a BAR that VFIO has not mapped" foreign-bars Y --
said "refused: that is said" "strict_mmio_maps=N"
if "$UVFIO" run --policy strict_mmio_maps=N -- true 2>/dev/null; then
	ask "taken: the same with strict_mmio_maps=N" foreign-bars N -- --policy strict_mmio_maps=N
	said "taken: that is said" "tainted"
else
	skip "strict_mmio_maps=N" "built without what is unsafe"
fi
finish
