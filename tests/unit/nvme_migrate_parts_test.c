/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller is moved, with what only some have: controller memory, a persistent memory
 * region, secondary controllers, several namespaces, another block size, shadow doorbells, INTx,
 * coalesced interrupts, fused commands and deletions that wait.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/nvme/nvme.h"
#include "nvme_harness.h"

/* @from goes to another one with the same options, and runs there. */
static struct harness *gone_to(struct harness *from, struct harness *to)
{
	struct model_stream s = {.nr = 0};

	if (!from->paused)
		h_pause(from);
	h_move(from, to, &s);
	model_stream_drop(&s);
	h_resume(to);
	from->paused = false;
	from->bus_master = true;
	h_reset(from, UVFIO_RESET_CLOSE);
	return to;
}

static unsigned pop(struct harness *h, unsigned cqid)
{
	struct nvme_cqe cqe;

	assert_true(h_pop(h, cqid, &cqe));
	h_ring_cq(h, cqid);
	h_run(h);
	return (cqe.status >> 1) & ~(unsigned)NVME_SC_MORE;
}

/* ---- memory of its own ---- */

/* Queues and data in the buffer. */
static void cmb(void **state)
{
	struct harness *a = h_new("memory=1M,cmb=64K"), *b = h_new("memory=1M,cmb=64K");
	struct nvme_sqe read = h_rw(NVME_IO_READ, 1, 0, 8, 0x50008000, 0);
	struct nvme_sqe create = {.opcode = NVME_ADM_CREATE_SQ,
				  .prp1 = 0x50000000,
				  .cdw10 = 15 << 16 | 1,
				  .cdw11 = 1 << 16 | 1};

	assert_true(h_enable(a, 16));
	h_cmb_at(a, 0x50000000);
	assert_int_equal(h_create_cq(a, 1, 16, true, 1), 0);
	assert_int_equal(h_cmd(a, 0, &create, NULL), 0);
	a->q[1].sq = create.prp1;
	a->q[1].size = 16;
	a->q[1].cqid = 1;
	memset(a->blocks[0]->data, 0x99, 4096);
	h_push(a, 1, &read);
	b = gone_to(a, b);
	h_ring_sq(b, 1);
	h_run(b);
	assert_int_equal(pop(b, 1), 0);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(b->bar_memory[2][0x8000 + i], 0x99);
	h_free(a);
	h_free(b);
}

#define PMR_SIZE (64u << 10)

static void with_file(struct harness *h)
{
	h->file_size = PMR_SIZE;
}

static void barrier(struct harness *h)
{
	uint64_t ticket = h_pmrsts_ask(h);

	h_run(h);
	assert_true(h->read_ready >= ticket);
	assert_int_equal(h_pmrsts(h), 0);
}

/* What was written and not saved yet goes along, and is saved by the next barrier; of the file no
 * more is written than has changed. */
static void pmr(void **state)
{
	struct harness *a = h_new_with("memory=1M,pmr=region", with_file);
	struct harness *b = h_new_with("memory=1M,pmr=region", with_file);
	unsigned before;

	h_write32(a, NVME_REG_PMRCTL, 1);
	h_run(a);
	memset(a->bar_memory[4], 0x31, PMR_SIZE / 2);
	barrier(a);
	assert_memory_equal(a->blocks[0]->durable, a->bar_memory[4], PMR_SIZE);
	memset(a->bar_memory[4] + 4096, 0x32, 4096);
	before = b->blocks[0]->nr_ops[BLOCK_WRITE];
	b = gone_to(a, b);
	assert_int_equal(h_read32(b, NVME_REG_PMRCTL), 1);
	assert_int_equal(h_pmrsts(b), 0);
	barrier(b);
	assert_int_equal(b->blocks[0]->nr_ops[BLOCK_WRITE], before + 1);
	assert_memory_equal(b->blocks[0]->durable, b->bar_memory[4], PMR_SIZE);
	assert_int_equal(b->blocks[0]->durable[4096], 0x32);
	assert_int_equal(b->blocks[0]->durable[8192], 0x31);
	/* Its file cannot be read when it is to be compared: all of it is written. */
	memset(b->bar_memory[4], 0x33, 100);
	a = gone_to(b, h_new_with("memory=1M,pmr=region", with_file));
	a->blocks[0]->fail = true;
	a->blocks[0]->fail_op = BLOCK_READ;
	a->blocks[0]->fail_errno = -EIO;
	memset(a->blocks[0]->data, 0xee, PMR_SIZE);
	barrier(a);
	assert_memory_equal(a->blocks[0]->durable, a->bar_memory[4], PMR_SIZE);
	h_free(a);
	h_free(b);
}

