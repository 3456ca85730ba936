#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The bash completion: what it offers for command lines that are begun.
here=$(dirname "$0")
# shellcheck source=tests/clients/tap.sh
. "$here/tap.sh"
library=/usr/share/bash-completion/bash_completion
[ -r $library ] || skip_all "bash-completion is missing (package bash-completion)"
export XDG_RUNTIME_DIR=$scratch
set +u
# shellcheck disable=SC1090
. $library
# shellcheck source=completions/uvfio
. "$here/../../completions/uvfio"
PATH=$(dirname "$UVFIO"):$PATH

# offers LINE: what TAB at its end would give, one a line.
offers() {
	COMP_LINE=$1
	COMP_POINT=${#1}
	# As readline cuts it: at spaces, '=' and ':'.
	local rest=$1 word
	COMP_WORDS=()
	while [ -n "$rest" ]; do
		case $rest in
		' '*) rest=${rest# }; [ -n "$rest" ] || COMP_WORDS+=("") ;;
		[=:]*) COMP_WORDS+=("${rest:0:1}"); rest=${rest:1} ;;
		*)
			word=${rest%%[ =:]*}
			COMP_WORDS+=("$word")
			rest=${rest#"$word"}
			;;
		esac
	done
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
	COMPREPLY=()
	_uvfio
	printf '%s\n' "${COMPREPLY[@]}"
}

# has LINE WORD: WORD is offered.  hasnt LINE WORD: it is not.
has() { offers "$1" >"$scratch/log" 2>&1; grep -qxF -- "$2" "$scratch/log"; ok $? "'$1' offers '$2'"; }
hasnt() { offers "$1" >"$scratch/log" 2>&1; ! grep -qxF -- "$2" "$scratch/log"; ok $? "'$1' does not offer '$2'"; }

has "uvfio " list
has "uvfio sho" show
hasnt "uvfio sho" list
has "uvfio run --de" --device
has "uvfio run --device nv" nvme
has "uvfio run --device nvme,fi" nvme,file=
has "uvfio run --device nvme,mmio=p" polled
has "uvfio serve --device nvme,so" nvme,socket=
has "uvfio add nvme,sp" nvme,spin=
hasnt "uvfio run --device nvme,so" nvme,socket=
has "uvfio run --sandbox p" paths
has "uvfio run --policy enable_u" enable_uio=
has "uvfio run --mmio " polled
has "uvfio stats --pro" --prometheus
hasnt "uvfio show --pro" --prometheus
has "uvfio trace --events fa" fault
has "uvfio remove --f" --force
has "uvfio migrate --ban" --bandwidth
has "uvfio restore --li" --link
hasnt "uvfio save --to" --to
has "uvfio models nv" nvme
has "uvfio models pci" pcitest
touch "$scratch/mine.so"
has "uvfio run --device $scratch/mi" "$scratch/mine.so"
has "uvfio run --device $scratch/mine.so,mm" "$scratch/mine.so,mmio="
touch "$scratch/disk.img"
has "uvfio add nvme,file=$scratch/di" "$scratch/disk.img"

# With a server that runs: its name and its devices.
"$UVFIO" run --name completion-test --device nvme,memory=1M,addr=0b:00.0 -- sleep 100 \
	2>"$scratch/log" &
server=$!
for ((i = 0; i < 500; i++)); do
	"$UVFIO" list --machine completion-test >/dev/null 2>&1 && break
	sleep 0.02
done
has "uvfio list --machine comp" completion-test
has "uvfio show --machine completion-test 0000:0b" 0b:00.0
has "uvfio reset --machine=completion-test " 0000:0b:00.0
kill $server
wait $server 2>/dev/null
done_testing
