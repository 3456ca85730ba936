#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A PF takes vectors away from a VF whose user fights for them, through each door and with pages that are mapped in each
# way (B).
# Environment: VECTORS, the client
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
: "${VECTORS:?the client}"
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; }; rm -rf "$scratch"' EXIT
token=6f1b0f2e-64d5-4f3e-8d59-9c4a2f5a9d10
device=pcitest,vfs=1,numvfs=1,vf-vectors=8,vf-pool=8
names=(0000:01:00.0 0000:01:00.1)

for mmio in exact polled none; do
	for way in group cdev; do
		judge_client "$way, $mmio" "$UVFIO" run --policy enable_sriov=Y --device "$device,mmio=$mmio" -- \
			"$VECTORS" "$way" "${names[@]}"
	done
done

"$UVFIO" serve --control "$scratch/control.sock" --policy enable_sriov=Y \
	--device "$device,vf_token=$token,socket=$scratch/pf.sock,vf-sockets=$scratch/vf%u.sock" 2>"$scratch/serve.log" &
server=$!
await "a server starts" "$UVFIO" list --control "$scratch/control.sock"
await "its VF has a socket" test -S "$scratch/vf0.sock"
judge_client "vfio-user" "$VECTORS" vfio-user "unix:$scratch/pf.sock" "unix:$scratch/vf0.sock"
judge_client "a joined machine, by group" "$UVFIO" run --machine "$scratch/control.sock" -- "$VECTORS" group "${names[@]}"
judge_client "a joined machine, by cdev" "$UVFIO" run --machine "$scratch/control.sock" -- "$VECTORS" cdev "${names[@]}"
done_testing
