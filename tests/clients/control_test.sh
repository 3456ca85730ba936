#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# uvfio list, show, lspci, stats, faults, trace, reset, add, remove against running servers.
here=$(dirname "$0")
# shellcheck source=tests/clients/tap.sh
. "$here/tap.sh"
EXAMPLE=${EXAMPLE:?nvme-identify} NVME=${NVME:?the example nvme}
need python3 python3
sock=$scratch/c.sock
export XDG_RUNTIME_DIR=$scratch
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; rm -rf "$scratch"' EXIT

u() { "$UVFIO" "$@" --control "$sock"; }
# holds TEXT COMMAND [ARG …]: what the command prints has TEXT in it.
holds() {
	local text=$1
	shift
	"$@" >"$scratch/out" 2>&1
	grep -qF -- "$text" "$scratch/out"
}
# json PATH VALUE COMMAND …: what the command prints is JSON that has VALUE at PATH.
json() {
	local path=$1 value=$2
	shift 2
	"$@" >"$scratch/out" || return
	python3 - "$path" "$value" "$scratch/out" <<-'END'
		import json, sys
		at = json.load(open(sys.argv[3]))
		for part in sys.argv[1].split("."):
		    at = at[int(part)] if isinstance(at, list) else at[part]
		print(at)
		sys.exit(str(at) != sys.argv[2])
	END
}
await() { # COMMAND …: until it succeeds
	local i
	for ((i = 0; i < 1000; i++)); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.02
	done
	return 1
}

# ---- nobody there ----

check "without a server: says how to start one" holds "To start one there: uvfio serve" u list
check "and fails" bash -c "! '$UVFIO' list --control '$sock'"
check "a machine that does not run" holds "no server answers at" "$UVFIO" list --machine nosuch
check "a name that cannot be one" holds "cannot name a machine" "$UVFIO" list --machine a/b
check "an argument is missing" holds "usage: uvfio show" u show
check "two places" holds "give one of them" "$UVFIO" list --machine a --control b
check "an unknown option" holds "--help" u list --nosuch

# ---- a machine of `uvfio run`; its program does a little, and waits for a word ----

mkfifo "$scratch/word"
"$UVFIO" run --control "$sock" --device nvme,memory=64M --device nvme,memory=16M,serial=second \
	-- sh -c "'$EXAMPLE' 0000:01:00.0 >/dev/null; read -r word <'$scratch/word'" \
	>"$scratch/run.log" 2>&1 &
pids+=($!)
run=$!
check "the control socket appears" await u list
check "it is for its owner alone" test "$(stat -c %a "$sock")" = 600
used() { json machines.0.devices.0.counters.resets 2 u stats --json; }
check "the program has opened and closed the first device" await used

check "list" holds "0000:02:00.0  nvme" u list
check "list --json" json machines.0.devices.1.device 0000:02:00.0 u list --json
check "show" holds "msix-table at 0x2000" u show 01:00.0
check "show --json: regions" json regions.0.size 32768 u show --json 0000:01:00.0
check "show --json: bus" json bus.power D0 u show --json 0000:01:00.0
check "show: it can be moved" holds "moves   by v2: stop-copy, p2p" u show 01:00.0
check "show --json: migration" json migration.state RUNNING u show --json 0000:01:00.0
check "show --json: nobody has asked for it" json migration.asked False u show --json 0000:01:00.0
check "show: no such device" holds "there is no device 0000:07:00.0" u show 07:00.0
check "show: no address" holds "one looks like 0000:01:00.0" u show nonsense
check "stats" holds "region_reads" u stats 01:00.0
check "stats: what the model counts" holds "queue=0" u stats 01:00.0
check "stats --json" json machines.0.devices.0.model nvme u stats --json 01:00.0
check "faults" holds "No DMA was refused." u faults
check "faults --json" json machines.0.devices.1.total 0 u faults --json
check "reset" u reset 02:00.0

check "remove: of a run only by surprise" holds "stay until it ends" u remove 02:00.0
check "remove: force and surprise" holds "give one of them" u remove --force --surprise 02:00.0

