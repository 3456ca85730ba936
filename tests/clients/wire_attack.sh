#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Run a program that attacks a vfio-user server (wire_attack.h) against `uvfio serve`.  TAP.
# Usage: wire_attack.sh PROGRAM [ATTACK]; environment: UVFIO
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=served.sh
. "$(dirname "$0")/served.sh"
begin wire
serve a,b --device "nvme,memory=64M,socket=$scratch/a" --device "nvme,memory=64M,socket=$scratch/b"
# The process that has the clients is the first child of the one that was started.
"$1" "$scratch/a" "$scratch/b" "$(pgrep -o -P "$server")" "${@:2}" >"$scratch/tap"
# shellcheck disable=SC2034  # end reads it
failed=$?
end
