# SPDX-License-Identifier: BSD-3-Clause
# Sourced by the client tests: TAP output, a scratch folder, the command under test.
# Environment: UVFIO, the command (meson sets it).  shellcheck shell=bash
set -uo pipefail
UVFIO=${UVFIO:?the uvfio command to test}
tap_number=0
tap_failed=0
scratch=$(mktemp -d "${TMPDIR:-/tmp}/uvfio-test.XXXXXX")
chmod 755 "$scratch"
trap 'rm -rf "$scratch"' EXIT

# ok STATUS NAME: one test point; on a failure what the file $scratch/log has is shown.
ok() {
	tap_number=$((tap_number + 1))
	if [ "$1" = 0 ]; then
		echo "ok $tap_number - $2"
	else
		echo "not ok $tap_number - $2"
		sed 's/^/# /' "$scratch/log" 2>/dev/null | tail -40
		tap_failed=1
	fi
}

# check NAME COMMAND [ARG ...]: passes when the command succeeds.
check() {
	local name=$1
	shift
	"$@" >"$scratch/log" 2>&1
	ok $? "$name"
}

skip() { # NAME REASON
	tap_number=$((tap_number + 1))
	echo "ok $tap_number - $1 # SKIP $2"
}

skip_all() { # REASON
	echo "1..0 # SKIP $1"
	exit 0
}

need() { # PROGRAM PACKAGE: without it the whole file is skipped
	command -v "$1" >/dev/null || skip_all "$1 is missing (package $2)"
}

done_testing() {
	echo "1..$tap_number"
	exit $tap_failed
}
