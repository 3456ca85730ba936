#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What other projects' vfio-user clients send, against `uvfio serve` (foreign.h).  TAP.
# Usage: foreign_clients.sh PROGRAM; environment: UVFIO
set -uo pipefail
UVFIO=${UVFIO:?the uvfio command to test}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/uvfio-foreign.XXXXXX")
server=
trap '[ -z "$server" ] || kill -KILL "$server" 2>/dev/null; rm -rf "$scratch"' EXIT

# SPDK connects to DIR/cntrl.
"$UVFIO" serve --control off --device "nvme,memory=64M,socket=$scratch/a" \
	--device "nvme,memory=64M,socket=$scratch/cntrl,mmap=on" >"$scratch/out" 2>"$scratch/err" &
server=$!
while ! { [ -S "$scratch/a" ] && [ -S "$scratch/cntrl" ]; }; do
	if ! kill -0 "$server" 2>/dev/null; then
		sed 's/^/# /' "$scratch/err"
		echo "Bail out! the server ended before it served"
		exit 1
	fi
	sleep 0.01
done

TMPDIR=$scratch "$1" "$scratch/a" "$scratch/cntrl" >"$scratch/tap"
failed=$?
grep -v '^1\.\.' "$scratch/tap"
points=$(($(grep -cE '^(not )?ok ' "$scratch/tap") + 1))

kill -TERM "$server" 2>/dev/null
wait "$server"
status=$?
server=
if { [ $status = 0 ] || [ $status = 143 ]; } && ! grep -qE 'Sanitizer|runtime error' "$scratch/err"; then
	echo "ok $points - the server ends as it should"
else
	echo "# exit status $status"
	echo "not ok $points - the server ends as it should"
	failed=1
fi
[ $failed = 0 ] || sed 's/^/# /' "$scratch/err" | tail -60
echo "1..$points"
exit $failed
