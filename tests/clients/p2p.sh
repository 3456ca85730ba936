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
devices=("nvme,memory=4M" "nvme,memory=4M,cmb=1M" "ioat" "pcitest,memory=256K" "pcitest,memory=256K,quiet-mmio=on")
names=(0000:01:00.0 0000:02:00.0 0000:03:00.0 0000:04:00.0 0000:05:00.0)

for mmio in exact polled; do
	specs=()
	for device in "${devices[@]}"; do
		# Polling does not see that the DMA engine's registers are written once more with the same value.
		case $device in
		ioat*) specs+=(--device "$device") ;;
		*) specs+=(--device "$device,mmio=$mmio") ;;
		esac
	done
	judge_client "a container, $mmio" "$UVFIO" run "${specs[@]}" -- "$P2P" group "${names[@]}"
	judge_client "an iommufd, $mmio" "$UVFIO" run "${specs[@]}" -- "$P2P" cdev "${names[@]}"
done

# The memory of a VF, by the engine of another PF's.
vfs=(nvme,memory=4M nvme,memory=4M,cmb=1M ioat,vfs=1,numvfs=1,driver=pci-pf-stub
	pcitest,vfs=1,numvfs=1,vf-memory=256K,driver=pci-pf-stub "${devices[4]}")
vf_names=(0000:01:00.0 0000:02:00.0 0000:03:00.1 0000:04:00.1 0000:05:00.0)
specs=()
for device in "${vfs[@]}"; do specs+=(--device "$device"); done
judge_client "VFs, by a container" "$UVFIO" run "${specs[@]}" -- "$P2P" group "${vf_names[@]}"
judge_client "VFs, by an iommufd" "$UVFIO" run "${specs[@]}" -- "$P2P" cdev "${vf_names[@]}"

specs=()
sockets=()
for n in 0 1 2 3 4; do
	specs+=(--device "${devices[n]},socket=$scratch/$n.sock")
	sockets+=("unix:$scratch/$n.sock")
done
"$UVFIO" serve --control "$scratch/control.sock" "${specs[@]}" 2>"$scratch/serve.log" &
server=$!
await "a server starts" "$UVFIO" list --control "$scratch/control.sock"
judge_client "vfio-user" "$P2P" vfio-user "${sockets[@]}"
for n in 2 3; do
	vfs[n]+=",socket=$scratch/pf$n.sock,vf-sockets=$scratch/vf$n-%u.sock"
done
for n in 0 1 4; do vfs[n]+=",socket=$scratch/vf$n-0.sock"; done
specs=()
for device in "${vfs[@]}"; do specs+=(--device "$device"); done
"$UVFIO" serve --control "$scratch/vfs.sock" "${specs[@]}" 2>"$scratch/vfs.log" &
vf_server=$!
await "a server of VFs starts" "$UVFIO" list --control "$scratch/vfs.sock"
judge_client "VFs, vfio-user" "$P2P" vfio-user "unix:$scratch/vf0-0.sock" "unix:$scratch/vf1-0.sock" \
	"unix:$scratch/vf2-0.sock" "unix:$scratch/vf3-0.sock" "unix:$scratch/vf4-0.sock"
kill $vf_server
wait $vf_server
judge_client "a joined machine, by a container" "$UVFIO" run --machine "$scratch/control.sock" -- "$P2P" group "${names[@]}"
judge_client "a joined machine, by an iommufd" "$UVFIO" run --machine "$scratch/control.sock" -- "$P2P" cdev "${names[@]}"
done_testing
