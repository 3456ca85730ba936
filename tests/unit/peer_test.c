/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * src/iommu/xfer.c and process.c: memory that is reached by messages, and memory that may block:
 * answers that come late, out of order, as errors, or never.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/ctx.h"
#include "guarded.h"
#include "iommu/space_private.h"
#include "iommu/xfer.h"
#include "peer_util.h"
#include "stalling_file.h"

#define P    IOMMU_PAGE_SIZE
#define RW   (IOMMU_READ | IOMMU_WRITE)
#define BASE 0x7000000ull /* the peer's address of its first byte */

struct world {
	struct uvfio_loop *loop;
	struct uvfio_ctx *ctx;
	struct iommu_user user;
	struct iommu_space *space;
	struct test_peer *peer;
	bool released;
	/* of the last transfer */
	atomic_int done; /* how often */
	int status;
	struct iommu_fault fault;
	bool in_ctx;
	uint8_t buf[64 * 4096];
};

static void up(struct world *w, uint32_t max_len, uint32_t max_inflight)
{
	guarded();
	memset(w, 0, sizeof(*w));
	w->loop = uvfio_loop_new("test", NULL);
	w->ctx = uvfio_ctx_new(w->loop);
	iommu_user_init(&w->user, w->ctx);
	w->space = iommu_space_new(1000);
	w->peer = test_peer_new(BASE, 64 * P, max_len, max_inflight, &w->released);
	for (unsigned i = 0; i < 64 * P; i++)
		w->peer->mem[i] = (uint8_t)(i / 7 + i / 4096);
}

static void down(struct world *w)
{
	iommu_space_free(w->space);
	while (test_peer_answer(w->peer, 0, -ECANCELED))
		;
	iommu_peer_unref(&w->peer->peer);
	uvfio_ctx_free(w->ctx);
	uvfio_loop_free(w->loop);
	iommu_user_fini(&w->user);
	assert_true(w->released);
}

static struct iommu_mem peer_mem(struct world *w, uint64_t page, uint64_t pages)
{
	return (struct iommu_mem){.kind = IOMMU_MEM_PEER,
				  .peer = &w->peer->peer,
				  .offset = BASE + page * P,
				  .len = pages * P};
}

static void map1(struct world *w, uint64_t page, uint64_t pages, unsigned prot,
		 struct iommu_mem mem)
{
	assert_int_equal(iommu_map(w->space, page * P, pages * P, prot, &mem, 1), 0);
}

static void unmap(struct world *w, uint64_t page, uint64_t pages, unsigned expect)
{
	uint64_t count;

	iommu_unmap(w->space, page * P, (page + pages) * P - 1, &count);
	assert_int_equal(count, expect);
}

static void on_done(void *arg, int status, const struct iommu_fault *fault)
{
	struct world *w = arg;

	w->status = status;
	w->fault = *fault;
	w->in_ctx = uvfio_ctx_is_current(w->ctx);
	w->done++;
}

static int submit(struct world *w, uint64_t iova, uint8_t *buf, size_t len, bool write)
{
	struct iommu_fault fault;
	int ret;

	w->done = 0;
	w->status = 1;
	ret = iommu_submit(&w->user, w->space, NULL, iova, buf, len, write, on_done, w, &fault);
	if (ret < 0)
		w->fault = fault;
	return ret;
}

/* What was posted to the context has run. */
static int settled(struct world *w)
{
	uvfio_ctx_flush(w->ctx);
	return w->done;
}

static unsigned answer_all(struct world *w, int status)
{
	unsigned n = 0;

	while (test_peer_answer(w->peer, 0, status))
		n++;
	return n;
}

/* ---- */

