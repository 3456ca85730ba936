/* SPDX-License-Identifier: BSD-3-Clause */
/* Fused commands: Compare and Write as one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/nvme/nvme.h"
#include "nvme_harness.h"

#define FIRST  1
#define SECOND 2

static uint64_t page_of(struct harness *h, int byte)
{
	uint64_t p = h_alloc(h, 4096, 4096);

	memset(h_ptr(h, p), byte, 4096);
	return p;
}

static struct nvme_sqe half(uint8_t opcode, unsigned fuse, uint64_t slba, uint64_t p)
{
	struct nvme_sqe cmd = h_rw(opcode, 1, slba, 1, p, 0);

	cmd.flags = (uint8_t)fuse;
	return cmd;
}

/* The status of the next completion of queue @qid, which must be of @cid. */
static unsigned status_of(struct harness *h, unsigned qid, uint16_t cid)
{
	struct nvme_cqe cqe;

	assert_true(h_pop(h, qid, &cqe));
	assert_int_equal(cqe.cid, cid);
	h_ring_cq(h, qid);
	h_run(h);
	return (cqe.status >> 1) & ~(unsigned)NVME_SC_MORE;
}

static void no_more(struct harness *h, unsigned qid)
{
	struct nvme_cqe cqe;

	assert_false(h_pop(h, qid, &cqe));
}

/* Two commands by one doorbell, and what became of them. */
static void both(struct harness *h, const struct nvme_sqe *a, const struct nvme_sqe *b,
		 unsigned status_a, unsigned status_b)
{
	uint16_t first = h_push(h, 1, a), second = h_push(h, 1, b);

	h_ring_sq(h, 1);
	h_run(h);
	assert_int_equal(status_of(h, 1, first), status_a);
	assert_int_equal(status_of(h, 1, second), status_b);
	no_more(h, 1);
}

/* ---- what it does ---- */

static void way_direct(struct harness *h)
{
}

static void way_async(struct harness *h)
{
	h->block_direct = false;
	h->block_async = h->delay_dma = true;
}

static void way_bounce(struct harness *h)
{
	way_async(h);
	h->no_pin = true;
}

static void (*const ways[])(struct harness *h) = {way_direct, way_async, way_bounce};

static void compare_and_write(void **state)
{
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		struct harness *h = h_ready("memory=1M", ways[i]);
		uint64_t old = page_of(h, 0), new = page_of(h, 7);
		struct nvme_sqe a = half(NVME_IO_COMPARE, FIRST, 5, old);
		struct nvme_sqe b = half(NVME_IO_WRITE, SECOND, 5, new);
		uint8_t *disk = h->blocks[0]->data;

		both(h, &a, &b, 0, 0);
		assert_int_equal(disk[5 * 512], 7);
		assert_int_equal(disk[6 * 512 - 1], 7);
		assert_int_equal(disk[6 * 512], 0);
		/* It does not compare any more: nothing is written. */
		b.prp1 = page_of(h, 9);
		both(h, &a, &b, DNR(NVME_SC_COMPARE_FAILURE), DNR(NVME_SC_FAILED_FUSED));
		assert_int_equal(disk[5 * 512], 7);
		a.prp1 = new;
		both(h, &a, &b, 0, 0);
		assert_int_equal(disk[5 * 512], 9);
		h_free(h);
	}
}

static void identify(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_id_ctrl *id;

	assert_int_equal(h_admin(h, NVME_ADM_IDENTIFY, 0, NVME_CNS_CTRL, 0, (void **)&id, NULL), 0);
	assert_int_equal(id->fuses, 1);
	assert_int_equal(id->acwu, 0); /* one block */
	h_free(h);
}

