#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck disable=SC2016
# The driver side (uvfio/driver.h) through both doors: the NVMe tool of examples/ on a device of `uvfio run` and
# on one of `uvfio serve`, and a server that is killed while it is written to.
# Environment: DRIVE, the smallest example; NVME, the tool; ENDURE, the client that outlives servers; DRIVER_KILLS, how many kills (12)
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
: "${NVME:?the NVMe tool}" "${ENDURE:?the client that outlives servers}"
kills=${DRIVER_KILLS:-12}
bdf=0000:01:00.0
servers=()
trap 'stop_all; rm -rf "$scratch"' EXIT

# serve SOCKET-NAME DEVICE-OPTIONS: start a server in the background, wait until it can be reached; its pid is $server
serve() {
	serve_any "$1" "nvme,$2" "$NVME" identify
}

# serve_any SOCKET-NAME DEVICE COMMAND...: the same of any device; COMMAND with the socket succeeds when it is there
serve_any() {
	local socket=$1
	"$UVFIO" serve --control off --device "$2,socket=$scratch/$1" >>"$scratch/serve.log" 2>&1 &
	server=$!
	servers+=("$server")
	shift 2
	for _ in $(seq 600); do
		"$@" "unix:$scratch/$socket" >/dev/null 2>&1 && return 0
		kill -0 "$server" 2>/dev/null || break
		sleep 0.1
	done
	cp "$scratch/serve.log" "$scratch/log"
	return 1
}

