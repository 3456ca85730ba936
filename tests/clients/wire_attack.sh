#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Run a program that attacks a vfio-user server (wire_attack.h) against `uvfio serve`.  TAP.
# Usage: wire_attack.sh PROGRAM [ATTACK]; environment: UVFIO
set -uo pipefail
UVFIO=${UVFIO:?the uvfio command to test}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/uvfio-wire.XXXXXX")
server=
trap '[ -z "$server" ] || kill -KILL "$server" 2>/dev/null; rm -rf "$scratch"' EXIT

"$UVFIO" serve --device "nvme,memory=64M,socket=$scratch/a" \
	--device "nvme,memory=64M,socket=$scratch/b" >"$scratch/out" 2>"$scratch/err" &
server=$!
while ! { [ -S "$scratch/a" ] && [ -S "$scratch/b" ]; }; do
	if ! kill -0 "$server" 2>/dev/null; then
		sed 's/^/# /' "$scratch/err"
		echo "Bail out! the server ended before it served"
		exit 1
	fi
	sleep 0.01
done

# The process that has the clients is the first child of the one that was started.
"$1" "$scratch/a" "$scratch/b" "$(pgrep -o -P "$server")" "${@:2}" >"$scratch/tap"
failed=$?
grep -v '^1\.\.' "$scratch/tap"
points=$(grep -cE '^(not )?ok ' "$scratch/tap")

# It ends as it should, and has left no sanitizer's report.
kill -TERM "$server" 2>/dev/null
wait "$server"
status=$?
server=
points=$((points + 1))
if { [ $status = 0 ] || [ $status = 143 ]; } && ! grep -qE 'Sanitizer|runtime error' "$scratch/err"; then
	echo "ok $points - the server ends as it should"
else
	sed 's/^/# /' "$scratch/err" | tail -60
	echo "# exit status $status"
	echo "not ok $points - the server ends as it should"
	failed=1
fi
echo "1..$points"
exit $failed
