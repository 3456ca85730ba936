#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Play a harness that was built with replay.c: its seeds, what found something once (regressions/NAME),
# and some inputs from a fixed seed.  Usage: replay.sh PROGRAM NAME COUNT
set -euo pipefail
here=$(dirname "$(realpath "$0")")
scratch=$(mktemp -d "${TMPDIR:-/tmp}/uvfio-replay.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
python3 "$here/make_seeds.py" "$2" "$scratch/seeds"
folders=("$scratch/seeds")
[ ! -d "$here/regressions/$2" ] || folders+=("$here/regressions/$2")
"$1" -r "$3" 1 "${folders[@]}"
