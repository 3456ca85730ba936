#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# /dev/uioN: what a program meets (compared with a real kernel, uio_facts.txt from scripts/kernel-uio),
# interrupts, vectors, DMA that faults, binding through sysfs, and the door shut.
here=$(dirname "$0")
# shellcheck source=tests/clients/tap.sh
. "$here/tap.sh"
UIO_CLIENT=${UIO_CLIENT:?uio_client} UIO_FACTS=${UIO_FACTS:?uio_facts}
export XDG_RUNTIME_DIR=$scratch
device=/sys/bus/pci/devices/0000:01:00.0

"$UVFIO" run --sysfs on --device nvme,memory=16M -- true 2>"$scratch/err" ||
	skip_all "/sys cannot be served here: $(tail -1 "$scratch/err")"
"$UVFIO" run --device nvme,memory=16M,driver=uio_pci_generic -- true 2>"$scratch/err" || {
	grep -q 'built without uio' "$scratch/err" || fail "driver=uio_pci_generic" "$(cat "$scratch/err")"
	check "built without: there is no such driver" "$UVFIO" run --device nvme,memory=16M -- \
		test ! -e /sys/bus/pci/drivers/uio_pci_generic
	finish
}

holds() { # TEXT COMMAND [ARG …]
	local text=$1
	shift
	"$@" >"$scratch/out" 2>&1
	grep -qF -- "$text" "$scratch/out"
}

# ---- as on a kernel, but for what docs/uio.md says ----

sed -e 's/^\(read\|write\) of 0: EINVAL/\1 of 0: 0/' \
	-e 's/^write of 1: ENOSYS/write of 1: 4/' \
	-e 's/^pread that would wait: EAGAIN/pread that would wait: ESPIPE/' \
	-e 's/^lseek: 0/lseek: ESPIPE/' \
	-e 's/^mapped with memory off: 0/mapped with memory off: ones/' \
	-e 's/^\(bus mastering as the host has set it\): 1/\1: 0/' \
	-e 's/^\(mapped when it is removed\): a register/\1: SIGBUS/' \
	"$here/uio_facts.txt" >"$scratch/want"
facts() { "$@" run --device nvme,memory=16M -- "$UIO_FACTS" 0000:01:00.0 2>&1 | diff "$scratch/want" -; }
is "what a program meets" "" "$(facts "$UVFIO")"

# ---- what a driver does ----

pcitest=pcitest,driver=uio_pci_generic
for t in line signal files vectors memory; do
	sound "$t" "$UVFIO" run --device $pcitest -- "$UIO_CLIENT" $t
done
sound "timer" "$UVFIO" run --device $pcitest,interrupts=none,poll-interrupt=5ms -- "$UIO_CLIENT" timer
for t in vectors memory; do
	# The other device is why the helper is there.
	sound "$t, polled" "$UVFIO" run --device $pcitest,mmio=polled --device nvme,memory=16M -- \
		"$UIO_CLIENT" $t
done

# ---- an ordinary user: uioN and resourceN are files of a file system of its own namespace ----

if ! ordinary_user "$UIO_CLIENT" "$UIO_FACTS"; then
	skip "an ordinary user beside root" "$not_as_root"
elif ! "${as_user[@]}" "$work/tree/uvfio" run --sysfs on --device nvme,memory=16M -- true 2>"$scratch/err"; then
	skip "an ordinary user" "/sys cannot be served to it here: $(tail -1 "$scratch/err")"
else
	roots=$UVFIO UVFIO=$work/tree/uvfio
	is "what an ordinary user's program meets" "" "$(UIO_FACTS=$work/tree/uio_facts facts "${as_user[@]}" "$UVFIO")"
	for t in line signal files vectors memory; do
		sound "$t, an ordinary user" "${as_user[@]}" "$UVFIO" run --device $pcitest -- "$work/tree/uio_client" $t
		is "$t, an ordinary user: nothing else to say" "" "$(grep -v ': DMA .* refused: ' "$work/err")"
	done
	UVFIO=$roots
