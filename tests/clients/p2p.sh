#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Peer-to-peer DMA as drivers have it (D.4): NVMe and I/OAT into the memory of an NVMe controller and of the test
# device, by a container, by an iommufd, over vfio-user; data compared, and the memory taken away in the midst.
# Environment: P2P, the client
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
: "${P2P:?the client}"
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; }; rm -rf "$scratch"' EXIT
devices=("nvme,memory=4M" "nvme,memory=4M,cmb=1M" "ioat" "pcitest,memory=256K")
names=(0000:01:00.0 0000:02:00.0 0000:03:00.0 0000:04:00.0)

# judge NAME COMMAND ...: the client's test points are one
judge() {
	local name=$1
	shift
	if timeout 120 "$@" >"$scratch/out" 2>"$scratch/log" && grep -q '^1\.\.' "$scratch/out" &&
		! grep -qE '^(not ok|Bail out)' "$scratch/out"; then
		ok 0 "$name: $(grep -c '^ok' "$scratch/out") checks"
	else
		grep -E '^(not ok|Bail out|#)' "$scratch/out" >>"$scratch/log"
		ok 1 "$name"
	fi
}

for mmio in exact polled; do
	specs=()
	for device in "${devices[@]}"; do
		# Polling does not see that the DMA engine's registers are written once more with the same value.
		case $device in
		ioat*) specs+=(--device "$device") ;;
		*) specs+=(--device "$device,mmio=$mmio") ;;
		esac
	done
	judge "a container, $mmio" "$UVFIO" run "${specs[@]}" -- "$P2P" group "${names[@]}"
	judge "an iommufd, $mmio" "$UVFIO" run "${specs[@]}" -- "$P2P" cdev "${names[@]}"
done

specs=()
sockets=()
for n in 0 1 2 3; do
	specs+=(--device "${devices[n]},socket=$scratch/$n.sock")
	sockets+=("unix:$scratch/$n.sock")
done
"$UVFIO" serve --control "$scratch/control.sock" "${specs[@]}" 2>"$scratch/serve.log" &
server=$!
await "a server starts" "$UVFIO" list --control "$scratch/control.sock"
judge "vfio-user" "$P2P" vfio-user "${sockets[@]}"
judge "a joined machine, by a container" "$UVFIO" run --machine "$scratch/control.sock" -- "$P2P" group "${names[@]}"
judge "a joined machine, by an iommufd" "$UVFIO" run --machine "$scratch/control.sock" -- "$P2P" cdev "${names[@]}"
done_testing