/* Being enabled, or disabled, when it leaves: that goes on. */
static void pmr_in_between(void **state)
{
	for (unsigned on = 0; on < 2; on++) {
		struct harness *a = h_new_with("memory=1M,pmr=region", with_file);
		struct harness *b = h_new_with("memory=1M,pmr=region", with_file);

		memset(a->blocks[0]->data, 0x44, PMR_SIZE);
		if (!on) {
			h_write32(a, NVME_REG_PMRCTL, 1);
			h_run(a);
		}
		h_pause(a);
		h_write32(a, NVME_REG_PMRCTL, on);
		b = gone_to(a, b); /* ->leave() waits for it */
		assert_int_equal(h_read32(b, NVME_REG_PMRCTL), on);
		assert_int_equal(h_pmrsts(b), on ? 0 : NVME_PMRSTS_NRDY);
		if (on)
			assert_int_equal(b->bar_memory[4][100], 0x44);
		h_free(a);
		h_free(b);
	}
}

/* ---- namespaces ---- */

static void block_size(void **state)
{
	const char *args = "memory=1M,ns=memory=2M";
	struct harness *a = h_ready(args, NULL), *b = h_new(args);
	struct nvme_id_ns *id;

	assert_int_equal(h_admin(a, NVME_ADM_FORMAT, 2, 1, 0, NULL, NULL), 0);
	b = gone_to(a, b);
	assert_int_equal(h_admin(b, NVME_ADM_IDENTIFY, 2, 0, 0, (void **)&id, NULL), 0);
	assert_int_equal(id->flbas & 0xf, 1);
	assert_int_equal(id->nsze, (2 << 20) / 4096);
	assert_int_equal(h_admin(b, NVME_ADM_IDENTIFY, 1, 0, 0, (void **)&id, NULL), 0);
	assert_int_equal(id->nsze, (1 << 20) / 512);
	h_free(a);
	h_free(b);
}

static void no_note(struct harness *h)
{
	h->block_no_note = true;
}

/* A block size that cannot be had here. */
static void block_size_refused(void **state)
{
	struct harness *a = h_ready("memory=1M", NULL), *b = h_new_with("memory=1M", no_note);
	struct model_stream s = {.nr = 0};

	assert_int_equal(h_admin(a, NVME_ADM_FORMAT, 1, 1, 0, NULL, NULL), 0);
	h_pause(a);
	h_save(a, &s);
	h_pause(b);
	assert_int_equal(h_load(b, &s), -EINVAL);
	assert_non_null(strstr(b->err.msg, "blocksize=4096"));
	model_stream_drop(&s);
	h_resume(a);
	h_resume(b);
	h_free(a);
	h_free(b);
}

static void cached(struct harness *h)
{
	h->block_volatile = true;
	h->block_direct = false;
}

static void uncached(struct harness *h)
{
	h->block_direct = false;
}

/* A driver that knows of no cache does not flush: each write is durable. */
static void cache(void **state)
{
	struct harness *a = h_ready("memory=1M", uncached), *b = h_new_with("memory=1M", cached);
	uint64_t p = h_alloc(a, 4096, 4096);
	struct nvme_sqe write = h_rw(NVME_IO_WRITE, 1, 0, 8, p, 0);

	memset(h_ptr(a, p), 0x21, 4096);
	b = gone_to(a, b);
	assert_int_equal(h_cmd(b, 1, &write, NULL), 0);
	assert_int_equal(b->blocks[0]->durable[4095], 0x21);
	h_free(a);
	h_free(b);
}

/* ---- several controllers ---- */

#define VF_ARGS "memory=1M,ns=memory=1M,vfs=4,queues=4"

static unsigned virt(struct harness *h, unsigned action, unsigned type, unsigned cntlid,
		     unsigned nr)
{
	struct nvme_sqe cmd = {.opcode = NVME_ADM_VIRT_MANAGEMENT,
			       .cdw10 = cntlid << 16 | type << 8 | action,
			       .cdw11 = nr};
	unsigned status = h_cmd(h, 0, &cmd, NULL);

	h_run_all(h);
	return status;
}