/* The Write fails: the Compare has succeeded all the same. */
static void write_fails(void **state)
{
	struct harness *h = h_ready("memory=1M", way_async);
	struct nvme_sqe a = half(NVME_IO_COMPARE, FIRST, 5, page_of(h, 0));
	struct nvme_sqe b = half(NVME_IO_WRITE, SECOND, 5, page_of(h, 7));
	struct nvme_sqe read = h_rw(NVME_IO_READ, 1, 0, 1, page_of(h, 0), 0);

	h->blocks[0]->fail = true;
	h->blocks[0]->fail_op = BLOCK_WRITE;
	h->blocks[0]->fail_errno = -5;
	both(h, &a, &b, 0, NVME_SC_WRITE_FAULT);
	h->blocks[0]->fail = true;
	h->blocks[0]->fail_op = BLOCK_READ;
	h->blocks[0]->fail_after = 0;
	both(h, &a, &b, NVME_SC_UNRECOVERED_READ, DNR(NVME_SC_FAILED_FUSED));
	assert_int_equal(h->blocks[0]->nr_ops[BLOCK_WRITE], 1);
	/* The namespace is free again. */
	assert_int_equal(h_cmd(h, 1, &read, NULL), 0);
	h_free(h);
}

/* ---- the two halves ---- */

static void missing(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_sqe a = half(NVME_IO_COMPARE, FIRST, 5, page_of(h, 0));
	struct nvme_sqe b = half(NVME_IO_WRITE, SECOND, 5, page_of(h, 7));
	struct nvme_sqe read = h_rw(NVME_IO_READ, 1, 0, 1, page_of(h, 0), 0);
	struct nvme_sqe odd = read;
	uint16_t cid;

	h->delay_dma = false; /* which of two completes first is looked at */
	/* No first; no second; another first; a tail that stops between them. */
	assert_int_equal(h_cmd(h, 1, &b, NULL), DNR(NVME_SC_MISSING_FUSED));
	both(h, &a, &read, DNR(NVME_SC_MISSING_FUSED), 0);
	both(h, &read, &b, 0, DNR(NVME_SC_MISSING_FUSED));
	both(h, &a, &a, DNR(NVME_SC_MISSING_FUSED), DNR(NVME_SC_MISSING_FUSED));
	assert_int_equal(h_cmd(h, 1, &a, NULL), DNR(NVME_SC_MISSING_FUSED));
	assert_int_equal(h_cmd(h, 1, &b, NULL), DNR(NVME_SC_MISSING_FUSED));
	/* first, first, second: the latter two belong together. */
	cid = h_push(h, 1, &a);
	h_push(h, 1, &a);
	h_push(h, 1, &b);
	h_ring_sq(h, 1);
	h_run(h);
	assert_int_equal(status_of(h, 1, cid), DNR(NVME_SC_MISSING_FUSED));
	assert_int_equal(status_of(h, 1, (uint16_t)(cid + 1)), 0);
	assert_int_equal(status_of(h, 1, (uint16_t)(cid + 2)), 0);
	assert_int_equal(h->blocks[0]->data[5 * 512], 7);
	odd.flags = 3;
	assert_int_equal(h_cmd(h, 1, &odd, NULL), DNR(NVME_SC_INVALID_FIELD));
	/* Not of the admin queue. */
	odd = (struct nvme_sqe){.opcode = NVME_ADM_GET_FEATURES, .flags = FIRST, .cdw10 = 1};
	assert_int_equal(h_cmd(h, 0, &odd, NULL), DNR(NVME_SC_INVALID_FIELD));
	h_free(h);
}

/* Of two queues each has its own. */
static void not_of_another_queue(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_sqe a = half(NVME_IO_COMPARE, FIRST, 5, page_of(h, 0));
	struct nvme_sqe b = half(NVME_IO_WRITE, SECOND, 5, page_of(h, 7));
	uint16_t first, second;

	h_create_pair(h, 2, 16);
	first = h_push(h, 1, &a);
	second = h_push(h, 2, &b);
	h_ring_sq(h, 1);
	h_ring_sq(h, 2);
	h_run(h);
	assert_int_equal(status_of(h, 1, first), DNR(NVME_SC_MISSING_FUSED));
	assert_int_equal(status_of(h, 2, second), DNR(NVME_SC_MISSING_FUSED));
	h_free(h);
}

