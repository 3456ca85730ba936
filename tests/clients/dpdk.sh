#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# DPDK, unmodified, on the I/OAT engine: dpdk-test's dmadev_autotest, dpdk-testpmd; Debian's, and a newer one.
# shellcheck source=tests/clients/tap.sh
here=$(dirname "$(realpath "$0")")
. "$here/tap.sh"
need dpdk-test dpdk-dev
need pgrep procps
cd "$scratch" || exit 1
runs=${DPDK_RUNS:-5}
cpu=$(sed -n 's/^Cpus_allowed_list:[^0-9]*\([0-9]*\).*/\1/p' /proc/self/status)
keeper=
trap '[ -z "$keeper" ] || kill -KILL $(pgrep -P "$keeper") "$keeper" 2>/dev/null; rm -rf "$work"' EXIT

# DPDK's driver takes it for granted that a channel which was just started anew has not yet finished when it looks
# again, a few instructions later, and loses a completion otherwise: hence start-delay=, for a machine that is busy,
# where 20ms were not enough once in 200 runs, and a higher priority where that is allowed.
ioat=ioat,start-delay=100ms

# eal PROGRAM MEGABYTES [OPTION ...]: run it under "${under[@]}", on the device $address, with "${options[@]}"
address=0000:01:00.0
options=()
eal() {
	local program=$1 memory=$2
	shift 2
	timeout -k 5 120 nice -n -15 "${under[@]}" -- "$program" --no-huge -m "$memory" --no-telemetry --file-prefix "uvfio$$" \
		-a $address "${options[@]}" "$@" >out 2>&1 </dev/null
}

# The cases that the device must pass, as the three versions of the test name them.
cases=('copy' 'burst.capacity' 'fill' 'error.handling')

all_ran() { # FILE
	local case
	for case in "${cases[@]}"; do
		grep -q "DMA Dev 0: Running $case Tests" "$1" || return 1
		! grep -qE "DMA Dev 0: .*skipping $case|: ${case} (skipped|failed)" "$1" || return 1
	done
}

# dmadev NAME PROGRAM MEGABYTES
#
# The test begins and ends with a device in software of DPDK's own, whose thread has a millisecond for its work: on a
# busy machine it fails.  So what is judged is what is said of our device, up to the beginning of the next, which
# does not begin where ours has failed; and a run that did not come to ours is made again.
dmadev() {
	local status try
	for try in 1 2 3 4 5 6 7 8 9 10; do
		DPDK_TEST=dmadev_autotest eal "$2" "$3" --lcores "0@$cpu"
		status=$?
		tr '\r' '\n' <out | grep -av '^Ops submitted' >log
		[ "$status" -lt 124 ] || [ "$status" = 255 ] || break
		grep -qE "(instance|infrastructure using) 0 \[$address\]" log && break
		grep -qE 'test_dma_[a-z_]* [Ff]ailed|Error performing API tests' log || break
		echo "# try $try: the skeleton device has failed"
	done
	sed -nE "/instance 0 \[$address\]/,/(instance|infrastructure using) 1/p" log >ours
	{ [ "$status" -lt 124 ] || [ "$status" = 255 ]; } && tail -1 ours | grep -qE '(instance|infrastructure using) 1' &&
		all_ran ours
	ok $? "$1"
}

under=("$UVFIO" run --device "$ioat")
failed=0
for ((i = 1; i <= runs; i++)); do
	(dmadev "run $i" dpdk-test 256) >result
	grep -q '^ok' result || { failed=$((failed + 1)); grep -a '^#' result | tail -40; }
done
echo "$failed of $runs runs failed" >log
[ "$failed" = 0 ]
ok $? "dmadev_autotest passes $runs times"

# DPDK expects no errors of version 3.3.
under=("$UVFIO" run --device "$ioat,version=3.3")
with_errors=("${cases[@]}")
cases=("${cases[@]:0:3}")
dmadev "dmadev_autotest on version 3.3" dpdk-test 256
cases=("${with_errors[@]}")

# start and stop of testpmd with the device beside a port: it ends at the end of its input
pmd() {
	under=("$UVFIO" run --device "$ioat")
	eal "$1" 128 --lcores "0@$cpu,1@$cpu" --vdev net_null0 -- --total-num-mbufs=2048 || return 1
	grep -q 'dmadev_ioat (8086:0b00) device: 0000:01:00.0' out && grep -q '^Bye' out
}
pmd dpdk-testpmd
cp out log
ok $? "testpmd starts and stops"

# An ordinary user
if ordinary_user; then
	under=("${as_user[@]}" tree/uvfio run --device "$ioat")
	dmadev "dmadev_autotest as an ordinary user" dpdk-test 256
else
	skip "an ordinary user beside root" "$not_as_root"
fi

