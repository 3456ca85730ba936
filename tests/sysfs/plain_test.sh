#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# plain_test.sh UVFIO: without FUSE a program finds the same files, but for what docs/sysfs.md says.
here=$(dirname "$(realpath "$0")")
# shellcheck source=tests/clients/lib.sh
. "${UVFIO_LIB:-$here/../clients/lib.sh}"
need python3 python3
one=0000:01:00.0
two=0000:02:00.0
three=0000:03:00.0

# shellcheck disable=SC2188
(: <>/dev/fuse) 2>/dev/null || skip_all "/dev/fuse cannot be opened here"
"$UVFIO" run --sysfs on -- true 2>"$work/err" ||
	{ grep -q 'not permitted' "$work/err" && skip_all "FUSE cannot be mounted here: $(cat "$work/err")"; }

# shellcheck disable=SC2317 # by check
tree() { # FILE ARG …: what is in there
	local out=$work/$1
	shift
	timeout -k 5 120 "$UVFIO" run "$@" >"$out"
}
# shellcheck disable=SC2317
same() { # LIVE PLAIN
	python3 "$here/tree.py" compare "$work/$2" "$work/$1"
}
show=(-- python3 "$here/tree.py" print)

devices=(--device "nvme,memory=16M" --device pcitest --device ioat)
check "with FUSE" tree live --sysfs on "${devices[@]}" "${show[@]}" $one $two $three
check "without" tree plain --sysfs off "${devices[@]}" "${show[@]}" $one $two $three
check "the same" same live plain
check "without mounts" tree paths --sandbox paths "${devices[@]}" "${show[@]}" $one $two $three
check "the same without mounts" same live paths

if "$UVFIO" run --device ioat,driver=uio_pci_generic -- true 2>/dev/null; then
	uio=(--device "ioat,driver=uio_pci_generic" --device "nvme,memory=16M")
	check "one that uio has" tree uio --sysfs on "${uio[@]}" "${show[@]}" $one $two
	check "without FUSE" tree plain_uio --sysfs off "${uio[@]}" "${show[@]}" $one $two
	check "the same with uio" same uio plain_uio
else
	skip "the same with uio" "built without it"
fi

noiommu=(--policy enable_unsafe_noiommu_mode=Y --device "ioat,iommu=off" --device "nvme,memory=16M")
check "one without IOMMU" tree noiommu --sysfs on "${noiommu[@]}" "${show[@]}" $one $two
check "without FUSE" tree plain_noiommu --sysfs off "${noiommu[@]}" "${show[@]}" $one $two
check "the same without IOMMU" same noiommu plain_noiommu

"$UVFIO" serve --control "$work/control" --device "nvme,memory=16M,socket=$work/a.sock" \
	--device "pcitest,socket=$work/b.sock" 2>"$work/log" &
server=$!
await "uvfio serve" test -S "$work/control"
join=(--machine "$work/control")
check "a machine that was joined" tree joined --sysfs on "${join[@]}" "${show[@]}" $one $two
check "without FUSE" tree plain_joined --sysfs off "${join[@]}" "${show[@]}" $one $two
check "the same of a joined machine" same joined plain_joined
check "without mounts" tree paths_joined --sandbox paths "${join[@]}" "${show[@]}" $one $two
check "the same of a joined machine without mounts" same joined paths_joined
# What somebody did before is seen.
"$UVFIO" run "${join[@]}" --sysfs on -- sh -c "echo $one >/sys/bus/pci/drivers/vfio-pci/unbind"
is "a function without a driver has none" "no driver" "$("$UVFIO" run "${join[@]}" --sysfs off -- \
	sh -c "[ -e /sys/bus/pci/devices/$one/driver ] || echo no driver")"
kill $server
wait $server

if [ "$(id -u)" != 0 ]; then
	skip "who is not root cannot write there" "this is for root to try"
elif ! setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$UVFIO"; then
	skip "who is not root cannot write there" "nobody but root can execute $UVFIO"
else
	is "who is not root cannot write there" "refused" "$(timeout 60 setpriv --reuid=65534 --regid=65534 \
		--clear-groups "$UVFIO" run --sysfs off --device ioat -- sh -c \
		"echo x 2>/dev/null >/sys/bus/pci/devices/$one/driver_override || echo refused" 2>&1)"
fi
finish