fi

# ---- on a machine that a server has ----

"$UVFIO" serve --control "$scratch/control.sock" --device "$pcitest,socket=$scratch/p.sock" >"$scratch/served" 2>&1 &
server=$!
until "$UVFIO" list --control "$scratch/control.sock" >/dev/null 2>&1 || ! kill -0 $server 2>/dev/null; do :; done
for t in line signal files vectors memory; do
	is "$t, joined" "" "$("$UVFIO" run --machine "$scratch/control.sock" -- "$UIO_CLIENT" $t 2>&1 || echo "status $?")"
done
# The server ends under a program that has registers mapped: SIGBUS, as when the device is pulled out.
is "the server ends" SIGBUS "$(UIO_SERVER=$server "$UVFIO" run --machine "$scratch/control.sock" -- \
	"$UIO_CLIENT" ends 2>"$scratch/err")"
wait $server

# ---- which driver has it ----

check "by sysfs, and back" "$UVFIO" run --device nvme,memory=16M -- sh -ec '
	d=0000:01:00.0 drivers=/sys/bus/pci/drivers
	test ! -e /dev/uio0
	echo uio_pci_generic > '$device'/driver_override
	echo $d > $drivers/vfio-pci/unbind
	echo $d > /sys/bus/pci/drivers_probe
	test "$(basename "$(readlink '$device'/driver)")" = uio_pci_generic
	grep -qx DRIVER=uio_pci_generic '$device'/uevent
	test -e $drivers/uio_pci_generic/$d -a ! -e $drivers/vfio-pci/$d
	test -c /dev/uio0 -o -f /dev/uio0
	test "$(cat /sys/class/uio/uio0/name)" = uio_pci_generic
	test ! -e '$device'/vfio-dev
	echo $d > $drivers/uio_pci_generic/unbind
	test ! -e /dev/uio0 -a ! -e /sys/class/uio/uio0 -a ! -e '$device'/driver
	echo > '$device'/driver_override
	echo "1234 5056" > $drivers/uio_pci_generic/new_id || true
	echo "$(cat '$device'/vendor) $(cat '$device'/device)" > $drivers/uio_pci_generic/new_id
	test -e /dev/uio0
	echo $d > $drivers/uio_pci_generic/unbind
	echo vfio-pci > '$device'/driver_override
	echo $d > $drivers/vfio-pci/bind
	test -d '$device'/vfio-dev'
check "not to be had through VFIO" "$UVFIO" run --device $pcitest -- sh -c '! echo > /dev/vfio/1'
check "numbers" "$UVFIO" run --device $pcitest --device pcitest --device $pcitest -- sh -ec '
	ls -l /sys/class/uio/uio0 | grep -q 0000:01:00.0
	ls -l /sys/class/uio/uio1 | grep -q 0000:03:00.0
	test ! -e /sys/class/uio/uio2'

# ---- shut ----

check "off: a device that wants it is refused" holds "enable_uio=N" \
	"$UVFIO" run --policy enable_uio=N --device $pcitest -- true
check "off: nothing of it is there" "$UVFIO" run --policy enable_uio=N --device pcitest -- sh -c '
	test ! -e /sys/bus/pci/drivers/uio_pci_generic -a ! -L /dev/uio0 -a ! -e /dev/uvfio'
check "a line that cannot be masked" holds "DisINTx" \
	"$UVFIO" run --policy nointxmask=Y --device $pcitest -- true
check "a driver that is none" holds "valid are vfio-pci, uio_pci_generic, pci-pf-stub, pcitest (the host's own) and none" \
	"$UVFIO" run --device pcitest,driver=igb_uio -- true

# ---- what it does is seen ----

check "faults are told of" holds "refused" "$UVFIO" run --verbose --device $pcitest -- "$UIO_CLIENT" vectors
finish
