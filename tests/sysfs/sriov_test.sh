#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# sriov_test.sh UVFIO: what sysfs has of a PF and its VFs, and what it answers to writes of sriov_numvfs, against what a real
# kernel has of QEMU's nvme PF (reference/sriov-7.2.txt).
here=$(dirname "$(realpath "$0")")
# shellcheck source=tests/clients/lib.sh
. "${UVFIO_LIB:-$here/../clients/lib.sh}"
export P=/sys/bus/pci/devices/0000:01:00.0
# shellcheck disable=SC2188
(: <>/dev/fuse) 2>/dev/null || skip_all "/dev/fuse cannot be opened here"
"$UVFIO" run --sysfs on -- true 2>"$work/err" || skip_all "FUSE cannot be mounted here: $(cat "$work/err")"
run() { timeout -k 5 60 "$UVFIO" run --sysfs on --device pcitest,vfs=4 "$@"; }
sed '/^## 0000:02/,$d' "$here/reference/sriov-7.2.txt" >"$work/nvme"

# "MODE NAME" of each file in a listing; those of BARs are the device's.
listed() {
	awk '/^[-dl]([r-][w-][x-]){3} / {
		name = $NF
		for (i = 1; i <= NF; i++) if ($i == "->") name = $(i - 1)
		if (name !~ /^resource[0-9]/) print $1, name
	}' | sort -u
}
# What uvfio has nothing behind (docs/sysfs.md).
known='^(drwxr-xr-x (aer|link|wakeup)|lrwxrwxrwx (firmware_node|iommu))$'

sed "/^== virtfn0/,\$d" "$work/nvme" | grep " sriov_[a-z_]*\$" | listed >"$work/want"
# shellcheck disable=SC2016
run -- sh -c 'ls -l $P/' | listed | grep ' sriov_' >"$work/got"
is "a PF has seven files" 7 "$(wc -l <"$work/want")"
check "of the same names and modes" diff "$work/want" "$work/got"
sed -n '/^== virtfn0/,/^virtfn0\//p' "$work/nvme" | listed | grep -Ev "$known" >"$work/want"
# shellcheck disable=SC2016
run --policy enable_sriov=Y -- sh -c 'echo 1 > $P/sriov_numvfs; ls -l $P/virtfn0/' | listed | grep -v ' uvfio$' >"$work/got"
check "a VF has what it has there, and no more" diff "$work/want" "$work/got"
# shellcheck disable=SC2016
is "how it is moved is there besides" "v2 1 1 0" \
	"$(run -- sh -c 'cd $P/uvfio; cat migration migration_p2p migration_pre_copy migration_quiet_mmio' | xargs)"
is "which is not nothing" yes "$([ "$(wc -l <"$work/want")" -gt 30 ] && echo yes)"
is "links lead where they lead there" \
	"$(grep -oE '(virtfn[01]|physfn) -> .*' "$work/nvme" | sort -u | xargs)" \
	"$(run --policy enable_sriov=Y -- sh -c 'echo 2 > $P/sriov_numvfs; ls -l $P/ $P/virtfn0/' | grep -oE '(virtfn[01]|physfn) -> .*' | sort -u | xargs)"

# ---- writes of sriov_numvfs: without a driver, vfio-pci's without and with enable_sriov ----
awk -v q="'" '/^error: / { error = substr($0, 8) }
	match($0, "^(novf |vfio |)numvfs " q) {
		kind = $1 == "numvfs" ? "none" : $1
		text = substr($0, RLENGTH + 1)
		status = substr(text, length(text))
		sub(q ": [01]$", "", text)
		print kind "|" text "|" (status == "0" ? "done" : error)
	}' "$work/nvme" >"$work/want"
cat >"$work/write.sh" <<'SH'
d=$P vfio=/sys/bus/pci/drivers/vfio-pci last=
while IFS='|' read -r kind text _; do
	if [ "$kind" != "$last" ]; then
		[ "$kind" = none ] && echo 0000:01:00.0 > $vfio/unbind
		[ "$kind" = novf ] && echo 0000:01:00.0 > $vfio/bind
		[ "$kind" = vfio ] && echo Y > /sys/module/vfio_pci/parameters/enable_sriov
		last=$kind
	fi
	said=$(LC_ALL=C bash -c 'echo "$1" > "$2"' - "$text" "$d/sriov_numvfs" 2>&1) && said=": done"
	echo "$kind|$text|${said##*: }"
done
SH
is "the kernel was asked often enough" yes "$([ "$(wc -l <"$work/want")" -gt 20 ] && echo yes)"
run -- bash "$work/write.sh" <"$work/want" >"$work/got"
check "each write is answered as there" diff "$work/want" "$work/got"
finish
