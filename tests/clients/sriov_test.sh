#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# What a person at a shell does with a PF and its VFs: by /sys in a run and on a joined machine, with FUSE and with plain
# files, with mounts and without; by `uvfio set`; and what a hostile one does.
# Usage: sriov_test.sh UVFIO JOIN-CLIENT
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
client=$(realpath "$2")
cd "$work" || exit 1
export XDG_RUNTIME_DIR=$work client
export P=/sys/bus/pci/devices/0000:01:00.0
stub=(--device pcitest,vfs=8,vf-pool=32,driver=pci-pf-stub)

# shellcheck disable=SC2188
(: <>/dev/fuse) 2>/dev/null && fuse=yes || fuse=
[ -z "$fuse" ] || "$UVFIO" run --sysfs on -- true 2>/dev/null || fuse=
run() { timeout -k 5 120 "$UVFIO" run "$@"; }

# ---- plain files, mounts or not: the VFs of the start ----
cat >plain.sh <<'SH'
cd "$P" || exit 1
echo "$(cat sriov_totalvfs sriov_numvfs sriov_vf_device | xargs)" "$(ls -d virtfn* | xargs)"
readlink virtfn2
cat virtfn2/device virtfn2/driver_override
readlink virtfn2/physfn
[ -e virtfn3 ] || echo "no more"
"$client" 0000:01:00.3
SH
want='8 3 5055 virtfn0 virtfn1 virtfn2 ../0000:01:00.3 0x5055 vfio-pci ../0000:01:00.0 no more open'
plain=(--device "pcitest,vfs=8,driver=pci-pf-stub,numvfs=3")
is "VFs of the start, as plain files" "$want" "$(run --sysfs off "${plain[@]}" -- sh plain.sh 2>&1 | xargs)"
is "and without mounts" "$want" "$(run --sandbox paths "${plain[@]}" -- sh plain.sh 2>&1 | xargs)"
is "a thousand of them" "1000 open" "$(run --sysfs off --device pcitest,vfs=1000,vf-memory=4K,driver=pci-pf-stub,numvfs=1000 -- \
	sh -c 'ls -d $P/virtfn* | wc -l; "$client" 0000:04:1d.0' 2>&1 | xargs)"
matches "more than there can be, at start" "*9*" "$("$UVFIO" run --device pcitest,vfs=8,driver=pci-pf-stub,numvfs=9 -- true 2>&1)"

# ---- uvfio set, list, show ----
"$UVFIO" serve --control "$work/lab" --policy enable_sriov=Y "${stub[@]},socket=$work/pf.sock" --device "pcitest,vfs=2,socket=$work/two.sock" \
	--device "pcitest,vfs=2,driver=pci-pf-stub,socket=$work/three.sock,vf-sockets=$work/three-%u.sock" 2>serve.err &
server=$!
ask() { "$UVFIO" "$1" --control "$work/lab" "${@:2}" 2>&1; }
await "a server starts" ask list
is "set numvfs" "" "$(ask set 01:00.0 numvfs=3)"
is "VFs are listed below their PF" "0000:01:00.0 0000:01:00.1 0000:01:00.2 0000:01:00.3 0000:02:00.0 0000:03:00.0" \
	"$(ask list | awk 'NR > 1 { print $2 }' | xargs)"
is "a VF is set back a little" 3 "$(ask list | grep -c '  0000:01:00.[123] ')"
matches "show of a PF" "*driver  pci-pf-stub*vfs     3 of 8, device 5055, offset 1, stride 1, drivers autoprobe on*" \
	"$(ask show 01:00.0)"
