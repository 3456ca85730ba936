#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The program under gdb and under strace, in each mode: a whole NVMe driver (examples/nvme-identify, which maps the
# registers; with `none`, examples/nvme, which can do without).  Breakpoints are hit, also on a line that stores to a
# register, and what the debugger prints is what is there.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
need gdb gdb
need strace strace
need qemu-img qemu-utils

case $(ldd "$UVFIO" 2>/dev/null) in
*libasan* | *libtsan*) skip_all "uvfio has a sanitizer, which the debugged program would have to load before the helper" ;;
esac
cd "$work" || exit 1
truncate -s 4M disk.img
printf 'what is on the disk' | dd of=disk.img conv=notrunc status=none
says='block 0 begins with 77 68 61 74 20'

# under MODE COMMAND...: run it, everything it says goes to ./log; its status
under() {
	local mode=$1
	shift
	timeout -s KILL 60 "$UVFIO" run --mmio "$mode" --device nvme,file=disk.img -- "$@" >log 2>&1 </dev/null
}
debug() { # MODE GDB-COMMAND...
	local mode=$1 args=() c
	shift
	for c in 'set confirm off' 'set pagination off' 'handle SIGSEGV nostop noprint pass' "$@"; do
		args+=(-ex "$c")
	done
	under "$mode" gdb -batch -nx "${args[@]}" --args "$EXAMPLE" 0000:01:00.0
}
has() { # NAME TEXT
	grep -qF -- "$2" log
	ok $? "$1"
}

for mode in exact polled; do
	debug $mode run
	ok $? "gdb, $mode: the driver runs"
	has "gdb, $mode: it reads the disk" "$says"
	has "gdb, $mode: it ends well" 'exited normally'

	debug $mode 'break set32' run backtrace stepi 'print $pc' nexti 'stepi 20' delete continue
	has "gdb, $mode: a breakpoint where a register is written" 'in set32 ('
	has "gdb, $mode: it knows the way there" 'main (argc='
	has "gdb, $mode: it steps over the store" '$1 = (void (*)()) 0x'
	has "gdb, $mode: and goes on to the end" 'exited normally'
	has "gdb, $mode: having read the disk" "$says"
done

# A driver that is there already.
mkfifo gate
cat >attach.gdb <<'END'
set confirm off
handle SIGSEGV nostop noprint pass
END
timeout -s KILL 60 "$UVFIO" run --device nvme,file=disk.img -- sh -c "echo \$\$ >pid; read -r go <gate
	exec '$EXAMPLE' 0000:01:00.0" >log 2>&1 &
run=$!
await "a program waits" test -s pid
gdb -batch -nx -p "$(cat pid)" -ex 'info proc' >attached 2>&1
ok $? "gdb attaches to it and lets it go"
echo go >gate
wait $run
ok $? "it runs on"
has "and reads the disk" "$says"

for mode in exact polled; do
	under $mode strace -f -o calls "$EXAMPLE" 0000:01:00.0
	ok $? "strace, $mode: the driver runs"
	has "strace, $mode: it reads the disk" "$says"
	grep -q 'VFIO_DEVICE_SET_IRQS\|VFIO_IOMMU_MAP_DMA' calls
	ok $? "strace, $mode: its calls are shown"
done
grep -q 'SIGSEGV' calls
[ $? = 1 ]
ok $? "strace, polled: no signals"
under none strace -f -o calls "$NVME" read 0000:01:00.0
ok $? "strace, none: a driver runs"
under exact strace -f -c -o calls qemu-img convert -O raw nvme://0000:01:00.0/1 copy.img
ok $? "strace -c: qemu-img runs"
check "strace -c: the copy is the disk" cmp disk.img copy.img
check "no server is left" no_servers
finish
