#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# sysfs_test.sh UVFIO PROBE: /sys as programs find it, in a run and where `uvfio serve --sysfs` puts it.
here=$(dirname "$(realpath "$0")")
# shellcheck source=tests/clients/lib.sh
. "${UVFIO_LIB:-$here/../clients/lib.sh}"
probe=$(realpath "$2")
D=0000:01:00.0
dev=/sys/bus/pci/devices/$D
nvme=(--device "nvme,memory=16M")

# shellcheck disable=SC2188
(: <>/dev/fuse) 2>/dev/null || skip_all "/dev/fuse cannot be opened here"
"$UVFIO" run --sysfs on -- true 2>"$work/err" ||
	{ grep -q 'not permitted' "$work/err" && skip_all "FUSE cannot be mounted here: $(cat "$work/err")"; }

run() { timeout -s KILL 60 "$UVFIO" run --sysfs on "${nvme[@]}" "$@"; }

# ---- a run, against real kernels ----
if [ "$(id -u)" = 0 ]; then
	same() { # VERSION
		run -- "$probe" --device "$D" >"$work/lines" 2>&1
		diff "$here/reference/$1.txt" "$work/lines"
	}
	check "every file says and does what Linux 6.12's does" same 6.12
	check "and 7.2's" same 7.2
	ordinary() {
		grep -v '^stranger' "$here/reference/7.2.txt" | sed '/^# stranger/,/^# in_use/{/^vendor/d}' >"$work/want"
		# shellcheck disable=SC2016
		setpriv --reuid=65534 --regid=65534 --clear-groups \
			timeout -s KILL 60 "$UVFIO" run --sysfs on "${nvme[@]}" -- "$probe" --device "$D" |
			diff "$work/want" -
	}
	if setpriv --reuid=65534 --regid=65534 --clear-groups sh -c ': <>/dev/fuse' 2>/dev/null &&
		setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$probe"; then
		check "the same for an ordinary user in its own namespace" ordinary
	else
		skip "the same for an ordinary user in its own namespace" "it cannot open /dev/fuse"
	fi
else
	skip "every file says and does what Linux 6.12's does" "the comparison is with root"
	skip "and 7.2's" "the comparison is with root"
fi
is "an unbind can be interrupted, and goes on" \
	"vendor has the form: 0x0000\$ interrupted unbind: EINTR bind: 12" \
	"$(run -- "$probe" --device "$D" --only interrupted | grep -v '^#' | xargs)"

# ---- what scripts do ----
cat >"$work/override" <<'SH'
set -e
d=/sys/bus/pci/devices/$1
basename "$(readlink "$d/driver")"
echo "$1" > "$d/driver/unbind"
[ ! -e "$d/driver" ]
echo none > "$d/driver_override"
echo "$1" > /sys/bus/pci/drivers_probe
[ ! -e "$d/driver" ]
echo vfio-pci > "$d/driver_override"
echo "$1" > /sys/bus/pci/drivers_probe
basename "$(readlink -f "$d/driver")"
basename "$(readlink -f "$d/iommu_group")"
ls "/sys/kernel/iommu_groups/$(basename "$(readlink "$d/iommu_group")")/devices"
SH
is "unbind, driver_override, drivers_probe from a script" "vfio-pci vfio-pci 1 $D" \
	"$(run -- sh "$work/override" "$D" | xargs)"
is "the machine's own devices stay" \
	"$(ls /sys/bus/pci/devices 2>/dev/null | wc -l)" \
	"$(run -- sh -c "ls /sys/bus/pci/devices | grep -vc '^$D\$'")"
is "and other files of /sys" "$(cat /sys/devices/system/cpu/online)" \
	"$(run -- cat /sys/devices/system/cpu/online)"
# shellcheck disable=SC2016
is "remove, rescan" "gone 0x1234 (null)" "$(run -- sh -c 'd=$1
	echo 1 > $d/remove; [ -e $d ] || echo gone
	echo 1 > /sys/bus/pci/rescan; cat $d/vendor $d/driver_override' - "$dev" | xargs)"