# A VF of a PF that vfio-pci has: EAL gives the token when one of its drivers takes the device.
token=2ab74924-c335-45f4-9b16-8569e5b08258
on_a_vf() { # NAME PROGRAM MEGABYTES DEVICE
	under=("$UVFIO" run --trace "$scratch/trace" --policy enable_sriov=Y --device "$4,vfs=2,numvfs=2,vf_token=$token")
	address=0000:01:00.1
	options=(--vfio-vf-token "$token")
	dmadev "$1 on a VF, with its token" "$2" "$3"
	check "$1 on a VF: the kernel's call was given it" grep -q "request=GROUP_GET_DEVICE_FD .*= [0-9]" "$scratch/trace"
	if grep -q "$token" "$scratch/trace"; then false; else true; fi
	ok $? "$1 on a VF: and is no secret that is told"
	options=()
	eal "$2" "$3" --lcores "0@$cpu"
	cp out log
	grep -q "request=GROUP_GET_DEVICE_FD .*EACCES" "$scratch/trace"
	ok $? "$1 on a VF, without the token: refused"
	address=0000:01:00.0
	rm -f "$scratch/trace"
}
on_a_vf "dmadev_autotest" dpdk-test 256 "$ioat"

# DPDK's own way to an iommufd is in no release that Debian has: those up to 25.11 know groups and containers.  But an
# iommufd answers a container's calls (D.3), so /dev/iommu may stand for /dev/vfio/vfio, as on a kernel without the latter.
cat >instead <<'END'
#!/bin/sh
ln -sf /dev/iommu /dev/vfio/vfio && shift && exec "$@"
END
chmod +x instead
by_iommufd() { # NAME PROGRAM MEGABYTES DEVICE
	# With mounts of the program's own: what it changes is not this machine's.
	if ! "$UVFIO" run --sandbox mounts --device ioat -- true 2>/dev/null; then
		skip "$1, on an iommufd" "the program has no /dev/vfio of its own here"
		return
	fi
	under=("$UVFIO" run --sandbox mounts --trace "$scratch/trace" --device "$4" -- ./instead)
	dmadev "$1, on an iommufd" "$2" "$3"
	check "$1, on an iommufd: memory is mapped there" grep -q 'file=iommufd request=IOMMU_MAP_DMA .*= 0' "$scratch/trace"
	if grep -qs 'file=container' "$scratch/trace"; then false; else true; fi
	ok $? "$1, on an iommufd: no container was opened"
	rm -f "$scratch/trace"
}
by_iommufd "dmadev_autotest" dpdk-test 256 "$ioat"

# The device is moved all the time: the program is stopped, the state read, the device reset, the state put back.
# (A default container does not let one process have another's descriptors.)
moved() { # NAME UVFIO-RUN-ARGUMENT ...
	local name=$1 moves at_work
	shift
	if [ -z "${MOVER-}" ]; then
		skip "$name" "no mover here"
		return
	fi
	rm -f report
	under=("$UVFIO" run "$@" -- "$MOVER" "$scratch/report")
	dmadev "$name" dpdk-test 256
	cp report log
	moves=$(sed 's/^moves=\([0-9]*\).*/\1/' report) at_work=$(sed 's/.*at-work=//' report)
	echo "# $(cat report)"
	[ "$moves" -ge 10 ] && [ "$at_work" -ge 1 ]
	ok $? "$name: it was, also at work"
}
moved "dmadev_autotest while the device is moved" --device "$ioat"

# A served machine
"$UVFIO" serve --control "$scratch/control.sock" --device "$ioat,socket=ioat.sock" 2>serve.err &
keeper=$!
await "a server starts" "$UVFIO" list --control control.sock
under=("$UVFIO" run --machine "$scratch/control.sock")
dmadev "dmadev_autotest on a served machine" dpdk-test 256
moved "dmadev_autotest on a served machine while the device is moved" --machine "$scratch/control.sock"
kill "$keeper"
wait "$keeper"
keeper=

# (A newer DPDK maps each page of memory that is not huge: 65536 of them would be over the kernel's dma_entry_limit.)
newer=$("$here/../../scripts/fetch-dpdk" "${DPDK_SUITE:-trixie}" 2>fetch.log)
if [ -n "$newer" ]; then
	# Its first cases give a copy 50 ms, ours too.
	by_iommufd "dmadev_autotest of a newer DPDK" "$newer/dpdk-test" 128 "ioat,start-delay=20ms"
	under=("$UVFIO" run --device "ioat,start-delay=20ms")
	dmadev "dmadev_autotest of a newer DPDK" "$newer/dpdk-test" 128
	on_a_vf "dmadev_autotest of a newer DPDK" "$newer/dpdk-test" 128 "ioat,start-delay=20ms"
	pmd "$newer/dpdk-testpmd"
	cp out log
	ok $? "testpmd of a newer DPDK starts and stops"
else
	skip "a newer DPDK" "cannot be fetched: $(tail -1 fetch.log)"
fi
done_testing
