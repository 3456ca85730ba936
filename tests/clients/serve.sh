#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# `uvfio serve` as its users have it: options and what is said of wrong ones, sockets, the configuration file and
# SIGHUP, systemd, confinement, restarts.
# Environment: NVME, the example driver
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
: "${NVME:?the example driver}"
need python3 python3
need pgrep procps
help=$(cd "$(dirname "$0")" && pwd)/serve_help.py
cd "$scratch" || exit 1
keeper=
keepers=()
trap 'for p in "${keepers[@]}"; do kill -KILL $(pgrep -P "$p") "$p" 2>/dev/null; done; rm -rf "$scratch"' EXIT

# await COMMAND …: until it succeeds; the test's own limit of time ends what never does
await() {
	until "$@" >/dev/null 2>&1; do sleep 0.02; done
}

# gone PID: it has ended, also where nobody asks how (a container without an init)
gone() {
	! grep -q '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1/status" 2>/dev/null
}

# start [ARG …]: `uvfio serve`, until it says that it is ready.  PREFIX: what stands before the command.
PREFIX=()
CONTROL=(--control off)
start() {
	listen
	NOTIFY_SOCKET=$scratch/notify "${PREFIX[@]}" "$UVFIO" serve "${CONTROL[@]}" "$@" 2>err &
	keeper=$!
	keepers+=("$keeper")
	wait -n "$listener" "$keeper"
	if kill "$listener" 2>/dev/null; then # the server ended first
		cp err log
		return 1
	fi
}

# listen: be told what systemd would be
listen() {
	rm -f notify
	python3 "$help" notified "$scratch/notify" >log 2>&1 &
	listener=$!
	await test -S notify
}

# stop: as systemd does; the exit status is the server's, or 99 when a sanitizer has reported something
stop() {
	kill -TERM "$keeper"
	wait "$keeper"
	local status=$?
	if grep -qE 'Sanitizer|runtime error' err; then
		cp err log
		return 99
	fi
	return $status
}

server() { pgrep -o -P "$keeper"; }

# refused NAME STATUS PATTERN [ARG …]: it does not start, and says why
refused() {
	local name=$1 status=$2 pattern=$3 got
	shift 3
	timeout 60 "$UVFIO" serve --control off "$@" >log 2>&1
	got=$?
	[ $got = "$status" ] && grep -q -- "$pattern" log
	ok $? "refused: $name"
}

truncate -s 16M a.img b.img

# ---- options ----

refused "no device" 2 'no device; give --device'
refused "an argument" 2 "'foo' is no option" foo
refused "a device without a socket" 1 'nvme,memory=1M: no socket=PATH' --device nvme,memory=1M
refused "an unknown model" 1 "no device model 'nvmee'; the models are: .*nvme" --device nvmee,socket=x
refused "an unknown key" 1 "has no key 'sise'; its keys are:" --device nvme,sise=1,socket=x
refused "a missing file" 1 'cannot open no.img: No such file' --device nvme,file=no.img,socket=x
refused "a wrong mode" 1 'mode=666x: the permissions' --device nvme,memory=1M,socket=x,mode=666x
refused "a mode that keeps the owner out" 1 'lets its owner in' --device nvme,memory=1M,socket=x,mode=0066
refused "an unknown group" 1 "there is no group 'nosuchgroup'" --device nvme,memory=1M,socket=x,group=nosuchgroup
refused "socket= twice" 1 'socket= is given twice' --device nvme,memory=1M,socket=x,socket=y
refused "two devices on one socket" 1 "socket=x is another device's" \
	--device nvme,memory=1M,socket=x --device nvme,memory=1M,socket=x
refused "a long path" 1 'longer than the 107 bytes' --device "nvme,memory=1M,socket=$(printf '%0108d' 0)"
refused "a directory that is not there" 1 'check its directory' --device nvme,memory=1M,socket=no/x
refused "one wrong device of two" 1 'cannot open no.img' --device nvme,memory=1M,socket=x --device nvme,file=no.img,socket=y
[ ! -e x ] && [ ! -e y ]
ok $? "no socket is left of that"
echo keep >plain
refused "a file where the socket should be" 1 'is not a socket' --device nvme,memory=1M,socket=plain
[ "$(cat plain)" = keep ]
ok $? "the file is left alone"
refused "confine=maybe" 2 'on or off' --confine maybe --device nvme,memory=1M,socket=x
refused "--user without confinement" 2 'needs --confine on' --user root --confine off --device nvme,memory=1M,socket=x
refused "an unknown user" 1 'no such user' --user nosuchuser --device nvme,memory=1M,socket=x

