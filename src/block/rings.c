/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rings: making one, and a stock of restricted ones.
 *
 * A restricted ring is made disabled, gets its eventfd, then its restrictions, and is enabled: from
 * then on both are as they are.  Restrictions are an allow-list; operations that later kernels
 * bring are not on it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "block/rings.h"

/* Where the block of descriptors may be: not among the first numbers, which are always in use. */
#define FIRST_PLACE 64u
#define PLACES      16u

struct block_rings {
	pthread_mutex_t lock;
	struct block_ring *free; /* under ->lock */
	unsigned first, nr;      /* descriptors */
	unsigned made;
	struct block_ring rings[];
};

static int init(struct block_ring *r, unsigned depth, unsigned flags)
{
	struct io_uring_params params = {.flags = IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL |
						  flags};
	int ret = io_uring_queue_init_params(depth, &r->ring, &params);

	if (ret)
		return ret;
	r->evfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = r->evfd < 0 ? -errno : io_uring_register_eventfd(&r->ring, r->evfd);
	if (ret)
		block_ring_fini(r);
	return ret;
}

int block_ring_init(struct block_ring *ring, unsigned depth)
{
	return init(ring, depth, 0);
}

void block_ring_fini(struct block_ring *ring)
{
	io_uring_queue_exit(&ring->ring);
	if (ring->evfd >= 0)
		close(ring->evfd);
}

/* ---- restricted ---- */

static const uint8_t operations[] = {
	IORING_OP_READ,   IORING_OP_READV, IORING_OP_WRITE,
	IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE,
};
#define NR_OPERATIONS (sizeof(operations) / sizeof(operations[0]))

static int init_restricted(struct block_ring *r)
{
	struct io_uring_restriction list[NR_OPERATIONS];
	int ret = init(r, BLOCK_RING_DEPTH, IORING_SETUP_R_DISABLED);

	if (ret)
		return ret;
	memset(list, 0, sizeof(list));
	for (unsigned i = 0; i < NR_OPERATIONS; i++) {
		list[i].opcode = IORING_RESTRICTION_SQE_OP;
		list[i].sqe_op = operations[i];
	}
	/* liburing 2.3 declares functions for these two and does not export them. */
	ret = io_uring_register((unsigned)r->ring.ring_fd, IORING_REGISTER_RESTRICTIONS, list,
				NR_OPERATIONS);
	if (!ret)
		ret = io_uring_register((unsigned)r->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS,
					NULL, 0);
	if (ret)
		block_ring_fini(r);
	return ret;
}

static void release(unsigned first, unsigned nr)
{
	for (unsigned fd = first; fd < first + nr; fd++)
		close((int)fd);
}

/* Occupy [first, first + nr): false when something else is there. */
static bool occupy(unsigned first, unsigned nr, int filler)
{
	for (unsigned i = 0; i < nr; i++) {
		int fd = fcntl(filler, F_DUPFD_CLOEXEC, first + i);

		if (fd == (int)(first + i))
			continue;
		if (fd >= 0)
			close(fd);
		release(first, i);
		return false;
	}
	return true;
}

static int find_place(struct block_rings *rings)
{
	int filler = eventfd(0, EFD_CLOEXEC);
	unsigned first = (FIRST_PLACE + rings->nr - 1) / rings->nr * rings->nr;

	if (filler < 0)
		return -errno;
	for (unsigned i = 0; i < PLACES && !rings->first; i++, first += rings->nr)
		if (occupy(first, rings->nr, filler))
			rings->first = first;
	close(filler);
	return rings->first ? 0 : -EMFILE;
}

/* Put the ring's descriptor where the @i-th belongs. */
static int move(const struct block_rings *rings, struct block_ring *r, unsigned i)
{
	int fd = dup3(r->ring.ring_fd, (int)(rings->first + i), O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(r->ring.ring_fd);
	r->ring.ring_fd = r->ring.enter_ring_fd = fd;
	return 0;
}

struct block_rings *block_rings_new(unsigned nr, struct uvfio_error *err)
{
	struct block_rings *rings;
	unsigned n = 1;
	int ret;

	while (n < nr && n < BLOCK_RINGS_MAX)
		n *= 2;
	rings = calloc(1, sizeof(*rings) + n * sizeof(rings->rings[0]));
	if (!rings) {
		uvfio_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	pthread_mutex_init(&rings->lock, NULL);
	rings->nr = n;
	ret = find_place(rings);
	for (unsigned i = 0; i < n && !ret; i++) {
		ret = init_restricted(&rings->rings[i]);
		if (ret)
			break;
		ret = move(rings, &rings->rings[i], i);
		if (ret)
			block_ring_fini(&rings->rings[i]);
		else
			rings->made++;
	}
	if (ret) {
		uvfio_error_set(err, ret, "%s%s", strerror(-ret),
				ret == -EPERM    ? " (sysctl kernel.io_uring_disabled, or a "
						   "container's seccomp profile)"
				: ret == -EMFILE ? " (ulimit -n)"
						 : "");
		block_rings_free(rings);
		return NULL;
	}
	for (unsigned i = n; i--;)
		block_rings_put(rings, &rings->rings[i]);
	return rings;
}

void block_rings_free(struct block_rings *rings)
{
	if (!rings)
		return;
	for (unsigned i = 0; i < rings->made; i++)
		block_ring_fini(&rings->rings[i]);
	if (rings->first)
		release(rings->first + rings->made, rings->nr - rings->made);
	pthread_mutex_destroy(&rings->lock);
	free(rings);
}

void block_rings_fds(const struct block_rings *rings, unsigned *first, unsigned *nr)
{
	*first = rings->first;
	*nr = rings->nr;
}

struct block_ring *block_rings_take(struct block_rings *rings)
{
	struct block_ring *ring;

	pthread_mutex_lock(&rings->lock);
	ring = rings->free;
	if (ring)
		rings->free = ring->next_free;
	pthread_mutex_unlock(&rings->lock);
	return ring;
}

void block_rings_put(struct block_rings *rings, struct block_ring *ring)
{
	pthread_mutex_lock(&rings->lock);
	ring->next_free = rings->free;
	rings->free = ring;
	pthread_mutex_unlock(&rings->lock);
}