static void refusals(void **state)
{
	struct harness *h = h_ready("memory=1M,ns=memory=1M,ns=memory=1M:readonly=on", NULL);
	const struct nvme_sqe a = half(NVME_IO_COMPARE, FIRST, 5, page_of(h, 0));
	const struct nvme_sqe b = half(NVME_IO_WRITE, SECOND, 5, page_of(h, 7));
	const unsigned other = DNR(NVME_SC_FAILED_FUSED), field = DNR(NVME_SC_INVALID_FIELD);
	struct nvme_sqe x = a, y = b;

	/* The only sequence is Compare, Write. */
	x.opcode = NVME_IO_READ;
	both(h, &x, &b, field, other);
	y.opcode = NVME_IO_WRITE_ZEROES;
	both(h, &a, &y, other, field);
	x.opcode = NVME_IO_WRITE;
	y.opcode = NVME_IO_COMPARE;
	both(h, &x, &y, field, field);
	/* The same blocks of the same namespace, no more of them than ACWU. */
	x = a, y = b;
	y.cdw10 = 6;
	both(h, &a, &y, field, field);
	y = b;
	y.nsid = 2;
	both(h, &a, &y, field, field);
	y = b;
	y.cdw12 = 1;
	both(h, &a, &y, field, field);
	x.cdw12 = 1;
	both(h, &x, &y, DNR(NVME_SC_ATOMIC_UNIT), DNR(NVME_SC_ATOMIC_UNIT));
	x = a, y = b;
	x.nsid = y.nsid = 9;
	both(h, &x, &y, DNR(NVME_SC_INVALID_NS), DNR(NVME_SC_INVALID_NS));
	x.nsid = y.nsid = 3;
	both(h, &x, &y, other, DNR(NVME_SC_WRITE_PROTECTED));
	x = a, y = b;
	x.cdw10 = y.cdw10 = 2048;
	both(h, &x, &y, DNR(NVME_SC_LBA_RANGE), other);
	x = a, y = b;
	x.flags |= 0xc0;
	both(h, &x, &b, field, other);
	x = a;
	x.prp1 = 0x10;
	both(h, &x, &b, DNR(NVME_SC_DATA_TRANSFER), other);
	assert_int_equal(h->blocks[0]->data[5 * 512], 0);
	both(h, &a, &b, 0, 0);
	h_free(h);
}

static void cid_conflict(void **state)
{
	struct harness *h = h_ready("memory=1M", way_async);
	struct nvme_sqe a = half(NVME_IO_COMPARE, FIRST, 5, page_of(h, 0));
	struct nvme_sqe b = half(NVME_IO_WRITE, SECOND, 5, page_of(h, 7));
	struct nvme_sqe read = h_rw(NVME_IO_READ, 1, 0, 1, page_of(h, 0), 0);
	uint16_t cid;

	h->hold_block = true;
	for (int i = 0; i < 2; i++) {
		cid = h_push(h, 1, &read);
		h_ring_sq(h, 1);
		h_run(h);
		if (i == 0)
			h->next_cid = cid; /* of the first */
		h_push(h, 1, &a);
		if (i == 1)
			h->next_cid = cid; /* of the second */
		h_push(h, 1, &b);
		h_ring_sq(h, 1);
		h_run(h);
		if (i == 0) {
			assert_int_equal(status_of(h, 1, cid), DNR(NVME_SC_CID_CONFLICT));
			assert_int_equal(status_of(h, 1, (uint16_t)(cid + 1)),
					 DNR(NVME_SC_FAILED_FUSED));
		} else {
			assert_int_equal(status_of(h, 1, (uint16_t)(cid + 1)),
					 DNR(NVME_SC_FAILED_FUSED));
			assert_int_equal(status_of(h, 1, cid), DNR(NVME_SC_CID_CONFLICT));
		}
		h_complete_io(h, 1);
		h_run(h);
		assert_int_equal(status_of(h, 1, cid), 0);
		h->next_cid = (uint16_t)(cid + 100);
	}
	h_free(h);
}

