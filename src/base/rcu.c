/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Userspace RCU.
 *
 * Registration.  liburcu must know each thread that reads.  A thread registers at its first read
 * and leaves through the destructor of a thread-specific value; a destructor of somebody else that
 * reads after that registers it again, and the thread library then calls ours once more.
 *
 * ThreadSanitizer sees neither liburcu's barriers nor the queue of its call_rcu thread.  What RCU
 * promises is told to it here: everything that a reader did before it left its section happens
 * before the end of a grace period that waited for it; what came before uvfio_rcu_call() happens
 * before the callback; and callbacks happen before the end of a uvfio_rcu_barrier() that waited for
 * them.  The path from a publisher to a reader needs nothing: the pointer itself is atomic.
 */
#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <stdint.h>
#include <urcu/urcu-memb.h>
#include "base/rcu.h"
#include "base/tsan.h"

/* What the annotations are hung on; only the addresses count. */
static char readers_left, callbacks_done;

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
_Thread_local bool uvfio_rcu_registered;

struct rcu_entry {
	struct rcu_head rcu;
	void (*fn)(struct uvfio_rcu_head *head);
};
static_assert(sizeof(struct rcu_entry) <= sizeof(struct uvfio_rcu_head), "room for liburcu's head");

static void thread_exit(void *value)
{
	if (!uvfio_rcu_registered)
		return;
	uvfio_rcu_registered = false;
	urcu_memb_unregister_thread();
}

static void make_key(void)
{
	if (pthread_key_create(&key, thread_exit))
		abort(); /* the process has used up all its keys: nothing can work */
}

__attribute__((cold)) void uvfio_rcu_register(void)
{
	pthread_once(&key_once, make_key);
	urcu_memb_register_thread();
	uvfio_rcu_registered = true;
	if (pthread_setspecific(key, &uvfio_rcu_registered))
		abort(); /* without its destructor the thread would never leave */
}

#ifdef UVFIO_TSAN
void uvfio_rcu_read_lock(void)
{
	if (!uvfio_rcu_registered)
		uvfio_rcu_register();
	urcu_memb_read_lock();
}

void uvfio_rcu_read_unlock(void)
{
	tsan_release(&readers_left);
	urcu_memb_read_unlock();
}
#endif

static void run_callback(struct rcu_head *rcu)
{
	struct rcu_entry *entry = (struct rcu_entry *)rcu;
	void (*fn)(struct uvfio_rcu_head * head);

	tsan_acquire(entry);
	tsan_acquire(&readers_left);
	fn = entry->fn;
	fn((struct uvfio_rcu_head *)entry);
	tsan_release(&callbacks_done);
}

void uvfio_rcu_call(struct uvfio_rcu_head *head, void (*fn)(struct uvfio_rcu_head *head))
{
	struct rcu_entry *entry = (struct rcu_entry *)head;

	if (__builtin_expect(!uvfio_rcu_registered, 0))
		uvfio_rcu_register(); /* liburcu queues within a read side section */
	entry->fn = fn;
	tsan_release(entry);
	urcu_memb_call_rcu(&entry->rcu, run_callback);
}

void uvfio_rcu_synchronize(void)
{
	urcu_memb_synchronize_rcu();
	tsan_acquire(&readers_left);
}

void uvfio_rcu_barrier(void)
{
	tsan_ignore_begin(); /* allocates here what its own thread frees */
	urcu_memb_barrier();
	tsan_ignore_end();
	tsan_acquire(&callbacks_done);
}