if command -v lspci >/dev/null; then
	matches "lspci" "*Kernel driver in use: vfio-pci*" "$(run -- lspci -vv -s 01:00.0 2>/dev/null)"
else
	skip "lspci" "it is missing (package pciutils)"
fi
if command -v dpdk-devbind.py >/dev/null; then
	# shellcheck disable=SC2016
	matches "dpdk-devbind.py unbinds and binds" "*unbound*drv=vfio-pci*" \
		"$(timeout -s KILL 60 "$UVFIO" run --sysfs on --device ioat -- sh -c '
		dpdk-devbind.py -u $1; [ -e $2/driver ] || echo unbound
		dpdk-devbind.py -b vfio-pci $1; dpdk-devbind.py -s' - "$D" "$dev" 2>/dev/null)"
else
	skip "dpdk-devbind.py unbinds and binds" "it is missing (package dpdk)"
fi
await "no process is left" no_servers

# ---- without ----
is "--sysfs off: files as they were at the start" "0x1234 vfio-pci" \
	"$(timeout 60 "$UVFIO" run --sysfs off "${nvme[@]}" -- cat $dev/vendor $dev/driver_override | xargs)"

# ---- the server is killed while the program and the server itself are in there ----
"$UVFIO" run --sysfs on "${nvme[@]}" -- sh -c "
	for i in 1 2 3 4; do while :; do : <>$dev/driver_override; done & done
	echo \$\$ >$work/pid; wait" 2>/dev/null &
pid=$!
await "started" test -s "$work/pid"
kill -KILL "$(servers | grep -vx $pid | head -n1)"
wait $pid
await "a server that is killed leaves nothing" no_servers

# ---- uvfio serve --sysfs ----
mkdir "$work/sys"
serve() {
	"$UVFIO" serve --control "$work/control" --sysfs "$work/sys" \
		--device "nvme,memory=16M,socket=$work/a.sock" 2>"$work/log" &
	server=$!
}
serve
if await "uvfio serve --sysfs" test -e "$work/sys/bus/pci/devices/$D/vendor"; then
	"$probe" --device "$D" --root "$work/sys" | grep -v '^in use' >"$work/lines"
	sed '/^# in_use/,/^# removal/{/^#/!d}' "$here/reference/7.2.txt" >"$work/want"
	[ "$(id -u)" = 0 ] || sed -i '/^# stranger/,/^# in_use/{/^#/!d}' "$work/want" "$work/lines"
	check "a mounted tree says and does the same" diff "$work/want" "$work/lines"
	if command -v lspci >/dev/null; then
		is "lspci -O sysfs.path" "01:00.0 0108: 1234:4e56 (rev 01)" \
			"$(lspci -O "sysfs.path=$work/sys" -n 2>/dev/null)"
		is "also with the bus's directory" "01:00.0 0108: 1234:4e56 (rev 01)" \
			"$(lspci -O "sysfs.path=$work/sys/bus/pci" -n 2>/dev/null)"
	fi
	kill -KILL $server
	wait $server 2>/dev/null
	await "a server that is killed ends" no_servers
	serve
	await "a mount that a killed server left is taken over" \
		test -e "$work/sys/bus/pci/devices/$D/vendor"
fi
kill $server
wait $server
is "status" 0 $?
mkdir "$work/two"
"$UVFIO" serve --control off --sysfs "$work/two" --device "nvme,memory=16M,socket=$work/c.sock" &
server=$!
await "another one" test -e "$work/two/bus/pci/devices/$D/vendor"
matches "one tree a directory" "*another server has its tree there*" \
	"$("$UVFIO" serve --control off --sysfs "$work/two" \
		--device "nvme,memory=16M,socket=$work/b.sock" 2>&1)"
kill $server
wait $server
is "nothing stays mounted" "" "$(grep -F -e "$work/sys" -e "$work/two" /proc/mounts)"
matches "a directory that is not there" "*--sysfs $work/none: No such file*" \
	"$("$UVFIO" serve --control off --sysfs "$work/none" \
		--device "nvme,memory=16M,socket=$work/b.sock" 2>&1)"
umount -l "$work/sys" "$work/two" 2>/dev/null
finish