static void test_read_and_write(void **state)
{
	struct world w;

	up(&w, 4096, 8);
	map1(&w, 16, 8, RW, peer_mem(&w, 2, 8));
	assert_int_equal(submit(&w, 16 * P + 5, w.buf, 3 * P, false), 1);
	assert_int_equal(w.peer->nr, 3);
	assert_int_equal(w.peer->msgs[1]->address, BASE + 3 * P + 5);
	assert_int_equal(w.peer->msgs[1]->len, P);
	assert_false(w.peer->msgs[1]->write);
	/* In any order; the buffer is filled when all is there, in the context. */
	assert_true(test_peer_answer(w.peer, 1, 0));
	assert_true(test_peer_answer(w.peer, 1, 0));
	assert_int_equal(settled(&w), 0);
	assert_int_equal(w.buf[P + 1], 0);
	assert_true(test_peer_answer(w.peer, 0, 0));
	assert_int_equal(settled(&w), 1);
	assert_int_equal(w.status, 0);
	assert_true(w.in_ctx);
	assert_memory_equal(w.buf, w.peer->mem + 2 * P + 5, 3 * P);

	memset(w.buf, 0x5A, 2 * P);
	assert_int_equal(submit(&w, 23 * P, w.buf, 100, true), 1);
	/* What the device does with its buffer before it is told is its own fault; the message has
	 * its copy. */
	memset(w.buf, 0x11, 100);
	assert_int_equal(answer_all(&w, 0), 1);
	assert_int_equal(settled(&w), 1);
	assert_int_equal(w.status, 0);
	assert_int_equal(w.peer->mem[9 * P], 0x5A);
	assert_int_equal(w.peer->mem[9 * P + 99], 0x5A);
	assert_int_not_equal(w.peer->mem[9 * P + 100], 0x5A);
	down(&w);
}

