#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# An odd VFIO program under `uvfio run`, as this user and, for root, as an ordinary one.
# Usage: door_test.sh UVFIO DOOR-CLIENT
. "$(dirname "$0")/lib.sh"
client=$(realpath "$2")
chmod 777 "$work"
cp "$UVFIO" "$client" "$work"
UVFIO=$work/$(basename "$UVFIO")
client=$work/$(basename "$client")
cd "$work" || exit 1 # where an ordinary user may be, unlike root's home

once() { # NAME [COMMAND …]
	local name=$1
	shift
	mkdir "$work/$name"
	chmod 777 "$work/$name"
	timeout 280 "$@" "$UVFIO" run --mmio polled --device nvme,memory=16M -- "$client" "$work/$name" \
		>"$work/out" 2>"$work/err"
	is "$name: door_client" 0 $?
	grep FAIL "$work/out" | sed 's/^/# /'
	is "$name: nothing to say" "" "$(cat "$work/err")"
	await "$name: no server is left" no_servers
}
once user
if [ "$(id -u)" = 0 ]; then
	once nobody setpriv --reuid 65534 --regid 65534 --clear-groups
fi
timeout 60 "$UVFIO" run --mmio polled --policy caller_caps=none --device nvme,memory=16M -- \
	"$client" --locked >"$work/out"
is "locked memory" 0 $?
grep FAIL "$work/out"
finish