/* ---- the queue ---- */

/* At every place of the ring, the wrap-around included; with fetches that end between them. */
static void wrap_around(void **state)
{
	for (int delay = 0; delay < 2; delay++) {
		struct harness *h = h_ready("memory=1M", NULL);
		struct nvme_sqe a = half(NVME_IO_COMPARE, FIRST, 5, page_of(h, 0));
		struct nvme_sqe b = half(NVME_IO_WRITE, SECOND, 5, page_of(h, 0));
		struct nvme_sqe read = h_rw(NVME_IO_READ, 1, 0, 1, page_of(h, 0), 0);

		h->delay_dma = delay;
		h_create_pair(h, 2, 9);
		for (unsigned i = 0; i < 30; i++) {
			struct nvme_cqe cqe;
			unsigned got = 0;

			for (unsigned n = 0; n < i % 5; n++)
				h_push(h, 2, &read);
			h_push(h, 2, &a);
			h_push(h, 2, &b);
			h_ring_sq(h, 2);
			h_run(h);
			while (h_pop(h, 2, &cqe)) {
				assert_int_equal(cqe.status >> 1, 0);
				got++;
			}
			assert_int_equal(got, i % 5 + 2);
			h_ring_cq(h, 2);
			h_run(h);
		}
		/* The first is the last entry of one fetch. */
		for (unsigned n = 0; n < NVME_FETCH_MAX - 1; n++)
			h_push(h, 1, &read);
		h_push(h, 1, &a);
		h_push(h, 1, &b);
		h_ring_sq(h, 1);
		h_run(h);
		for (unsigned n = 0; n < NVME_FETCH_MAX + 1; n++) {
			struct nvme_cqe cqe;

			assert_true(h_pop(h, 1, &cqe));
			assert_int_equal(cqe.status >> 1, 0);
		}
		h_free(h);
	}
}

/* A completion queue with room for one at a time. */
static void smallest_cq(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_sqe a = half(NVME_IO_COMPARE, FIRST, 5, page_of(h, 0));
	struct nvme_sqe b = half(NVME_IO_WRITE, SECOND, 5, page_of(h, 7));
	uint16_t first, second;

	assert_int_equal(h_create_cq(h, 2, 2, true, 2), 0);
	assert_int_equal(h_create_sq(h, 2, 8, 2), 0);
	for (int i = 0; i < 3; i++) {
		first = h_push(h, 2, &a);
		second = h_push(h, 2, &b);
		h_ring_sq(h, 2);
		h_run(h);
		assert_int_equal(status_of(h, 2, first), 0);
		assert_int_equal(status_of(h, 2, second), 0);
		no_more(h, 2);
		a.prp1 = b.prp1;
	}
	h_free(h);
}

/* The queue goes while the first waits for the second to be fetched. */
static void queue_deleted(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_sqe a = half(NVME_IO_COMPARE, FIRST, 5, page_of(h, 0));
	struct nvme_sqe b = half(NVME_IO_WRITE, SECOND, 5, page_of(h, 7));
	struct nvme_sqe read = h_rw(NVME_IO_READ, 1, 0, 1, page_of(h, 0), 0);
	struct nvme_sqe delete = {.opcode = NVME_ADM_DELETE_SQ, .cdw10 = 1};
	struct nvme_ctrl *c = h->priv;
	struct nvme_cqe cqe;
	bool seen = false;
	uint16_t first;

	for (unsigned n = 0; n < NVME_FETCH_MAX - 1; n++)
		h_push(h, 1, &read);
	first = h_push(h, 1, &a);
	h_push(h, 1, &b);
	h->delay_dma = h->hold_dma = true;
	h_ring_sq(h, 1);
	/* Everything that is moving, until the second is being fetched. */
	do {
		h_work(h);
		h_complete_dma(h, 1);
	} while (!c->sqs[1].fused);
	h_work(h);
	assert_true(c->sqs[1].fetching);
	h->hold_dma = h->delay_dma = false;
	h_push(h, 0, &delete);
	h_ring_sq(h, 0);
	h_run(h);
	assert_int_equal(c->sqs[1].state, NVME_SQ_UNUSED);
	while (h_pop(h, 1, &cqe)) {
		unsigned want = cqe.cid == first ? NVME_SC_ABORT_SQ_DELETED : 0;

		assert_int_equal((cqe.status >> 1) & NVME_SC_MASK, want);
		seen |= cqe.cid == first;
	}
	assert_true(seen);
	assert_int_equal(h->blocks[0]->data[5 * 512], 0);
	assert_true(h_pop(h, 0, &cqe));
	assert_int_equal(cqe.status >> 1, 0);
	h_free(h);
}

