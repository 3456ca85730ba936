/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Theory of operation
 * -------------------
 * `uvfio run --mmio exact` preloads this library into the program.  The device's BARs are a file
 * that the program maps; a store into a mapping of it would reach memory, but no device.  So the
 * library stands before mmap (mmap.c), asks the runner what it is that is being mapped, and takes
 * away the right to write (and, where reading has side effects, to read).  The store then faults;
 * the handler (signals.c) finds the address in a table (table.c), decodes the instruction and does
 * it (trap.c, emu.h), with the stores going to the runner, one system call each, and returns behind
 * it.
 *
 * What else is interposed serves this:
 * - Signals (signals.c).  A fault while SIGSEGV is blocked kills a process, and a program may bring
 * its own handler.  So SIGSEGV is never really blocked and, once something is trapped, always ours;
 *   what the program wishes is kept aside and is what it sees.
 * - Closing (fds.c).  The kernel's vfio has stopped the device when close returns.  Ours is stopped
 * by another process, so close of a VFIO fd waits for that.
 *
 * What goes past the C library goes past us: a program that makes its own mmap system calls has its
 * writable mapping refused by the runner; one that blocks SIGSEGV by its own system call (the Go
 * runtime in its short critical sections) dies of SIGSEGV if it touches a register meanwhile; one
 * that installs its handler by its own system call after the first mapping gets faults for its
 * register accesses. None of these ends in a wrong value.
 *
 * Without UVFIO_MMIO in the environment, or when the runner does not answer, all is passed on
 * untouched.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "uapi/helper/helper.h"

struct helper helper;

static bool asked_for(void)
{
	static const char name[] = UVFIO_ENV_MMIO "=";

	/* getenv is not to be trusted this early; environ may not be there yet. */
	for (char **e = environ; e && *e; e++)
		if (!strncmp(*e, name, sizeof(name) - 1))
			return true;
	return false;
}

bool helper_active(void)
{
	int mode = atomic_load_explicit(&helper.mode, memory_order_acquire);

	if (mode != HELPER_UNKNOWN)
		return mode == HELPER_ACTIVE;
	if (!environ)
		return false;
	mode = HELPER_INERT;
	if (asked_for() && sys6(SYS_ioctl, -1, UVFIO_TRAP_HELLO, UVFIO_TRAP_VERSION, 0, 0, 0) == 0)
		mode = HELPER_ACTIVE;
	atomic_store_explicit(&helper.pid, (int)sys0(SYS_getpid), memory_order_relaxed);
	atomic_store_explicit(&helper.mode, mode, memory_order_release);
	return mode == HELPER_ACTIVE;
}

bool helper_foreign(void)
{
	return atomic_load_explicit(&helper.pid, memory_order_relaxed) != (int)sys0(SYS_getpid);
}

void *helper_next(const char *name, _Atomic(void *) *slot)
{
	void *f = atomic_load_explicit(slot, memory_order_relaxed);

	if (!f) {
		f = dlsym(RTLD_NEXT, name);
		atomic_store_explicit(slot, f, memory_order_relaxed);
	}
	return f;
}

void helper_wait_released(const struct uvfio_trap_file *file)
{
	sys5(SYS_ioctl, -1, UVFIO_TRAP_CLOSED, (long)file->dev, (long)file->ino, (long)file->key);
}

void helper_lock(struct helper_lock *lock)
{
	uint64_t all = ~0ull, old = 0;
	int expected = 0;

	sys4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)&old, 8);
	while (!atomic_compare_exchange_weak_explicit(&lock->held, &expected, 1,
						      memory_order_acquire, memory_order_relaxed)) {
		expected = 0;
		sys0(SYS_sched_yield);
	}
	lock->mask = old;
}

void helper_unlock(struct helper_lock *lock)
{
	uint64_t old = lock->mask;

	atomic_store_explicit(&lock->held, 0, memory_order_release);
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&old, 0, 8);
}

static void before_fork(void)
{
	table_at_fork(0);
	signals_at_fork(0);
}

static void after_fork_parent(void)
{
	signals_at_fork(1);
	table_at_fork(1);
}

static void after_fork_child(void)
{
	atomic_store_explicit(&helper.pid, (int)sys0(SYS_getpid), memory_order_relaxed);
	signals_at_fork(2);
	table_at_fork(2);
}

__attribute__((constructor)) static void construct(void)
{
	if (!helper_active())
		return;
	emu_xstate_init(&helper.xs);
	atomic_store_explicit(&helper.stack_top, getauxval(AT_RANDOM), memory_order_relaxed);
	pthread_atfork(before_fork, after_fork_parent, after_fork_child);
	signals_init();
}
