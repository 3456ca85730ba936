# SPDX-License-Identifier: BSD-3-Clause
# Shared by the client tests, which are run as: TEST.sh UVFIO [PROGRAM …]
# Each check prints a line; finish() ends the test.  SKIP is meson's exit status for a skipped test.
set -u
UVFIO=$(realpath "$1")
failures=0
checks=0
work=$(mktemp -d)
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
SKIP=77

pass() { checks=$((checks + 1)); echo "ok   $1"; }
fail() { checks=$((checks + 1)); failures=$((failures + 1)); echo "FAIL $1"; }

# is NAME WANT GOT
is() {
	if [ "$2" = "$3" ]; then pass "$1"; else fail "$1: wanted '$2', got '$3'"; fi
}

# matches NAME PATTERN TEXT
matches() {
	# shellcheck disable=SC2254
	case $3 in
	$2) pass "$1" ;;
	*) fail "$1: wanted '$2', got '$3'" ;;
	esac
}

# await NAME COMMAND …: until the command succeeds, at most 10 s
await() {
	local name=$1 i
	shift
	for ((i = 0; i < 1000; i++)); do
		if "$@" >/dev/null 2>&1; then
			pass "$name"
			return 0
		fi
		sleep 0.01
	done
	fail "$name: waited 10 s for: $*"
	return 1
}

# The processes of this test's uvfio (also after a rename of the command), one pid a line.
servers() {
	local p
	for p in /proc/[0-9]*; do
		[ "$(readlink "$p/exe" 2>/dev/null)" = "$UVFIO" ] || continue
		tr '\0' '\n' <"$p/environ" 2>/dev/null | grep -qx "UVFIO_TEST=$$" && echo "${p#/proc/}"
	done
	return 0
}
export UVFIO_TEST=$$
no_servers() { [ -z "$(servers)" ]; }

finish() {
	if [ "$failures" -gt 0 ]; then
		echo "$failures of $checks failed"
		exit 1
	fi
	echo "$checks passed"
	exit 0
}
