#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The program behaves as if it ran by itself: status, signals, streams, inheritance; and nothing is
# left of a run.

# Whoever ignores signals (nohup ignores SIGHUP) passes that on, and a shell cannot undo it.
[ -n "${SIGNALS_ARE_DEFAULT-}" ] || SIGNALS_ARE_DEFAULT=1 exec env --default-signal "$0" "$@"
. "$(dirname "$0")/lib.sh"
run() { "$UVFIO" run -- "$@"; }

mkfifo "$work/fifo"

# ---- exit status ----
for code in 0 1 7 125 255; do
	run sh -c "exit $code"
	is "exit $code" "$code" $?
done
run "$work/missing" 2>"$work/err"
is "a program that is not there" 127 $?
matches "is named" "*$work/missing*not found*" "$(cat "$work/err")"
run /etc/passwd 2>"$work/err"
is "a program that cannot be executed" 126 $?
matches "is named" "*/etc/passwd*ermission denied*" "$(cat "$work/err")"
run /etc/passwd/x 2>"$work/err"
is "a path through a file" 126 $?
# A folder of somebody else: in its user namespace a program may search whatever its user owns.
closed=/root
as_user=()
if [ "$(id -u)" = 0 ]; then
	closed=$work/closed
	mkdir -m 0 "$closed"
	as_user=(setpriv --reuid 65534 --regid 65534 --clear-groups)
fi
if "${as_user[@]}" "$UVFIO" run -- true 2>/dev/null && ! "${as_user[@]}" test -x "$closed"; then
	PATH="$closed:$PATH" "${as_user[@]}" "$UVFIO" run -- nosuchprogram 2>"$work/err"
	is "an unknown program, and a folder of PATH that may not be searched" 127 $?
	matches "is named" "*nosuchprogram*not found*$closed*ermission denied*" "$(cat "$work/err")"
	mkdir "$work/bin"
	: >"$work/bin/plain"
	chmod 755 "$work/bin"
	PATH="$closed:$work/bin:$PATH" "${as_user[@]}" "$UVFIO" run -- plain 2>"$work/err"
	is "a file in PATH that cannot be executed" 126 $?
	# Its descriptors cannot be looked at by another process without rights over it (PR_SET_DUMPABLE is 4).
	"${as_user[@]}" "$UVFIO" run --sandbox paths --device nvme,memory=8M -- python3 -c '
import ctypes, fcntl, os
fd = os.open("/dev/vfio/vfio", os.O_RDWR)
ctypes.CDLL(None).prctl(4, 0)
fcntl.ioctl(fd, 0x3b64)' 2>"$work/err"
	matches "a program that hides itself is named" "*has made itself undumpable*" "$(cat "$work/err")"
else
	skip "an unsearchable PATH" "an ordinary user cannot run $UVFIO here"
fi
"$UVFIO" run --device nosuchmodel -- true 2>"$work/err"
is "a wrong model" 125 $?
matches "is named" "*nosuchmodel*" "$(cat "$work/err")"

# ---- signals ----
for sig in TERM INT HUP KILL USR1 SEGV ABRT; do
	want=$((128 + $(kill -l $sig)))
	(ulimit -c 0; exec "$UVFIO" run -- sh -c "kill -$sig \$\$") 2>/dev/null
	is "a program that dies of SIG$sig" $want $?
done
for sig in TERM INT HUP USR1 USR2 QUIT ALRM; do
	rm -f "$work/ready"
	# A shell starts background commands with SIGINT and SIGQUIT ignored.
	perl -e '$SIG{INT} = $SIG{QUIT} = "DEFAULT"; exec @ARGV' "$UVFIO" run -- bash -c "
		trap 'echo got $sig; exit 3' $sig; : >$work/ready
		while :; do read -rt 1 <>$work/fifo; done" >"$work/out" &
	pid=$!
	await "started for SIG$sig" test -e "$work/ready" && kill -$sig $pid
	wait $pid
	is "status after SIG$sig is passed on" 3 $?
	is "SIG$sig is passed on" "got $sig" "$(cat "$work/out")"
done
(trap '' HUP; exec "$UVFIO" run -- sh -c 'kill -HUP $$; exit 5')
is "an ignored signal stays ignored" 5 $?
is "the signal mask" "$(grep SigBlk /proc/self/status)" "$(run grep SigBlk /proc/self/status)"
is "ignored signals" "$(sh -c 'grep SigIgn /proc/self/status')" \
	"$(run sh -c 'grep SigIgn /proc/self/status')"

