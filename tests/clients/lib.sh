# SPDX-License-Identifier: BSD-3-Clause
# Sourced by the client tests: TAP output, a scratch folder, the command under test.  The command is the
# test's first argument, or the environment's UVFIO (meson gives either).  shellcheck shell=bash
set -u
UVFIO=${1:-${UVFIO:?the uvfio command to test}}
UVFIO=$(realpath "$UVFIO")
checks=0
failures=0
work=$(mktemp -d "${TMPDIR:-/tmp}/uvfio-test.XXXXXX")
scratch=$work # the name that some tests use
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
SKIP=77 # what a program under test exits with when this machine lacks the means

pass() { # NAME
	checks=$((checks + 1))
	echo "ok $checks - $1"
}

fail() { # NAME [WHY]
	checks=$((checks + 1))
	failures=$((failures + 1))
	echo "not ok $checks - $1"
	[ $# -lt 2 ] || sed 's/^/# /' <<<"$2"
}

skip() { # NAME REASON
	checks=$((checks + 1))
	echo "ok $checks - $1 # SKIP $2"
}

skip_all() { # REASON
	echo "1..0 # SKIP $1"
	exit 0
}

need() { # PROGRAM PACKAGE: without it the whole file is skipped
	command -v "$1" >/dev/null || skip_all "$1 is missing (package $2)"
}

finish() {
	echo "1..$checks"
	[ "$failures" = 0 ] || echo "# $failures of $checks failed"
	exit $((failures > 0))
}
done_testing() { finish; }

# ---- checks ----

is() { # NAME WANT GOT
	if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "wanted '$2', got '$3'"; fi
}

matches() { # NAME PATTERN TEXT
	# shellcheck disable=SC2254
	case $3 in
	$2) pass "$1" ;;
	*) fail "$1" "wanted '$2', got '$3'" ;;
	esac
}

# ok STATUS NAME: on a failure what the file $work/log has is shown.
ok() {
	if [ "$1" = 0 ]; then pass "$2"; else fail "$2" "$(tail -40 "$work/log" 2>/dev/null)"; fi
}

check() { # NAME COMMAND [ARG …]: passes when the command succeeds
	local name=$1
	shift
	"$@" >"$work/log" 2>&1
	ok $? "$name"
}

judge_client() { # NAME COMMAND [ARG …]: a client in TAP; its test points are one
	local name=$1
	shift
	if timeout 120 "$@" >"$work/out" 2>"$work/log" && grep -q '^1\.\.' "$work/out" &&
		! grep -qE '^(not ok|Bail out)' "$work/out"; then
		ok 0 "$name: $(grep -c '^ok' "$work/out") checks"
	else
		grep -E '^(not ok|Bail out|#)' "$work/out" >>"$work/log"
		ok 1 "$name"
	fi
}

await() { # NAME COMMAND [ARG …]: until the command succeeds, at most 10 s
	local name=$1 i
	shift
	for ((i = 0; i < 1000; i++)); do
		if "$@" >/dev/null 2>&1; then
			pass "$name"
			return 0
		fi
		sleep 0.01
	done
	fail "$name" "waited 10 s for: $*"
	return 1
}

# ---- what is left of a run ----

# The processes of this test's uvfio (also after a rename of the command), one pid a line.
all_of_ours() {
	local p
	for p in /proc/[0-9]*; do
		[ "$(readlink "$p/exe" 2>/dev/null)" = "$UVFIO" ] || continue
		grep -qzx "UVFIO_TEST=$$" "$p/environ" 2>/dev/null && echo "${p#/proc/}"
	done
	return 0
}
export UVFIO_TEST=$$
# Those that only pass on what /dev/fuse says do not count, but none is to be left.
servers() {
	local p
	for p in $(all_of_ours); do
		[ "$(cat "/proc/$p/comm" 2>/dev/null)" = uvfio-sysfs ] || echo "$p"
	done
}
no_servers() { [ -z "$(all_of_ours)" ]; }

# ---- an ordinary user, beside root ----

# Copies of uvfio and of each PROGRAM, in $work/tree, because the build may lie where only root may
# look, and a folder $work/user for whoever "${as_user[@]}" runs.  False: it is no root that asks.
ordinary_user() { # [PROGRAM …]
	[ "$(id -u)" = 0 ] && command -v setpriv >/dev/null || return 1
	as_user=(setpriv --reuid 65534 --regid 65534 --clear-groups env "XDG_RUNTIME_DIR=$work/user")
	install -d -o 65534 -g 65534 "$work/user"
	mkdir -p "$work/tree/src/uapi/helper"
	cp "$UVFIO" "$@" "$work/tree"
	cp "$(dirname "$UVFIO")"/src/uapi/helper/*.so "$work/tree/src/uapi/helper/" 2>/dev/null
	chmod -R a+rX "$work/tree"
}
not_as_root="not run as root: everything above was run by an ordinary user"

# ---- programs that check for themselves ----

# sound NAME COMMAND [ARG …]: it says FAIL lines and exits 0, or SKIP; of its runs no server is left.
# What it printed is in $work/out and $work/err.
sound() {
	local name=$1 status
	shift
	timeout -s KILL 90 "$@" >"$work/out" 2>"$work/err"
	status=$?
	if [ $status = $SKIP ]; then
		skip "$name" "$(cat "$work/out")"
		return
	fi
	is "$name" 0 $status
	grep FAIL "$work/out" | sed 's/^/# /'
	[ $status = 0 ] || sed 's/^/# /' "$work/err"
	await "$name: no server is left" no_servers
}
silent() { is "$1: nothing to say" "" "$(cat "$work/err")"; }
