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
	for options in "" ,blocksize=4096 ,direct=on; do
		rm -f "$image"
		truncate -s 1M "$image"
		is "resize: $mmio$options" "grown and cut" "$(drive "file=$image$options" resize "$image")"
	done
done

# ---- refused ----
rm -f "$image"
truncate -s 1M "$image"
is "a file" "0 0 0" "$(drive "file=$image" io)"
is "direct=on" "0 0 0" "$(drive "file=$image,direct=on" io)"
is "readonly=on: a write is Namespace Write Protected" "0 0x20 0" "$(drive "file=$image,readonly=on" io)"
: >"$work/err"
is "a file that is in use is not opened again" "" \
	"$("$UVFIO" run --device "nvme,file=$image" --device "nvme,file=$image" -- true 2>"$work/err")"
matches "and the message says so" "*$image is in use*" "$(cat "$work/err")"
is "readers share it" 0 "$("$UVFIO" run --device "nvme,file=$image,readonly=on" \
	--device "nvme,file=$image,readonly=on" -- true 2>>"$work/err"; echo $?)"

# ---- a block size that a driver has set ----
mmio=exact
rm -f "$image"
truncate -s 1M "$image"
is "before" "512 2048 0" "$(drive "file=$image" blocks)"
if ! python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.test", b"")' "$image" 2>/dev/null; then
	skip "format" "the file system of $work has no user attributes"
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
	# Errors of the server, as the statuses of the standard.
	for row in "EIO 0x281 0x280" "ENOSPC 0x281 0x81" "EPERM 0x20 0x20"; do
		read -r error read write <<<"$row"
		rm -f "$work/socket" "$work/pid"
		nbdkit -U "$work/socket" -P "$work/pid" --filter=error memory 1M "error=$error" \
			error-pread-rate=1 error-pwrite-rate=1
		await "nbdkit serves errors" test -s "$work/pid"
		got=$(drive "$nbd" io)
		is "NBD answers $error: the write's status" "$write" "$(cut -d' ' -f2 <<<"$got")"
		[ "$error" = EIO ] && is "NBD answers $error: the read's status" "$read" "$(cut -d' ' -f1 <<<"$got")"
		kill "$(cat "$work/pid")"
	done
else
	skip "NBD" "nbdkit is missing (package nbdkit)"
fi
finish
