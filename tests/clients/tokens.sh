#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# VF tokens as an operator has them (C.5): options, sockets of VFs, `uvfio open`, and that nothing shows a token.
# Environment: DRIVE, the smallest example driver
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
: "${DRIVE:?the example driver}"
need python3 python3
need pgrep procps
help=$(cd "$(dirname "$0")" && pwd)/secrets.py
cd "$scratch" || exit 1
# Of its own, so that no other test's memory or log can have it.
token=$(cat /proc/sys/kernel/random/uuid)
other=$(cat /proc/sys/kernel/random/uuid)
pf=0000:01:00.0
vf=0000:01:00.1
vf2=0000:01:00.2
keeper=
trap 'kill -KILL $keeper $(pgrep -P "${keeper:-0}") 2>/dev/null; rm -rf "$scratch"' EXIT

await() {
	until "$@" >/dev/null 2>&1; do sleep 0.02; done
}
gone() { ! kill -0 "$1" 2>/dev/null; }

# serve OPTIONS …: a server, until its control answers
serve() {
	rm -f control
	"$UVFIO" serve --verbose --control control --policy enable_sriov=Y "$@" 2>log &
	keeper=$!
	until "$UVFIO" list --control control >/dev/null 2>&1; do
		gone $keeper && return 1
		sleep 0.02
	done
}
stop() {
	kill "$keeper"
	wait "$keeper"
	local status=$?
	grep -qE 'Sanitizer|runtime error' log && status=99
	return $status
}
call() { # COMMAND …: of the server that runs
	local command=$1
	shift
	"$UVFIO" "$command" --control control "$@"
}

