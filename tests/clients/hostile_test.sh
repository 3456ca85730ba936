#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Programs that mean harm to the server or to each other.  Usage: hostile_test.sh UVFIO CLIENT
. "$(dirname "$0")/lib.sh"
client=$(realpath "$2")

mmio=none
first=memory=16M

attack() { # NAME
	sound "$1" "$UVFIO" run --mmio "$mmio" --device "nvme,$first" \
		--device nvme,memory=16M -- "$client" "$1"
}

attack name-without-end && silent name-without-end
attack stalls-without-end && silent stalls-without-end
attack device-fds-without-end && silent device-fds-without-end
attack descriptors-without-end
attack eventfds-without-end
attack messages-without-end
# Of 4000 causes; how many are said depends on how long that takes.
is "messages: not a flood" yes "$([ "$(wc -l <"$work/err")" -lt 400 ] && echo yes)"
attack abused-file
attack memory-held-up
mmio=exact
attack guessed-keys && silent guessed-keys
attack keys-of-files && silent keys-of-files
attack lying-registers && silent lying-registers
attack dies-in-a-call && silent dies-in-a-call
mmio=none

# A backend that takes 8 s for a read.
if type nbdkit >/dev/null 2>&1; then
	nbdkit -U "$work/socket" -P "$work/pid" --filter=delay memory 16M rdelay=8
	await "nbdkit serves" test -s "$work/pid"
	mmio=polled
	first=nbd=nbd+unix:///?socket=$work/socket
	attack reset-without-end && silent reset-without-end
	attack close-without-end
	# The helper's close waits, but for its own file only.
	mmio=exact
	attack close-without-end
	kill "$(cat "$work/pid")"
else
	skip "reset-without-end, close-without-end" "nbdkit is not installed"
fi
finish
