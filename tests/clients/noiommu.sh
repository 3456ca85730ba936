#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What people see of no-IOMMU mode and of machines without isolated interrupts: the taint in every
# listing and log line, the node, refusals that say what to do.  The rules are tests/rules' business.
here=$(dirname "$0")
# shellcheck source=tests/clients/tap.sh
. "$here/tap.sh"
EXAMPLE=${EXAMPLE:?nvme-identify} NVME=${NVME:?the example nvme}
sock=$scratch/c.sock
export XDG_RUNTIME_DIR=$scratch
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; rm -rf "$scratch"' EXIT

u() { "$UVFIO" "$@" --control "$sock"; }
holds() { # TEXT COMMAND [ARG …]
	local text=$1
	shift
	"$@" >"$scratch/out" 2>&1
	grep -qF -- "$text" "$scratch/out"
}
lacks() { ! holds "$@"; }
mode=(--policy enable_unsafe_noiommu_mode=Y)
device=nvme,memory=16M

# ---- built without ----

if holds "built without unsafe settings" "$UVFIO" run "${mode[@]}" -- true; then
	check "allow_unsafe_interrupts is refused, too" holds "built without unsafe settings" \
		"$UVFIO" run --policy allow_unsafe_interrupts=Y -- true
	check "an unsafe device is refused" holds "no-IOMMU mode" \
		"$UVFIO" run --device $device,iommu=off -- true
	finish
fi

# ---- off ----

check "off: the message names the knob" holds "--policy enable_unsafe_noiommu_mode=Y" \
	"$UVFIO" run --device $device,iommu=off -- true
check "off: nothing is tainted" lacks tainted "$UVFIO" run --verbose --device $device -- true
check "off: the parameter says N" holds N "$UVFIO" run --device $device -- \
	cat /sys/module/vfio/parameters/enable_unsafe_noiommu_mode

# ---- on ----

check "the node" holds /dev/vfio/noiommu-1 "$UVFIO" run "${mode[@]}" --device $device,iommu=off -- \
	find /dev/vfio -name 'noiommu-*'
check "the group's name" holds vfio-noiommu "$UVFIO" run "${mode[@]}" --device $device,iommu=off -- \
	cat /sys/kernel/iommu_groups/1/name
check "the log is marked" holds "uvfio: [tainted] warning: 0000:01:00.0" \
	"$UVFIO" run "${mode[@]}" --device $device,iommu=off -- true
check "the parameter says Y" holds Y "$UVFIO" run "${mode[@]}" --device $device -- \
	cat /sys/module/vfio/parameters/enable_unsafe_noiommu_mode

# ---- served ----

cat >"$scratch/serve.json" <<END
{"policy": {"enable_unsafe_noiommu_mode": true},
 "device": ["$device,iommu=off,socket=$scratch/a.sock", "$device,socket=$scratch/b.sock"]}
END
"$UVFIO" serve --config "$scratch/serve.json" --control "$sock" 2>"$scratch/serve.log" &
pids+=($!)
await "it serves" holds 0000:02:00.0 u list
check "list: the group" holds noiommu-1 u list
check "list: the taint" holds "is tainted: no-iommu." u list
check "list --json" holds '"taint": [' u list --json
check "show: the group" holds "group   noiommu-1, 1 device" u show 01:00.0
check "show: the taint" holds "taint   no-iommu" u show 01:00.0
check "show: also of the other device" holds "taint   no-iommu" u show 02:00.0
check "stats" holds "is tainted: no-iommu." u stats 02:00.0
check "stats --prometheus" holds 'taint="no-iommu"} 1' u stats --prometheus
check "faults" holds "is tainted: no-iommu." u faults
check "lspci --json or text" u lspci
check "a client without the right" holds "not permitted" "$NVME" identify "unix:$scratch/a.sock"
check "the log says what to do" holds "caller_caps=ipc_lock+sys_rawio" cat "$scratch/serve.log"
check "the other device is as ever" "$NVME" identify "unix:$scratch/b.sock"

# ---- interrupts that are not isolated ----

check "not isolated: refused" holds "Operation not permitted" \
	"$UVFIO" run --interrupt-isolation off --device $device -- "$EXAMPLE" 0000:01:00.0
check "not isolated: the log says what to do" holds "--policy allow_unsafe_interrupts=Y" \
	"$UVFIO" run --interrupt-isolation off --device $device -- "$EXAMPLE" 0000:01:00.0
check "allowed" "$UVFIO" run --interrupt-isolation off --policy allow_unsafe_interrupts=Y \
	--device $device -- "$EXAMPLE" 0000:01:00.0
check "allowed: the log is marked" holds "uvfio: [tainted] warning: a group is attached" \
	"$UVFIO" run --interrupt-isolation off --policy allow_unsafe_interrupts=Y \
	--device $device -- "$EXAMPLE" 0000:01:00.0
echo "{\"interrupt-isolation\": \"off\", \"device\": \"$device\"}" >"$scratch/run.json"
check "as a key of the configuration" holds "Operation not permitted" \
	"$UVFIO" run --config "$scratch/run.json" -- "$EXAMPLE" 0000:01:00.0
check "a wrong value" holds "it is on or off" "$UVFIO" run --interrupt-isolation maybe -- true
check "not with a machine that is another's" holds "give one of the two" \
	"$UVFIO" run --machine x --interrupt-isolation off -- true

# ---- INTx from a timer ----

check "poll-interrupt: not for a device with a pin" holds "interrupt pin of its own" \
	"$UVFIO" run --device $device,poll-interrupt=1ms -- true
check "poll-interrupt: a wrong time" holds "not a time; give a number with ns, us, ms or s" \
	"$UVFIO" run --device $device,poll-interrupt=soon -- true
finish