/* ---- alone ---- */

static void held(struct harness *h)
{
	way_async(h);
	h->delay_dma = false;
	h->hold_block = true;
}

/* Nothing is in progress beside it: neither what came before nor what came after, of any queue. */
static void atomic(void **state)
{
	struct harness *h = h_ready("memory=1M,ns=memory=1M", held);
	struct nvme_sqe a = half(NVME_IO_COMPARE, FIRST, 5, page_of(h, 0));
	struct nvme_sqe b = half(NVME_IO_WRITE, SECOND, 5, page_of(h, 7));
	struct nvme_sqe write = h_rw(NVME_IO_WRITE, 1, 5, 1, page_of(h, 9), 0);
	struct nvme_sqe elsewhere = h_rw(NVME_IO_WRITE, 2, 5, 1, page_of(h, 9), 0);
	uint8_t *disk = h->blocks[0]->data;
	uint16_t before, first, second, after;

	h_create_pair(h, 2, 16);
	before = h_push(h, 1, &write);
	h_ring_sq(h, 1);
	h_run(h);
	assert_int_equal(h->nr_io_pending, 1);
	first = h_push(h, 2, &a);
	second = h_push(h, 2, &b);
	h_ring_sq(h, 2);
	h_run(h);
	write.prp1 = page_of(h, 3);
	after = h_push(h, 1, &write);
	h_ring_sq(h, 1);
	h_run(h);
	assert_int_equal(h->nr_io_pending, 1);
	/* Another namespace is not concerned. */
	h_push(h, 1, &elsewhere);
	h_ring_sq(h, 1);
	h_run(h);
	assert_int_equal(h->nr_io_pending, 2);
	h_complete_io(h, 2);
	h_run(h);
	assert_int_equal(disk[5 * 512], 9);
	assert_int_equal(status_of(h, 1, before), 0);
	assert_int_equal(status_of(h, 1, (uint16_t)(after + 1)), 0);
	/* The Compare fails now; the write behind it goes on. */
	assert_int_equal(h->nr_io_pending, 1);
	h_complete_io(h, 1);
	h_run(h);
	assert_int_equal(status_of(h, 2, first), DNR(NVME_SC_COMPARE_FAILURE));
	assert_int_equal(status_of(h, 2, second), DNR(NVME_SC_FAILED_FUSED));
	assert_int_equal(h->nr_io_pending, 1);
	h_complete_io(h, 1);
	h_run(h);
	assert_int_equal(status_of(h, 1, after), 0);
	assert_int_equal(disk[5 * 512], 3);
	h_free(h);
}

static void slow_fua(struct harness *h)
{
	held(h);
	h->block_volatile = h->block_no_fua = true;
}

/* The namespace comes to rest within the pass of work, where nothing else calls for another. */
static void rest_in_work(void **state)
{
	struct harness *h = h_ready("memory=1M", slow_fua);
	struct nvme_sqe a = half(NVME_IO_COMPARE, FIRST, 5, page_of(h, 0));
	struct nvme_sqe b = half(NVME_IO_WRITE, SECOND, 5, page_of(h, 7));
	struct nvme_sqe write = h_rw(NVME_IO_WRITE, 1, 9, 1, page_of(h, 9), 0);

	write.cdw12 |= NVME_RW_FUA; /* two requests to the backend */
	h->hold_block = false;
	h->kick_completes = true;
	h_push(h, 1, &write);
	h_push(h, 1, &a);
	h_push(h, 1, &b);
	h_push(h, 1, &write);
	h_ring_sq(h, 1);
	while (h_work(h))
		;
	for (unsigned i = 0; i < 4; i++) {
		struct nvme_cqe cqe;

		assert_true(h_pop(h, 1, &cqe));
		assert_int_equal(cqe.status >> 1, 0);
	}
	assert_int_equal(h->blocks[0]->data[5 * 512], 7);
	h_free(h);
}