# nothing_shows NAME FILE …: the token is in none of them
nothing_shows() {
	local name=$1
	shift
	if grep -qiF -e "$token" -e "${token:0:18}" -e "${token#*-}" "$@"; then
		fail "$name" "$(grep -liF -e "$token" -e "${token:0:18}" -e "${token#*-}" "$@")"
	else
		pass "$name"
	fi
}

# nothing_keeps NAME: neither the keeper nor the server has the text; the keeper not even the bytes
nothing_keeps() {
	local server found
	server=$(pgrep -o -P "$keeper")
	if ! found=$(python3 "$help" search "$token" "$keeper" "$server" 2>&1); then
		skip "$1" "a process of one's own cannot be read here"
		return
	fi
	is "$1: the keeper" "$keeper text=0 bytes=0" "$(grep "^$keeper " <<<"$found")"
	matches "$1: the server" "$server text=0 bytes=*" "$(grep "^$server " <<<"$found")"
}

# ---- an option; sockets of VFs ----

serve --device "pcitest,vfs=4,numvfs=2,vf_token=$token,socket=pf.sock,vf-sockets=vf-%u.sock"
is "a server with a token starts" 0 $?
await test -S vf-1.sock
pass "each VF has a socket"
timeout 60 "$DRIVE" unix:vf-0.sock >out 2>&1
is "the socket of a VF presents the token" 0 $?
timeout 60 "$DRIVE" unix:pf.sock >out 2>&1
is "and so does that of the PF" 0 $?
cat /proc/"$keeper"/cmdline /proc/"$(pgrep -o -P "$keeper")"/cmdline >cmdline
nothing_shows "the process list does not show it" cmdline
nothing_keeps "memory after the start"

call show $vf >show
matches "show says where a VF is served" "*vf-0.sock*" "$(cat show)"
call list --json >list
call stats >stats
call show --json $pf >>show
timeout 60 "$UVFIO" trace --control control >trace 2>/dev/null &
tracer=$!

# ---- open ----

call open $vf -- true 2>err
is "open without a token fails" 1 $?
matches "and says what is needed" "*takes the VF token of its PF*" "$(cat err)"
call open $vf --vf-token "$other" -- true 2>err
is "open with another token fails" 1 $?
matches "and says that it is another" "*not the VF token of its PF*" "$(cat err)"
call open $vf --vf-token "$token" -- "$DRIVE" fd:3 >out 2>err
is "open with the token: COMMAND has the VF as descriptor 3" 0 $?
matches "which it says" "*$vf is descriptor 3 of*" "$(cat err)"
echo "$token" >file
chmod 600 file
call open "$vf2" --vf-token-file file -- "$DRIVE" fd:3 >out 2>err
is "open with a file" 0 $?
call open "$vf2 vf_token=$token" -- "$DRIVE" fd:3 >out 2>err
is "open with the string of GET_DEVICE_FD" 0 $?
call open $vf --vf-token "$token" -- sh -c 'tr "\0" " " </proc/$$/cmdline; tr "\0" "\n" </proc/$$/environ' >cmdline 2>&1
nothing_shows "COMMAND is not told" cmdline
chmod 644 file
call open $vf --vf-token-file file -- true 2>err
matches "a file that others can read is remarked" "*others can read it*" "$(cat err)"
for bad in "$vf vf_token=$token vf_token=$token" "$vf vf_token=${token%?}" "$vf other=1"; do
	call open "$bad" -- true 2>err
	matches "refused: ${bad//[0-9a-f]/.}" "*one vf_token=UUID, and nothing else*" "$(cat err)"
done
call open 0000:0f:00.0 -- true 2>err
matches "open of what is not there" "*there is no device 0000:0f:00.0*" "$(cat err)"
nothing_keeps "memory after the calls"

# ---- programs, on the same machine ----

timeout 60 "$UVFIO" run --machine ./control --trace joined -- "$DRIVE" "$vf vf_token=$token" >out 2>err
status=$?
if [ $status = 0 ] || ! grep -q 'cannot' err; then
	is "a program of a run that has joined gives it itself" 0 $status
	timeout 60 "$UVFIO" run --machine ./control -- "$DRIVE" "$vf" >out 2>&1
	is "and without it has no VF" 1 $?
	nothing_shows "the run's trace does not have it" joined
	nothing_keeps "memory after a program's open"
else
	skip "a program of a run that has joined gives it itself" "$(head -1 err)"
fi

# ---- the matrix, seen from outside ----

mkfifo until
exec 9<>until
# shellcheck disable=SC2094
call open $vf --vf-token "$token" -- python3 "$help" hold <until 9>&- >held 2>/dev/null &
holder=$!
await grep -q . held
is "somebody uses a VF" open "$(cat held)"
call open $pf --vf-token "$other" -- true 2>err
is "a rogue driver does not get the PF" 1 $?
call open $pf -- true 2>/dev/null
is "without a token neither" 1 $?
timeout 60 "$DRIVE" unix:pf.sock >out 2>&1
is "who knows the token gets it" 0 $?
exec 9>&- # its input ends
wait $holder
free() { call open $pf --vf-token "$other" -- python3 "$help" hold </dev/null >held 2>/dev/null && grep -q open held; }
await free
pass "when nobody uses a VF, another token may be set"
timeout 60 "$DRIVE" unix:vf-0.sock >out 2>&1
is "the sockets of VFs present the old one, and are refused" 1 $?
await grep -q "refused (EACCES): this socket does not present the VF token" log
pass "which the log says"
call open $pf --vf-token "$token" -- python3 "$help" hold </dev/null >held 2>/dev/null
timeout 60 "$DRIVE" unix:vf-0.sock >out 2>&1
is "until the token is set again" 0 $?

# ---- guesses ----

# shellcheck disable=SC2016
for ((i = 0; i < 12; i++)); do
	"$UVFIO" open --control control $vf --vf-token "$(printf '%08x' $i)${token:8}" -- true 2>/dev/null && break
done
is "no guess opens a VF" 12 $i
lines=$(grep -c "$vf: not opened (EACCES)" log)
[ "$lines" -ge 1 ] && [ "$lines" -lt 16 ]
is "guesses are logged, but not each" 0 $?

# ---- VFs go ----

call set $pf numvfs=0
await test ! -e vf-0.sock -a ! -e vf-1.sock
pass "the sockets go with the VFs"
call set $pf numvfs=3
await test -S vf-2.sock
timeout 60 "$DRIVE" unix:vf-2.sock >out 2>&1
is "and come with them" 0 $?
kill $tracer
wait $tracer 2>/dev/null
nothing_shows "the log, show, list, stats and trace do not have it" log show list stats trace
rm -f out err held
stop
is "it ends" 0 $?
is "no socket is left" "" "$(find . -name '*.sock')"

# ---- files, configuration, mistakes ----

chmod 644 file
serve --device "pcitest,vfs=4,numvfs=1,vf_token_file=file,socket=pf.sock,vf-sockets=vf-%u.sock"
is "a server with a file starts" 0 $?
matches "and remarks that others can read it" "*others can read it*" "$(cat log)"
await test -S vf-0.sock
timeout 60 "$DRIVE" unix:vf-0.sock >out 2>&1
is "the token is that of the file" 0 $?
call open $vf --vf-token "$token" -- true 2>/dev/null
is "as open knows it" 0 $?
nothing_keeps "memory with a file"
chmod 600 file
call add "pcitest,vfs=2,numvfs=1,vf_token_file=file,addr=0000:05:00.0,socket=added.sock" >/dev/null 2>err
is "a PF is added with a file" 0 $?
call open "0000:05:00.1" --vf-token "$token" -- "$DRIVE" fd:3 >out 2>&1
is "and its VF opened" 0 $?
call add "pcitest,vfs=2,vf_token=$token,addr=0000:06:00.0,socket=added2.sock" >/dev/null 2>err
is "a PF is added with a token" 0 $?
nothing_shows "the log does not have it" log
nothing_keeps "memory with PFs that were added"
stop

cat >config.json <<END
{"device": [{"model": "pcitest", "vfs": 2, "numvfs": 1, "vf_token": "$token", "socket": "pf.sock",
             "vf-sockets": "vf-%u.sock"}]}
END
serve --config config.json
is "a server with a configuration starts" 0 $?
await test -S vf-0.sock
timeout 60 "$DRIVE" unix:vf-0.sock >out 2>&1
is "with its token" 0 $?
nothing_keeps "memory with a configuration"
kill -HUP $keeper
call list >/dev/null
nothing_keeps "memory after it was read again"
stop

printf '%s\n\n' "$token" >two-lines
mkfifo fifo
# mistake PATTERN OPTIONS: it does not start
mistake() {
	timeout 60 "$UVFIO" serve --control off --device "pcitest,$2,socket=pf.sock" >out 2>&1
	[ $? = 1 ] && grep -q -- "$1" out
	is "refused: ${2//$token/TOKEN}" 0 $?
	nothing_shows "without the token" out
}
mistake "it is no PF" "vf_token=$token"
mistake "is no UUID" "vfs=2,vf_token=${token%?}"
mistake "is no UUID" "vfs=2,vf_token=${token}0"
mistake "give one of them" "vfs=2,vf_token=$token,vf_token_file=file"
mistake "given twice" "vfs=2,vf_token=$token,vf_token=$token"
mistake "only a PF that vfio-pci has" "vfs=2,vf_token=$token,driver=pcitest"
mistake "no regular file" "vfs=2,vf_token_file=."
mistake "no regular file" "vfs=2,vf_token_file=fifo"
mistake "holds no token" "vfs=2,vf_token_file=two-lines"
mistake "No such file" "vfs=2,vf_token_file=nowhere"
mistake "have one %u" "vfs=2,vf-sockets=vf.sock"
mistake "have one %u" "vfs=2,vf-sockets=vf-%u-%u.sock"

# ---- a machine of one's own ----

timeout 60 "$UVFIO" run --policy enable_sriov=Y --trace traced --device "pcitest,vfs=2,numvfs=1,vf_token=$token" -- \
	"$DRIVE" "$vf vf_token=$token" >out 2>&1
status=$?
if [ $status = 0 ] || ! grep -q 'cannot' out; then
	is "run: a program opens a VF" 0 $status
	nothing_shows "the trace does not have it" traced
	# shellcheck disable=SC2016
	timeout 60 "$UVFIO" run --policy enable_sriov=Y --device "pcitest,vfs=2,numvfs=1,vf_token=$token" -- \
		sh -c 'cat /proc/$PPID/cmdline; for p in $(pgrep uvfio); do cat /proc/$p/cmdline; done' >cmdline 2>&1
	nothing_shows "nor does the process list" cmdline
else
	skip "run: a program opens a VF" "$(head -1 out)"
fi
finish
