#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A server that is exchanged (`uvfio upgrade`) while programs look at its machine (--sysfs).
# Environment: CLIENT, the driver of the test device
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
: "${CLIENT:?the driver of the test device}"
(: <>/dev/fuse) 2>/dev/null || skip_all "no /dev/fuse"
tree=$scratch/sys
control=$scratch/control.sock
server=
reader=
client=
trap 'kill -9 $server $reader $client 2>/dev/null; exec 5<&-; umount -l "$tree" 2>/dev/null; rm -rf "$scratch"' EXIT
mkdir "$tree"

"$UVFIO" serve --control "$control" --sysfs "$tree" --device "pcitest,socket=$scratch/first.sock" \
	--device "pcitest,memory=2M,socket=$scratch/dev.sock" >"$scratch/log" 2>&1 &
server=$!
await "a server starts" test -S "$control"
await "and answers" "$UVFIO" list --control "$control"
# The other one keeps its address, which it would not have without this one.
"$UVFIO" remove --control "$control" 0000:01:00.0
here=$tree/bus/pci/devices/0000:02:00.0
"$CLIENT" "unix:$scratch/dev.sock" 1000000000 >"$scratch/client" 2>&1 &
client=$!
await "a client works" grep -q working "$scratch/client"

# Reads without an end; what it could not read is its last line.
read_on() {
	local id
	while read -r id <"$here/vendor" && [ "$id" = 0x1234 ]; do echo "$id"; done
	echo "failed: $id"
}
: >"$scratch/reader" # before anybody counts its lines
read_on >>"$scratch/reader" 2>&1 &
reader=$!
exec 5<"$here/device"
inode=$(stat -L -c %i "$here")
done=0
lines=0
has_read() { [ "$(wc -l <"$scratch/reader")" -gt "$lines" ]; }
for _ in 1 2 3; do
	lines=$(wc -l <"$scratch/reader")
	"$UVFIO" upgrade --control "$control" 2>>"$scratch/upgrade" && done=$((done + 1))
	await "the tree is read on" has_read
done
is "the server is exchanged three times" 3 "$done" || cat "$scratch/upgrade" "$scratch/log"
kill -0 "$reader"
is "who reads has noticed nothing" 0 $?
is "and has read nothing else" 0x1234 "$(sort -u "$scratch/reader")"
read -r id <&5
is "a file that was open is the same" 0x5054 "$id"
is "so is a directory" "$inode" "$(stat -L -c %i "$here")"
is "the one that was removed is not there" 0000:02:00.0 "$(ls "$tree/bus/pci/devices")"
is "there is one mount" 1 "$(grep -c " $tree " /proc/self/mounts)"
echo 0000:02:00.0 2>/dev/null >"$tree/bus/pci/drivers/vfio-pci/unbind" &
unbinding=$!
waits() { "$UVFIO" show --control "$control" --json 0000:02:00.0 | grep -q '"leaving": *true'; }
await "somebody waits for a driver to let go" waits
"$UVFIO" upgrade --control "$control" 2>"$scratch/upgrade" && status=0 || status=$?
is "meanwhile there is no upgrade" 1 "$status"
is "the client is at work" working "$(cat "$scratch/client")"
kill -0 "$client"
is "and there" 0 $?
kill "$client"
wait "$client" 2>/dev/null
wait "$unbinding"
is "then the driver lets go" 0 $?
kill "$reader"
wait "$reader" 2>/dev/null
exec 5<&-
kill -TERM "$server"
wait "$server"
is "the server ends well" 0 $?
server=
is "and its tree has gone" 0 "$(grep -c " $tree " /proc/self/mounts)"
finish
