#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The units under a systemd of their own, which is PID 1 of new namespaces: start, socket activation, reload, restart and
# crash under a client that writes, stop.
# Environment: NVME, the example driver; ENDURE, the client that outlives servers; UNITS, the folder of the units' sources
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
: "${NVME:?the example driver}" "${ENDURE:?the client that outlives servers}" "${UNITS:?the folder of the units}"
here=$(realpath "$(dirname "$0")")
[ -x /lib/systemd/systemd ] || skip_all "systemd is missing (package systemd)"
[ "$(id -u)" = 0 ] || skip_all "only root can have a systemd of its own"
need nsenter util-linux
cd "$work" || exit 1
mkdir units etc
sed -e "s#@bindir@#$(dirname "$UVFIO")#" -e "s#/etc/uvfio#$work/etc#" "$UNITS/uvfio@.service.in" >units/uvfio@.service
# More starts than systemd allows in ten seconds.
sed -i 's/^\[Unit\]/&\nStartLimitIntervalSec=0/' units/uvfio@.service
cat >units/uvfio@disks.socket <<'EOF'
[Socket]
ListenStream=/run/uvfio/b.sock
SocketMode=0600
EOF
disks() { # DEVICE …: the configuration
	local IFS=,
	echo "{\"device\": [$*]}" >etc/disks.json
}
truncate -s 1M a.img
truncate -s 1M b.img
a="\"nvme,file=$work/a.img,volatile=on,socket=/run/uvfio/a.sock\""
b="\"nvme,file=$work/b.img,socket=/run/uvfio/b.sock\""
c='"pcitest,socket=/run/uvfio/c.sock"'
disks "$a" "$b"

# A cgroup of its own, so that what systemd makes there can be found again.
group=
for root in /sys/fs/cgroup /sys/fs/cgroup/systemd; do
	[ ! -e $root/cgroup.procs ] || group=$root$(sed -n 's/^\(0::\|[0-9]*:name=systemd:\)//p' /proc/self/cgroup | tail -1)
done
[ -n "$group" ] && mkdir "$group/uvfio-test-$$" 2>/dev/null && group=$group/uvfio-test-$$ || skip_all "no cgroup can be made here"
launch() {
	echo $BASHPID >"$group/cgroup.procs"
	exec unshare --mount --pid --fork --uts --ipc --cgroup --kill-child=KILL "$here/systemd_boot.sh" "$work/units"
}
launch >boot.log 2>&1 &
launcher=$!
cleanup() {
	kill -KILL $launcher 2>/dev/null
	wait $launcher 2>/dev/null
	for _ in $(seq 100); do
		find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
		sleep 0.05
	done
	rm -rf "$work"
}
trap cleanup EXIT
init=
until init=$(pgrep -P $launcher) || ! kill -0 $launcher 2>/dev/null; do sleep 0.02; done
inside() { timeout -s KILL 60 nsenter -t "$init" -m -p -u -i -C -- "$@"; }
running() { [ "$(inside systemctl is-system-running 2>&1)" = running ]; }
for _ in $(seq 500); do running && break || kill -0 $launcher 2>/dev/null || break; sleep 0.02; done
running || skip_all "no systemd of our own can be had here: $(tail -1 boot.log)"
systemctl() { inside systemctl "$@"; }
nvme() { inside "$NVME" "$@" >log 2>&1; }
state() { systemctl show -P "$1" uvfio@disks; }

# ---- start ----

check "the socket's unit starts" systemctl start uvfio@disks.socket
is "the server is not started yet" inactive "$(state ActiveState)"
nvme identify unix:/run/uvfio/b.sock
ok $? "the first client starts it"
is "it is ready" active "$(state ActiveState)"
keeper=$(state MainPID)
nvme write -p 1 -c 100 unix:/run/uvfio/a.sock
ok $? "the socket of its own"
check "uvfio finds the machine by its name" inside "$UVFIO" list --machine disks
is "it waits" active "$(state ActiveState)"

# ---- reload ----

disks "$a" "$b" "$c"
check "reload" systemctl reload uvfio@disks
three() { [ "$(inside "$UVFIO" list --machine disks --json | grep -c '"device"')" = 3 ]; }
await "what is new in the file is served" three
disks "$a" "$b"
systemctl reload uvfio@disks
two() { [ "$(inside "$UVFIO" list --machine disks --json | grep -c '"device"')" = 2 ]; }
await "what has gone is removed" two
is "by the same server" "$keeper" "$(state MainPID)"

# ---- restart and crash, under a client that writes and outlives them ----

truncate -s 0 a.img
truncate -s 1M a.img
systemctl restart uvfio@disks
rounds=6
coproc CLIENT { exec nsenter -t "$init" -m -p -u -i -C -- "$ENDURE" unix:/run/uvfio/a.sock $rounds 5 share=yes 2>endure.log; }
client=$CLIENT_PID
exec 7<&"${CLIENT[0]}"
for round in $(seq $rounds); do
	read -r line <&7 || line=
	[ "$line" = writing ] || break
	if [ $((round % 2)) = 1 ]; then
		systemctl restart uvfio@disks
	else
		systemctl kill -s KILL uvfio@disks
	fi
done
[ "$line" = writing ] && read -r line <&7
exec 7<&-
wait "$client"
ok $? "$rounds times restarted or killed: systemd and the client go on, and nothing that was flushed is lost"
echo "# $line"
is "systemd has seen the last crash" 1 "$(state NRestarts)"

# ---- end ----

systemctl stop uvfio@disks.socket uvfio@disks
is "stopped" "inactive success" "$(state ActiveState) $(state Result)"
is "and nothing is left" "" "$(inside pgrep -x uvfio)"
echo '{' >etc/disks.json
systemctl start uvfio@disks 2>log
is "a configuration that is none is a start that fails" 1 $?
done_testing