check "inject: faults" u inject 02:00.0 fault count=7
check "inject: show says what is left" json injected.faults 7 u show --json 02:00.0
check "inject: slow registers" u inject 02:00.0 slow-mmio time=3ms
check "inject: show says how slow" json injected.slow_mmio_ns 3000000 u show --json 02:00.0
check "inject: a reset that is stuck" u inject 02:00.0 stuck-reset time=1ms
check "inject: it fails" bash -c "! '$UVFIO' reset 02:00.0 --control '$sock'"
check "inject: nothing any more" u inject 02:00.0 nothing
check "inject: and nothing is left" bash -c "! '$UVFIO' show --json 02:00.0 --control '$sock' | grep -q injected"
check "inject: a PCI Express error and what became of it" holds non-fatal \
	u inject 02:00.0 aer error=cmpltto
check "inject: a correctable one" holds correctable u inject 02:00.0 aer error=BadTLP
check "inject: errors have names" holds "the errors are: RxErr" u inject 02:00.0 aer error=nosuch
check "inject: an error is missing" holds '"error" is missing' u inject 02:00.0 aer
check "inject: interrupts that nobody has enabled" holds "nobody has enabled" u inject 02:00.0 irq-storm
check "inject: a device that is awake is not woken" holds awake u inject 02:00.0 wake
check "inject: what does not exist" holds "what can: aer, fault" u inject 02:00.0 nosuch
check "inject: a wrong number" holds "not a number" u inject 02:00.0 fault count=many
check "inject: a wrong time" holds "500us, 20ms or 5s" u inject 02:00.0 slow-mmio time=3
check "inject: a wrong key" holds "error=NAME, count=N" u inject 02:00.0 fault times=3
check "inject: no such device" holds "there is no device" u inject 07:00.0 fault
check "and it was" json counters.resets 1 u show --json 02:00.0
check "reset: no such device" bash -c "! '$UVFIO' reset --control '$sock' 09:00.0"
check "devices of a run cannot be removed" holds "stay until it ends" u remove 02:00.0
check "nor added" holds "cannot be added" u add nvme,memory=1M

# ---- a DMA that is refused ----

mkfifo "$scratch/go"
refused=$scratch/refused.sock
"$UVFIO" run --control "$refused" --device nvme,memory=16M \
	-- sh -c "read -r word <'$scratch/go'; '$EXAMPLE' 0000:01:00.0; read -r word <'$scratch/go'" \
	>"$scratch/refused.log" 2>&1 &
pids+=($!)
refused_run=$!
await "$UVFIO" list --control "$refused"
"$UVFIO" inject 01:00.0 fault --control "$refused" >/dev/null
echo >"$scratch/go"
f() { "$UVFIO" faults "$@" --control "$refused"; }
check "a DMA that is refused is counted" await json machines.0.devices.0.total 1 f --json
check "it says in which address space" json machines.0.devices.0.faults.0.space 1 f --json
check "why" json machines.0.devices.0.faults.0.reason injected f --json
check "and the table does" holds "a fault was asked for" f 01:00.0
check "with its columns" bash -c \
	"head -1 '$scratch/out' | grep -qE 'TIME +DEVICE +NUMBER +SPACE +ACCESS +IOVA +LENGTH +REASON'"
kill "$refused_run"

# ---- lspci ----

u lspci >"$scratch/dump"
if command -v lspci >/dev/null; then
	lspci -F "$scratch/dump" -vvv >"$scratch/log" 2>&1
	cp "$scratch/log" "$scratch/decoded"
	for text in "01:00.0 Non-Volatile memory controller" "02:00.0 Non-Volatile" \
		"Power Management version 3" "Express (v2) Endpoint" "FLReset+" \
		"MSI-X: Enable- Count=65" "Vector table: BAR=0 offset=00002000" \
		"Advanced Error Reporting"; do
		check "lspci decodes: $text" grep -qF "$text" "$scratch/decoded"
	done
else
	skip "lspci decodes the dump" "lspci is missing (package pciutils)"
fi
u lspci 02:00.0 >"$scratch/dump"
check "lspci of one device" test "$(grep -c ^0000: "$scratch/dump") $(grep -c ^0000:02:00.0 "$scratch/dump")" = "1 1"

