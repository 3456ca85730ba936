#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# systemd_boot.sh FOLDER: systemd as PID 1 of new namespaces (mount, PID, UTS, IPC, cgroup), with the units of FOLDER and
# no others: what a distribution enables (sysctls, mounts, log-ins) would reach the machine itself.
set -e
units=$1
mount --make-rprivate /
mount -t proc proc /proc
if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
	mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
	mkdir /sys/fs/cgroup/systemd
	mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
fi
mount -t tmpfs -o mode=755 tmpfs /run
for d in /lib/systemd/system /lib/systemd/system-generators /etc/systemd/system; do
	[ ! -d $d ] || mount -t tmpfs -o mode=755 tmpfs $d
done
mkdir -p /run/systemd/system
cp "$units"/* /run/systemd/system/
for target in test sysinit basic sockets shutdown umount final network-online multi-user; do
	printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' $target >/run/systemd/system/$target.target
done
export container=test
exec /lib/systemd/systemd --unit=test.target --log-target=null --show-status=no </dev/null
