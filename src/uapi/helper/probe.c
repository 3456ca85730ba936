/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Are the registers in a fault's frame those of the faulting instruction?
 *
 * On a processor, always.  A program that translates code keeps them exact at every memory access
 * only if told to: valgrind by default does not, and stores would carry stale values.  So before
 * the first trapped mapping a store is made whose value lives in a register for that one
 * instruction only, and the handler looks for it.
 */
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <sys/uio.h>
#include "uapi/helper/helper.h"

enum { UNTRIED, EXACT, INEXACT };

#define VALUE 0x5ca1ab1eu

static _Atomic int outcome;
static _Atomic uint64_t page;

bool probe_fault(uint64_t addr, ucontext_t *uc)
{
	if (addr != atomic_load_explicit(&page, memory_order_relaxed) || !addr)
		return false;
	atomic_store(&outcome, uc->uc_mcontext.gregs[REG_RCX] == VALUE ? EXACT : INEXACT);
	uc->uc_mcontext.gregs[REG_RIP] += 2;
	return true;
}

void helper_say(const char *text, size_t len)
{
	static const char prefix[] = "uvfio: ";
	struct iovec v[] = {
		{(void *)prefix, sizeof(prefix) - 1},
		{(void *)text, len},
		{(void *)"\n", 1},
	};

	if (sys4(SYS_ioctl, -1, UVFIO_TRAP_FATAL, (long)text, (long)len))
		sys3(SYS_writev, STDERR_FILENO, (long)v, 3);
}

bool probe_registers(void)
{
	static const char text[] =
		"this program runs in a translator that does not keep registers exact at memory "
		"accesses, so that stores to device registers would carry wrong values; it gets no "
		"writable mapping of them.  With valgrind, add "
		"--vex-iropt-register-updates=allregs-at-mem-access";
	static struct helper_lock lock;
	uint64_t mask;
	long p;

	if (atomic_load(&outcome) != UNTRIED)
		return atomic_load(&outcome) == EXACT;
	/* One at a time; but with signals as they were, since a fault is to come. */
	helper_lock(&lock);
	mask = lock.mask;
	sys4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&mask, 0, 8);
	if (atomic_load(&outcome) == UNTRIED) {
		p = sys6(SYS_mmap, 0, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (!sys_failed(p)) {
			atomic_store(&page, (uint64_t)p);
			__asm__ volatile("movl %[value], %%ecx\n\t"
					 ".byte 0x89, 0x0a\n\t" /* movl %ecx, (%rdx) */
					 "xorl %%ecx, %%ecx"
					 :
					 : [value] "i"(VALUE), "d"(p)
					 : "rcx", "cc", "memory");
			atomic_store(&page, 0);
			sys2(SYS_munmap, p, PAGE);
		}
		if (atomic_load(&outcome) == INEXACT)
			helper_say(text, sizeof(text) - 1);
	}
	helper_unlock(&lock);
	return atomic_load(&outcome) == EXACT;
}
