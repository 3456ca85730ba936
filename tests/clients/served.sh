# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# Sourced by tests that run a program against `uvfio serve`: begin NAME makes $scratch, serve starts the
# server and waits for its sockets, end says that it ends as it should, and exits.  TAP.
UVFIO=${UVFIO:?the uvfio command to test}
server='' scratch='' failed=0

begin()
{
	scratch=$(mktemp -d "${TMPDIR:-/tmp}/uvfio-$1.XXXXXX")
	trap '[ -z "$server" ] || kill -KILL "$server" 2>/dev/null; rm -rf "$scratch"' EXIT
}

# serve SOCKET,SOCKET ARGUMENT...: in $scratch
serve()
{
	local sockets=${1//,/ } socket
	shift
	"$UVFIO" serve "$@" >"$scratch/out" 2>"$scratch/err" &
	server=$!
	for socket in $sockets; do
		while ! [ -S "$scratch/$socket" ]; do
			if ! kill -0 "$server" 2>/dev/null; then
				sed 's/^/# /' "$scratch/err"
				echo "Bail out! the server ended before it served"
				exit 1
			fi
			sleep 0.01
		done
	done
}

# end: the program's points are in $scratch/tap, and whether they failed in $failed.  The server leaves no
# sanitizer's report.
end()
{
	local points status
	grep -v '^1\.\.' "$scratch/tap"
	points=$(($(grep -cE '^(not )?ok ' "$scratch/tap") + 1))
	kill -TERM "$server" 2>/dev/null
	wait "$server"
	status=$?
	server=
	if { [ $status = 0 ] || [ $status = 143 ]; } && ! grep -qE 'Sanitizer|runtime error' "$scratch/err"; then
		echo "ok $points - the server ends as it should"
	else
		echo "# exit status $status"
		echo "not ok $points - the server ends as it should"
		failed=1
	fi
	[ "$failed" = 0 ] || sed 's/^/# /' "$scratch/err" | tail -60
	echo "1..$points"
	exit "$failed"
}
