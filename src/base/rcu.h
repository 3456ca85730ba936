/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Userspace RCU (liburcu, memb flavour), wrapped once: registration of threads is automatic, and
 * the annotations that ThreadSanitizer needs are here.  A read side section never waits.
 */
#ifndef UVFIO_BASE_RCU_H
#define UVFIO_BASE_RCU_H

#include <stdbool.h>
#include <urcu/static/urcu-memb.h>
#include "base/tsan.h"

struct uvfio_rcu_head {
	void *opaque[4];
};

/* Is the calling thread known to liburcu?  For uvfio_rcu_read_lock(), which makes it so. */
extern _Thread_local bool uvfio_rcu_registered __attribute__((tls_model("initial-exec")));
void uvfio_rcu_register(void);

/* A section costs 1 ns inlined and 9 ns through the library.  liburcu says of the two functions
 * used here that code under any licence may inline them. */
#ifdef UVFIO_TSAN
void uvfio_rcu_read_lock(void);
void uvfio_rcu_read_unlock(void);
#else
static inline void uvfio_rcu_read_lock(void)
{
	if (__builtin_expect(!uvfio_rcu_registered, 0))
		uvfio_rcu_register();
	_urcu_memb_read_lock();
}

static inline void uvfio_rcu_read_unlock(void)
{
	_urcu_memb_read_unlock();
}
#endif

/* @fn(@head) runs in another thread when all readers of now have left. */
void uvfio_rcu_call(struct uvfio_rcu_head *head, void (*fn)(struct uvfio_rcu_head *head));
/* Not from a read side section. */
void uvfio_rcu_synchronize(void);
/* Wait for every uvfio_rcu_call() made so far. */
void uvfio_rcu_barrier(void);

#define uvfio_rcu_dereference(p) __atomic_load_n(&(p), __ATOMIC_CONSUME)
#define uvfio_rcu_assign(p, v)   __atomic_store_n(&(p), (v), __ATOMIC_RELEASE)

#endif