/* What a PF has given to VFs that are not there yet, and taken from itself. */
static void primary(void **state)
{
	struct harness *a = h_ready(VF_ARGS, NULL), *b = h_new(VF_ARGS), *vf;
	struct nvme_secondary_list *list;
	struct model_stream s = {.nr = 0};
	uint16_t *controllers;
	uint64_t p = h_alloc(a, 4096, 4096);
	struct nvme_sqe attach = {.opcode = NVME_ADM_NS_ATTACHMENT,
				  .nsid = 2,
				  .cdw10 = NVME_ATTACH_DETACH,
				  .prp1 = p};

	controllers = h_ptr(a, p);
	controllers[0] = 2;
	controllers[1] = 0;
	controllers[2] = 3;
	assert_int_equal(h_cmd(a, 0, &attach, NULL), 0);
	assert_int_equal(virt(a, NVME_VIRT_SECONDARY_ASSIGN, 0, 2, 3), 0);
	b = gone_to(a, b);
	assert_int_equal(h_admin(b, NVME_ADM_IDENTIFY, 0, 2 << 16 | NVME_CNS_SECONDARY_LIST, 0,
				 (void **)&list, NULL),
			 0);
	assert_int_equal(list->entries[0].scid, 2);
	assert_int_equal(list->entries[0].nvq, 3);
	assert_int_equal(h_admin(b, NVME_ADM_IDENTIFY, 2, NVME_CNS_NS_CONTROLLERS, 0,
				 (void **)&controllers, NULL),
			 0);
	assert_int_equal(controllers[0], 3);
	assert_int_equal(controllers[1], 1);
	assert_int_equal(controllers[3], 4);
	assert_int_equal(h_cmd(b, 1, &(struct nvme_sqe){.opcode = NVME_IO_FLUSH, .nsid = 2}, NULL),
			 DNR(NVME_SC_INVALID_NS));
	/* With a VF it takes no stream. */
	h_pause(b);
	h_save(b, &s);
	h_resume(b);
	vf = h_new_vf(b, 0);
	h_pause(b);
	assert_int_equal(h_load(b, &s), -EINVAL);
	assert_non_null(strstr(b->err.msg, "sriov_numvfs"));
	model_stream_drop(&s);
	h_resume(b);
	h_free(vf);
	h_free(a);
	h_free(b);
}

/* A VF goes to the VF of another PF. */
static void secondary(void **state)
{
	struct harness *a = h_new(VF_ARGS), *b = h_new(VF_ARGS);
	struct harness *va = h_new_vf(a, 1), *vb = h_new_vf(b, 1), *other = h_new_vf(b, 2);
	uint64_t p = h_alloc(va, 4096, 4096);
	struct nvme_sqe write = h_rw(NVME_IO_WRITE, 2, 0, 8, p, 0);
	struct model_stream s = {.nr = 0};

	assert_true(h_enable(va, 16));
	h_create_pair(va, 1, 16);
	memset(h_ptr(va, p), 0x61, 4096);
	assert_int_equal(h_cmd(va, 1, &write, NULL), 0);
	h_pause(va);
	h_save(va, &s);
	h_pause(other);
	assert_int_equal(h_load(other, &s), -EINVAL);
	assert_non_null(strstr(other->err.msg, "controller identifier"));
	h_resume(other);
	model_stream_drop(&s);
	h_swap_world(a, b); /* the storage is theirs */
	vb = gone_to(va, vb);
	write.opcode = NVME_IO_READ;
	memset(h_ptr(vb, p), 0, 4096);
	assert_int_equal(h_cmd(vb, 1, &write, NULL), 0);
	assert_int_equal(((uint8_t *)h_ptr(vb, p))[4095], 0x61);
	h_free(other);
	h_free(va);
	h_free(vb);
	h_free(a);
	h_free(b);
}

/* ---- interrupts and doorbells ---- */

static void pin(struct harness *h)
{
	h->message = false;
}

/* INTx is asserted at the other end while there is something to be taken. */
static void intx(void **state)
{
	const char *args = "memory=1M";
	struct harness *a = h_new_with(args, pin), *b = h_new_with(args, pin);
	struct nvme_sqe identify = {.opcode = NVME_ADM_IDENTIFY, .cdw10 = 1};

	assert_true(h_enable(a, 16));
	identify.prp1 = h_alloc(a, 4096, 4096);
	h_push(a, 0, &identify);
	h_ring_sq(a, 0);
	h_run(a);
	assert_true(a->intx);
	b = gone_to(a, b);
	assert_true(b->intx);
	assert_int_equal(pop(b, 0), 0);
	assert_false(b->intx);
	h_free(a);
	h_free(b);
}

