#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The storage behind a namespace, as a driver and the next run of the server see it.
# Usage: storage_test.sh UVFIO CLIENT
. "$(dirname "$0")/lib.sh"
client=$(realpath "$2")
image=$work/disk.img

# drive OPTIONS WHAT [ARG]: what the client prints
drive() {
	timeout -s KILL 90 "$UVFIO" run --mmio "${mmio:-exact}" --device "nvme,$1" -- \
		"$client" "$2" 0000:01:00.0 "${@:3}" 2>>"$work/err"
}

# ---- the file grows and is cut while it is served ----
for mmio in exact polled; do
	for options in "" ,blocksize=4096; do
		rm -f "$image"
		truncate -s 1M "$image"
		is "resize: $mmio$options" "grown and cut" "$(drive "file=$image$options" resize "$image")"
	done
done

# ---- a block size that a driver has set ----
mmio=exact
rm -f "$image"
truncate -s 1M "$image"
is "before" "512 2048 0" "$(drive "file=$image" blocks)"
if ! python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.test", b"")' "$image" 2>/dev/null; then
	echo "skip format: the file system of $work has no user attributes"
	is "format without attributes is refused" 0x10a "$(drive "file=$image" format 1)"
else
	is "format with 4096" 0 "$(drive "file=$image" format 1)"
	is "the next run has it" "4096 256 0" "$(drive "file=$image" blocks)"
	drive "file=$image" write 7
	is "and the data" "4096 256 7" "$(drive "file=$image,readonly=on" blocks)"
	: >"$work/err"
	is "blocksize= does not undo it" "4096 256 7" "$(drive "file=$image,blocksize=512" blocks)"
	matches "and says so" "*blocksize=512 is not used*setfattr -x user.uvfio.nvme*" "$(cat "$work/err")"
	cp --preserve=xattr "$image" "$work/copy.img"
	is "a copy with its attributes has it" "4096 256 7" "$(drive "file=$work/copy.img" blocks)"
	python3 -c 'import os, sys; os.removexattr(sys.argv[1], "user.uvfio.nvme")' "$image"
	is "without the note it is as never formatted" "512 2048 7" "$(drive "file=$image" blocks)"
fi
is "memory can be formatted" 0 "$(drive memory=1M format 1)"
if type nbdkit >/dev/null 2>&1; then
	nbdkit -U "$work/socket" -P "$work/pid" memory 1M
	await "nbdkit serves" test -s "$work/pid"
	nbd="nbd=nbd+unix:///?socket=$work/socket"
	is "NBD has one block size: another is refused" 0x10a "$(drive "$nbd" format 1)"
	is "the same is not" 0 "$(drive "$nbd" format 0)"
	is "blocksize= says which" "4096 256 0" "$(drive "$nbd,blocksize=4096" blocks)"
	kill "$(cat "$work/pid")"
else
	echo "skip NBD: nbdkit is missing (package nbdkit)"
fi
finish