# ---- two devices ----

group=$(id -gn)
exec 9<plain
start --device nvme,file=a.img,socket=a.sock --device "nvme,ns=file=b.img:blocksize=4096,socket=b.sock,mode=0660,group=$group"
ok $? "it says when it is ready"
[ "$(stat -c '%a %F' a.sock)" = "600 socket" ]
ok $? "a socket lets in its owner only"
[ "$(stat -c '%a %G' b.sock)" = "660 $group" ]
ok $? "mode= and group="
check "the first device" "$NVME" identify unix:a.sock
"$NVME" identify unix:b.sock >log 2>&1 && grep -q '4096 blocks of 4096 bytes' log
ok $? "the second device"
refused "a socket in use" 1 'socket a.sock: another server uses it' --device nvme,memory=1M,socket=a.sock
refused "a file in use" 1 'a.img is in use' --device nvme,file=a.img,socket=c.sock
check "neither has hurt the first server" "$NVME" identify unix:a.sock

# ---- confinement ----

status=/proc/$(server)/status
grep -q '^NoNewPrivs:[[:space:]]*1$' "$status" && grep -q '^Seccomp:[[:space:]]*2$' "$status"
ok $? "no new privileges, a seccomp filter"
! grep -E '^Cap(Inh|Prm|Eff|Amb):' "$status" | grep -qv '0000000000000000$'
ok $? "no capabilities"
bad=0
for task in "/proc/$(server)/task/"*; do
	grep -q '^Seccomp:[[:space:]]*2$' "$task/status" || bad=1
done
ok $bad "every thread is confined"
[ "$(readlink "/proc/$(server)/cwd")" = / ]
ok $? "it holds no directory"
! readlink "/proc/$(server)/fd/"* "/proc/$keeper/fd/"* | grep -q plain
ok $? "it holds no file that it was not told of"
exec 9<&-
rings() { readlink "/proc/$(server)/fd/"* | grep -c io_uring; }
if "$UVFIO" doctor | grep -q '^ok.*io_uring'; then
	before=$(rings)
	[ "$before" -gt 0 ]
	ok $? "it has io_uring, also as root"
else
	skip "it has io_uring" "not here, says uvfio doctor"
	before=0
fi

