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

# kill_after MILLISECONDS SEED DEVICE-SPEC WHO...: run the writer, kill the server, the NBD server or both, wait
kill_after() {
	local ms=$1 seed=$2 spec=$3 front line victim server
	shift 3
	coproc WRITER { exec "$UVFIO" run --mmio polled --device "$spec" -- "$DURABILITY" write 0000:01:00.0 "$log" "$seed" 2>"$scratch/log"; }
	front=$WRITER_PID
	read -r line <&"${WRITER[0]}" || line=
	if [ "$line" != ready ]; then
		kill -9 "$front"
		return 1
	fi
	server=$(pgrep -P "$front" | head -1)
	sleep "$(printf '0.%03d' "$ms")"
	for victim; do
		case $victim in
		server) kill -9 "$server" 2>/dev/null ;; # it may have ended, when the NBD server has
		nbd) kill -9 "$(cat "$scratch/nbd.pid")" ;;
		esac
	done
	wait "$front" 2>/dev/null
	return 0
}

# start_nbd: a server that keeps writes to itself until a flush, and loses them when it is killed
start_nbd() {
	rm -f "$scratch/nbd.sock" "$scratch/nbd.pid"
	nbdkit -U "$scratch/nbd.sock" -P "$scratch/nbd.pid" --filter=cache file "$image" cache=writeback
	for _ in $(seq 100); do [ -s "$scratch/nbd.pid" ] && return 0; sleep 0.05; done
	return 1
}

broken=0
promises=0
kills=0
# judge POINT: look at the image after a kill
judge() {
	local out
	if ! out=$("$DURABILITY" verify "$image" "$log"); then
		echo "$out" >"$scratch/log"
		ok 1 "point $1"
		broken=$((broken + 1))
	fi
	promises=$((promises + ${out%% *}))
	kills=$((kills + 1))
}

for point in $(seq "$points"); do
	if ! kill_after $((RANDOM % 60)) "$point" "nvme,file=$image,volatile=on" server; then
		ok 1 "the writer starts (point $point)"
		break
	fi
	judge "$point"
done
echo "# $kills kills, $promises promises looked at, $broken points broken"
[ "$broken" = 0 ] && [ "$kills" = "$points" ] && [ "$promises" -gt 0 ]
ok $? "$points random kills of the server lose nothing that was flushed"

if command -v nbdkit >/dev/null; then
	broken=0
	promises=0
	kills=0
	for point in $(seq $(((points + 1) / 2))); do
		who=(server nbd)
		case $((point % 3)) in
		1) who=(nbd) ;;
		2) who=(nbd server) ;;
		esac
		if ! start_nbd || ! kill_after $((RANDOM % 60)) "$point" "nvme,nbd=nbd+unix:///?socket=$scratch/nbd.sock" "${who[@]}"; then
			ok 1 "the writer starts on NBD (point $point)"
			break
		fi
		judge "NBD $point, killing ${who[*]}"
	done
	echo "# $kills kills, $promises promises looked at, $broken points broken"
	[ "$broken" = 0 ] && [ "$promises" -gt 0 ]
	ok $? "$(((points + 1) / 2)) random kills of a write-back NBD server, alone or with ours, lose nothing that was flushed"
else
	skip "random kills of an NBD server" "nbdkit is missing (package nbdkit)"
fi

# The test must be able to fail: an image from before some promises breaks them.
cp "$image" "$scratch/old.img"
kill_after 100 1 "nvme,file=$image,volatile=on" server
"$DURABILITY" verify "$scratch/old.img" "$log" >"$scratch/log"
[ $? = 1 ]
ok $? "an image that lost promised writes is found out"
done_testing