/* Many hosts count in one block, each by reading it and then Compare and Write; every one that
 * succeeds has counted, whatever is between. */
static void counting(void **state)
{
	enum { HOSTS = 6, ROUNDS = 4000 };
	struct harness *h = h_ready("memory=1M", held);
	uint64_t page[HOSTS][2];
	uint16_t second[HOSTS];
	uint32_t counted = 0;
	bool reading[HOSTS] = {false}, fused[HOSTS] = {false};

	srand(3);
	for (unsigned i = 0; i < HOSTS; i++) {
		if (i)
			h_create_pair(h, i + 1, 16);
		page[i][0] = page_of(h, 0);
		page[i][1] = page_of(h, 0);
	}
	for (unsigned n = 0; n < ROUNDS; n++) {
		unsigned i = (unsigned)rand() % HOSTS;
		struct nvme_cqe cqe;

		if (!reading[i] && !fused[i]) {
			struct nvme_sqe read = h_rw(NVME_IO_READ, 1, 8, 1, page[i][0], 0);

			h_push(h, i + 1, &read);
			reading[i] = true;
		}
		h_ring_sq(h, i + 1);
		h_work(h);
		if (rand() % 2)
			h_complete_io(h, 1);
		h_run(h);
		while (h_pop(h, i + 1, &cqe)) {
			if (reading[i]) {
				struct nvme_sqe a = half(NVME_IO_COMPARE, FIRST, 8, page[i][0]);
				struct nvme_sqe b = half(NVME_IO_WRITE, SECOND, 8, page[i][1]);
				uint32_t *new = h_ptr(h, page[i][1]);

				memcpy(new, h_ptr(h, page[i][0]), 512);
				new[0]++;
				new[1] = i;
				h_push(h, i + 1, &a);
				second[i] = h_push(h, i + 1, &b);
				reading[i] = false;
				fused[i] = true;
			} else if (cqe.cid == second[i]) {
				counted += !(cqe.status >> 1);
				fused[i] = false;
			}
		}
		h_ring_cq(h, i + 1);
	}
	h->hold_block = false;
	for (unsigned i = 0; i < HOSTS; i++) {
		struct nvme_cqe cqe;

		h_ring_sq(h, i + 1);
		h_run(h);
		while (h_pop(h, i + 1, &cqe))
			counted += fused[i] && cqe.cid == second[i] && !(cqe.status >> 1);
	}
	assert_true(counted > ROUNDS / 100);
	assert_int_equal(*(uint32_t *)(h->blocks[0]->data + 8 * 512), counted);
	h_free(h);
}

static void aborts(void **state)
{
	struct harness *h = h_ready("memory=1M", held);
	struct nvme_sqe a = half(NVME_IO_COMPARE, FIRST, 5, page_of(h, 0));
	struct nvme_sqe b = half(NVME_IO_WRITE, SECOND, 5, page_of(h, 7));
	struct nvme_sqe read = h_rw(NVME_IO_READ, 1, 0, 1, page_of(h, 0), 0);
	struct nvme_sqe abort_cmd = {.opcode = NVME_ADM_ABORT};
	uint16_t before, first, second, after;
	struct nvme_cqe cqe;

	before = h_push(h, 1, &read);
	first = h_push(h, 1, &a);
	second = h_push(h, 1, &b);
	after = h_push(h, 1, &read);
	h_ring_sq(h, 1);
	h_run(h);
	/* What waits behind the pair can be aborted; neither of the two is alone. */
	for (int i = 0; i < 3; i++) {
		abort_cmd.cdw10 = 1 | (uint32_t)(i == 0 ? first : i == 1 ? second : after) << 16;
		assert_int_equal(h_cmd(h, 0, &abort_cmd, &cqe), 0);
		assert_int_equal(cqe.dw0, i < 2);
	}
	assert_int_equal(status_of(h, 1, after), NVME_SC_ABORT_REQUESTED);
	h->hold_block = false;
	h_run(h);
	assert_int_equal(status_of(h, 1, before), 0);
	assert_int_equal(status_of(h, 1, first), 0);
	assert_int_equal(status_of(h, 1, second), 0);
	h_free(h);
}

