#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Real programs on VFs: QEMU's vfio-pci by group, with a token and without, by iommufd, its vfio-user-pci, qemu-img.
# (DPDK: dpdk.sh; guests that boot: guest_ioat.py.)  QEMU's machine does not run here: it has its devices, and says which.
# shellcheck source=tests/clients/tap.sh
here=$(dirname "$(realpath "$0")")
. "$here/tap.sh"
need pgrep procps
cd "$scratch" || exit 1
token=2ab74924-c335-45f4-9b16-8569e5b08258
other=bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3
host_has=(--device ioat,vfs=2,numvfs=2,driver=pci-pf-stub)
user_has=(--policy enable_sriov=Y --device "ioat,vfs=2,numvfs=2,vf_token=$token")
keeper=
trap '[ -z "$keeper" ] || kill -KILL $(pgrep -P "$keeper") "$keeper" 2>/dev/null; rm -rf "$work"' EXIT

machine() { # QEMU [ARG …]
	printf 'info pci\nquit\n' | timeout -k 5 120 "$@" -machine q35 -m 64M -display none -nodefaults -S -monitor stdio >log 2>&1
}
on_vf() { # QEMU OPTIONS-OF-THE-DEVICE [ARG …]: under "${machine[@]}"
	local qemu=$1 options=$2
	shift 2
	machine "$UVFIO" run --trace "$scratch/trace" "${machine[@]}" -- "$qemu" "$@" -device "vfio-pci,host=0000:01:00.1$options"
}
has_it() { grep -qi 'PCI device 8086:0b00' log; }
refused() { ! has_it && grep -qi 'permission denied' log; }

if command -v qemu-system-x86_64 >/dev/null; then
	machine=("${host_has[@]}")
	on_vf qemu-system-x86_64 "" && has_it
	ok $? "vfio-pci on a VF of a PF that the host has"
	machine=("${user_has[@]}")
	on_vf qemu-system-x86_64 ""
	refused
	ok $? "vfio-pci without a token, on a VF that needs one: refused"
else
	skip "vfio-pci on a VF" "qemu-system-x86_64 is missing (package qemu-system-x86)"
fi

if newest=$("$here/../../scripts/fetch-qemu" 2>log); then
	qemu=$newest/qemu-system-x86_64
	machine=("${user_has[@]}")
	on_vf "$qemu" ",vf-token=$token" && has_it
	ok $? "vfio-pci,vf-token="
	check "vfio-pci,vf-token=: by its group" grep -q 'request=GROUP_GET_DEVICE_FD .*= [0-9]' trace
	on_vf "$qemu" ",vf-token=$other"
	refused
	ok $? "vfio-pci,vf-token=: another one is refused"
	on_vf "$qemu" ""
	refused
	ok $? "vfio-pci without a token is refused, newest QEMU"
	# QEMU 11.1 gives no token to BIND, so a kernel refuses it too.
	on_vf "$qemu" ",iommufd=i0,vf-token=$token" -object iommufd,id=i0
	has_it || refused
	ok $? "vfio-pci,vf-token= on an iommufd: had with the token, refused without"
	machine=("${host_has[@]}")
	on_vf "$qemu" ",iommufd=i0" -object iommufd,id=i0 && has_it
	ok $? "vfio-pci on an iommufd, a VF of a PF that the host has"
	check "vfio-pci on an iommufd: bound to it" grep -q 'request=DEVICE_BIND_IOMMUFD .*= 0' trace
	"$UVFIO" serve --control control.sock "${user_has[@]},socket=pf.sock,vf-sockets=vf%u.sock" 2>serve.err &
	keeper=$!
	await "a server starts" "$UVFIO" list --control control.sock
	machine "$qemu" -object memory-backend-memfd,id=ram,size=64M,share=on -machine memory-backend=ram \
		-device "{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"$scratch/vf1.sock\"}}" && has_it
	ok $? "vfio-user-pci on the socket of a VF, which has the token"
	kill "$keeper"
	wait "$keeper"
	keeper=
else
	skip "vfio-pci,vf-token=" "no newer QEMU can be fetched: $(tail -1 log)"
fi

# Each VF has an image of its own, and one is shared.
if command -v qemu-img >/dev/null; then
	head -c 4M /dev/urandom >data.img
	truncate -s 16M a.img b.img shared.img
	disk=(--device "nvme,driver=nvme,file=a.img,attach=vf0,ns=file=b.img:attach=vf1,ns=file=shared.img,vfs=2,numvfs=2")
	for vf in 0 1; do
		check "qemu-img writes to a VF's own namespace" timeout 120 "$UVFIO" run "${disk[@]}" -- \
			qemu-img convert -n -f raw -O raw data.img "nvme://0000:01:00.$((vf + 1))/$((vf + 1))"
	done
	check "each wrote to its own image" bash -c 'cmp -n 4194304 data.img a.img && cmp -n 4194304 data.img b.img'
	if timeout 120 "$UVFIO" run "${disk[@]}" -- qemu-img convert -O raw nvme://0000:01:00.1/2 copy.img >log 2>&1; then false; else true; fi
	ok $? "a VF has no namespace that is another's"
	check "one VF writes what they share" timeout 120 "$UVFIO" run "${disk[@]}" -- \
		qemu-img convert -n -f raw -O raw data.img nvme://0000:01:00.1/3
	check "the other reads it" timeout 120 "$UVFIO" run "${disk[@]}" -- qemu-img convert -O raw nvme://0000:01:00.2/3 copy.img
	check "and it is the same" cmp -n 4194304 data.img copy.img
else
	skip "qemu-img on VFs" "qemu-img is missing (package qemu-utils)"
fi
done_testing