# ---- streams and fds ----
is "stdin to stdout" hello "$(echo hello | run cat)"
is "stderr" oops "$(run sh -c 'echo oops >&2' 2>&1 >/dev/null)"
exec 7<"$0"
is "an inherited fd" "#!/usr/bin/env bash" "$(run sh -c 'head -1 <&7')"
exec 7<&-
is "no fd more than without" "$(sh -c 'ls /proc/self/fd | wc -l')" \
	"$(run sh -c 'ls /proc/self/fd | wc -l')"
is "closed standard streams stay closed" "" "$(run sh -c 'ls -l /proc/$$/fd' <&- 2>/dev/null | grep ' 0 ->')"
# A reader sees the end when the program closes its stream, not when uvfio ends.
"$UVFIO" run -- sh -c "exec >&-; read x <$work/fifo" | { cat; echo end; echo >"$work/fifo"; } >"$work/out"
is "end of stream" end "$(cat "$work/out")"
is "limits" "$(ulimit -Sn)" "$(run sh -c 'ulimit -Sn')"
is "working directory" "$PWD" "$(run pwd)"
is "umask" 0027 "$(umask 027; run sh -c umask)"
is "nice" "$(nice -n 5 nice)" "$(nice -n 5 "$UVFIO" run -- nice)"

# ---- descendants ----
is "children" "a b" "$(run sh -c 'sh -c "echo a; exit 0" && (echo b) | cat' | xargs)"
: >"$work/daemon"
run sh -c "setsid sh -c 'exec 0<&- 1>&- 2>&-; echo \$\$ >$work/daemon; read x <$work/fifo' & exit 4"
is "status with a daemon left" 4 $?
await "the daemon lives" test -s "$work/daemon"
is "the daemon's server lives" 1 "$(servers | wc -l)"
# Which takes a mount namespace to be seen from here.
[ "${UVFIO_DEFAULT_CONTAINER-}" ] ||
	is "the daemon still sees devices" vfio "$(ls "/proc/$(cat "$work/daemon")/root/dev/vfio" 2>/dev/null | tail -1)"
echo >"$work/fifo"
await "the server goes with the daemon" no_servers

# ---- killing ----
"$UVFIO" run -- sh -c "echo \$\$ >$work/pid; sh -c 'echo \$\$ >$work/pid2; exec cat $work/fifo'; :" &
pid=$!
await "started" test -s "$work/pid2"
kill -KILL $pid
wait $pid 2>/dev/null
gone() { ! kill -0 "$(cat "$work/pid")" && ! kill -0 "$(cat "$work/pid2")"; }
await "SIGKILL of uvfio ends the program and its children" gone
await "and the server" no_servers

rm -f "$work/pid"
"$UVFIO" run -- sh -c "echo \$\$ >$work/pid; exec cat $work/fifo" 2>"$work/err" &
pid=$!
await "started" test -s "$work/pid"
server=$(servers | grep -vx $pid)
kill -KILL "$server"
wait $pid
is "status when the server is killed" 125 $?
matches "is said" "*server was killed*" "$(cat "$work/err")"
gone() { ! kill -0 "$(cat "$work/pid")"; }
await "the program has been ended" gone

# ---- stop and continue ----
state() { awk '/^State/ {print $2}' "/proc/$1/status" 2>/dev/null; }
stopped() { [ "$(state "$1")" = T ]; }
running() { [ "$(state "$1")" != T ]; }
rm -f "$work/pid"
"$UVFIO" run -- sh -c "echo \$\$ >$work/pid; cat $work/fifo; exit 6" &
pid=$!
await "started" test -s "$work/pid"
kill -STOP "$(cat "$work/pid")"
await "uvfio stops with the program" stopped $pid
kill -CONT $pid
await "SIGCONT to uvfio continues the program" running "$(cat "$work/pid")"
kill -STOP "$(cat "$work/pid")"
await "uvfio stops again" stopped $pid
kill -CONT "$(cat "$work/pid")"
await "uvfio goes on with the program" running $pid
echo >"$work/fifo"
wait $pid
is "status after being stopped" 6 $?

# ---- nothing is left ----
await "no server" no_servers
is "no mount" 0 "$(grep -c '^uvfio ' /proc/self/mounts)"
finish