/* A reset, a shutdown, a format and the queue's deletion at every step of a pair. */
static void interrupted(void **state)
{
	for (unsigned steps = 0; steps < 6; steps++) {
		for (unsigned how = 0; how < 5; how++) {
			struct harness *h = h_ready("memory=1M", held);
			struct nvme_sqe a = half(NVME_IO_COMPARE, FIRST, 5, page_of(h, 0));
			struct nvme_sqe b = half(NVME_IO_WRITE, SECOND, 5, page_of(h, 7));
			struct nvme_sqe read = h_rw(NVME_IO_READ, 1, 0, 1, page_of(h, 0), 0);
			struct nvme_sqe delete = {.opcode = NVME_ADM_DELETE_SQ, .cdw10 = 1};
			struct nvme_sqe format = {.opcode = NVME_ADM_FORMAT, .nsid = 1};
			struct nvme_ctrl *c = h->priv;

			h_push(h, 1, &read);
			h_push(h, 1, &a);
			h_push(h, 1, &b);
			h_push(h, 1, &read);
			h_push(h, 1, &a);
			h_push(h, 1, &b);
			h_ring_sq(h, 1);
			h_run(h);
			for (unsigned i = 0; i < steps; i++) {
				h_complete_io(h, 1);
				h_run(h);
			}
			switch (how) {
			case 0:
				h_reset(h, UVFIO_RESET_FUNCTION);
				break;
			case 1:
				h_disable(h);
				h->hold_block = false;
				h_run(h);
				break;
			case 2:
				h_write32(h, 0x14, 4 << 20 | 6 << 16 | 1 << 14 | 1);
				h->hold_block = false;
				h_run(h);
				assert_int_equal(h_read32(h, 0x1c),
						 NVME_CSTS_RDY | NVME_CSTS_SHST_COMPLETE);
				h_disable(h);
				break;
			case 3:
				h_push(h, 0, &delete);
				h_ring_sq(h, 0);
				h->hold_block = false;
				h_run(h);
				assert_int_equal(c->sqs[1].state, NVME_SQ_UNUSED);
				h_disable(h);
				break;
			case 4:
				h_push(h, 0, &format);
				h_ring_sq(h, 0);
				h->hold_block = false;
				h_run(h);
				assert_false(c->ns[0].formatting);
				h_disable(h);
				break;
			}
			assert_int_equal(c->nr_fenced, 0);
			assert_int_equal(c->ns[0].inflight, 0);
			h->hold_block = false;
			assert_true(h_enable(h, 16));
			h_create_pair(h, 1, 16);
			memset(h->blocks[0]->data, 0, 1 << 20);
			both(h, &a, &b, 0, 0);
			h_free(h);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compare_and_write),
		cmocka_unit_test(identify),
		cmocka_unit_test(write_fails),
		cmocka_unit_test(missing),
		cmocka_unit_test(not_of_another_queue),
		cmocka_unit_test(refusals),
		cmocka_unit_test(cid_conflict),
		cmocka_unit_test(wrap_around),
		cmocka_unit_test(smallest_cq),
		cmocka_unit_test(queue_deleted),
		cmocka_unit_test(atomic),
		cmocka_unit_test(rest_in_work),
		cmocka_unit_test(counting),
		cmocka_unit_test(aborts),
		cmocka_unit_test(interrupted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
