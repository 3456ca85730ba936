#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The units for systemd without one (systemd.sh has one): systemd-analyze reads them, and the
# server runs with the rights that they leave it.
# Environment: NVME, the example driver; UNITS, the folder of the units' sources
# shellcheck source=tests/clients/lib.sh
. "$(dirname "$0")/lib.sh"
: "${NVME:?the example driver}" "${UNITS:?the folder of the units}"
cd "$scratch" || exit 1
sed "s#@bindir@#$(dirname "$UVFIO")#" "$UNITS/uvfio@.service.in" >uvfio@.service
cat >uvfio@disks.socket <<'EOF'
[Socket]
ListenStream=/run/uvfio/a.sock
SocketMode=0660

[Install]
WantedBy=sockets.target
EOF

verify() { timeout 60 systemd-analyze verify --man=no "./$1" >log 2>&1; }

if command -v systemd-analyze >/dev/null; then
	for unit in uvfio@.service uvfio@disks.socket; do
		verify "$unit" && ! grep -q "uvfio@" log
		ok $? "$unit is understood, all of it"
	done
	sed -i 's/^NoNewPrivileges=/NoNewPriviliges=/' uvfio@.service
	verify uvfio@.service
	grep -q NoNewPriviliges log
	ok $? "a word that is none would be found"
	sed -i 's/^NoNewPriviliges=/NoNewPrivileges=/' uvfio@.service
	if systemd-analyze --help | grep -q -- --offline; then
		timeout 60 systemd-analyze security --offline=true --no-pager --threshold=60 ./uvfio@.service >log 2>&1
		ok $? "its exposure is at most 6.0"
	else
		skip "its exposure" "this systemd-analyze is older than 250"
	fi
else
	skip "the units are understood" "systemd-analyze is missing (package systemd)"
fi

if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null && getent passwd nobody >/dev/null; then
	caps=-all
	for cap in $(sed -n 's/^CapabilityBoundingSet=//p' uvfio@.service | tr 'A-Z' 'a-z'); do
		caps+=",+${cap#cap_}"
	done
	truncate -s 4M a.img
	chown nobody a.img
	chmod 600 a.img
	setpriv --no-new-privs --bounding-set="$caps" --inh-caps=-all --groups=0 \
		"$UVFIO" serve --control off --user nobody --device nvme,file=a.img,socket=a.sock,group=nogroup 2>err &
	keeper=$!
	trap 'kill -KILL $keeper 2>/dev/null; rm -rf "$scratch"' EXIT
	until "$NVME" write -p 3 unix:a.sock >log 2>&1 || ! kill -0 $keeper 2>/dev/null; do sleep 0.02; done
	cp err log
	"$NVME" read -p 3 -v unix:a.sock >>log 2>&1
	ok $? "the server works with the capabilities that the unit leaves it"
	kill -TERM $keeper
	wait $keeper
	ok $? "and ends well"
else
	skip "the server works with the unit's capabilities" "only root can try, with setpriv and a user nobody"
fi
done_testing
