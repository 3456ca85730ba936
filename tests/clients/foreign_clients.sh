#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What other projects' vfio-user clients send, against `uvfio serve` (foreign.h).  TAP.
# Usage: foreign_clients.sh PROGRAM; environment: UVFIO
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=served.sh
. "$(dirname "$0")/served.sh"
begin foreign
# SPDK connects to DIR/cntrl.
serve a,cntrl --control off --device "nvme,memory=64M,socket=$scratch/a" \
	--device "nvme,memory=64M,socket=$scratch/cntrl,mmap=on"
TMPDIR=$scratch "$1" "$scratch/a" "$scratch/cntrl" >"$scratch/tap"
# shellcheck disable=SC2034  # end reads it
failed=$?
end
