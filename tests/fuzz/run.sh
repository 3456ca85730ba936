#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Run a harness for a while, from its seeds and the inputs that found something once.
# Usage: run.sh HARNESS NAME [LIBFUZZER-OPTION ...]
# Environment: FUZZ_SECONDS (60), FUZZ_CORPUS (a folder to keep what it finds interesting)
set -euo pipefail
here=$(dirname "$(realpath "$0")")
harness=$1
name=$2
scratch=$(mktemp -d "${TMPDIR:-/tmp}/uvfio-fuzz.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
corpus=${FUZZ_CORPUS:+$FUZZ_CORPUS/$name}
corpus=${corpus:-$scratch/corpus}
mkdir -p "$corpus"
python3 "$here/make_seeds.py" "$name" "$scratch/seeds"
options=()
[ ! -f "$here/$name.dict" ] || options+=(-dict="$here/$name.dict")
folders=("$scratch/seeds")
[ ! -d "$here/regressions/$name" ] || folders+=("$here/regressions/$name")
# What is found stays in this folder, whose name the last lines tell.
found=${FUZZ_FOUND:-$PWD/fuzz-found}
mkdir -p "$found"
# Naming new functions would start a symbolizer, whose pipes a harness takes for a leak.
status=0
"$harness" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 -print_funcs=0 \
	-artifact_prefix="$found/$name-" "${options[@]}" "${@:3}" "$corpus" "${folders[@]}" \
	>"$scratch/log" 2>&1 || status=$?
if [ $status != 0 ]; then
	tail -80 "$scratch/log"
	echo "$name: the input is in $found; keep it in tests/fuzz/regressions/$name/ when it is fixed"
	exit 1
fi
grep -E '^(stat::|#[0-9]+.*DONE)' "$scratch/log" | tail -12
rmdir "$found" 2>/dev/null || true
