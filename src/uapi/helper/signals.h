/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Signal masks, as the kernel has them and as the program sees them.
 *
 * The kernel must never have SIGSEGV blocked: a trapped access would kill the process.  A program
 * that blocks it gets SHADOW blocked in its stead, one of the highest real-time signals.  So the
 * wish is kept by the kernel itself, and follows the mask wherever it goes without our doing: into
 * handlers (sa_mask), new threads and children, through siglongjmp, swapcontext and the return from
 * handlers. The price: a program that blocks SHADOW alone is taken to have blocked SIGSEGV, and a
 * program that unblocks SIGSEGV unblocks SHADOW.
 */
#ifndef UVFIO_HELPER_SIGNALS_H
#define UVFIO_HELPER_SIGNALS_H

#include <signal.h>
#include <string.h>
#include "uapi/helper/helper.h"

#define SHADOW     63
#define BIT(sig)   (1ull << ((sig)-1))
#define MASK_BYTES 8 /* of the kernel's sigset_t, the beginning of the C library's */

static inline uint64_t set_bits(const sigset_t *set)
{
	uint64_t bits;

	memcpy(&bits, set, sizeof(bits));
	return bits;
}

static inline uint64_t bits_to_kernel(uint64_t bits)
{
	return bits & BIT(SIGSEGV) ? (bits & ~BIT(SIGSEGV)) | BIT(SHADOW) : bits;
}

static inline uint64_t bits_to_program(uint64_t bits)
{
	if (!(bits & BIT(SHADOW)))
		return bits;
	/* Whether the program blocked SHADOW, too, is not known: it did if it blocked its
	 * neighbour. */
	return (bits & BIT(SHADOW + 1) ? bits : bits & ~BIT(SHADOW)) | BIT(SIGSEGV);
}

static inline void put_bits(sigset_t *set, uint64_t bits)
{
	memcpy(set, &bits, sizeof(bits));
}

/* A copy of a program's mask for the kernel; NULL stays NULL. */
static inline const sigset_t *set_to_kernel(const sigset_t *set, sigset_t *copy)
{
	if (!set)
		return NULL;
	*copy = *set;
	put_bits(copy, bits_to_kernel(set_bits(set)));
	return copy;
}

static inline void set_to_program(sigset_t *set)
{
	if (set)
		put_bits(set, bits_to_program(set_bits(set)));
}

/*
 * signals.c.  The virtual disposition of SIGSEGV: false when it is not virtual (yet, or in a child
 * of vfork that sets one), and the system call is to be made.
 */
bool signals_virtual(const struct sigaction *new, struct sigaction *old);
/* The program has unblocked SIGSEGV in this thread: what was kept back is sent again. */
void signals_unblocked(void);
bool signals_pending(void);

#endif
