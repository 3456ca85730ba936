#!/bin/busybox sh
# SPDX-License-Identifier: BSD-3-Clause
# The guest's init: the kernel's own nvme driver partitions, formats, writes, and verifies after a new mount.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
step() { # NAME COMMAND ...
	name=$1
	shift
	if "$@" >/tmp/log 2>&1; then echo "GUEST ok $name"; else
		echo "GUEST not ok $name"
		cat /tmp/log
	fi
}
wait_for() {
	n=0
	while [ ! -e "$1" ] && [ $n -lt 100 ]; do
		usleep 100000
		n=$((n + 1))
	done
	[ -e "$1" ]
}
disk=/dev/nvme0n1
step "the driver finds the namespace" wait_for $disk
echo "GUEST queues $(ls /sys/block/nvme0n1/mq | wc -l) interrupts $(grep -c nvme0q /proc/interrupts)"
printf 'n\np\n1\n2048\n\nw\n' >/tmp/fdisk.in
partition() { fdisk $disk </tmp/fdisk.in; }
step "partition" partition
step "the partition appears" wait_for ${disk}p1
step "format" mke2fs -F ${disk}p1
mkdir -p /mnt
step "mount" mount -t ext4 ${disk}p1 /mnt
write() { dd if=/dev/urandom of=/mnt/random bs=64k count=128 && cp /bin/busybox /mnt/busybox && md5sum /mnt/random >/tmp/sum; }
step "write" write
step "unmount" umount /mnt
echo 3 >/proc/sys/vm/drop_caches
step "mount again" mount -t ext4 ${disk}p1 /mnt
step "verify" md5sum -c /tmp/sum
step "verify the copy" cmp /bin/busybox /mnt/busybox
step "trim" fstrim /mnt
step "verify after trim" md5sum -c /tmp/sum
step "unmount again" umount /mnt
dmesg | grep -iE 'nvme.*(timeout|error|abort|reset|fail)' | sed 's/^/GUEST not ok kernel log: /'
echo "GUEST done"
sync
poweroff -f
