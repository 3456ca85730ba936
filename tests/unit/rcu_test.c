/* SPDX-License-Identifier: BSD-3-Clause */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/rcu.h"

#define READERS 3
#define UPDATES 2000

struct node {
	struct uvfio_rcu_head rcu;
	int a, b; /* equal while the node may be seen */
};

static struct node *shared;
static atomic_bool stop;
static atomic_int freed, torn;

static struct node *node_new(int value)
{
	struct node *node = malloc(sizeof(*node));

	assert_non_null(node);
	node->a = node->b = value;
	return node;
}

static void node_free(struct uvfio_rcu_head *head)
{
	struct node *node = (struct node *)head;

	node->a = -1; /* a reader that still sees it would notice, and the sanitizers would */
	free(node);
	atomic_fetch_add(&freed, 1);
}

static void *reader(void *arg)
{
	while (!atomic_load(&stop)) {
		struct node *node;

		uvfio_rcu_read_lock();
		uvfio_rcu_read_lock(); /* nests */
		node = uvfio_rcu_dereference(shared);
		if (node->a != node->b)
			atomic_fetch_add(&torn, 1);
		uvfio_rcu_read_unlock();
		uvfio_rcu_read_unlock();
	}
	return NULL;
}

static void replaced_nodes_outlive_their_readers(void **state)
{
	pthread_t threads[READERS];

	atomic_store(&freed, 0);
	uvfio_rcu_assign(shared, node_new(0));
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reader, NULL), 0);
	for (int i = 1; i <= UPDATES; i++) {
		struct node *old = shared;

		uvfio_rcu_assign(shared, node_new(i));
		if (i % 100) {
			uvfio_rcu_call(&old->rcu, node_free);
		} else {
			uvfio_rcu_synchronize();
			node_free(&old->rcu);
		}
	}
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	uvfio_rcu_barrier();
	assert_int_equal(atomic_load(&freed), UPDATES);
	assert_int_equal(atomic_load(&torn), 0);
	free(shared);
}

struct hold {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool inside, leave;
	atomic_bool left;
};

static void *holder(void *arg)
{
	struct hold *hold = arg;

	uvfio_rcu_read_lock();
	pthread_mutex_lock(&hold->lock);
	hold->inside = true;
	pthread_cond_signal(&hold->cond);
	while (!hold->leave)
		pthread_cond_wait(&hold->cond, &hold->lock);
	pthread_mutex_unlock(&hold->lock);
	atomic_store(&hold->left, true);
	uvfio_rcu_read_unlock();
	return NULL;
}

struct probe {
	struct uvfio_rcu_head rcu;
	struct hold *hold;
	bool too_early;
};

static void probe_run(struct uvfio_rcu_head *head)
{
	struct probe *probe = (struct probe *)head;

	probe->too_early = !atomic_load(&probe->hold->left);
}

/* A callback waits for a reader that was inside; the barrier waits for the callback. */
static void callback_waits_for_the_reader(void **state)
{
	struct hold hold = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER};
	struct probe probe = {.hold = &hold, .too_early = true};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, holder, &hold), 0);
	pthread_mutex_lock(&hold.lock);
	while (!hold.inside)
		pthread_cond_wait(&hold.cond, &hold.lock);
	uvfio_rcu_call(&probe.rcu, probe_run);
	hold.leave = true;
	pthread_cond_signal(&hold.cond);
	pthread_mutex_unlock(&hold.lock);
	uvfio_rcu_barrier();
	assert_false(probe.too_early);
	pthread_join(thread, NULL);
}

static void *read_once(void *arg)
{
	uvfio_rcu_read_lock();
	uvfio_rcu_read_unlock();
	return NULL;
}

/* A thread that ended must not be waited for: it has left by itself. */
static void ended_threads_are_forgotten(void **state)
{
	for (int i = 0; i < 50; i++) {
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, read_once, NULL), 0);
		pthread_join(thread, NULL);
	}
	uvfio_rcu_synchronize();
}

static pthread_key_t late_key;

static void late_reader(void *value)
{
	uvfio_rcu_read_lock();
	uvfio_rcu_read_unlock();
}

static void *read_in_destructor(void *arg)
{
	pthread_setspecific(late_key, arg);
	return read_once(arg);
}

/* Another thread-specific destructor may still read after ours has run. */
static void reading_in_a_destructor_is_allowed(void **state)
{
	pthread_t thread;

	assert_int_equal(pthread_key_create(&late_key, late_reader), 0);
	assert_int_equal(pthread_create(&thread, NULL, read_in_destructor, &late_key), 0);
	pthread_join(thread, NULL);
	uvfio_rcu_synchronize();
	pthread_key_delete(late_key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replaced_nodes_outlive_their_readers),
		cmocka_unit_test(callback_waits_for_the_reader),
		cmocka_unit_test(ended_threads_are_forgotten),
		cmocka_unit_test(reading_in_a_destructor_is_allowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
