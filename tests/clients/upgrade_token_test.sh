#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A server whose PF has a VF token is exchanged (`uvfio upgrade`): the token goes along; VFs do not, and are said.
# Environment: CLIENT, the driver of the test device; JOIN, who opens what it is told to
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
: "${CLIENT:?the driver of the test device}" "${JOIN:?who opens a device}"
control=$scratch/control.sock
ours=2ab74924-c335-45f4-9b16-8569e5b08258
other=bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3
pf=0000:01:00.0
vf=0000:01:00.1
server=
client=
trap 'kill -9 $server $client 2>/dev/null; rm -rf "$scratch"' EXIT
upgrade() { "$UVFIO" upgrade --control "$control" 2>"$scratch/upgrade"; }
opens() { timeout 60 "$UVFIO" run --machine "$control" --sysfs off -- "$JOIN" "$*" 2>/dev/null; }
free() { [ "$("$UVFIO" list --control "$control" | awk -v d="$1" '$2 == d { print $6 }')" = - ]; }

"$UVFIO" serve --control "$control" --policy enable_sriov=Y \
	--device "pcitest,vfs=2,vf_token=$ours,socket=$scratch/pf.sock" >"$scratch/log" 2>&1 &
server=$!
await "a server starts" "$UVFIO" list --control "$control"
"$CLIENT" "unix:$scratch/pf.sock" 1000000000 >"$scratch/client" 2>&1 &
client=$!
await "a driver of its PF works" grep -q working "$scratch/client"
upgrade
is "the server is exchanged" 0 $? || cat "$scratch/upgrade"
upgrade
is "and again" 0 $?
is "the driver has noticed nothing" working "$(cat "$scratch/client")"
found=$(grep -alE "$ours" "/proc/$server/cmdline" "/proc/$(pgrep -P "$server")/cmdline" "/proc/$(pgrep -P "$server")/environ")
is "no server shows the token" "" "$found"
"$UVFIO" set --control "$control" "$pf" numvfs=1
is "the PF gets a VF" 0 $?
is "which needs the token" "EACCES" "$(opens "$vf")"
is "not another one" EACCES "$(opens "$vf" "vf_token=$other")"
is "the one that it had before" open "$(opens "$vf" "vf_token=$ours")"
await "the VF is free" free "$vf"
upgrade
is "a PF with a VF is not handed over" 1 $?
matches "and the command says what to do" "*numvfs=0*" "$(cat "$scratch/upgrade")"
"$UVFIO" set --control "$control" "$pf" numvfs=0
upgrade
is "without it there is an upgrade again" 0 $?
is "and the driver is at work" working "$(cat "$scratch/client")"
kill -0 "$client"
is "and there" 0 $?
kill "$client"
wait "$client" 2>/dev/null
client=
kill -TERM "$server"
wait "$server"
is "the server ends well" 0 $?
server=
finish
