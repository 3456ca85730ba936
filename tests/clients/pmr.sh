#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The NVMe controller's persistent memory region through every door: what is in the file when PMRSTS has been read, also
# when the server is killed right then, is there in the next run.
# Environment: PMR, the client
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
: "${PMR:?the client}"
server=
trap '[ -z "$server" ] || { kill -9 "$server"; wait "$server"; } 2>/dev/null; rm -rf "$scratch"' EXIT
region=$scratch/region
truncate -s 256K "$region"
seed=0
bdf=0000:01:00.0

# left: the file has what the last client has written: other bytes than before, and no zeros where it begins
sums=
left() {
	local sum
	sum=$(sha256sum <"$region")
	[[ " $sums " != *" $sum "* ]] || { echo "the file is as it was before" && return 1; }
	sums+=" $sum"
}

for how in exact polled none; do
	seed=$((seed + 1))
	check "a run, $how" "$UVFIO" run --device "nvme,memory=1M,pmr=$region,mmio=$how" -- "$PMR" "$bdf" "" "$seed"
	check "a run, $how: it is in the file" left
done

serve() {
	"$UVFIO" serve --control "$scratch/control.sock" --device "nvme,memory=1M,pmr=$region,socket=$scratch/nvme.sock" \
		2>>"$scratch/serve.log" &
	server=$!
	await "a server starts" "$UVFIO" list --control "$scratch/control.sock"
}
serve
for options in "" "mmap=no"; do
	seed=$((seed + 1))
	check "vfio-user ${options:-mmap=yes}" "$PMR" "unix:$scratch/nvme.sock" "$options" "$seed"
	check "vfio-user ${options:-mmap=yes}: it is in the file" left
done
seed=$((seed + 1))
check "a joined machine" "$UVFIO" run --machine "$scratch/control.sock" -- "$PMR" "$bdf" "" "$seed"
check "a joined machine: it is in the file" left

# Killed when PMRSTS has been read: with its processes, and before anything can be put in order.
for _ in 1 2 3; do
	seed=$((seed + 1))
	coproc client { "$PMR" "unix:$scratch/nvme.sock" "" "$seed" hold 2>"$scratch/log"; }
	client_pid=$!
	read -r -t 60 -u "${client[0]}" line
	is "the client has saved" saved "${line-}"
	pids=$(pgrep -P "$server")
	# shellcheck disable=SC2086
	kill -9 "$server" $pids
	wait "$server" 2>/dev/null
	kill -9 "$client_pid" 2>/dev/null
	wait "$client_pid" 2>/dev/null
	check "killed: it is in the file" left
	serve
done
seed=$((seed + 1))
check "and found by the next client" "$PMR" "unix:$scratch/nvme.sock" "" "$seed"

# Whose file it is
check "the file is locked" bash -c '! "$1" run --device "nvme,memory=1M,pmr=$2" -- true' _ "$UVFIO" "$region"
truncate -s 100K "$scratch/odd"
"$UVFIO" run --device "nvme,memory=1M,pmr=$scratch/odd" -- true 2>"$scratch/log"
matches "a file of another size" "*power of 2*" "$(cat "$scratch/log")"
done_testing
