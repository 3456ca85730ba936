#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# QEMU's user-space NVMe driver (nvme://) in qemu-img and qemu-io: read, write, verify, discard, conversion.
# shellcheck source=tests/clients/tap.sh
. "$(dirname "$0")/tap.sh"
need qemu-img qemu-utils
need qemu-io qemu-utils

cd "$scratch" || exit 1
disk=nvme://0000:01:00.0/1
head -c 24M /dev/urandom >disk.img
truncate -s 40M disk.img
head -c 4M /dev/urandom | dd of=disk.img bs=1M seek=36 conv=notrunc status=none

run() { # DEVICE-SPEC PROGRAM [ARG ...]
	local spec=$1
	shift
	timeout 120 "$UVFIO" run --device "$spec" -- "$@"
}

io() { # DEVICE-SPEC COMMAND ...: qemu-io; it prints failures of a pattern, and its status does not always say so
	local spec=$1 out
	shift
	local args=()
	for command; do args+=(-c "$command"); done
	out=$(run "$spec" qemu-io -f raw "${args[@]}" "$disk" 2>&1) || { echo "$out"; return 1; }
	echo "$out"
	! grep -qiE 'fail|error|invalid' <<<"$out"
}

# (nvme:// wants mapped registers, so mmio=none is not for it.)
for mmio in exact polled; do
	rm -f copy.img
	check "convert from nvme, mmio=$mmio" run "nvme,file=disk.img,mmio=$mmio" qemu-img convert -O raw "$disk" copy.img
	check "the copy is identical, mmio=$mmio" cmp disk.img copy.img
done

truncate -s 40M target.img
check "convert to nvme" run nvme,file=target.img qemu-img convert -n -O raw -f raw disk.img "$disk"
check "what was written is identical" cmp disk.img target.img

truncate -s 40M target4k.img
check "convert to nvme with 4096-byte blocks" run nvme,file=target4k.img,blocksize=4096 \
	qemu-img convert -n -O raw -f raw disk.img "$disk"
check "what was written is identical with 4096-byte blocks" cmp disk.img target4k.img

truncate -s 32M io.img
check "patterns" io nvme,file=io.img "write -P 0xab 0 1M" "write -P 0xcd 1M 64k" "aio_write -P 0x11 2M 512k" \
	"aio_write -P 0x22 3M 4k" "aio_flush" "read -P 0xab 0 1M" "read -P 0xcd 1M 64k" "read -P 0x11 2M 512k" \
	"read -P 0x22 3M 4k" "flush"
check "patterns are there after a new start" io nvme,file=io.img "read -P 0xab 0 1M" "read -P 0xcd 1M 64k" \
	"read -P 0x11 2M 512k" "read -P 0x22 3M 4k" "read -P 0 4M 1M"
check "one block" io nvme,file=io.img "write -P 0x77 5M 512" "read -P 0x77 5M 512" "read -P 0 5243392 512"
check "write zeroes" io nvme,file=io.img "write -z 0 512k" "read -P 0 0 512k" "read -P 0xab 512k 512k"

head -c 32M /dev/zero | tr '\0' '\252' >full.img
before=$(stat -c %b full.img)
check "discard" io nvme,file=full.img "discard 0 16M" "flush"
after=$(stat -c %b full.img)
echo "blocks allocated before and after: $before $after" >log
[ "$after" -le $((before * 6 / 10)) ]
ok $? "discard frees the file's blocks"

check "reading a read-only disk" run nvme,file=disk.img,readonly=on qemu-img convert -O raw "$disk" copy.img
! io nvme,file=disk.img,readonly=on "write -P 1 0 4k" >log 2>&1
ok $? "writing a read-only disk fails"
check "a read-only disk is unchanged" cmp disk.img copy.img

check "a disk in memory" io nvme,memory=16M "write -P 0x5a 1M 1M" "read -P 0x5a 1M 1M" "read -P 0 0 1M"

if command -v nbdkit >/dev/null; then
	nbdkit -U nbd.sock -P nbd.pid file disk.img
	for _ in $(seq 100); do [ -s nbd.pid ] && break; sleep 0.1; done
	rm -f copy.img
	check "convert from nvme on an NBD server" run "nvme,nbd=nbd+unix:///?socket=$scratch/nbd.sock" \
		qemu-img convert -O raw "$disk" copy.img
	check "the copy from the NBD server is identical" cmp disk.img copy.img
	kill "$(cat nbd.pid)"
else
	skip "an NBD server" "nbdkit is missing (package nbdkit)"
fi

if ordinary_user; then
	cp disk.img user/ && chown 65534:65534 user/disk.img
	check "an ordinary user" "${as_user[@]}" timeout 120 tree/uvfio run \
		--device nvme,file=user/disk.img -- qemu-img convert -O raw "$disk" user/copy.img
	check "the ordinary user's copy is identical" cmp disk.img user/copy.img
else
	skip "an ordinary user beside root" "$not_as_root"
fi
done_testing
