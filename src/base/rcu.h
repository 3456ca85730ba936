/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Userspace RCU (liburcu, memb flavour), wrapped once: registration of threads is automatic, and
 * the annotations that ThreadSanitizer needs are here.  A read side section never waits.
 */
#ifndef UVFIO_BASE_RCU_H
#define UVFIO_BASE_RCU_H

struct uvfio_rcu_head {
	void *opaque[4];
};

void uvfio_rcu_read_lock(void);
void uvfio_rcu_read_unlock(void);
/* @fn(@head) runs in another thread when all readers of now have left. */
void uvfio_rcu_call(struct uvfio_rcu_head *head, void (*fn)(struct uvfio_rcu_head *head));
/* Not from a read side section. */
void uvfio_rcu_synchronize(void);
/* Wait for every uvfio_rcu_call() made so far. */
void uvfio_rcu_barrier(void);

#define uvfio_rcu_dereference(p) __atomic_load_n(&(p), __ATOMIC_CONSUME)
#define uvfio_rcu_assign(p, v)	 __atomic_store_n(&(p), (v), __ATOMIC_RELEASE)

#endif
