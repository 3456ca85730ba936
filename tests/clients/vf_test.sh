#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A PF and its VFs with a user each, by /dev/vfio and by sockets, of whom any may be killed at any moment; and a PF driver
# that is replaced by another, which has not agreed with the users of the VFs.
# Usage: vf_test.sh UVFIO JOIN-CLIENT DMA-STRESS; environment: KILLS (12), VF_SEED, VF_SECONDS (280: what a program has)
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
client=$(realpath "$2")
stress=$(realpath "$3")
kills=${KILLS:-12}
RANDOM=${VF_SEED:-$RANDOM}
need pgrep procps
cd "$work" || exit 1
export XDG_RUNTIME_DIR=$work
socket=$work/control.sock
keeper=
all_end() {
	local pids
	mapfile -t pids < <(all_of_ours)
	[ ${#pids[@]} = 0 ] || kill -KILL "${pids[@]}" 2>/dev/null
	rm -rf "$work"
}
trap all_end EXIT

pf=0000:01:00.0
vf() { printf '0000:01:00.%u' $(($1 + 1)); }
ours=2ab74924-c335-45f4-9b16-8569e5b08258
other=bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3

start() { # ARGUMENT …: a server that has nobody yet
	"$UVFIO" serve --control "$socket" --policy enable_sriov=Y "$@" 2>serve.err &
	keeper=$!
	await "a server starts" "$UVFIO" list --control "$socket"
}
stop() {
	kill -TERM "$keeper"
	wait "$keeper"
	is "the server ends as it should" 0 $?
	keeper=
}
run() { timeout -k 5 "${VF_SECONDS:-280}" "$UVFIO" run --machine "$socket" --sysfs off -- "$@"; }
users() { "$UVFIO" list --control "$socket" | awk -v d="$1" '$2 == d { print $6 }'; }
free() { [ "$(users "$1")" = - ]; }
opens() { # ADDRESS [OPTION]: "open", or why not
	local i
	run "$client" "$*" 2>/dev/null
	for ((i = 0; i < 1000; i++)); do # what has ended is let go of a moment later
		free "$1" && break
		[ -z "${holder[$1]:-}" ] || break
		sleep 0.01
	done
}

# hold NAME ADDRESS [OPTION]: a program has it open until `let_go NAME` or `die NAME`
declare -A holder=() go=() said=()
let_others_go() { # whoever waits for the end of its input is not to wait for this process
	local fd
	for fd in "${go[@]}" "${said[@]}"; do exec {fd}>&-; done
}
hold() {
	local name=$1 line in out
	shift
	mkfifo "$name.go" "$name.said"
	{
		let_others_go
		run "$client" "$*" hold <"$name.go" >"$name.said" 2>"$name.err"
	} &
	holder[$name]=$!
	exec {out}>"$name.go" {in}<"$name.said"
	go[$name]=$out said[$name]=$in
	holder[$1]=$name
	read -r -t 60 line <&"$in"
	is "$name opens $1" open "$line"
	held[$name]=$1
}
left() { # NAME: its processes have ended
	local in=${said[$1]:-} out=${go[$1]:-}
	wait "${holder[$1]}" 2>/dev/null
	[ -z "$out" ] || exec {out}>&- {in}<&-
	rm -f "$1.go" "$1.said"
	unset "go[$1]" "said[$1]" "holder[${held[$1]:-none}]"
	await "$1 has left" free "${held[$1]}"
}
declare -A held=()
let_go() {
	local out=${go[$1]}
	exec {out}>&-
	unset "go[$1]"
	left "$1"
}
# The processes of a program that has joined: `uvfio run`, its server, and itself.
processes_of() { # PID of `uvfio run`, or of the timeout around it
	local p
	echo "$1"
	for p in $(pgrep -P "$1"); do processes_of "$p"; done
}
die() {
	local pids
	mapfile -t pids < <(processes_of "${holder[$1]}")
	kill -KILL "${pids[@]}" 2>/dev/null
	left "$1"
}

# ---- a PF driver that is replaced ----

start --device "ioat,vfs=4,numvfs=4,socket=$work/pf.sock"
is "before a PF driver has set a token nobody opens a VF" EACCES "$(opens "$(vf 0)")"
is "not with a token either: it is random" EACCES "$(opens "$(vf 0)" "vf_token=$ours")"
is "the PF opens without one" open "$(opens $pf)"
is "which sets none" EACCES "$(opens "$(vf 0)" "vf_token=$ours")"
hold pf_driver $pf "vf_token=$ours"
hold vf_user "$(vf 0)" "vf_token=$ours"
is "a VF without the token" EACCES "$(opens "$(vf 1)")"
is "a VF with another" EACCES "$(opens "$(vf 1)" "vf_token=$other")"
is "a VF with the token" open "$(opens "$(vf 1)" "vf_token=$ours")"
let_go pf_driver
is "the PF is closed: a VF still needs the token" "EACCES open" \
	"$(opens "$(vf 1)") $(opens "$(vf 1)" "vf_token=$ours")"
is "a rogue PF driver without a token, while a VF is in use" EACCES "$(opens $pf)"
is "and with a token of its own" EACCES "$(opens $pf "vf_token=$other")"
is "the token is as it was" open "$(opens "$(vf 1)" "vf_token=$ours")"
hold pf_driver $pf "vf_token=$ours"
die pf_driver
is "a rogue PF driver after the other was killed" "EACCES EACCES" "$(opens $pf) $(opens $pf "vf_token=$other")"
echo look >&"${go[vf_user]}"
read -r -t 60 line <&"${said[vf_user]}"
is "the user of the VF goes on" "read mapped" "$line"
die vf_user
is "when the last VF is free a rogue PF driver has the PF" open "$(opens $pf)"
is "and has learned no token, nor set one" "EACCES open" "$(opens "$(vf 0)") $(opens "$(vf 0)" "vf_token=$ours")"
hold rogue $pf "vf_token=$other"
is "with its own token it has VFs for those who know that one" "EACCES open" \
	"$(opens "$(vf 0)" "vf_token=$ours") $(opens "$(vf 0)" "vf_token=$other")"
die rogue
stop

# ---- any may be killed at any moment ----

start --device "ioat,vfs=5,numvfs=5,start-delay=0,vf_token=$ours,socket=$work/pf.sock,vf-sockets=$work/vf%u.sock"
declare -A device=([pf]="$pf,via=group,vf_token=$ours" [group]="$(vf 0),via=group,vf_token=$ours"
	[cdev]="$(vf 1),via=cdev,vf_token=$ours" [socket]="unix:$work/vf2.sock" [messages]="unix:$work/vf3.sock,share=no")
roles=(pf group cdev socket messages)
# And a virtual machine, whose firmware finds the VF and looks for what it can boot.
qemu=$("$(dirname "$(realpath "$0")")/../../scripts/fetch-qemu" 2>qemu.err)/qemu-system-x86_64 && roles+=(vm) ||
	skip "a virtual machine among them" "no newer QEMU can be fetched: $(tail -1 qemu.err)"
mkfifo vm.in
exec {monitor}<>vm.in
begin_vm() {
	: >vm.out
	"$qemu" -machine q35,memory-backend=ram -object memory-backend-memfd,id=ram,size=64M,share=on -display none \
		-nodefaults -monitor stdio \
		-device "{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"$work/vf4.sock\"}}" \
		<vm.in >vm.out 2>&1 &
	holder[vm]=$!
	echo info pci >&"$monitor"
}
begin() { # ROLE
	[ "$1" != vm ] || { begin_vm; return; }
	local door=(run)
	case $1 in socket | messages) door=(timeout -k 5 "${VF_SECONDS:-280}") ;; esac
	: >"$1.out"
	STRESS_RESETS=1 "${door[@]}" "$stress" 1000 $RANDOM "$1" "ioat=${device[$1]}" >"$1.out" 2>&1 &
	holder[$1]=$!
}
has_begun() { grep -qi '^begun\|PCI device 8086:0b00' "$1.out"; }
killed=0
for role in "${roles[@]}"; do begin "$role"; done
begun() { # ROLE: within a minute, unless it has ended
	local n
	for ((n = 0; n < 6000; n++)); do
		has_begun "$1" && return
		kill -0 "${holder[$1]}" 2>/dev/null || return
		sleep 0.01
	done
	return 1
}
for role in "${roles[@]}"; do
	begun "$role"
	is "$role works" 0 $?
done
for ((i = 0; i < kills; i++)); do
	role=${roles[RANDOM % ${#roles[@]}]}
	mapfile -t pids < <(processes_of "${holder[$role]}")
	# The program, its server, or all at once.
	how=$((RANDOM % 3))
	[ ${#pids[@]} -gt 1 ] || how=2
	case $how in
	0) kill -KILL "${pids[-1]}" ;;
	1) kill -KILL "${pids[@]:1}" ;;
	2) kill -KILL "${pids[@]}" ;;
	esac 2>/dev/null
	wait "${holder[$role]}" 2>/dev/null
	kill -KILL "${pids[@]}" 2>/dev/null
	killed=$((killed + 1))
	# What was bound through another descriptor is EINVAL until that has gone (D.3).
	address=${device[$role]-unix:}
	address=${address%%,*}
	for ((n = 0; n < 6000; n++)); do
		[[ $address != unix:* ]] && ! free "$address" || break
		sleep 0.01
	done
	begin "$role"
	begun "$role"
	has_begun "$role" || { fail "$role begins again after kill $i" "$(cat "$role.out"; tail -3 serve.err)"; break; }
done
is "all $kills that were killed were begun again" "$kills" $killed
for role in "${roles[@]}"; do
	for p in $(processes_of "${holder[$role]}"); do
		[ "$(cat "/proc/$p/comm")" != dma-stress ] || kill -TERM "$p"
	done
	[ "$role" != vm ] || echo quit >&"$monitor"
	wait "${holder[$role]}"
	is "$role: nobody touched what is not mapped, and it ends well" 0 $?
	[ "$role" = vm ] || sed 's/^/# /' "$role.out"
done
stop
finish
