/* SPDX-License-Identifier: BSD-3-Clause */
/* Many queues of the NVMe controller: in any order, deep, and where they must not be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/nvme/nvme.h"
#include "nvme_harness.h"

#define CSTS 0x1c
#define CC   0x14

static struct nvme_sqe flush_cmd(void)
{
	return (struct nvme_sqe){.opcode = NVME_IO_FLUSH, .nsid = 1};
}

static unsigned delete_queue(struct harness *h, bool sq, unsigned qid)
{
	struct nvme_sqe cmd = {.opcode = sq ? NVME_ADM_DELETE_SQ : NVME_ADM_DELETE_CQ,
			       .cdw10 = qid};

	return h_cmd(h, 0, &cmd, NULL);
}

/* Queues are created and deleted in any order: what the standard says happens, and no more. */
static void any_order(void **state)
{
	enum { QUEUES = 6 };
	struct harness *h = h_ready("memory=1M,queues=6", NULL);
	bool cq[QUEUES + 1] = {[1] = true}, sq[QUEUES + 1] = {[1] = true};
	unsigned cq_of[QUEUES + 1] = {[1] = 1};
	uint64_t mark = h->alloc;

	srand(5);
	for (unsigned i = 0; i < 6000; i++) {
		unsigned id = 1 + (unsigned)rand() % (QUEUES + 1);
		unsigned other = (unsigned)rand() % (QUEUES + 2);
		bool exists = id <= QUEUES, used = false;

		h->alloc = mark + (id - 1) * 16384;
		switch (rand() % 4) {
		case 0:
			if (!exists || cq[id]) {
				struct h_queue keep = h->q[id];

				h->alloc = mark + 128 * 1024; /* not where one lies */
				assert_int_equal(h_create_cq(h, id, 8, true, 0),
						 DNR(NVME_SC_QID_INVALID));
				h->q[id] = keep;
				break;
			}
			assert_int_equal(h_create_cq(h, id, 8, true, id), 0);
			cq[id] = true;
			break;
		case 1: {
			struct h_queue keep = h->q[id];
			unsigned r;

			h->alloc += exists && !sq[id] ? 8192 : 256 * 1024;
			r = h_create_sq(h, id, 8, other);
			if (!exists || sq[id] || !other || other > QUEUES)
				assert_int_equal(r, DNR(NVME_SC_QID_INVALID));
			else if (!cq[other])
				assert_int_equal(r, DNR(NVME_SC_CQ_INVALID));
			else
				assert_int_equal(r, 0);
			if (r) {
				h->q[id] = keep;
				break;
			}
			sq[id] = true;
			cq_of[id] = other;
			break;
		}
		case 2:
			for (unsigned s = 1; s <= QUEUES; s++)
				used |= sq[s] && cq_of[s] == id;
			if (!exists || !cq[id]) {
				assert_int_equal(delete_queue(h, false, id),
						 DNR(NVME_SC_QID_INVALID));
			} else if (used) {
				assert_int_equal(delete_queue(h, false, id),
						 DNR(NVME_SC_QUEUE_DELETION));
			} else {
				assert_int_equal(delete_queue(h, false, id), 0);
				cq[id] = false;
			}
			break;
		case 3:
			if (!exists || !sq[id]) {
				assert_int_equal(delete_queue(h, true, id),
						 DNR(NVME_SC_QID_INVALID));
				break;
			}
			assert_int_equal(h_cmd(h, id, &(struct nvme_sqe){.nsid = 1}, NULL), 0);
			assert_int_equal(delete_queue(h, true, id), 0);
			sq[id] = false;
			break;
		}
	}
	h_free(h);
}

/* 64 queue pairs of 4096 entries, all full at once, each with its vector. */
static void many_and_deep(void **state)
{
	enum { PAIRS = 64, ENTRIES = 4096 };
	struct harness *h = h_new("memory=4K");
	struct nvme_sqe cmd = flush_cmd();

	assert_true(h_enable(h, 64));
	for (unsigned q = 1; q <= PAIRS; q++)
		h_create_pair(h, q, ENTRIES);
	memset(h->irqs, 0, sizeof(h->irqs));
	for (unsigned q = 1; q <= PAIRS; q++) {
		for (unsigned i = 0; i < ENTRIES - 1; i++)
			h_push(h, q, &cmd);
		h_ring_sq(h, q);
	}
	h_run(h);
	for (unsigned q = 1; q <= PAIRS; q++) {
		struct nvme_cqe cqe;

		for (unsigned i = 0; i < ENTRIES - 1; i++) {
			assert_true(h_pop(h, q, &cqe));
			assert_int_equal(cqe.sqid, q);
			assert_int_equal(cqe.status >> 1, 0);
		}
		assert_false(h_pop(h, q, &cqe));
		assert_true(h->irqs[q] > 0);
	}
	assert_int_equal(h->irqs[0], 0);
	h_free(h);
}

/* Queues where they must not be: on each other, on the admin queues, on data, on nothing. */
static void hostile_memory(void **state)
{
	for (int which = 0; which < 5; which++) {
		struct harness *h = h_ready("memory=1M", NULL);
		const uint64_t where[] = {h->q[1].sq, h->q[1].cq, h->q[0].sq, h->q[0].cq,
					  0xfffffffffffff000ull};
		struct nvme_sqe cq = {.opcode = NVME_ADM_CREATE_CQ,
				      .prp1 = where[which],
				      .cdw10 = 63 << 16 | 2,
				      .cdw11 = 1};
		struct nvme_sqe sq = {.opcode = NVME_ADM_CREATE_SQ,
				      .prp1 = where[which],
				      .cdw10 = 63 << 16 | 2,
				      .cdw11 = 2 << 16 | 1};
		struct nvme_sqe cmd = flush_cmd();
		uint32_t csts;

		/* The controller does not look at the memory when a queue is created. */
		assert_int_equal(h_cmd(h, 0, &cq, NULL), 0);
		assert_int_equal(h_cmd(h, 0, &sq, NULL), 0);
		for (uint32_t i = 0; i < 200; i++) {
			h_write32(h, 0x1010, i % 64);
			h_write32(h, 0x1014, i % 64);
			h_push(h, 1, &cmd);
			h_ring_sq(h, 1);
			h_run(h);
		}
		csts = h_read32(h, CSTS);
		if (which == 4)
			assert_int_equal(csts, NVME_CSTS_RDY | NVME_CSTS_CFS);
		else
			assert_int_equal(csts & NVME_CSTS_RDY, NVME_CSTS_RDY);
		h_disable(h);
		assert_int_equal(h_read32(h, CSTS), 0);
		assert_true(h_enable(h, 16));
		h_create_pair(h, 1, 16);
		assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
		h_free(h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_order),
		cmocka_unit_test(many_and_deep),
		cmocka_unit_test(hostile_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