# alive PID: has it a thread that has not ended yet? (Its files are open for so long.)
alive() {
	local threads
	[ -e "/proc/$1" ] || return 1
	grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null || return 0
	threads=("/proc/$1/task/"*)
	[ ${#threads[@]} -gt 1 ]
}

# kill_server PID: as a crash would, with its processes; returns when none of them has anything open any more
kill_server() {
	local pid pids
	pids="$1 $(pgrep -P "$1")"
	# shellcheck disable=SC2086
	kill -9 $pids 2>/dev/null
	wait "$1" 2>/dev/null
	for pid in $pids; do
		while alive "$pid"; do sleep 0.01; done
	done
}

stop_all() {
	local pid
	for pid in "${servers[@]}"; do kill_server "$pid"; done
	servers=()
}

# both NAME SCRIPT: run the shell script with $1 the device, through the kernel's two interfaces and over vfio-user
both() {
	for way in group cdev; do
		check "$1: VFIO by the $way" "$UVFIO" run --device nvme,memory=64M -- bash -c "set -e; $2" _ "$bdf via=$way"
	done
	check "$1: vfio-user" bash -c "set -e; $2" _ "unix:$scratch/a"
}
: "${DRIVE:?the smallest example}"
export NVME DRIVE

serve a memory=64M
ok $? "a server"

both "the smallest example" '"$DRIVE" "$1" | grep -q "is 1234:4e56"'
both "identify" '"$NVME" identify "$1" | grep -q "uvfio NVMe controller"'
both "identify by interrupt" '"$NVME" identify --irq "$1"'
both "identify without a mapping" '"$NVME" identify --no-map "$1"'
for depth in 1 8 64 256; do
	both "write, read back and verify, depth $depth" "
		\"\$NVME\" write --pattern $depth --depth $depth --count 20000 \"\$1\"
		\"\$NVME\" read --verify --pattern $depth --depth $depth --count 20000 \"\$1\""
done
both "the same with 64 KiB commands and interrupts" '
	"$NVME" write -p 77 -d 16 -b 65536 -i -s 1000 -c 40000 "$1"
	"$NVME" read -v -p 77 -d 16 -b 65536 -i -s 1000 -c 40000 "$1"'
both "verifying can fail" '
	"$NVME" write -p 1 -c 100 "$1"
	! "$NVME" read -v -p 2 -c 100 "$1"'
both "two queues, each with a thread" '
	"$NVME" perf -t 0.3 -r -d 16 -q 2 "$1"
	"$NVME" perf -t 0.3 -r -d 16 -q 2 -i -w "$1"'

# Memory that the server is given no file of: every byte is a message.
for options in share=no share=no,twin=no share=no,posted=no; do
	check "message DMA ($options)" bash -c '
		set -e
		"$NVME" write -o "$2" -p 5 -d 32 -c 8000 "$1"
		"$NVME" read -o "$2" -v -p 5 -d 32 -b 32768 -i -c 8000 "$1"
		"$NVME" read -v -p 5 -d 32 -c 8000 "$1"' _ "unix:$scratch/a" "$options"
done

# Two devices at once.
serve b memory=32M
ok $? "a second server"
check "two devices at once: vfio-user" bash -c '
	"$NVME" write -p 1 -d 32 -c 60000 "$1" & p=$!
	"$NVME" write -p 2 -d 32 -c 60000 "$2" && wait $p || exit 1
	"$NVME" read -v -p 1 -d 32 -c 60000 "$1" & p=$!
	"$NVME" read -v -p 2 -d 32 -c 60000 "$2" && wait $p' _ "unix:$scratch/a" "unix:$scratch/b"
check "two devices at once: VFIO" "$UVFIO" run --device nvme,memory=32M --device nvme,memory=32M -- bash -c '
	"$NVME" write -p 1 -d 32 -c 60000 "$1" & p=$!
	"$NVME" write -p 2 -d 32 -c 60000 "$2" && wait $p || exit 1
	"$NVME" read -v -p 1 -d 32 -c 60000 "$1" & p=$!
	"$NVME" read -v -p 2 -d 32 -c 60000 "$2" && wait $p' _ 0000:01:00.0 0000:02:00.0

# Two devices that see one memory, by each way and mixture: two groups in one container, two character devices in one
# IOAS, one group, two servers.
: "${TWO_DEVICES:?the example of two devices}"
nvme="0000:01:00.0 via" engine="0000:02:00.0 via"
two=(--device nvme,memory=32M --device ioat)
check "a DMA space of two groups" "$UVFIO" run --trace "$scratch/trace" "${two[@]}" -- \
	"$TWO_DEVICES" "$nvme=group" "$engine=group"
[ "$(grep -c 'open file=container' "$scratch/trace")" = 1 ]
ok $? "they are in one container"
check "a DMA space of one group" "$UVFIO" run --device nvme,memory=32M,group=7 --device ioat,group=7 -- \
	"$TWO_DEVICES" "$nvme=group" "$engine=group"
check "a DMA space of two character devices" "$UVFIO" run --trace "$scratch/trace" "${two[@]}" -- \
	"$TWO_DEVICES" "$nvme=cdev" "$engine=cdev"
[ "$(grep -c 'IOAS_ALLOC.* = 0' "$scratch/trace")" = 1 ]
ok $? "they are in one IOAS"
[ "$(grep -c 'IOMMU_DESTROY.* = 0' "$scratch/trace")" = 1 ]
ok $? "which is destroyed in the end"
check "a DMA space of a group and a character device" "$UVFIO" run "${two[@]}" -- \
	"$TWO_DEVICES" "$nvme=group" "$engine=cdev"
serve_any i ioat "$DRIVE"
ok $? "a server with an engine"
check "a DMA space of two servers" "$TWO_DEVICES" "unix:$scratch/a" "unix:$scratch/i"
for way in group cdev; do
	check "a DMA space of a device by its $way and a server" "$UVFIO" run "${two[@]}" -- \
		"$TWO_DEVICES" "$nvme=$way" "unix:$scratch/i"
	check "a DMA space of a server and a device by its $way" "$UVFIO" run "${two[@]}" -- \
		"$TWO_DEVICES" "unix:$scratch/a" "$engine=$way"
done
check "a device without IOMMU is in none" bash -c '! "$1" run --policy enable_unsafe_noiommu_mode=Y \
	--device nvme,memory=32M --device ioat,iommu=off -- "$2" 0000:01:00.0 0000:02:00.0 2>&1 |
	tee /dev/stderr | grep -q "has no IOMMU"; [ ${PIPESTATUS[2]} = 0 ]' _ "$UVFIO" "$TWO_DEVICES"

# One device's DMA into another one's memory, by each way.
: "${PEER_TO_PEER:?the example of a device that writes into another}"
peer="0000:01:00.0 via" owner="0000:02:00.0 via"
peers() {
	printf 'sent: arrived\nits memory is off: refused\nmapped anew: arrived\n' | cmp - <("$@")
}
for ways in "cdev cdev" "cdev group" "group cdev" "group group"; do
	check "peer to peer: by $ways" peers "$UVFIO" run --device pcitest \
		--device pcitest -- "$PEER_TO_PEER" "$peer=${ways% *}" "$owner=${ways#* }"
done
"$UVFIO" serve --control off --device "pcitest,socket=$scratch/from" --device "pcitest,socket=$scratch/to" \
	>>"$scratch/serve.log" 2>&1 &
servers+=("$!")
for _ in $(seq 600); do
	"$DRIVE" "unix:$scratch/from" >/dev/null 2>&1 && "$DRIVE" "unix:$scratch/to" >/dev/null 2>&1 && break
	sleep 0.1
done
check "peer to peer: vfio-user" peers "$PEER_TO_PEER" "unix:$scratch/from" "unix:$scratch/to"

# Errors are told.
"$NVME" identify ffff:ff:1f.0 >"$scratch/log" 2>&1
[ $? = 1 ] && grep -q "there is no such PCI device" "$scratch/log"
ok $? "a device that is not there"
"$UVFIO" run --device nvme,memory=1M -- "$NVME" identify -o vf_token=2ab74924-c335-45f4-9b16-8569e5b08258 "$bdf" \
	>"$scratch/log" 2>&1
[ $? = 1 ] && grep -q "takes no vf_token" "$scratch/log"
ok $? "a token for a function that takes none"
"$NVME" identify "unix:$scratch/nobody" >"$scratch/log" 2>&1
[ $? = 1 ] && grep -q "nobody serves this socket" "$scratch/log"
ok $? "a socket that is not served"
stop_all

# endure NAME SEED OPTIONS: kill the server under load $kills times; its disk forgets what was not flushed
endure() {
	local line round
	truncate -s 0 "$scratch/disk.img"
	truncate -s 1M "$scratch/disk.img"
	serve c "file=$scratch/disk.img,volatile=on" || return 1
	coproc CLIENT { exec "$ENDURE" "unix:$scratch/c" "$kills" "$1" "$2" 2>"$scratch/endure.log"; }
	local client=$CLIENT_PID out=${CLIENT[0]}
	exec 7<&"$out"
	for round in $(seq "$kills"); do
		read -r line <&7 || line=
		[ "$line" = writing ] || break
		sleep "$(printf '0.%03d' $((RANDOM % 60)))"
		kill_server "$server"
		"$UVFIO" serve --control off --device "nvme,file=$scratch/disk.img,volatile=on,socket=$scratch/c" \
			>>"$scratch/serve.log" 2>&1 &
		server=$!
		servers+=("$server")
	done
	[ "$line" = writing ] && read -r line <&7
	exec 7<&-
	wait "$client"
	local status=$?
	{ echo "round $round: $line"; cat "$scratch/endure.log"; tail -5 "$scratch/serve.log"; } >"$scratch/log"
	stop_all
	[ "$status" = 0 ] && echo "# $line"
	return "$status"
}
endure 2 share=yes
ok $? "$kills servers killed under writes: nothing that was flushed is lost"
endure 3 share=no
ok $? "the same with message DMA and interrupts"
done_testing