matches "show of a VF" "*vf      1 of 0000:01:00.0, 2 vectors*" "$(ask show 01:00.2)"
is "show --json" "0000:01:00.0 2" "$(ask show --json 01:00.3 | awk -F'[:,"]+ *' '/"(physfn|vf)"/ { sub(/^ *"[a-z]*": */, ""); gsub(/[",]/, ""); print }' | xargs)"
matches "another number" "*numvfs=2: 0000:01:00.0 has 3 VFs; take these away first: numvfs=0*" "$(ask set 01:00.0 numvfs=2)"
matches "too many" "*numvfs=9: 0000:01:00.0 has at most 8 VFs*" "$(ask set 01:00.0 numvfs=9)"
matches "no number" "*numvfs=x: not a number of VFs*" "$(ask set 01:00.0 numvfs=x)"
matches "no PF" "*0000:01:00.1 is no function that can have VFs*" "$(ask set 01:00.1 numvfs=1)"
matches "no VF" "*0000:01:00.0 is no VF*" "$(ask set 01:00.0 msix-vectors=1)"
matches "no pool" "*pci-pf-stub; a pool of vectors is with the host's own driver*" "$(ask set 01:00.1 msix-vectors=1)"
matches "no such setting" "*'colour' cannot be set; what can: numvfs, *" "$(ask set 01:00.0 colour=1)"
ask set 01:00.0 numvfs >/dev/null
is "no NAME=VALUE: status" 2 $?
is "autoprobe" "" "$(ask set 01:00.0 numvfs=0 sriov-drivers-autoprobe=off numvfs=1)"
matches "a VF that nobody has" "*driver  none*" "$(ask show 01:00.1)"
is "several, up to the one that is refused" "1 of 8" \
	"$(ask set 01:00.0 numvfs=9 numvfs=0 >/dev/null; ask show 01:00.0 | grep -o '[0-9] of 8')"
is "and back" "" "$(ask set 01:00.0 numvfs=0 sriov-drivers-autoprobe=on)"

# A user that does not let go: the command waits, also when it is killed what it asked for goes on.
is "VFs for a user" "" "$(ask set 01:00.0 numvfs=2)"
mkfifo in out
run --machine "$work/lab" --sysfs off -- "$client" 0000:01:00.1 hold <in >out 2>/dev/null &
user=$!
exec {in}>in {out}<out
read -r -t 60 line <&"$out"
is "a VF is in use, on a joined machine" "open" "$line"
"$UVFIO" set --control "$work/lab" 01:00.0 numvfs=0 &
set=$!
leaving() { ask show --json 01:00.1 | grep -q '"leaving": *true'; }
await "its user is asked for it" leaving
is "it can be looked at meanwhile" "2 of 8" "$(ask show 01:00.0 | grep -o '[0-9] of 8')"
is "and others go on" "" "$(ask set 02:00.0 numvfs=2; ask set 02:00.0 numvfs=0)"
kill $set
wait $set 2>/dev/null
leaving && pass "it goes on without who has asked" || fail "it goes on without who has asked"
exec {in}>&- {out}<&-
wait $user
gone() { ask show 01:00.0 | grep -q ' 0 of 8'; }
await "it is done when the user has let go" gone

# The clients of VFs go with a PF that is taken by force.
cat >client.py <<'PY'
import json, socket, struct, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
text = json.dumps({"capabilities": {}}).encode() + b"\0"
s.sendall(struct.pack("<HHIIIHH", 1, 1, 20 + len(text), 0, 0, 0, 1) + text)
print("in" if len(s.recv(65536)) > 20 else "refused", flush=True)
print("out" if not s.recv(1) else "?", flush=True)
PY
if command -v python3 >/dev/null; then
	is "VFs with sockets" "" "$(ask set 03:00.0 numvfs=2)"
	await "the VF has its socket" test -S three-1.sock
	python3 client.py three-1.sock >out &
	user=$!
	exec {out}<out
	read -r -t 60 line <&"$out"
	is "a client has the VF" in "$line"
	"$UVFIO" remove --control "$work/lab" 03:00.0 &
	removal=$!
	asked() { ask show --json 03:00.0 2>/dev/null | grep -q '"leaving": *true'; }
	await "the PF is asked for" asked
	kill -0 $removal && pass "it waits for the client of its VF" || fail "it waits for the client of its VF"
	is "by force it does not" "" "$(ask remove --force 03:00.0)"
	read -r -t 60 line <&"$out"
	is "whose connection has ended" out "$line"
	wait $removal
	is "and who had asked for it gets its answer" 0 $?
	wait $user
	exec {out}<&-
else
	skip "a PF is taken by force" "python3 is missing (package python3)"
fi

if [ -z "$fuse" ]; then
	skip "by /sys" "FUSE cannot be mounted here"
	kill $server
	wait $server
	finish
fi

# ---- by /sys, in a run and on a joined machine ----
cat >shell.sh <<'SH'
cd "$P" || exit 1
w() { # FILE TEXT: "-" or the errno
	python3 -c 'import errno, os, sys
try:
	os.write(os.open(sys.argv[1], os.O_WRONLY), sys.argv[2].encode())
	print("-")
except OSError as e:
	print(errno.errorcode[e.errno])' "$1" "$2" 2>/dev/null
}
echo "$(w sriov_numvfs 4) $(cat sriov_numvfs) $(ls -d virtfn* | xargs)"
echo "$(w sriov_numvfs 4) $(w sriov_numvfs 3) $(w sriov_numvfs abc) $(w sriov_numvfs 99999) $(w sriov_numvfs 9)"
[ -e "/dev/vfio/$(basename "$(readlink virtfn3/iommu_group)")" ] && echo node
"$client" 0000:01:00.4
[ -e "/dev/vfio/devices/$(ls virtfn3/vfio-dev)" ] && echo cdev
echo 0000:01:00.2 > /sys/bus/pci/drivers/vfio-pci/unbind
[ -e virtfn1/driver ] || echo unbound
"$client" 0000:01:00.2 2>/dev/null
echo 0000:01:00.2 > /sys/bus/pci/drivers/vfio-pci/bind
"$client" 0000:01:00.2
echo "$(w virtfn1/sriov_vf_msix_count 2) $(w virtfn1/sriov_vf_msix_count -1)"
echo "$(w sriov_numvfs 0) $(ls -d virtfn* 2>/dev/null | wc -l) $(cat sriov_numvfs)"
ls /dev/vfio | grep -c '^[0-9]'
# The host's own driver, and its pool.
d=$(basename "$(readlink driver)")
echo 0000:01:00.0 > "driver/unbind"
w sriov_numvfs 1
w driver_override pcitest
echo 0000:01:00.0 > /sys/bus/pci/drivers/pcitest/bind
echo "$(basename "$(readlink driver)") $(cat sriov_vf_total_msix)"
echo 0 > sriov_drivers_autoprobe
echo "$(w sriov_numvfs 2) $(w virtfn0/sriov_vf_msix_count 3) $(w virtfn0/sriov_vf_msix_count 300)"
w sriov_numvfs 0
echo 1 > sriov_drivers_autoprobe
echo 0000:01:00.0 > driver/unbind
w driver_override pci-pf-stub
echo 0000:01:00.0 > /sys/bus/pci/drivers_probe
basename "$(readlink driver)"
SH
said='- 4 virtfn0 virtfn1 virtfn2 virtfn3
- EBUSY EINVAL EINVAL ERANGE
node
open
cdev
unbound
ENODEV
open
ENOTSUP EINVAL
- 0 0
GROUPS
ENOENT
-
pcitest 32
- - EOVERFLOW
-
-
pci-pf-stub'
if command -v python3 >/dev/null; then
	is "at a shell, in a run" "${said/GROUPS/1}" "$(run --sysfs on "${stub[@]}" -- sh shell.sh 2>&1)"
	is "and in one that has joined a machine" "${said/GROUPS/2}" "$(run --machine "$work/lab" --sysfs on -- sh shell.sh 2>&1)"
	is "of which all see the end" "0 of 8" "$(ask show 01:00.0 | grep -o '[0-9] of 8')"
else
	skip "at a shell" "it is missing (package python3)"
fi

# What comes from outside is there for who is inside.
cat >inside.sh <<'SH'
echo ready
read -r _
"$client" 0000:01:00.2
cat "$P/sriov_numvfs"
read -r _
[ -e "$P/virtfn0" ] || echo gone
SH
run --machine "$work/lab" --sysfs on -- sh inside.sh <in >out 2>/dev/null &
user=$!
exec {in}>in {out}<out
read -r -t 60 line <&"$out"
ask set 01:00.0 numvfs=2
echo >&"$in"
read -r -t 60 line <&"$out"
read -r -t 60 more <&"$out"
is "VFs that come by uvfio set are there in a run that has joined" "open 2" "$line $more"
ask set 01:00.0 numvfs=0
echo >&"$in"
read -r -t 60 line <&"$out"
is "and go" "gone" "$line"
exec {in}>&- {out}<&-
wait $user
kill $server
wait $server
is "the server ends as it should" 0 $?

# ---- hostile ----
cat >stuck.sh <<'SH'
cd "$P" || exit 1
echo 2 > sriov_numvfs
mkfifo "$1/hold" "$1/said"
"$client" 0000:01:00.1 hold <"$1/hold" >"$1/said" 2>/dev/null &
exec 3>"$1/hold" 4<"$1/said"
read -r line <&4
echo "$line"
(echo 0 > sriov_numvfs) &
writer=$!
# It waits, in the write.
until grep -q 'fuse\|request_wait' "/proc/$writer/wchan" "/proc/$writer/stack" 2>/dev/null || [ ! -e "/proc/$writer" ] ||
	[ "$(cut -d' ' -f3 "/proc/$writer/stat")" = S ]; do :; done
(echo 2 > sriov_numvfs) &
behind=$!
cat sriov_totalvfs
echo 2 > ../0000:02:00.0/sriov_numvfs && ls -d ../0000:02:00.0/virtfn* | wc -l
kill -KILL $writer $behind
wait $writer $behind 2>/dev/null
echo "killed"
[ "$2" = leave ] && exit
exec 3>&-
wait
until [ "$(cat sriov_numvfs)" = 0 ] && [ ! -e virtfn0 ]; do :; done
echo 1 > sriov_numvfs
cat sriov_numvfs
SH
two=("${stub[@]}" --device pcitest,vfs=2,driver=pci-pf-stub)
mkdir a b
is "a writer that waits for a user is killed" "open 8 2 killed 1" \
	"$(run --sysfs on "${two[@]}" -- sh stuck.sh "$work/a" 2>&1 | xargs)"
is "the run ends while one is stuck" "open 8 2 killed" "$(run --sysfs on "${two[@]}" -- sh stuck.sh "$work/b" leave 2>&1 | xargs)"
cat >crowd.sh <<'SH'
cd "$P" || exit 1
i=0
while [ $i -lt 1000 ]; do
	(echo $((i % 3)) > sriov_numvfs) 2>/dev/null &
	i=$((i + 1))
done
wait
until echo 0 > sriov_numvfs; do :; done 2>/dev/null
echo 8 > sriov_numvfs
ls -d virtfn* | wc -l
SH
is "a thousand writers" 8 "$(run --sysfs on "${two[@]}" -- sh crowd.sh 2>&1)"
await "no process is left" no_servers
finish
