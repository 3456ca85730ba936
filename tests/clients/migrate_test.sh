#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Descriptors of migration data (E.3) as an unmodified program has them, in a run of its own and on a joined machine:
# what they answer, what becomes of them in bad hands, and a device that moves from one run to another.
# Arguments: uvfio, the client
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
client=$2
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; }; rm -rf "$scratch"' EXIT
devices=(--device pcitest,memory=2M --device pcitest,memory=2M)
a=0000:01:00.0 b=0000:02:00.0

"$UVFIO" run "${devices[@]}" -- sh -c : 2>"$scratch/log" || skip_all "uvfio run: $(cat "$scratch/log")"
[ -c /dev/fuse ] || skip_all "no /dev/fuse: devices offer no migration here"

# RUN …: as `uvfio run` takes it
move() { # NAME RUN …
	local name=$1
	shift
	# shellcheck disable=SC2094
	if "$UVFIO" run "$@" -- "$client" save $a >"$scratch/stream" 2>"$scratch/log"; then
		judge_client "$name" sh -c 'stream=$1; shift; exec "$@" <"$stream"' - "$scratch/stream" \
			"$UVFIO" run "$@" -- "$client" load $b
	else
		fail "$name" "$(cat "$scratch/log")"
	fi
}

judge_client "a run: what they are" "$UVFIO" run "${devices[@]}" -- "$client" facts $a $b
judge_client "a run: hostile programs" "$UVFIO" run "${devices[@]}" -- "$client" hostile $a $b
move "from one run to another, in the midst of a transfer" "${devices[@]}"

"$UVFIO" serve --control "$scratch/control.sock" --device "pcitest,memory=2M,socket=$scratch/a.sock" \
	--device "pcitest,memory=2M,socket=$scratch/b.sock" 2>"$scratch/serve.log" &
server=$!
await "a server starts" "$UVFIO" list --control "$scratch/control.sock"
judge_client "a joined machine: what they are" "$UVFIO" run --machine "$scratch/control.sock" -- "$client" facts $a $b
judge_client "a joined machine: hostile programs" \
	"$UVFIO" run --machine "$scratch/control.sock" -- "$client" hostile $a $b
move "from one program of the machine to another" --machine "$scratch/control.sock"
# Whoever ends in the midst of a session has closed all (A.4): in one run, and for the next one.
ends=${MIGRATE_ENDS:-24}
judge_client "a joined machine: programs that end in a session" \
	"$UVFIO" run --machine "$scratch/control.sock" -- "$client" ends $a "$ends"
wrong=
{
	for ((i = 0; i < ends / 2; i++)); do
		"$UVFIO" run --machine "$scratch/control.sock" -- "$client" end $a $i >"$scratch/log" 2>&1
		status=$?
		[ $status = $((i % 3 ? 0 : 137)) ] || wrong+="$i: status $status: $(cat "$scratch/log") "
	done
} 2>/dev/null
is "a joined machine: runs whose programs end in a session" "" "$wrong"

# Where /sys is not served there are such files all the same.
judge_client "with --sysfs off" "$UVFIO" run --sysfs off "${devices[@]}" -- "$client" facts $a $b
# Without mounts there are none: the feature is not there.
matches "--sandbox paths: devices offer no migration" '*cannot be migrated*' \
	"$("$UVFIO" run --sandbox paths "${devices[@]}" -- "$client" offered $a 2>&1)"
if ordinary_user "$client"; then
	judge_client "an ordinary user" "${as_user[@]}" "$scratch/tree/uvfio" run "${devices[@]}" -- \
		"$scratch/tree/$(basename "$client")" facts $a $b
else
	skip "an ordinary user" "$not_as_root"
fi
kill "$server" && wait "$server"
server=
await "nothing is left of all that" no_servers
finish
