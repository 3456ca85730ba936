/* SPDX-License-Identifier: BSD-3-Clause */
/* The NVMe controller: interrupts, coalescing, shadow doorbells, concurrent register writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/nvme/nvme.h"
#include "nvme_harness.h"

static const struct nvme_sqe flush_cmd = {.opcode = NVME_IO_FLUSH, .nsid = 1};

static unsigned set_feature(struct harness *h, unsigned id, uint32_t value)
{
	struct nvme_sqe cmd = {.opcode = NVME_ADM_SET_FEATURES, .cdw10 = id, .cdw11 = value};

	return h_cmd(h, 0, &cmd, NULL);
}

static void burst(struct harness *h, unsigned qid, unsigned n)
{
	struct nvme_cqe cqe;

	for (unsigned i = 0; i < n; i++)
		h_push(h, qid, &flush_cmd);
	h_ring_sq(h, qid);
	h_run(h);
	for (unsigned i = 0; i < n; i++)
		assert_true(h_pop(h, qid, &cqe));
	h_ring_cq(h, qid);
	h_run(h);
}

static void vectors(void **state)
{
	struct harness *h = h_ready("memory=1M,queues=8", NULL);

	assert_int_equal(h_create_cq(h, 2, 16, true, 7), 0);
	assert_int_equal(h_create_sq(h, 2, 16, 2), 0);
	assert_int_equal(h_create_cq(h, 3, 16, false, 3), 0);
	assert_int_equal(h_create_sq(h, 3, 16, 3), 0);
	memset(h->irqs, 0, sizeof(h->irqs));
	burst(h, 1, 1);
	assert_int_equal(h->irqs[1], 1);
	burst(h, 2, 3);
	assert_int_equal(h->irqs[7], 1);
	burst(h, 3, 3); /* without interrupts */
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(h->irqs[i], i == 1 || i == 7);
	h_free(h);
}

static void pin(void **state)
{
	struct harness *h = h_new("memory=1M");
	struct nvme_cqe cqe;

	h->message = false;
	assert_true(h_enable(h, 16));
	assert_int_equal(h_create_cq(h, 1, 16, true, 0), 0);
	assert_int_equal(h_create_sq(h, 1, 16, 1), 0);
	assert_false(h->intx);
	h_push(h, 1, &flush_cmd);
	h_push(h, 1, &flush_cmd);
	h_ring_sq(h, 1);
	h_run(h);
	assert_true(h->intx);
	/* Masked, unmasked. */
	h_write32(h, 0x0c, 1);
	h_run(h);
	assert_false(h->intx);
	h_write32(h, 0x10, 1);
	h_run(h);
	assert_true(h->intx);
	/* Level: until all is consumed. */
	assert_true(h_pop(h, 1, &cqe));
	h_ring_cq(h, 1);
	h_run(h);
	assert_true(h->intx);
	assert_true(h_pop(h, 1, &cqe));
	h_ring_cq(h, 1);
	h_run(h);
	assert_false(h->intx);
	/* A reset takes it back. */
	h_push(h, 1, &flush_cmd);
	h_ring_sq(h, 1);
	h_run(h);
	assert_true(h->intx);
	h_disable(h);
	assert_false(h->intx);
	h_free(h);
}

/* INTMS masks messages too, but not those of MSI-X. */
static void msi_masks(void **state)
{
	struct harness *h = h_ready("memory=1M,queues=8,interrupts=msi", NULL);

	assert_int_equal(h->desc.msi_vectors, 16);
	assert_int_equal(h->desc.msix_vectors, 0);
	memset(h->irqs, 0, sizeof(h->irqs));
	h_write32(h, 0x0c, 1u << 1);
	burst(h, 1, 1);
	burst(h, 1, 1);
	assert_int_equal(h->irqs[1], 0);
	h_write32(h, 0x10, 1u << 2);
	h_run(h);
	assert_int_equal(h->irqs[1], 0);
	h_write32(h, 0x10, 1u << 1);
	h_run(h);
	assert_int_equal(h->irqs[1], 1);
	burst(h, 1, 1);
	assert_int_equal(h->irqs[1], 2);
	/* A reset forgets what was held back. */
	h_write32(h, 0x0c, 1u << 1);
	burst(h, 1, 1);
	h_disable(h);
	h_run(h);
	assert_int_equal(h->irqs[1], 2);
	h_free(h);

	h = h_ready("memory=1M,queues=64,interrupts=msi", NULL);
	assert_int_equal(h->desc.msi_vectors, 32);
	assert_int_equal(h_create_cq(h, 2, 16, true, 32), 0x108 | 0x4000);
	assert_int_equal(h_create_cq(h, 2, 16, true, 31), 0);
	h_free(h);

	h = h_new("memory=1M,interrupts=intx");
	assert_int_equal(h->desc.msi_vectors, 0);
	assert_int_equal(h->desc.msix_vectors, 0);
	h_free(h);
}