# ---- Prometheus ----

u stats --prometheus >"$scratch/metrics"
ok $? "stats --prometheus"
if command -v promtool >/dev/null; then
	check "promtool finds nothing wrong" bash -c "promtool check metrics <'$scratch/metrics'"
else
	skip "promtool finds nothing wrong" "promtool is missing (package prometheus)"
fi
# The system's: another one may come first.
python=/usr/bin/python3
if $python -c 'import prometheus_client' 2>/dev/null; then
	check "its Python library reads the same numbers" $python - "$scratch/metrics" <<-'END'
		import sys
		from prometheus_client.parser import text_string_to_metric_families as parse
		text = open(sys.argv[1]).read()
		families = {f.name: f for f in parse(text)}
		resets = families["uvfio_resets"]
		assert resets.type == "counter" and len(resets.samples) == 2, resets
		assert [s.value for s in resets.samples] == [2, 1], resets
		assert {s.labels["device"] for s in resets.samples} == {"0000:01:00.0", "0000:02:00.0"}
		histograms = [f for f in families.values() if f.type == "histogram"]
		assert histograms
		for f in histograms:
		    series = {}
		    for s in f.samples:
		        key = tuple(sorted((k, v) for k, v in s.labels.items() if k != "le"))
		        series.setdefault(key, []).append(s)
		    for samples in series.values():
		        buckets = [s for s in samples if s.name.endswith("_bucket")]
		        counts = [s.value for s in buckets]
		        bounds = [float(s.labels["le"]) for s in buckets]
		        assert counts == sorted(counts) and bounds == sorted(bounds), f.name
		        total, = [s.value for s in samples if s.name.endswith("_count")]
		        assert bounds[-1] == float("inf") and counts[-1] == total, f.name
		done = families["uvfio_nvme_command_seconds"]
		assert sum(s.value for s in done.samples if s.name.endswith("_count")) > 0
	END
else
	skip "its Python library reads the same numbers" "package python3-prometheus-client"
fi

# ---- trace ----

u trace --events reset 02:00.0 >"$scratch/events" 2>&1 &
pids+=($!)
# It may not have subscribed yet: reset until it tells of one.
told() { u reset 02:00.0 && grep -q "0000:02:00.0 reset kind=function" "$scratch/events"; }
check "trace tells of a reset" await told
u trace --json >"$scratch/events.json" 2>&1 &
pids+=($!)
told() { u reset 01:00.0 && grep -q '"event":"reset"' "$scratch/events.json"; }
check "trace --json" await told

# ---- the protocol itself, and its end ----

ask() {
	python3 - "$sock" <<-'END'
		import json, socket, sys
		s = socket.socket(socket.AF_UNIX)
		s.connect(sys.argv[1])
		s.sendall(b'[{"jsonrpc":"2.0","id":1,"method":"version"},{"jsonrpc":"2.0","method":"list"},3]')
		answer = json.loads(s.makefile().readline())
		assert len(answer) == 2, answer
		assert answer[0]["result"]["command"] == "run", answer
		assert answer[1]["error"]["code"] == -32600, answer
	END
}
check "a batch" ask
echo go >"$scratch/word"
wait $run
check "the socket goes with the run" test ! -e "$sock"

# ---- names, and several machines ----

if [ "$(id -u)" = 0 ]; then
	one=uvfio-test-$$-a two=uvfio-test-$$-b
else
	one=a two=b
fi
for name in $one $two; do
	"$UVFIO" run --name $name --device nvme,memory=1M -- sleep 1000 >/dev/null 2>&1 &
	pids+=($!)
	check "machine $name appears" await "$UVFIO" list --machine $name
done
check "list shows all machines" holds "$one" "$UVFIO" list
check "also the second" grep -qF "$two" "$scratch/out"
check "one has to be chosen" holds "choose one with --machine NAME" "$UVFIO" show 01:00.0
check "a name that is taken" holds "listening on" \
	"$UVFIO" run --name $one --device nvme,memory=1M -- true

# ---- uvfio serve ----

