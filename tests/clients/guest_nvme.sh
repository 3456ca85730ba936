#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A Linux guest under Debian's QEMU with -device vfio-pci: the guest kernel's nvme driver partitions, formats,
# writes and verifies; the host's e2fsck judges the result.
# shellcheck source=tests/clients/tap.sh
here=$(dirname "$(realpath "$0")")
. "$here/tap.sh"
need qemu-system-x86_64 qemu-system-x86
need busybox busybox-static
need cpio cpio
export PATH=$PATH:/sbin:/usr/sbin

kernel=$("$here/../../scripts/fetch-kernel" trixie 2>"$scratch/log") ||
	skip_all "no guest kernel can be fetched: $(tail -1 "$scratch/log")"
root=$scratch/root
mkdir -p "$root"/{bin,dev,proc,sys,tmp}
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$here/guest-nvme-init.sh" "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet) >"$scratch/initramfs"

# QEMU 7.2's cmpxchg16b leaves part of RAX in the guest's EFLAGS now and then, and the guest panics, with uvfio
# and without: the guest's CPU does not have it.
#
# boot NAME DEVICE-SPEC [QEMU-ARG ...]: the guest's lines become test points.  By $qemu; $iommufd may say how.
qemu=qemu-system-x86_64
iommufd=
boot() {
	local name=$1 spec=$2 line
	shift 2
	timeout 150 "$UVFIO" run --trace "$scratch/trace" --device "$spec" -- "$qemu" -display none -monitor none -nodefaults \
		-no-user-config -no-reboot -serial stdio -accel tcg,thread=multi -cpu max,-cx16 -smp 2 -m 512M \
		-machine q35,smbus=off,sata=off,vmport=off,i8042=off -kernel "$kernel/vmlinuz" \
		-initrd "$scratch/initramfs" -append "console=ttyS0 quiet panic=-1 mitigations=off" \
		-device vfio-pci,host=0000:01:00.0${iommufd:+,iommufd=$iommufd} "$@" </dev/null >"$scratch/console" 2>&1
	ok $? "$name: QEMU ends well"
	cp "$scratch/console" "$scratch/log"
	while read -r line; do
		case $line in
		"GUEST ok "*) ok 0 "$name: ${line#GUEST ok }" ;;
		"GUEST not ok "*) ok 1 "$name: ${line#GUEST not ok }" ;;
		esac
	done < <(tr -d '\r' <"$scratch/console")
	grep -q 'GUEST done' "$scratch/console"
	ok $? "$name: the guest came to its end"
}

truncate -s 64M "$scratch/disk.img"
boot "no mapped BARs" "nvme,file=$scratch/disk.img,mmio=none"
check "no mapped BARs: the file system is clean" e2fsck -fn "$scratch/disk.img?offset=1048576"

rm "$scratch/disk.img" && truncate -s 64M "$scratch/disk.img"
# With the sandbox that libvirt asks for.
boot "exact, sandbox" "nvme,file=$scratch/disk.img,mmio=exact" \
	-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
check "exact, sandbox: the file system is clean" e2fsck -fn "$scratch/disk.img?offset=1048576"

# The newest QEMU by the device's node and an iommufd (D.3).
if newest=$("$here/../../scripts/fetch-qemu" 2>"$scratch/log"); then
	rm "$scratch/disk.img" && truncate -s 64M "$scratch/disk.img"
	qemu=$newest/qemu-system-x86_64
	iommufd=iommufd0
	boot "iommufd" "nvme,file=$scratch/disk.img" -object iommufd,id=iommufd0
	check "iommufd: the file system is clean" e2fsck -fn "$scratch/disk.img?offset=1048576"
	check "iommufd: no group was opened" bash -c '! grep -q "open file=\(container\|group\)" "$1"' _ "$scratch/trace"
	check "iommufd: memory is mapped in it" grep -q "request=IOMMU_IOAS_MAP .*= 0" "$scratch/trace"
else
	skip "iommufd" "no newer QEMU can be fetched: $(tail -1 "$scratch/log")"
fi
done_testing