/* A completion that waits for others, or for time, before its interrupt. */
static void coalescing(void **state)
{
	struct harness *a = h_ready("memory=1M", NULL), *b = h_new("memory=1M");
	struct nvme_sqe flush = {.opcode = NVME_IO_FLUSH, .nsid = 1};

	assert_int_equal(
		h_admin(a, NVME_ADM_SET_FEATURES, 0, NVME_FEAT_COALESCING, 0x0a08, NULL, NULL), 0);
	a->irqs[1] = 0;
	h_push(a, 1, &flush);
	h_ring_sq(a, 1);
	h_run(a);
	assert_int_equal(a->irqs[1], 0);
	b = gone_to(a, b);
	h_advance(b, 2000000);
	assert_int_equal(b->irqs[1], 1);
	assert_int_equal(pop(b, 1), 0);
	h_free(a);
	h_free(b);
}

/* Shadow doorbells: what the host has put there without ringing is found. */
static void shadow(void **state)
{
	struct harness *a = h_ready("memory=1M", NULL), *b = h_new("memory=1M");
	uint64_t dbs = h_alloc(a, 4096, 4096), events = h_alloc(a, 4096, 4096);
	struct nvme_sqe cmd = {.opcode = NVME_ADM_DBBUF_CONFIG, .prp1 = dbs, .prp2 = events};
	struct nvme_sqe flush = {.opcode = NVME_IO_FLUSH, .nsid = 1};

	assert_int_equal(h_cmd(a, 0, &cmd, NULL), 0);
	h_pause(a);
	h_push(a, 1, &flush);
	((uint32_t *)h_ptr(a, dbs))[2] = a->q[1].tail;
	b = gone_to(a, b);
	assert_int_equal(pop(b, 1), 0);
	((uint32_t *)h_ptr(b, dbs))[3] = b->q[1].head;
	/* Its event index says: ring from here on. */
	assert_int_equal(((uint32_t *)h_ptr(b, events))[2], b->q[1].tail);
	h_free(a);
	h_free(b);
}

/* ---- commands that wait ---- */

/* A queue is deleted while completions of it find no room: the deletion goes along. */
static void deletion(void **state)
{
	struct harness *a = h_ready("memory=1M", NULL), *b = h_new("memory=1M");
	struct nvme_sqe flush = {.opcode = NVME_IO_FLUSH, .nsid = 1};
	struct nvme_sqe delete = {.opcode = NVME_ADM_DELETE_SQ, .cdw10 = 2};
	struct nvme_cqe cqe;
	unsigned n = 0;

	assert_int_equal(h_create_cq(a, 2, 4, true, 2), 0);
	assert_int_equal(h_create_sq(a, 2, 16, 2), 0);
	for (unsigned i = 0; i < 3; i++)
		h_push(a, 2, &flush);
	h_ring_sq(a, 2);
	h_run(a);
	/* Of a pair the first is fetched without room, and ends with the queue. */
	flush.opcode = NVME_IO_COMPARE;
	flush.flags = NVME_FUSE_FIRST;
	h_push(a, 2, &flush);
	h_ring_sq(a, 2);
	h_push(a, 0, &delete);
	h_ring_sq(a, 0);
	h_run(a);
	b = gone_to(a, b);
	while (h_pop(b, 2, &cqe)) {
		h_ring_cq(b, 2);
		h_run(b);
		n++;
	}
	assert_true(n >= 3);
	assert_int_equal(pop(b, 0), 0);
	assert_int_equal(h_admin(b, NVME_ADM_DELETE_CQ, 0, 2, 0, NULL, NULL), 0);
	h_free(a);
	h_free(b);
}

/* Asynchronous Event Requests wait there, and are answered there. */
static void events(void **state)
{
	struct harness *a = h_ready("memory=1M", NULL), *b = h_new("memory=1M");
	struct nvme_sqe aer = {.opcode = NVME_ADM_ASYNC_EVENT};
	struct nvme_cqe cqe;

	h_push(a, 0, &aer);
	h_ring_sq(a, 0);
	h_run(a);
	b = gone_to(a, b);
	assert_false(h_pop(b, 0, &cqe));
	h_write32(b, 0x1008, 4000);
	h_run(b);
	assert_true(h_pop(b, 0, &cqe));
	assert_int_equal(cqe.dw0, NVME_LOG_ERROR << 16 | NVME_EVENT_ERROR_DB_VALUE << 8);
	h_free(a);
	h_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cmb),
		cmocka_unit_test(pmr),
		cmocka_unit_test(pmr_in_between),
		cmocka_unit_test(block_size),
		cmocka_unit_test(block_size_refused),
		cmocka_unit_test(cache),
		cmocka_unit_test(primary),
		cmocka_unit_test(secondary),
		cmocka_unit_test(intx),
		cmocka_unit_test(coalescing),
		cmocka_unit_test(shadow),
		cmocka_unit_test(deletion),
		cmocka_unit_test(events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