/* File, process, two peers, in one mapping and in several: complete once. */
static void test_pieces(void **state)
{
	bool other_released = false;
	struct test_peer *other = test_peer_new(0, 8 * P, 1000, 100, &other_released);
	int fd = memfd_create("test", MFD_CLOEXEC), self = open("/proc/self/mem", O_RDWR);
	uint8_t *anon =
		mmap(NULL, 4 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *file, *expect = malloc(10 * P);
	struct iommu_mem mem[4];
	struct world w;

	up(&w, 4096, 3);
	assert_int_equal(ftruncate(fd, 4 * P), 0);
	file = mmap(NULL, 4 * P, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memset(file, 'f', 4 * P);
	memset(anon, 'a', 4 * P);
	memset(other->mem, 'o', 8 * P);
	mem[0] = peer_mem(&w, 0, 2);
	mem[1] = (struct iommu_mem){IOMMU_MEM_FILE, fd, 0, 2 * P, {1, 1}, P};
	mem[2] = (struct iommu_mem){.kind = IOMMU_MEM_PEER, .peer = &other->peer, .len = 2 * P};
	mem[3] = (struct iommu_mem){IOMMU_MEM_PROCESS, self, (uintptr_t)anon, 2 * P, {2, 2}, P};
	assert_int_equal(iommu_map(w.space, 0, 8 * P, RW, mem, 4), 0);
	map1(&w, 8, 2, RW, peer_mem(&w, 60, 2));

	memcpy(expect, w.peer->mem, 2 * P);
	memset(expect + 2 * P, 'f', 2 * P);
	memset(expect + 4 * P, 'o', 2 * P);
	memset(expect + 6 * P, 'a', 2 * P);
	memcpy(expect + 8 * P, w.peer->mem + 60 * P, 2 * P);
	assert_int_equal(submit(&w, 0, w.buf, 10 * P, false), 1);
	assert_int_equal(w.peer->nr, 3); /* the fourth waits */
	assert_int_equal(other->nr, 9);
	while (test_peer_answer(other, other->nr / 2, 0))
		;
	assert_int_equal(answer_all(&w, 0), 4);
	assert_int_equal(settled(&w), 1);
	assert_int_equal(w.status, 0);
	assert_memory_equal(w.buf, expect, 10 * P);

	for (unsigned i = 0; i < 10 * P; i++)
		expect[i] = w.buf[i] = (uint8_t)(i / 5);
	assert_int_equal(submit(&w, 0, w.buf, 10 * P, true), 1);
	while (test_peer_answer(other, 0, 0))
		;
	answer_all(&w, 0);
	assert_int_equal(settled(&w), 1);
	assert_int_equal(w.status, 0);
	assert_memory_equal(w.peer->mem, expect, 2 * P);
	assert_memory_equal(file, expect + 2 * P, 2 * P);
	assert_memory_equal(other->mem, expect + 4 * P, 2 * P);
	assert_memory_equal(anon, expect + 6 * P, 2 * P);
	assert_memory_equal(w.peer->mem + 60 * P, expect + 8 * P, 2 * P);
	/* A refused part means that nothing is sent. */
	assert_int_equal(submit(&w, 9 * P, w.buf, 2 * P, true), -EFAULT);
	assert_int_equal(w.fault.iova, 10 * P);
	assert_int_equal(w.fault.len, P);
	assert_int_equal(w.peer->nr, 0);
	down(&w);
	iommu_peer_unref(&other->peer);
	assert_true(other_released);
	munmap(file, 4 * P);
	munmap(anon, 4 * P);
	free(expect);
	close(fd);
	close(self);
}

static void test_nobody_else_waits(void **state)
{
	struct uvfio_dma_pin pin;
	struct iommu_fault fault;
	struct iovec iov[4];
	struct world w;

	up(&w, 4096, 8);
	map1(&w, 0, 4, RW, peer_mem(&w, 0, 4));
	assert_int_equal(iommu_copy(w.space, NULL, 0, w.buf, 8, false, &fault), -ENOTSUP);
	assert_int_equal(iommu_pin(w.space, NULL, 0, 8, false, iov, 4, &pin, &fault), -ENOTSUP);
	assert_int_equal(w.peer->started, 0);
	unmap(&w, 0, 4, 1);
	down(&w);
}

static void test_limits(void **state)
{
	struct world w;

	up(&w, 512, 5);
	map1(&w, 0, 64, RW, peer_mem(&w, 0, 64));
	assert_int_equal(submit(&w, 0, w.buf, 64 * P, false), 1);
	for (unsigned i = 0; i < 64 * 8; i++) {
		assert_true(w.peer->nr <= 5);
		assert_true(test_peer_answer(w.peer, i % w.peer->nr, 0));
	}
	assert_int_equal(w.peer->most, 5);
	assert_int_equal(settled(&w), 1);
	assert_memory_equal(w.buf, w.peer->mem, 64 * P);
	down(&w);

	/* In bytes too, but for one message. */
	up(&w, 1u << 30, 1000);
	w.peer->peer.inflight = 1;
	w.peer->peer.inflight_bytes = IOMMU_PEER_INFLIGHT_BYTES - 8191;
	map1(&w, 0, 64, RW, peer_mem(&w, 0, 64));
	assert_int_equal(submit(&w, 0, w.buf, 8192, false), 1);
	assert_int_equal(w.peer->nr, 0);
	w.peer->peer.inflight = 0;
	assert_int_equal(submit(&w, 0, w.buf, 1, false), 1);
	w.peer->peer.inflight_bytes = 8192;
	assert_int_equal(w.peer->nr, 1);
	assert_int_equal(answer_all(&w, 0), 2);
	assert_int_equal(settled(&w), 2);
	down(&w);
}

/* The status is that of the first address that failed. */
static void test_errors(void **state)
{
	struct world w;

	up(&w, 4096, 8);
	map1(&w, 0, 8, RW, peer_mem(&w, 0, 8));
	assert_int_equal(submit(&w, 0, w.buf, 6 * P, false), 1);
	assert_true(test_peer_answer(w.peer, 4, -EINVAL)); /* page 4 */
	assert_true(test_peer_answer(w.peer, 2, -EIO));    /* page 2 */
	assert_true(test_peer_answer(w.peer, 2, -ENOMEM)); /* page 3 */
	assert_int_equal(settled(&w), 0);
	assert_int_equal(answer_all(&w, 0), 3);
	assert_int_equal(settled(&w), 1);
	assert_int_equal(w.status, -EIO);
	assert_int_equal(w.fault.reason, IOMMU_FAULT_GONE);
	assert_int_equal(w.fault.iova, 2 * P);
	assert_int_equal(w.fault.len, 4 * P);
	assert_false(w.fault.write);
	/* What cannot be sent. */
	w.peer->refuse = 2;
	assert_int_equal(submit(&w, 0, w.buf, 3 * P, true), 1);
	assert_int_equal(w.peer->nr, 1);
	assert_int_equal(answer_all(&w, 0), 1);
	assert_int_equal(settled(&w), 1);
	assert_int_equal(w.status, -EIO);
	assert_int_equal(w.fault.iova, 0);
	assert_true(w.fault.write);
	w.peer->refuse = 1;
	assert_int_equal(submit(&w, 0, w.buf, 8, true), 1);
	assert_int_equal(settled(&w), 1);
	assert_int_equal(w.status, -EIO);
	down(&w);
}

/* ---- abandoning ---- */

static void test_unmap(void **state)
{
	struct world w;

	up(&w, 4096, 4);
	map1(&w, 0, 4, RW, peer_mem(&w, 0, 4));
	map1(&w, 4, 4, RW, peer_mem(&w, 4, 4));
	memset(w.buf, 0x77, 8 * P);
	/* Pages 2 and 3 of the first mapping, 4 to 7 of the second: two of those wait. */
	assert_int_equal(submit(&w, 2 * P, w.buf, 6 * P, false), 1);
	assert_int_equal(w.peer->nr, 4);
	unmap(&w, 4, 4, 1); /* returns */
	assert_int_equal(w.peer->cancelled, 2);
	assert_int_equal(settled(&w), 0);
	/* The rest goes on. */
	assert_true(test_peer_answer(w.peer, 0, 0));
	assert_true(test_peer_answer(w.peer, 0, 0));
	assert_int_equal(settled(&w), 1);
	assert_int_equal(w.status, -EFAULT);
	assert_int_equal(w.fault.reason, IOMMU_FAULT_UNMAPPED);
	assert_int_equal(w.fault.iova, 4 * P);
	assert_int_equal(w.fault.len, 4 * P);
	/* The late answers touch nothing, and are accounted for until they come. */
	memset(w.buf, 0x78, 8 * P);
	assert_int_equal(w.peer->peer.inflight, 2);
	assert_int_equal(answer_all(&w, 0), 2);
	assert_int_equal(w.peer->peer.inflight, 0);
	assert_int_equal(w.peer->peer.inflight_bytes, 0);
	for (unsigned i = 0; i < 8 * P; i++)
		assert_int_equal(w.buf[i], 0x78);
	assert_int_equal(settled(&w), 1);
	down(&w);
}

/* Messages that are never answered: everything goes away but them. */
static void test_space_goes_first(void **state)
{
	struct world w;

	up(&w, 4096, 4);
	map1(&w, 0, 64, RW, peer_mem(&w, 0, 64));
	assert_int_equal(submit(&w, 0, w.buf, 64 * P, true), 1);
	iommu_space_free(w.space);
	w.space = NULL;
	assert_int_equal(settled(&w), 1);
	assert_int_equal(w.status, -EFAULT);
	assert_int_equal(w.fault.iova, 0);
	assert_int_equal(w.peer->nr, 4);
	assert_int_equal(w.peer->cancelled, 4);
	iommu_peer_ref(&w.peer->peer);
	iommu_peer_unref(&w.peer->peer);
	assert_false(w.released);
	down(&w);
}

static void test_peer_dies(void **state)
{
	struct world w;

	up(&w, 4096, 4);
	map1(&w, 0, 64, RW, peer_mem(&w, 0, 64));
	assert_int_equal(submit(&w, P, w.buf, 20 * P, true), 1);
	assert_true(test_peer_answer(w.peer, 0, 0));
	assert_int_equal(w.peer->nr, 4);
	iommu_peer_dead(&w.peer->peer);
	assert_int_equal(settled(&w), 1);
	assert_int_equal(w.status, -EIO);
	assert_int_equal(w.fault.reason, IOMMU_FAULT_GONE);
	assert_int_equal(w.fault.iova, 2 * P);
	/* The connection gives back what it had; nothing new begins. */
	assert_int_equal(answer_all(&w, -ECONNRESET), 4);
	assert_int_equal(submit(&w, 0, w.buf, 8, false), 1);
	assert_int_equal(settled(&w), 1);
	assert_int_equal(w.status, -EIO);
	assert_int_equal(w.peer->started, 5);
	unmap(&w, 0, 64, 1);
	down(&w);
}

static void test_user_stops(void **state)
{
	struct iommu_user other;
	struct world w;

	up(&w, 4096, 4);
	iommu_user_init(&other, w.ctx);
	map1(&w, 0, 64, RW, peer_mem(&w, 0, 64));
	assert_int_equal(submit(&w, P, w.buf, 2 * P, false), 1);
	assert_int_equal(iommu_submit(&other, w.space, NULL, 0, w.buf + 8 * P, 3 * P, false,
				      on_done, &w, NULL),
			 1);
	iommu_user_abandon(&other, -EPERM);
	assert_int_equal(settled(&w), 1);
	assert_int_equal(w.status, -EPERM);
	assert_int_equal(w.fault.reason, IOMMU_FAULT_BUS_MASTER);
	assert_int_equal(w.peer->cancelled, 2);
	/* The first one is not concerned. */
	assert_int_equal(answer_all(&w, 0), 4);
	assert_int_equal(settled(&w), 2);
	assert_int_equal(w.status, 0);
	assert_memory_equal(w.buf, w.peer->mem + P, 2 * P);
	iommu_user_abandon(&w.user, -EPERM); /* nothing to do */
	iommu_user_fini(&other);
	down(&w);
}

static void test_drain(void **state)
{
	struct world w;

	up(&w, 4096, 4);
	map1(&w, 0, 8, RW, peer_mem(&w, 0, 8));
	map1(&w, 8, 8, RW, peer_mem(&w, 8, 8));
	assert_int_equal(submit(&w, 7 * P, w.buf, 2 * P, false), 1);
	iommu_drain(w.space, 8 * P, 9 * P);
	assert_int_equal(w.peer->cancelled, 1);
	assert_int_equal(answer_all(&w, 0), 2);
	assert_int_equal(settled(&w), 1);
	assert_int_equal(w.status, -EFAULT);
	assert_int_equal(w.fault.iova, 8 * P);
	/* The mapping is still there. */
	assert_int_equal(submit(&w, 8 * P, w.buf, 8, false), 1);
	assert_int_equal(answer_all(&w, 0), 1);
	assert_int_equal(settled(&w), 1);
	assert_int_equal(w.status, 0);
	down(&w);
}

/* ---- memory of a process that may block ---- */

static struct iommu_mem blocking_mem(int fd, const void *addr, uint64_t pages)
{
	return (struct iommu_mem){.kind = IOMMU_MEM_PROCESS,
				  .fd = fd,
				  .offset = (uintptr_t)addr,
				  .len = pages * P,
				  .file_id = {2, (uint64_t)fd},
				  .page = P,
				  .may_block = true};
}

static void wait_done(struct world *w)
{
	while (!settled(w))
		sched_yield();
}

static void test_process(void **state)
{
	int self = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	uint8_t *mem =
		mmap(NULL, 64 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct world w;

	up(&w, 4096, 4);
	map1(&w, 0, 64, RW, blocking_mem(self, mem, 64));
	for (unsigned i = 0; i < 60 * P; i++)
		w.buf[i] = (uint8_t)(i / 11);
	assert_int_equal(submit(&w, 3, w.buf, 60 * P, true), 1);
	wait_done(&w);
	assert_int_equal(w.status, 0);
	assert_memory_equal(mem + 3, w.buf, 60 * P);
	memset(w.buf, 0, sizeof(w.buf));
	assert_int_equal(submit(&w, 3, w.buf, 60 * P, false), 1);
	wait_done(&w);
	assert_int_equal(w.status, 0);
	assert_memory_equal(mem + 3, w.buf, 60 * P);
	/* An unmap lets a copy that is going on end, and does not hurt it. */
	for (unsigned i = 0; i < 100; i++) {
		memset(w.buf, (int)i, 60 * P);
		assert_int_equal(submit(&w, 0, w.buf, 60 * P, true), 1);
		unmap(&w, 0, 64, 1);
		memset(mem, 0xCC, 64 * P);
		wait_done(&w);
		assert_true(w.status == 0 || w.status == -EFAULT);
		map1(&w, 0, 64, RW, blocking_mem(self, mem, 64));
	}
	/* Memory that is no more. */
	munmap(mem + 8 * P, P);
	assert_int_equal(submit(&w, 8 * P, w.buf, 8, true), 1);
	wait_done(&w);
	assert_int_equal(w.status, -EIO);
	munmap(mem, 64 * P);
	close(self);
	down(&w);
}

/* A client of its own, because who waits for a page in this way holds up its address space. */
static pid_t client_new(int *mem)
{
	pid_t pid = fork();
	char path[32];

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	*mem = open(path, O_RDWR | O_CLOEXEC);
	assert_true(*mem >= 0);
	return pid;
}

static void test_process_stalls(void **state)
{
	struct stalling_file *file = stalling_file_new(64 * P);
	uint8_t *good = mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *stalling, byte;
	struct iommu_space *other;
	struct iommu_mem mem;
	int fd, client, self;
	struct stat st;
	struct world w;
	pid_t pid;

	if (!file)
		skip();
	fd = open(file->path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0 && fstat(fd, &st) == 0); /* which learns the size */
	stalling = mmap(NULL, 64 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(stalling, MAP_FAILED);
	pid = client_new(&client);
	self = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	up(&w, 4096, 4);
	map1(&w, 0, 64, RW, blocking_mem(client, stalling, 64));
	memset(w.buf, 0x77, sizeof(w.buf));
	assert_int_equal(submit(&w, 0, w.buf, 40 * P, true), 1);
	assert_int_equal(submit(&w, 40 * P, w.buf, 24 * P, true), 1);
	stalling_file_wait(file);
	/* Another address space is not concerned, whatever the threads of this one do. */
	other = iommu_space_new(10);
	mem = blocking_mem(self, good, 1);
	assert_int_equal(iommu_map(other, 0, P, RW, &mem, 1), 0);
	assert_int_equal(iommu_submit(&w.user, other, NULL, 5, w.buf, 8, true, on_done, &w, NULL),
			 1);
	wait_done(&w);
	assert_int_equal(w.done, 1);
	assert_int_equal(w.status, 0);
	assert_int_equal(good[5], 0x77);
	/* Nor does an unmap wait, or the end of the space. */
	w.done = 0;
	unmap(&w, 0, 64, 1);
	assert_int_equal(settled(&w), 2);
	assert_int_equal(w.status, -EFAULT);
	iommu_space_free(w.space);
	iommu_space_free(other);
	w.space = NULL;
	/* What was abandoned is not written when the memory comes back. */
	stalling_file_go(file);
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(pread(client, &byte, 1, (off_t)(uintptr_t)(stalling + i * P)), 1);
		assert_int_equal(byte, 0);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	munmap(stalling, 64 * P);
	munmap(good, P);
	close(fd);
	close(self);
	close(client);
	stalling_file_free(file);
	down(&w);
}

/* ---- everything at once ---- */

struct stress {
	struct world *w;
	atomic_bool stop;
	atomic_uint submitted, completed, ok;
};

struct stress_op {
	struct uvfio_work work;
	struct stress *s;
	bool busy; /* of the context */
	unsigned turn, seed;
	uint8_t buf[5 * 4096];
};

static void stress_done(void *arg, int status, const struct iommu_fault *fault)
{
	struct stress_op *op = arg;

	assert_true(op->busy);
	op->busy = false;
	op->s->completed++;
	op->s->ok += !status;
	if (!op->s->stop)
		uvfio_ctx_post(op->s->w->ctx, &op->work);
}

static void stress_submit(struct uvfio_work *work)
{
	struct stress_op *op = (struct stress_op *)work;
	uint64_t iova = (op->seed = op->seed * 1103515245 + 12345) % (59 * 4096);
	struct iommu_fault fault;
	int ret;

	op->busy = true;
	op->s->submitted++;
	ret = iommu_submit(&op->s->w->user, op->s->w->space, NULL, iova, op->buf, sizeof(op->buf),
			   op->turn++ & 1, stress_done, op, &fault);
	if (ret != 1)
		stress_done(op, ret, &fault);
}

static void *stress_answer(void *arg)
{
	struct stress *s = arg;
	unsigned seed = 7, nr;

	while (!s->stop) {
		seed = seed * 1103515245 + 12345;
		pthread_mutex_lock(&s->w->peer->lock);
		nr = s->w->peer->nr;
		pthread_mutex_unlock(&s->w->peer->lock);
		if (nr)
			test_peer_answer(s->w->peer, (seed >> 16) % nr,
					 (seed >> 8) % 50 ? 0 : -EIO);
		else
			sched_yield();
	}
	return NULL;
}

static void test_stress(void **state)
{
	static struct stress_op ops[24];
	struct stress s = {0};
	pthread_t thread[2];
	struct world w;

	up(&w, 3000, 16);
	s.w = &w;
	for (unsigned page = 0; page < 64; page += 4)
		map1(&w, page, 4, RW, peer_mem(&w, page, 4));
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, stress_answer, &s), 0);
	for (unsigned i = 0; i < 24; i++) {
		ops[i].work = (struct uvfio_work){.fn = stress_submit};
		ops[i].s = &s;
		ops[i].seed = i;
		uvfio_ctx_post(w.ctx, &ops[i].work);
	}
	for (unsigned i = 0; i < 400 || s.ok < 200; i++) {
		unsigned page = i * 4 % 64;

		unmap(&w, page, 4, 1);
		if (i % 16 == 15)
			iommu_drain(w.space, 0, 64 * P);
		map1(&w, page, 4, RW, peer_mem(&w, page, 4));
	}
	s.stop = true;
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	uvfio_ctx_flush(w.ctx);
	iommu_user_abandon(&w.user, -EPERM);
	uvfio_ctx_flush(w.ctx);
	assert_int_equal(s.submitted, s.completed);
	for (unsigned i = 0; i < 24; i++)
		assert_false(ops[i].busy);
	down(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_and_write),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_nobody_else_waits),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_unmap),
		cmocka_unit_test(test_space_goes_first),
		cmocka_unit_test(test_peer_dies),
		cmocka_unit_test(test_user_stops),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_process),
		cmocka_unit_test(test_process_stalls),
		cmocka_unit_test(test_stress),
	};

	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