# What the debugger makes it do, it does under its filter.
calls=(
	'it is itself|getpid()'
	'it cannot open a file|syscall(257, -100, "/etc/passwd", 0, 0)'
	'it cannot make one|syscall(257, -100, "new", 66, 384)'
	'it cannot look at one|syscall(262, -100, "/etc/passwd", $sp - 4096, 0)'
	'it cannot make an io_uring|syscall(425, 8, $sp - 4096)'
	'it can register nothing with those it has|syscall(427, 64, 8, $sp - 4096, 1)'
	'it cannot close those|syscall(3, 64)'
	'it cannot have signals sent|syscall(72, 0, 8, 1)'
	'it cannot make a network socket|syscall(41, 2, 1, 0)'
	'it cannot start a process|syscall(57)'
	'it cannot get memory that is executable|syscall(9, 0, 4096, 7, 34, -1, 0)'
	'it cannot signal another process|syscall(62, 1, 0)'
)
inside() { # EXPRESSION …
	local e args=()
	for e in "$@"; do args+=(-ex "print (long)$e"); done
	timeout 300 gdb -nx -batch -iex 'set auto-solib-add off' -p "$(server)" -ex 'sharedlibrary libc' "${args[@]}" >log 2>&1
}
if command -v gdb >/dev/null && inside "${calls[@]#*|}" && grep -q "^\$1 = $(server)\$" log; then
	for ((i = 1; i < ${#calls[@]}; i++)); do
		grep -q "^\$$((i + 1)) = -1\$" log
		ok $? "${calls[i]%|*}"
	done
	[ ! -e /new ]
	ok $? "and has made none"
	check "after all that it serves" "$NVME" identify unix:a.sock
	inside 'syscall(59, "/bin/true", 0, 0)'
	wait "$keeper"
	[ $? = 1 ] && grep -q 'the server process was ended by signal 31' err
	ok $? "a program that it tries to execute is its end, and said so"
	[ ! -e a.sock ] && [ ! -e b.sock ]
	ok $? "its sockets go with it"
else
	skip "what it cannot do" "gdb is missing, or may not attach"
	stop
fi

if command -v strace >/dev/null; then
	PREFIX=(strace -D -f -o /dev/null -e trace=landlock_create_ruleset -e inject=landlock_create_ruleset:error=ENOSYS)
	start --device nvme,file=a.img,socket=a.sock
	ok $? "a kernel without Landlock"
	PREFIX=()
	grep -q 'no Landlock .*: seccomp alone' err && [ "$(rings)" = "$before" ]
	ok $? "it is said; the filter keeps io_uring from files"
	"$NVME" write -p 3 -c 100 unix:a.sock >log 2>&1 && "$NVME" read -p 3 -v -c 100 unix:a.sock >log 2>&1
	ok $? "and serves"
	stop
	for abi in 1 2 3 4 5 6; do
		PREFIX=(strace -D -f -o trace -e trace=landlock_create_ruleset,landlock_restrict_self
			-e "inject=landlock_create_ruleset:retval=$abi:when=1")
		start --device nvme,file=a.img,socket=a.sock
		started=$?
		PREFIX=()
		if grep -q 'restrict_self.*EOPNOTSUPP\|create_ruleset(NULL.*EOPNOTSUPP' trace; then
			skip "a kernel whose Landlock is of version $abi" "this one has none"
		else
			[ $started = 0 ] && grep -q 'landlock_restrict_self(.*= 0' trace &&
				"$NVME" identify unix:a.sock >log 2>&1
			ok $? "a kernel whose Landlock is of version $abi"
		fi
		stop
	done
	PREFIX=(strace -D -f -o /dev/null -e trace=io_uring_setup -e inject=io_uring_setup:error=EPERM)
	start --verbose --device nvme,file=a.img,socket=a.sock
	ok $? "a kernel without io_uring"
	PREFIX=()
	[ "$(rings)" = 0 ] && grep -q 'threads: no io_uring: .*io_uring_disabled' err
	ok $? "has threads, and that is said when asked for"
	"$NVME" write -p 3 -c 100 unix:a.sock >log 2>&1 && "$NVME" read -p 3 -v -c 100 unix:a.sock >log 2>&1
	ok $? "and serves as well"
	stop
	PREFIX=(strace -D -f -o /dev/null -e trace=seccomp -e inject=seccomp:error=EINVAL)
	! start --device nvme,file=a.img,socket=a.sock && grep -q 'seccomp filter: .*; --confine off serves without' err
	ok $? "without seccomp it does not serve, and says what would"
	PREFIX=()
else
	skip "a kernel without Landlock" "strace is missing"
fi

# ---- the end, and what comes after ----

start --device nvme,file=a.img,socket=a.sock --device nvme,memory=16M,socket=b.sock
python3 "$help" hold b.sock held &
holder=$!
await grep -q holds held
stop
ok $? "SIGTERM ends it well"
[ ! -e a.sock ] && [ ! -e b.sock ]
ok $? "it removes its sockets"
wait "$holder"
grep -q ended held
ok $? "its clients are disconnected"

echo '{"device": ["nvme,memory=1M,socket=a.sock", "nvme,memory=1M,socket=b.sock"]}' >serve.json
start --config serve.json
kill -STOP "$(server)"
echo '{"device": ["nvme,memory=1M,socket=a.sock"]}' >serve.json
kill -HUP "$keeper"
kill -TERM "$keeper"
# The second one is only seen when the first was handled.
until gone "$keeper"; do
	kill -TERM "$keeper" 2>/dev/null
	sleep 0.02
done
wait "$keeper"
[ $? = 1 ] && grep -q 'ended by signal 9' err && [ ! -e a.sock ] && [ ! -e b.sock ]
ok $? "a server that is stopped does not hold up its keeper"

start --device nvme,file=a.img,socket=a.sock
check "data is written" "$NVME" write -p 7 -c 1024 unix:a.sock
confined=$(server)
kill -KILL "$keeper"
wait "$keeper" 2>/dev/null
await gone "$confined"
ok 0 "a server ends with its keeper, however that ends"
[ -S a.sock ]
ok $? "it leaves its socket"
start --device nvme,file=a.img,socket=a.sock
ok $? "and the next one replaces it"
check "what was acknowledged is there" "$NVME" read -p 7 -v -c 1024 unix:a.sock
kill -KILL "$(server)"
wait "$keeper"
[ $? = 1 ] && grep -q 'ended by signal 9' err && [ ! -e a.sock ]
ok $? "the keeper ends with its server, and says so"

# ---- the configuration file ----

config() { cat >serve.json; }
config <<'EOF'
{
  "policy": {"dma_entry_limit": 1000},
  "device": [
    "nvme,file=a.img,socket=a.sock",
    {"model": "nvme", "memory": "16M", "serial": "with,comma", "socket": "b.sock", "mode": "0660"}
  ]
}
EOF
start --config serve.json --device nvme,memory=8M,socket=c.sock
ok $? "devices of the file and of the command line"
"$NVME" identify unix:b.sock >log 2>&1 && grep -q 'serial "with,comma' log && [ "$(stat -c %a b.sock)" = 660 ]
ok $? "a device as a JSON object"
for s in a b c; do
	python3 "$help" hold $s.sock held.$s &
	await grep -q holds held.$s
done
reload() {
	listen
	kill -HUP "$keeper"
	wait "$listener"
}
config <<'EOF'
{"device": ["nvme,memory=4M,socket=d.sock", "nvme,file=a.img,socket=a.sock"]}
EOF
reload
ok $? "SIGHUP reads it again"
check "what was added is there" "$NVME" identify unix:d.sock
await grep -q ended held.b
[ ! -e b.sock ]
ok $? "what was removed is gone, and its clients with it"
[ "$(cat held.a held.c)" = "holds
holds" ]
ok $? "what stayed keeps its clients"
config <<'EOF'
{"device": ["nvme,memory=4M,socket=d.sock",
  "nvme,file=a.img,socket=a.sock",
  "nvme,file=no.img,socket=e.sock"]}
EOF
reload
grep -q 'serve.json, line 3: .*cannot open no.img.*; it is not added' err && [ ! -e e.sock ]
ok $? "a wrong device is said with its line, and the others stay"
echo '{"device": [' >serve.json
reload
grep -q 'ends before the JSON object does.*; everything stays as it is' err
ok $? "a file that is broken changes nothing"
check "and they serve" "$NVME" identify unix:d.sock
stop
ok $? "SIGTERM after all that"
! ls ./*.sock >log 2>&1
ok $? "no socket is left"

# A user that does not give a device back, by /dev/vfio: REQ asks, the limit takes it away, and SIGHUP waits no longer.
listed() { "$UVFIO" list --control "$scratch/control" | grep -q 01:00.0; }
CONTROL=(--control "$scratch/control")
config <<'EOF'
{"device": ["nvme,memory=8M,addr=01:00.0,socket=k.sock", "nvme,memory=8M,addr=02:00.0,socket=d.sock"]}
EOF
start --config serve.json
"$UVFIO" run --machine "$scratch/control" -- python3 "$help" keep 0000:01:00.0 "$scratch/keeps" 2>/dev/null &
user=$!
keepers+=("$user")
await grep -q keeps keeps
config <<'EOF'
{"device": ["nvme,memory=8M,addr=02:00.0,socket=d.sock"]}
EOF
reload
grep -q 'its client holds it up.*its socket is closed, and it goes when the client lets go' err && [ ! -e k.sock ]
ok $? "SIGHUP does not wait for ever for a user that keeps a device"
check "nor do others" "$NVME" identify unix:d.sock
listed
ok $? "it is its user's as long as that has it open"
kill "$user"
while listed; do sleep 0.02; done
ok $? "when that ends it goes"
stop
ok $? "and so does the server"
CONTROL=(--control off)

while IFS='|' read -r name pattern text; do
	printf '%b' "$text" >bad.json
	timeout 60 "$UVFIO" serve --control off --config bad.json >log 2>&1
	[ $? != 0 ] && grep -q -- "$pattern" log
	ok $? "refused in the file: $name"
done <<'EOF'
not JSON|not JSON, line 2|{\n"device" 3}
an unknown key|no key "devise"; there are: device|{"devise": []}
a device without a model|bad.json, line 3: a device needs its "model"|{"device": [\n\n{"file": "x"}]}
a device that is a number|bad.json, line 1: a device is a string|{"device": [3]}
a knob|policy knob|{"policy": {"nonsense": 1}}
EOF

# ---- systemd ----

PREFIX=(python3 "$help" activate "one=$scratch/a.sock" "two=$scratch/t.sock" "three=$scratch/u.sock" --)
start --device nvme,memory=4M,socket=a.sock --device nvme,memory=8M,socket=fd:two
ok $? "sockets that were passed"
PREFIX=()
"$NVME" identify unix:a.sock >log 2>&1 && grep -q '8192 blocks' log
ok $? "one is found by its path"
"$NVME" identify unix:t.sock >log 2>&1 && grep -q '16384 blocks' log
ok $? "one by its name"
grep -q "the socket three (.*/u.sock) that was passed is no device's" err
ok $? "one that nobody wants is mentioned"
stop
[ -S a.sock ] && [ -S t.sock ]
ok $? "they stay where they are"
rm -f ./*.sock
refused "a name that was not passed" 1 'no socket with this name was passed' --device nvme,memory=1M,socket=fd:x

# ---- another user ----

if [ "$(id -u)" = 0 ] && getent passwd nobody >/dev/null; then
	start --user nobody --device nvme,file=a.img,socket=a.sock
	ok $? "--user"
	uid=$(id -u nobody)
	grep -qE "^Uid:[[:space:]]*$uid[[:space:]]$uid[[:space:]]$uid[[:space:]]$uid$" "/proc/$(server)/status"
	ok $? "the server is that user"
	check "with a file that it could not open" "$NVME" identify unix:a.sock
	stop
	[ $? = 0 ] && [ ! -e a.sock ]
	ok $? "and ends as always"
else
	skip "--user" "only root can"
fi

# ---- control ----

CONTROL=(--control "$scratch/control")
start --verbose --device nvme,memory=4M,socket=a.sock
CONTROL=(--control off)
check "it is listed" "$UVFIO" list --control "$scratch/control"
name=$("$UVFIO" add --control "$scratch/control" nvme,file=b.img,socket=b.sock 2>log)
ok $? "a device is added"
check "it is served" "$NVME" identify unix:b.sock
"$UVFIO" show --control "$scratch/control" "$name" >log 2>&1 && grep -q 'b.sock' log
ok $? "its socket is shown"
if [ "$before" -gt 0 ]; then
	# More files than there are rings; what is removed gives its ring back.
	rings=$(rings)
	for ((i = 0; i <= rings; i++)); do
		truncate -s 1M "f$i.img"
		last=$("$UVFIO" add --control "$scratch/control" "nvme,file=f$i.img,socket=f$i.sock" 2>>log) || break
	done
	[ "$i" -gt "$rings" ] && grep -q 'f[0-9]*.img: threads read and write it: all rings .* are in use' err
	ok $? "when all rings are in use, threads do it, and that is said"
	"$NVME" write -p 5 -c 16 "unix:f$rings.sock" >log 2>&1 && "$NVME" read -p 5 -v -c 16 "unix:f$rings.sock" >log 2>&1
	ok $? "and do it well"
	"$UVFIO" remove --control "$scratch/control" --force "$name" >log 2>&1
	"$UVFIO" remove --control "$scratch/control" --force "$last" >log 2>&1
	without=$(grep -c 'all rings' err)
	"$UVFIO" add --control "$scratch/control" "nvme,file=f$rings.img,socket=f$rings.sock" >log 2>&1 &&
		[ "$(grep -c 'all rings' err)" = "$without" ]
	ok $? "a ring that was given back is used again"
else
	skip "when all rings are in use" "no io_uring here"
fi
"$UVFIO" add --control "$scratch/control" nvme,file=no.img,socket=e.sock >log 2>&1
[ $? != 0 ] && [ ! -e e.sock ]
ok $? "a device that cannot be is not added"
stop
ok $? "SIGTERM"
[ ! -e control ]
ok $? "the control socket goes"

# ---- NBD: the server reaches it through the keeper, also again ----

if command -v nbdkit >/dev/null; then
	serve_nbd() {
		rm -f nbd.sock
		nbdkit -f -U nbd.sock -e disk memory 16M &
		nbd=$!
		await test -S nbd.sock
	}
	serve_nbd
	start --device "nvme,nbd=nbd+unix:///disk?socket=nbd.sock,socket=a.sock"
	ok $? "a device on an NBD server"
	check "it is read" "$NVME" read -c 8 unix:a.sock
	kill -KILL "$nbd"
	wait "$nbd" 2>/dev/null
	serve_nbd
	until "$NVME" read -c 8 unix:a.sock >log 2>&1; do sleep 0.1; done
	ok 0 "it is read from the next NBD server"
	stop
	kill "$nbd"
	wait "$nbd" 2>/dev/null
	# A disk that does not answer.
	rm -f nbd.sock
	nbdkit -f -v -U nbd.sock -e disk --filter=delay memory 16M wdelay=3600 2>nbd.log &
	nbd=$!
	await test -S nbd.sock
	start --device "nvme,nbd=nbd+unix:///disk?socket=nbd.sock,socket=a.sock"
	"$NVME" write -p 3 -c 8 unix:a.sock >held 2>&1 &
	writer=$!
	await grep -q 'delay: pwrite' nbd.log
	stop
	[ $? = 0 ] && grep -q 'the end is held up' err && [ ! -e a.sock ]
	ok $? "a disk that does not answer does not hold up the end"
	! wait "$writer"
	ok $? "what was not written was not acknowledged"
	kill -KILL "$nbd"
	wait "$nbd" 2>/dev/null
else
	skip "a device on an NBD server" "nbdkit is missing"
fi
done_testing
