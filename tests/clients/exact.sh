#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Exact trapping, from a program's store to the device: every store once, in order, with its width, also while
# signals rain. And the example, in each mode.
# Environment: STORE_STORM and EXAMPLE, the programs; STORM_STORES, how many stores (20000)
# shellcheck source=tests/clients/tap.sh
. "$(dirname "$0")/tap.sh"
: "${STORE_STORM:?the program that stores}" "${EXAMPLE:?the example}"
stores=${STORM_STORES:-20000}
trace=$scratch/trace.json

"$UVFIO" run --trace "$trace" --device nvme,memory=16M -- "$STORE_STORM" 0000:01:00.0 "$stores" >"$scratch/log" 2>&1
ok $? "$stores stores under a 50 us timer"
sed 's/^/# /' "$scratch/log"
# The values of the 4-byte stores to AQA (0x24) as the device saw them must be 1, 2, 3, ...
awk -F'[:,}]' '
	/"event":"store"/ {
		for (i = 1; i < NF; i++) {
			if ($i == "\"offset\"") offset = $(i + 1)
			if ($i == "\"size\"") size = $(i + 1)
			if ($i == "\"value\"") value = $(i + 1)
		}
		if (offset % 1099511627776 != 36) next
		seen++
		if (size != 4 || value != seen) { wrong++; if (wrong < 5) print "store " seen ": size " size ", value " value }
	}
	END { print seen + 0 " stores seen, " wrong + 0 " wrong"; exit !(seen == want && !wrong) }' want="$stores" "$trace" \
	>"$scratch/log"
ok $? "each of them reached the device once, in order, with its width"
sed 's/^/# /' "$scratch/log"

for mmio in exact polled; do
	"$UVFIO" run --mmio $mmio --device nvme,memory=64M,serial=abc -- "$EXAMPLE" 0000:01:00.0 >"$scratch/log" 2>&1 &&
		grep -q 'serial "abc ' "$scratch/log" && grep -q '131072 blocks of 512 bytes' "$scratch/log"
	ok $? "the example driver, mmio=$mmio"
done
"$UVFIO" run --mmio none --device nvme,memory=64M -- "$EXAMPLE" 0000:01:00.0 >"$scratch/log" 2>&1
[ $? = 1 ] && grep -q 'cannot be mapped' "$scratch/log"
ok $? "the example driver is told that mmio=none maps nothing"

# A VMM on KVM: the device's node, whether this machine has the hardware for it or not.
kvm=/dev/kvm
if [ ! -c $kvm ] && [ "$(id -u)" = 0 ] && mknod "$scratch/kvm" c 10 232 2>/dev/null; then kvm=$scratch/kvm; fi
if [ -r $kvm ] && [ -w $kvm ]; then
	for mmio in exact polled; do
		# shellcheck disable=SC2016 # for the inner shell
		"$UVFIO" run --mmio $mmio --device nvme,memory=64M -- sh -c 'true <>"$1"; exec "$2" 0000:01:00.0' sh \
			$kvm "$EXAMPLE" >"$scratch/log" 2>&1
		echo $? >>"$scratch/log"
		if [ $mmio = exact ]; then
			grep -q 'opens /dev/kvm: registers are not offered for mapping' "$scratch/log" &&
				grep -q 'cannot be mapped' "$scratch/log"
			ok $? "a program that opens /dev/kvm gets mmio=none, and is told"
		else
			tail -1 "$scratch/log" | grep -qx 0 && ! grep -q kvm "$scratch/log"
			ok $? "one that has chosen mmio=polled keeps it"
		fi
	done
else
	skip "a program that opens /dev/kvm" "no $kvm that this user may open"
fi

for device in 0000:01:00.0 0000:02:00.0; do
	check "the example on $device of two" "$UVFIO" run --device nvme,memory=8M --device nvme,memory=8M -- "$EXAMPLE" $device
done
check "the example at an address of one's choice" "$UVFIO" run --device nvme,memory=8M,addr=0000:7f:1f.3 -- "$EXAMPLE" 0000:7f:1f.3
done_testing