static void coalescing(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);

	/* Four completions or 200 µs. */
	assert_int_equal(set_feature(h, NVME_FEAT_COALESCING, 2 << 8 | 3), 0);
	h_create_pair(h, 2, 16);
	memset(h->irqs, 0, sizeof(h->irqs));
	burst(h, 1, 3);
	assert_int_equal(h->irqs[1], 0);
	burst(h, 1, 1);
	assert_int_equal(h->irqs[1], 1);
	burst(h, 1, 2);
	assert_int_equal(h->irqs[1], 1);
	h_advance(h, 200000);
	assert_int_equal(h->irqs[1], 2);
	h_advance(h, 1000000);
	assert_int_equal(h->irqs[1], 2);
	/* Not for the admin queue, nor for a vector that opts out. */
	memset(h->irqs, 0, sizeof(h->irqs));
	assert_int_equal(set_feature(h, NVME_FEAT_VECTOR_CONFIG, 1 << 16 | 2), 0);
	assert_int_equal(h->irqs[0], 1);
	burst(h, 2, 1);
	assert_int_equal(h->irqs[2], 1);
	/* A reset forgets what was held back. */
	burst(h, 1, 1);
	h_disable(h);
	h_advance(h, 1000000);
	assert_int_equal(h->irqs[1], 0);
	h_free(h);
}

/* ---- shadow doorbells ---- */

struct shadow {
	uint64_t db, ei;
	volatile uint32_t *shadow, *event;
};

static struct shadow shadows(struct harness *h)
{
	struct shadow s = {h_alloc(h, 4096, 4096), h_alloc(h, 4096, 4096), NULL, NULL};
	struct nvme_sqe cmd = {.opcode = NVME_ADM_DBBUF_CONFIG, .prp1 = s.db, .prp2 = s.ei};

	s.shadow = h_ptr(h, s.db);
	s.event = h_ptr(h, s.ei);
	assert_int_equal(h_cmd(h, 0, &cmd, NULL), 0);
	return s;
}

/* As Linux: store the new value, ring only when the event index is passed. */
static bool update(struct harness *h, struct shadow *s, unsigned index, uint32_t value)
{
	uint16_t old = (uint16_t)s->shadow[index], ei;

	s->shadow[index] = value;
	ei = (uint16_t)s->event[index];
	if ((uint16_t)(value - ei - 1) < (uint16_t)(value - old)) {
		h_write32(h, 0x1000 + 4 * index, value);
		return true;
	}
	return false;
}

static void dbbuf(void **state)
{
	for (int delay = 0; delay < 2; delay++) {
		struct harness *h = h_ready("memory=1M", NULL);
		struct nvme_ctrl *c = h->priv;
		unsigned rung = 0, done = 0;
		struct shadow s;
		struct nvme_cqe cqe;

		for (int i = 0; i < 5; i++) /* the queue is in use already */
			assert_int_equal(h_cmd(h, 1, &flush_cmd, NULL), 0);
		s = shadows(h);
		assert_int_equal(s.shadow[2], 5);
		assert_int_equal(s.shadow[3], 5);
		h->delay_dma = delay;
		srand(5);
		for (int i = 0; i < 600; i++) {
			unsigned n = 1 + (unsigned)rand() % 20;

			while (n--) {
				h_push(h, 1, &flush_cmd);
				rung += update(h, &s, 2, h->q[1].tail);
				if (rand() % 4 == 0)
					h_work(h);
			}
			h_run(h);
			while (h_pop(h, 1, &cqe)) {
				done++;
				if (rand() % 2)
					update(h, &s, 3, h->q[1].head);
			}
			update(h, &s, 3, h->q[1].head);
			h_run(h);
			while (h_pop(h, 1, &cqe))
				done++;
			update(h, &s, 3, h->q[1].head);
			h_run(h);
			assert_int_equal(h->q[1].tail, c->sqs[1].tail);
			assert_int_equal(h->q[1].tail, h->q[1].head);
		}
		assert_int_equal(c->count.errors, 0);
		assert_true(rung < done / 2);
		h_free(h);
	}
}

static void dbbuf_cq_full(void **state)
{
	for (int delay = 0; delay < 2; delay++) {
		struct harness *h = h_ready("memory=1M", NULL);
		struct shadow s = shadows(h);
		struct nvme_cqe cqe;
		unsigned got = 0;

		assert_int_equal(h_create_cq(h, 2, 4, true, 2), 0);
		assert_int_equal(h_create_sq(h, 2, 64, 2), 0);
		h->delay_dma = delay;
		for (int i = 0; i < 50; i++)
			h_push(h, 2, &flush_cmd);
		update(h, &s, 4, h->q[2].tail);
		h_run(h); /* comes to rest, though there is no room and more to do */
		while (got < 50) {
			bool any = false;

			while (h_pop(h, 2, &cqe)) {
				got++;
				any = true;
			}
			assert_true(any);
			update(h, &s, 5, h->q[2].head);
			h_run(h);
		}
		h_free(h);
	}
}