if "$UVFIO" serve --help | grep -q -- --control; then
	truncate -s 64M "$scratch/disk.img" "$scratch/more.img"
	rm -f "$sock"
	"$UVFIO" serve --control "$sock" --device "nvme,file=$scratch/disk.img,socket=$scratch/disk.sock" \
		>"$scratch/serve.log" 2>&1 &
	server=$!
	pids+=($server)
	check "serve: control" await u list
	check "add, with a file and a socket" holds 0000:02:00.0 \
		u add "nvme,file=$scratch/more.img,socket=$scratch/more.sock"
	check "it is there" holds "0000:02:00.0  nvme" u list
	check "and its socket" test -S "$scratch/more.sock"
	check "where it is, for everybody" json door.socket "$scratch/more.sock" u show --json 02:00.0
	check "remove" u remove 02:00.0
	check "it has gone" bash -c "! '$UVFIO' show --control '$sock' 02:00.0"
	check "and its socket" test ! -e "$scratch/more.sock"
	(cd "$scratch" && u add nvme,file=more.img,socket=more.sock,addr=02:00.0,mode=0660) >/dev/null
	ok $? "add, with paths from here"
	check "mode=" test "$(stat -c %a "$scratch/more.sock")" = 660

	# In use: its user is asked, and waited for.
	"$NVME" perf --time 1000 "unix:$scratch/more.sock" >"$scratch/perf" 2>&1 &
	user=$!
	pids+=($user)
	check "it is in use" await json users.0.pid $user u show --json 02:00.0
	check "list says by whom" holds "vfio-user pid $user" u list
	u remove 02:00.0 &
	removal=$!
	check "remove asks its user" await json bus.leaving True u show --json 02:00.0
	check "and waits" kill -0 $removal
	check "others are served meanwhile" u reset 01:00.0
	kill $user
	wait $removal
	ok $? "when the user has gone, so has the device"
	check "it is not listed" bash -c "! '$UVFIO' list --control '$sock' | grep -q 0000:02:00.0"

	# Its user does not want to let go.
	check "add once more" u add "nvme,file=$scratch/more.img,socket=$scratch/more.sock,addr=02:00.0"
	"$NVME" perf --time 1000 "unix:$scratch/more.sock" >"$scratch/perf" 2>&1 &
	user=$!
	pids+=($user)
	check "it is in use again" await json users.0.pid $user u show --json 02:00.0
	u remove 02:00.0 &
	removal=$!
	check "its user is asked again" await json bus.leaving True u show --json 02:00.0
	check "remove --force takes it" u remove --force 02:00.0
	wait $removal
	ok $? "which is what the other remove waited for"
	wait $user
	test $? != 0
	ok $? "its user has lost it"
	check "the rest goes on" holds "0000:01:00.0  nvme" u list
	"$NVME" perf --time 1000 "unix:$scratch/disk.sock" >"$scratch/perf" 2>&1 &
	pids+=($!)
	check "the other one in use" await json users.0.door vfio-user u show --json 01:00.0
	check "a file that cannot be opened" holds "cannot open it" \
		u add "nvme,file=$scratch/nosuch.img,socket=$scratch/x.sock"
	u remove 01:00.0 >"$scratch/out" 2>&1 &
	removal=$!
	kill $server
	wait $server
	ok $? "the server ends, also while somebody waits for a removal"
	wait $removal
	test $? = 1
	ok $? "who is told so"
else
	skip "serve: control" "this uvfio serve has none"
fi
# ---- pulled out ----

check "remove --surprise: a device of a run" holds "There are no devices." "$UVFIO" run \
	--control "$scratch/p.sock" --device nvme,memory=16M -- sh -c "
	'$UVFIO' remove --surprise 01:00.0 --control '$scratch/p.sock' &&
	'$UVFIO' list --control '$scratch/p.sock'"
check "remove --surprise: in use" holds "pulled out" "$UVFIO" run --control "$scratch/p.sock" \
	--device nvme,memory=16M -- sh -c "
	exec 3<>/dev/vfio/vfio 4<>/dev/vfio/1
	'$UVFIO' remove --surprise 01:00.0 --control '$scratch/p.sock'; echo pulled out"
check "remove --surprise: --help" holds "--surprise" "$UVFIO" remove --help
done_testing
