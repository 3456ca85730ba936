/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A peer for tests: memory that is reached by messages, which the test answers when and how it
 * likes.  Any thread.
 */
#ifndef TESTS_UNIT_PEER_UTIL_H
#define TESTS_UNIT_PEER_UTIL_H

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "iommu/peer.h"

#define TEST_PEER_MAX 4096

struct test_peer {
	struct iommu_peer peer; /* first */
	uint8_t *mem;           /* what it has */
	uint64_t base, size;    /* the addresses of that */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct iommu_peer_msg *msgs[TEST_PEER_MAX]; /* not answered, in the order of their start */
	unsigned nr, started, most, cancelled, refuse; /* refuse: so many to come */
	uint64_t last_started;
	bool *released;
};

static int test_peer_start(struct iommu_peer *peer, struct iommu_peer_msg *msg)
{
	struct test_peer *t = (struct test_peer *)peer;
	int ret = 0;

	pthread_mutex_lock(&t->lock);
	assert(t->nr < TEST_PEER_MAX);
	if (t->refuse) {
		t->refuse--;
		ret = -ECONNRESET;
	} else {
		t->msgs[t->nr++] = msg;
		t->started++;
		t->last_started = msg->address;
		if (t->nr > t->most)
			t->most = t->nr;
		pthread_cond_broadcast(&t->changed);
	}
	pthread_mutex_unlock(&t->lock);
	return ret;
}

static void test_peer_cancel(struct iommu_peer *peer, struct iommu_peer_msg *msg)
{
	struct test_peer *t = (struct test_peer *)peer;

	pthread_mutex_lock(&t->lock);
	t->cancelled++;
	assert(!msg->user[0]);
	msg->user[0] = t;
	pthread_mutex_unlock(&t->lock);
}

static void test_peer_release(struct iommu_peer *peer)
{
	struct test_peer *t = (struct test_peer *)peer;

	assert(!t->nr);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t->mem);
	if (t->released)
		__atomic_store_n(t->released, true, __ATOMIC_SEQ_CST);
	free(t);
}

static const struct iommu_peer_ops test_peer_ops = {
	.start = test_peer_start,
	.cancel = test_peer_cancel,
	.release = test_peer_release,
};

static inline struct test_peer *test_peer_new(uint64_t base, uint64_t size, uint32_t max_len,
					      uint32_t max_inflight, bool *released)
{
	struct test_peer *t = calloc(1, sizeof(*t));

	assert(t);
	t->mem = malloc(size);
	assert(t->mem);
	memset(t->mem, 0, size);
	t->base = base;
	t->size = size;
	t->released = released;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	iommu_peer_init(&t->peer, &test_peer_ops, max_len, max_inflight);
	return t;
}

/* Answer the @i-th message: with @status, and when that is 0 as a peer that has the memory.  False
 * when there is no such message. */
static inline bool test_peer_answer(struct test_peer *t, unsigned i, int status)
{
	struct iommu_peer_msg *msg = NULL;

	pthread_mutex_lock(&t->lock);
	if (i < t->nr) {
		msg = t->msgs[i];
		memmove(&t->msgs[i], &t->msgs[i + 1], (--t->nr - i) * sizeof(t->msgs[0]));
		/* What is cancelled before it is sent does nothing. */
		if (!status && !msg->user[0]) {
			uint8_t *p = t->mem + (msg->address - t->base);

			assert(msg->address >= t->base &&
			       msg->address + msg->len <= t->base + t->size);
			memcpy(msg->write ? p : msg->data, msg->write ? msg->data : p, msg->len);
		} else if (!msg->write) {
			memset(msg->data, 0xEE, msg->len);
		}
	}
	pthread_mutex_unlock(&t->lock);
	if (msg)
		iommu_peer_done(&t->peer, msg, status);
	return msg != NULL;
}

static inline void test_peer_wait(struct test_peer *t, unsigned started)
{
	pthread_mutex_lock(&t->lock);
	while (t->started < started)
		pthread_cond_wait(&t->changed, &t->lock);
	pthread_mutex_unlock(&t->lock);
}

#endif
