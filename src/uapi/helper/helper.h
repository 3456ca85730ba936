/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the preloaded helper.  See helper.c for how it works.
 *
 * One process, one helper: what it knows is in struct helper, the only global state of the library.
 * Everything that the SIGSEGV handler touches is read without a lock.
 */
#ifndef UVFIO_HELPER_HELPER_H
#define UVFIO_HELPER_HELPER_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>
#include "uapi/helper/emu.h"
#include "uapi/helper/sys.h"
#include "uapi/helper/trap.h"

#define EXPORT __attribute__((visibility("default")))
#define PAGE   4096ull

enum helper_mode {
	HELPER_UNKNOWN, /* before the first interposed call that asks */
	HELPER_INERT,   /* not under a runner that traps: everything is passed on untouched */
	HELPER_ACTIVE,
};

struct helper {
	_Atomic int mode;
	_Atomic int pid; /* a child of vfork shares our memory, but has another one */
	struct emu_xstate xs;
	_Atomic uint64_t stack_top; /* what execve put there, and nothing of the program's */
};
extern struct helper helper;

/* helper.c.  Asks the runner on the first call.  Callable before our constructor has run. */
bool helper_active(void);
/* True in a child that shares memory with its parent (vfork), or that fork handlers have not seen.
 */
bool helper_foreign(void);
/* The C library's (or the next library's) function of that name; cached in *slot. */
void *helper_next(const char *name, _Atomic(void *) *slot);
#define NEXT(name)        ((__typeof__(&name))helper_next(#name, &next_##name))
#define DEFINE_NEXT(name) static _Atomic(void *) next_##name

/* Waits until the runner has carried out the release of @file that a close or an unmapping caused;
 * all 0: not known which, then of all that this process had opened. */
void helper_wait_released(const struct uvfio_trap_file *file);

/* A spin lock for the rare writers, taken with all signals blocked. */
struct helper_lock {
	_Atomic int held;
	uint64_t mask;
};
void helper_lock(struct helper_lock *lock);
void helper_unlock(struct helper_lock *lock);

/* table.c: which addresses are mapped BARs. */
struct range {
	uint64_t start, end; /* whole pages */
	uint64_t offset;     /* of start in the device's file */
	uint64_t key;        /* names the device to the runner */
	uint8_t flags;       /* UVFIO_MMAP_… */
	uint8_t prot;        /* what the program asked for, not what is there */
};

/* Any thread, signal handlers included; no lock. */
bool table_find(uint64_t addr, struct range *range);
bool table_intersects(uint64_t start, uint64_t end);
/* The first range that ends after @addr. */
bool table_after(uint64_t addr, struct range *range);

/* Writers: between table_lock() and table_unlock(), which publishes; signals are blocked meanwhile.
 */
void table_lock(void);
void table_unlock(void);
/* Each false: no memory; the table is as before. */
bool table_cut(uint64_t start, uint64_t end);
bool table_add(const struct range *range); /* cuts what was there */
bool table_protect(uint64_t start, uint64_t end, int prot);
bool table_move(uint64_t start, uint64_t end, uint64_t to);
void table_at_fork(int when); /* 0 before, 1 parent, 2 child */

/* keys.c: any thread, signal handlers included.  The key of the VFIO file that @fd is now; 0: it is
 * none, or not known. */
uint64_t keys_of(int fd);
/* An ioctl on @fd has succeeded without: ask for its key now and then. */
void keys_learn(int fd);
/* ioctl(2) with the key, as the system call returns it, for a caller with the frame address
 * @frame. */
long keys_ioctl(int fd, unsigned long request, const void *arg, uint64_t key, const void *frame);

/* dma.c: MAP_DMA on @fd with @arg was EFAULT.  Make it again if BARs are in its range; true: then it
 * has succeeded with *@ret. */
bool dma_map_again(int fd, const void *arg, long *ret);

/* signals.c */
void signals_init(void);
bool signals_arm(void);
void signals_at_fork(int when);
/* The program's own disposition for a SIGSEGV that is not ours; @synthetic: the processor would not
 * raise it again by itself. */
void signals_forward(siginfo_t *info, ucontext_t *uc, bool synthetic);
void signals_raise_bus(uint64_t addr, ucontext_t *uc);
/* Let the instruction end the program with SIGSEGV and a core dump. */
void signals_die(ucontext_t *uc);

/* trap.c: the access at @info->si_addr of @range, done.  In the signal handler. */
void trap_handle(const struct range *range, siginfo_t *info, ucontext_t *uc);
/* The decoder is the one that we were built with. */
bool trap_usable(void);

/* probe.c.  False: trapping would give wrong values here, and that has been said.  Needs
 * signals_arm(). */
bool probe_registers(void);
/* In the handler: was this fault the probe? */
bool probe_fault(uint64_t addr, ucontext_t *uc);
/* One line of @len bytes for the user, by the runner if it is there. */
void helper_say(const char *text, size_t len);

/* patched.c: @bytes, found at @rip, are a debugger's breakpoint; replaced by the instruction. */
bool patched_original(uint64_t rip, uint8_t *bytes, size_t n);

#endif
