#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Kill the server at random points: no write that was acknowledged after a flush may be lost. The disk is a test
# backend that throws away what was not flushed, because the page cache of a plain file survives any SIGKILL.
# Environment: DURABILITY, the client program; DURABILITY_POINTS, how many kills (100)
# shellcheck source=tests/clients/tap.sh
. "$(dirname "$0")/tap.sh"
: "${DURABILITY:?the client program}"
points=${DURABILITY_POINTS:-100}
image=$scratch/disk.img
log=$scratch/promises
truncate -s 1M "$image"

# kill_after MILLISECONDS SEED DEVICE-SPEC: run the writer, kill the server, wait for the end
kill_after() {
	local ms=$1 seed=$2 spec=$3 front server line
	coproc WRITER { exec "$UVFIO" run --mmio polled --device "$spec" -- "$DURABILITY" write 0000:01:00.0 "$log" "$seed" 2>"$scratch/log"; }
	front=$WRITER_PID
	read -r line <&"${WRITER[0]}" || line=
	if [ "$line" != ready ]; then
		kill -9 "$front"
		return 1
	fi
	sleep "$(printf '0.%03d' "$ms")"
	server=$(pgrep -P "$front" | head -1)
	kill -9 "$server"
	wait "$front" 2>/dev/null
	return 0
}

broken=0
promises=0
for point in $(seq "$points"); do
	if ! kill_after $((RANDOM % 60)) "$point" "nvme,file=$image,volatile=on"; then
		ok 1 "the writer starts (point $point)"
		break
	fi
	if ! out=$("$DURABILITY" verify "$image" "$log"); then
		echo "$out" >"$scratch/log"
		ok 1 "point $point"
		broken=$((broken + 1))
	fi
	promises=$((promises + ${out%% *}))
done
echo "# $points kills, $promises promises looked at, $broken points broken"
[ "$broken" = 0 ] && [ "$promises" -gt 0 ]
ok $? "$points random kills of the server lose nothing that was flushed"

# The test must be able to fail: an image from before some promises breaks them.
cp "$image" "$scratch/old.img"
kill_after 100 1 "nvme,file=$image,volatile=on"
"$DURABILITY" verify "$scratch/old.img" "$log" >"$scratch/log"
[ $? = 1 ]
ok $? "an image that lost promised writes is found out"
done_testing