/* Bus mastering off and on: a shadow that moved meanwhile is seen. */
static void dbbuf_bus_master(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct shadow s = shadows(h);
	struct nvme_cqe cqe;

	h_push(h, 1, &flush_cmd);
	update(h, &s, 2, h->q[1].tail);
	h_run(h);
	assert_true(h_pop(h, 1, &cqe));
	h_quiesce(h);
	h->bus_master = false;
	h_push(h, 1, &flush_cmd);
	update(h, &s, 2, h->q[1].tail);
	h_run(h);
	assert_false(h_pop(h, 1, &cqe));
	h->bus_master = true;
	h_resume(h);
	assert_true(h_pop(h, 1, &cqe));
	h_free(h);
}

static void dbbuf_errors(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_ctrl *c = h->priv;
	struct nvme_sqe cmd = {.opcode = NVME_ADM_DBBUF_CONFIG,
			       .prp1 = h_alloc(h, 4096, 4096) + 8,
			       .prp2 = h_alloc(h, 4096, 4096)};
	struct shadow s;

	assert_int_equal(h_cmd(h, 0, &cmd, NULL), DNR(NVME_SC_PRP_OFFSET));
	cmd.prp1 -= 8;
	cmd.prp2 += 2048;
	assert_int_equal(h_cmd(h, 0, &cmd, NULL), DNR(NVME_SC_PRP_OFFSET));
	cmd.prp2 = 0x1000;
	assert_int_equal(h_cmd(h, 0, &cmd, NULL), DNR(NVME_SC_DATA_TRANSFER));
	assert_false(c->dbbuf);
	assert_int_equal(h_cmd(h, 1, &flush_cmd, NULL), 0);
	/* A shadow with nonsense in it is a bad doorbell. */
	s = shadows(h);
	s.shadow[2] = 0x12345;
	h_write32(h, 0x1008, 1);
	h_run(h);
	assert_int_equal(h_read32(h, 0x1c), NVME_CSTS_RDY);
	assert_true(c->count.errors > 0);
	/* One that is gone is fatal; a reset returns to plain doorbells. */
	h_fault(h, s.db, 4096);
	h_write32(h, 0x1008, 2);
	h_run(h);
	assert_int_equal(h_read32(h, 0x1c), NVME_CSTS_RDY | NVME_CSTS_CFS);
	h_disable(h);
	assert_true(h_enable(h, 16));
	h_create_pair(h, 1, 16);
	assert_int_equal(h_cmd(h, 1, &flush_cmd, NULL), 0);
	h_free(h);
}

/* ---- register writes from another thread ---- */

struct hammer {
	struct harness *h;
	atomic_bool stop;
};

static void *hammer(void *arg)
{
	struct hammer *m = arg;
	unsigned seed = 1;

	while (!atomic_load(&m->stop)) {
		uint32_t o = (uint32_t)rand_r(&seed) % 0x1400;

		if ((o & ~3u) == 0x14 || rand_r(&seed) % 50 == 0)
			h_write32(m->h, 0x14, rand_r(&seed) % 4 ? 4 << 20 | 6 << 16 | 1 : 0);
		else
			h_write32(m->h, o & ~3u, (uint32_t)rand_r(&seed) & 0xff);
	}
	return NULL;
}

static void concurrent(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct hammer m = {.h = h};
	pthread_t t;

	/* ThreadSanitizer watches; without it only that nothing breaks. */
	atomic_init(&m.stop, false);
	assert_int_equal(pthread_create(&t, NULL, hammer, &m), 0);
	for (int i = 0; i < 200000; i++)
		h_work(h);
	atomic_store(&m.stop, true);
	pthread_join(t, NULL);
	h_write32(h, 0x14, 0);
	h_run(h);
	assert_true(h_enable(h, 16));
	h_create_pair(h, 1, 16);
	assert_int_equal(h_cmd(h, 1, &flush_cmd, NULL), 0);
	h_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors),      cmocka_unit_test(pin),
		cmocka_unit_test(msi_masks),    cmocka_unit_test(coalescing),
		cmocka_unit_test(dbbuf),        cmocka_unit_test(dbbuf_cq_full),
		cmocka_unit_test(dbbuf_errors), cmocka_unit_test(dbbuf_bus_master),
		cmocka_unit_test(concurrent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
