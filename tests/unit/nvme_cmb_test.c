/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller's memory buffer: its registers, which resets they survive, queues, lists and
 * data in it, and what must not be partly in it.  (nvme_data_test.c has every way of the data.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/nvme/nvme.h"
#include "nvme_harness.h"

#define CC    0x14
#define CSTS  0x1c
#define CC_ON (4u << 20 | 6u << 16 | 1)
#define CRE   1ull
#define CMSE  2ull
#define CMB   (256u << 10)
#define ARGS  "memory=4M,cmb=256K"
/* Inside the client's memory, which shows who was there, and outside. */
#define BASE  (H_MEM_BASE + (16u << 20))
#define APART 0x700000000000ull

static void options(void **state)
{
	static const char *const wrong[] = {"0", "4095", "12K", "2G", "all"};
	char args[64];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(args, sizeof(args), "memory=1M,cmb=%s", wrong[i]);
		assert_null(h_new(args));
		assert_non_null(strstr(h_last_error(), "cmb="));
	}
}

static void bar(void **state)
{
	struct harness *h = h_new(ARGS);

	assert_int_equal(h->desc.bars[2].size, CMB);
	assert_int_equal(h->desc.bars[2].flags, UVFIO_BAR_MEM64 | UVFIO_BAR_PREFETCH);
	h_free(h);
	h = h_new("memory=4M");
	assert_int_equal(h->desc.bars[2].size, 0);
	h_free(h);
}

static void registers(void **state)
{
	struct harness *h = h_new(ARGS);

	assert_int_equal(h_read64(h, 0) >> 57 & 1, 1);
	/* A driver of NVMe 1.3 sees none. */
	assert_int_equal(h_read32(h, 0x38), 0);
	assert_int_equal(h_read32(h, 0x3c), 0);
	assert_int_equal(h_read64(h, 0x50), 0);
	h_write(h, 0x50, 8, CRE);
	assert_int_equal(h_read32(h, 0x38) & 7, 2);      /* BIR */
	assert_int_equal(h_read32(h, 0x38) >> 12, 0);    /* OFST */
	assert_int_equal(h_read32(h, 0x38) >> 3 & 7, 0); /* CQMMS, CQPDS, CDPMLS */
	assert_int_equal(h_read32(h, 0x38) >> 6 & 7, 3); /* CDPCILS, CDMMMS, not CQDA */
	assert_int_equal(h_read32(h, 0x3c) & 0x1f, 0x1f);
	assert_int_equal(h_read32(h, 0x3c) >> 8 & 0xf, 0);
	assert_int_equal(h_read32(h, 0x3c) >> 12, CMB / 4096);
	/* Read-only. */
	h_write32(h, 0x38, 0);
	h_write32(h, 0x3c, ~0u);
	h_write32(h, 0x58, 1);
	assert_int_equal(h_read32(h, 0x38) & 7, 2);
	assert_int_equal(h_read32(h, 0x3c) >> 12, CMB / 4096);
	assert_int_equal(h_read32(h, 0x58), 0);
	/* Reserved bits; narrow writes. */
	h_write(h, 0x50, 8, ~0xffcull | 0xabc);
	assert_true(h_read64(h, 0x50) == (~0xfffull | 3));
	h_write(h, 0x50, 2, 0);
	assert_true(h_read64(h, 0x50) == (~0xfffull | 3));
	/* The last page of all addresses is too little for 256 KiB. */
	assert_int_equal(h_read32(h, 0x58), NVME_CMBSTS_CBAI);
	h_write(h, 0x50, 8, (0 - (uint64_t)CMB) | CMSE | CRE);
	assert_int_equal(h_read32(h, 0x58), 0);
	h_write(h, 0x50, 8, (0 - (uint64_t)CMB + 4096) | CMSE | CRE);
	assert_int_equal(h_read32(h, 0x58), NVME_CMBSTS_CBAI);
	/* Only what is asked for can be invalid. */
	h_write(h, 0x50, 8, ~0xfffull | CRE);
	assert_int_equal(h_read32(h, 0x58), 0);
	h_write(h, 0x50, 8, ~0xfffull | CMSE);
	assert_int_equal(h_read32(h, 0x58), 0);
	assert_int_equal(h_read32(h, 0x38), 0);
	assert_int_equal(h_read32(h, 0x3c), 0);
	/* By halves, in either order, and the whole with its neighbours. */
	h_write32(h, 0x54, 0x12);
	h_write32(h, 0x50, 0x34567003);
	assert_true(h_read64(h, 0x50) == 0x1234567003ull);
	h_write32(h, 0x50, 0x89abc001);
	h_write32(h, 0x54, 0);
	assert_true(h_read64(h, 0x50) == 0x89abc001);
	h_write(h, 0x48, 8, ~0ull);
	h_write(h, 0x58, 8, ~0ull);
	assert_true(h_read64(h, 0x50) == 0x89abc001);
	assert_true(h_read64(h, 0x48) == 0);
	assert_true(h_read64(h, 0x58) == 0);
	h_free(h);
}

static void without(void **state)
{
	struct harness *h = h_new("memory=4M");

	assert_int_equal(h_read64(h, 0) >> 57 & 1, 0);
	h_write(h, 0x50, 8, BASE | CMSE | CRE);
	h_write32(h, 0x50, 3);
	for (unsigned reg = 0x38; reg < 0x60; reg += 4)
		assert_int_equal(h_read32(h, reg), 0);
	h_free(h);
}

/* ---- resets ---- */

static void resets(void **state)
{
	static const struct {
		enum uvfio_reset_kind kind;
		bool register_stays, memory_stays;
	} rows[] = {
		{UVFIO_RESET_FUNCTION, true, true}, {UVFIO_RESET_PM, false, true},
		{UVFIO_RESET_BUS, false, true},     {UVFIO_RESET_OPEN, false, false},
		{UVFIO_RESET_CLOSE, false, false},
	};
	uint64_t set = APART | CMSE | CRE;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct harness *h = h_ready(ARGS, NULL);
		struct nvme_ctrl *c = h->priv;

		h_cmb_at(h, APART);
		memset(h->bar_memory[2], 0x5a, CMB);
		/* A controller reset leaves it alone. */
		h_disable(h);
		assert_true(h_read64(h, 0x50) == set);
		h_reset(h, rows[i].kind);
		assert_true(h_read64(h, 0x50) == (rows[i].register_stays ? set : 0));
		assert_int_equal(!!h_read32(h, 0x3c), rows[i].register_stays);
		assert_int_equal(c->cmb.on, rows[i].register_stays);
		for (unsigned at = 0; at < CMB; at += 4095)
			assert_int_equal(h->bar_memory[2][at], rows[i].memory_stays ? 0x5a : 0);
		h_free(h);
	}
	/* An NVM subsystem reset does not. */
	for (int running = 0; running < 2; running++) {
		struct harness *h = h_ready(ARGS, NULL);
		struct nvme_ctrl *c = h->priv;

		if (!running)
			h_disable(h);
		h_cmb_at(h, APART);
		h_write32(h, 0x20, NVME_NSSR_MAGIC);
		h_run(h);
		assert_true(h_read64(h, 0x50) == 0);
		assert_int_equal(h_read32(h, 0x3c), 0);
		assert_false(c->cmb.on);
		h_free(h);
	}
}

/* ---- queues ---- */

static unsigned create(struct harness *h, bool cq, unsigned qid, unsigned entries, uint64_t at)
{
	struct nvme_sqe cmd = {.opcode = cq ? NVME_ADM_CREATE_CQ : NVME_ADM_CREATE_SQ,
			       .prp1 = at,
			       .cdw10 = (entries - 1) << 16 | qid,
			       .cdw11 = cq ? qid << 16 | 3 : qid << 16 | 1};
	struct h_queue *q = &h->q[qid];

	if (cq) {
		q->cq = at;
		q->cq_size = entries;
		q->head = 0;
		q->phase = true;
	} else {
		q->sq = at;
		q->size = entries;
		q->tail = 0;
		q->cqid = qid;
	}
	return h_cmd(h, 0, &cmd, NULL);
}

/* Reads and writes by queue @qid until it has wrapped around twice. */
static void work(struct harness *h, unsigned qid, uint64_t buffer)
{
	uint8_t *data = h_ptr(h, buffer), *disk = h->blocks[0]->data;

	for (unsigned i = 0; i < 2 * h->q[qid].size + 3; i++) {
		struct nvme_sqe cmd =
			h_rw(i % 2 ? NVME_IO_WRITE : NVME_IO_READ, 1, 8 * (i % 64), 8, buffer, 0);

		memset(i % 2 ? data : disk + 4096 * (i % 64), (int)i, 4096);
		assert_int_equal(h_cmd(h, qid, &cmd, NULL), 0);
		assert_memory_equal(data, disk + 4096 * (i % 64), 4096);
	}
}

static void queues(void **state)
{
	for (unsigned what = 0; what < 8; what++) {
		struct harness *h = h_ready(ARGS, NULL);
		bool sq = what & 1, cq = what & 2, data = what & 4;
		uint64_t at;
		unsigned before;

		h_cmb_at(h, APART);
		at = cq ? APART + 4096 : h_alloc(h, 4096, 4096);
		assert_int_equal(create(h, true, 2, 16, at), 0);
		at = sq ? APART : h_alloc(h, 4096, 4096);
		assert_int_equal(create(h, false, 2, 64, at), 0);
		before = h->nr_dma;
		work(h, 2, data ? APART + 8192 : h_alloc(h, 4096, 4096));
		/* All of it in the controller: nothing was asked of the host. */
		assert_int_equal(h->nr_dma == before, sq && cq && data);
		h_free(h);
	}
}

/* Many entries at a time, to the end of the buffer. */
static void burst(void **state)
{
	struct harness *h = h_ready(ARGS, NULL);
	uint64_t sq = APART + CMB - 4096, cq = APART + CMB - 8192;
	struct nvme_sqe flush = {.opcode = NVME_IO_FLUSH, .nsid = 1};

	h_cmb_at(h, APART);
	assert_int_equal(create(h, true, 2, 256, cq), 0);
	assert_int_equal(create(h, false, 2, 64, sq), 0);
	for (unsigned round = 0; round < 20; round++) {
		struct nvme_cqe cqe;

		for (unsigned i = 0; i < 63; i++)
			h_push(h, 2, &flush);
		h_ring_sq(h, 2);
		h_run(h);
		for (unsigned i = 0; i < 63; i++) {
			assert_true(h_pop(h, 2, &cqe));
			assert_int_equal(cqe.status >> 1, 0);
			assert_int_equal(cqe.sqid, 2);
		}
		assert_false(h_pop(h, 2, &cqe));
		h_ring_cq(h, 2);
		h_run(h);
	}
	h_free(h);
}

static void admin_queues(void **state)
{
	struct harness *h = h_new(ARGS);
	struct h_queue *q = &h->q[0];
	void *id;

	h_cmb_at(h, APART);
	*q = (struct h_queue){.sq = APART, .cq = APART + 4096, .size = 16, .cq_size = 16};
	q->phase = true;
	h_write32(h, 0x24, 15 << 16 | 15);
	h_write(h, 0x28, 8, q->sq);
	h_write(h, 0x30, 8, q->cq);
	h_write32(h, CC, CC_ON);
	h_run(h);
	assert_int_equal(h_read32(h, CSTS), NVME_CSTS_RDY);
	for (unsigned i = 0; i < 40; i++) {
		assert_int_equal(h_admin(h, NVME_ADM_IDENTIFY, 0, NVME_CNS_CTRL, 0, &id, NULL), 0);
		assert_int_equal(((struct nvme_id_ctrl *)id)->sqes, 0x66);
	}
	h_free(h);
}

static void queue_partly(void **state)
{
	static const uint64_t at[] = {BASE - 4096, BASE + CMB - 4096};

	for (size_t i = 0; i < 2; i++) {
		struct harness *h = h_ready(ARGS, NULL);

		h_cmb_at(h, BASE);
		assert_int_equal(create(h, true, 2, 257, at[i]), DNR(NVME_SC_INVALID_CMB));
		assert_int_equal(create(h, true, 2, 256, at[i]), 0);
		assert_int_equal(create(h, false, 2, 65, at[i]), DNR(NVME_SC_INVALID_CMB));
		assert_int_equal(create(h, false, 2, 64, at[i]), 0);
		h_disable(h);
		/* The admin queues: there is no command to refuse. */
		h_write32(h, 0x24, 15 << 16 | 64);
		h_write(h, 0x28, 8, at[i]);
		h_write(h, 0x30, 8, H_MEM_BASE);
		h_write32(h, CC, CC_ON);
		h_run(h);
		assert_int_equal(h_read32(h, CSTS), NVME_CSTS_CFS);
		h_disable(h);
		h_write32(h, 0x24, 15 << 16 | 63);
		h_write32(h, CC, CC_ON);
		h_run(h);
		assert_int_equal(h_read32(h, CSTS), NVME_CSTS_RDY);
		h_free(h);
	}
}

/* The window moves while a queue is in it. */
static void queue_lost(void **state)
{
	struct nvme_sqe flush = {.opcode = NVME_IO_FLUSH, .nsid = 1};
	struct harness *h = h_ready(ARGS, NULL);

	h_cmb_at(h, APART);
	assert_int_equal(create(h, true, 2, 64, APART + 4096), 0);
	assert_int_equal(create(h, false, 2, 64, APART), 0);
	assert_int_equal(h_cmd(h, 2, &flush, NULL), 0);
	h_push(h, 2, &flush);
	h_write(h, 0x50, 8, (APART + CMB) | CMSE | CRE);
	h_ring_sq(h, 2);
	h_run(h);
	/* What is there now is host memory that is not mapped. */
	assert_int_equal(h_read32(h, CSTS), NVME_CSTS_RDY | NVME_CSTS_CFS);
	h_disable(h);
	assert_true(h_enable(h, 16));
	h_free(h);
}

/* A client has cut its mapping's file: as memory that cannot be reached. */
static void memory_lost(void **state)
{
	struct nvme_sqe flush = {.opcode = NVME_IO_FLUSH, .nsid = 1};
	struct harness *h = h_ready(ARGS, NULL);
	struct nvme_sqe cmd = h_rw(NVME_IO_READ, 1, 0, 8, APART, 0);

	h->blocks[0]->direct = false;
	h_cmb_at(h, APART);
	h_lose_memory(true);
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), DNR(NVME_SC_DATA_TRANSFER));
	cmd.opcode = NVME_IO_WRITE;
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), DNR(NVME_SC_DATA_TRANSFER));
	h_lose_memory(false);
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	assert_int_equal(create(h, true, 2, 64, APART + 4096), 0);
	assert_int_equal(create(h, false, 2, 64, APART), 0);
	h_push(h, 2, &flush);
	h_lose_memory(true);
	h_ring_sq(h, 2);
	h_run(h);
	h_lose_memory(false);
	assert_int_equal(h_read32(h, CSTS), NVME_CSTS_RDY | NVME_CSTS_CFS);
	h_free(h);
}

/* ---- addresses ---- */

static void where(void **state)
{
	struct harness *h = h_ready(ARGS, NULL);
	struct nvme_sqe cmd = h_rw(NVME_IO_READ, 1, 0, 8, BASE, 0);
	uint8_t *host = h->mem + (BASE - H_MEM_BASE), *cmb = h->bar_memory[2];
	static const struct {
		uint64_t msc;
		bool buffer;
	} rows[] = {
		{0, false},
		{BASE | CRE, false},
		{BASE | CMSE, false},
		{BASE | CMSE | CRE, true},
		{(BASE + 4096) | CMSE | CRE, false},
		{(BASE - CMB) | CMSE | CRE, false},
		{(BASE - CMB + 4096) | CMSE | CRE, true},
		{~0xfffull | CMSE | CRE, false},
	};

	memset(h->blocks[0]->data, 0x77, 4096);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t at = rows[i].buffer ? BASE - (rows[i].msc & ~0xfffull) : 0;

		memset(host, 1, 4096);
		memset(cmb, 2, CMB);
		h_write(h, 0x50, 8, rows[i].msc);
		assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
		assert_int_equal(host[0], rows[i].buffer ? 1 : 0x77);
		assert_int_equal(cmb[at], rows[i].buffer ? 0x77 : 2);
	}
	h_free(h);
}

/* A doorbell right behind CMBMSC, without anything between them. */
static void at_once(void **state)
{
	struct harness *h = h_ready(ARGS, NULL);
	struct nvme_sqe cmd = h_rw(NVME_IO_READ, 1, 0, 8, BASE, 0);
	struct nvme_cqe cqe;

	memset(h->blocks[0]->data, 0x77, 4096);
	h_push(h, 1, &cmd);
	h_cmb_at(h, BASE);
	h_ring_sq(h, 1);
	h_run(h);
	assert_true(h_pop(h, 1, &cqe));
	assert_int_equal(h->bar_memory[2][4095], 0x77);
	h_free(h);
}

static struct nvme_sgl_desc desc(unsigned type, uint64_t addr, uint32_t len)
{
	return (struct nvme_sgl_desc){.addr = addr, .len = len, .id = (uint8_t)(type << 4)};
}

/* Data partly in the buffer: at both of its ends, byte by byte. */
static void data_partly(void **state)
{
	static const uint64_t edges[] = {BASE, BASE + CMB};

	for (unsigned how = 0; how < 4; how++) {
		struct harness *h = h_ready(ARGS, NULL);
		uint8_t *disk = h->blocks[0]->data;

		h->blocks[0]->direct = how & 1;
		h->delay_dma = how & 2;
		h_cmb_at(h, BASE);
		for (size_t i = 0; i < 2; i++) {
			uint64_t from = edges[i] - 1001;
			struct nvme_sqe cmd = h_rw(NVME_IO_READ, 1, 0, 8, 0, 0);

			cmd.flags = NVME_PSDT_SGL << 6;
			cmd.sgl = desc(NVME_SGL_DATA, from, 4096);
			for (unsigned b = 0; b < 4096; b++)
				disk[b] = (uint8_t)(b * 7 + i);
			assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
			for (unsigned b = 0; b < 4096; b++)
				assert_int_equal(*(uint8_t *)h_ptr(h, from + b), disk[b]);
			memset(disk, 0, 4096);
			cmd.opcode = NVME_IO_WRITE;
			assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
			for (unsigned b = 0; b < 4096; b++)
				assert_int_equal((uint8_t)(b * 7 + i), disk[b]);
			/* Pages: one in the buffer, one outside, one across them all. */
			cmd = h_rw(NVME_IO_READ, 1, 0, 16, edges[i] - 4096, edges[i]);
			assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
			assert_memory_equal(h_ptr(h, edges[i] - 4096), disk, 4096);
			assert_memory_equal(h_ptr(h, edges[i]), disk + 4096, 4096);
		}
		h_free(h);
	}
}

/* A list in the buffer, of a command that is not; a list that is partly there. */
static void lists(void **state)
{
	struct harness *h = h_ready(ARGS, NULL);
	uint64_t data = h_alloc(h, 1 << 20, 4096), out = h_alloc(h, 4096, 4096), edge = BASE + CMB;
	struct nvme_sqe cmd = h_rw(NVME_IO_READ, 1, 0, 40, data, BASE);
	uint64_t *in, *e;
	struct nvme_sgl_desc *d;

	memset(h->blocks[0]->data, 0x66, 40 * 512);
	h_cmb_at(h, BASE);
	in = h_ptr(h, BASE);
	for (unsigned i = 0; i < 4; i++)
		in[i] = data + (i + 1) * 8192;
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	assert_int_equal(*(uint8_t *)h_ptr(h, data + 4 * 8192 + 4095), 0x66);
	/* From the buffer to the host, and back. */
	in[511] = out;
	cmd.prp2 = BASE + 4096 - 8;
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), DNR(NVME_SC_INVALID_CMB));
	e = h_ptr(h, out);
	e[511] = BASE;
	cmd.prp2 = out + 4096 - 8;
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), DNR(NVME_SC_INVALID_CMB));
	/* Segments: within, one across the end, one that leads out. */
	cmd.flags = NVME_PSDT_SGL << 6;
	d = h_ptr(h, edge - 32);
	d[0] = desc(NVME_SGL_DATA, data, 10000);
	d[1] = desc(NVME_SGL_DATA, data + 20000, 10480);
	cmd.sgl = desc(NVME_SGL_LAST_SEGMENT, edge - 32, 32);
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	cmd.sgl = desc(NVME_SGL_LAST_SEGMENT, edge - 32, 48);
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), DNR(NVME_SC_INVALID_CMB));
	cmd.sgl = desc(NVME_SGL_LAST_SEGMENT, edge - 8, 32);
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), DNR(NVME_SC_INVALID_CMB));
	d[1] = desc(NVME_SGL_LAST_SEGMENT, out, 32);
	cmd.sgl = desc(NVME_SGL_SEGMENT, edge - 32, 32);
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), DNR(NVME_SC_INVALID_CMB));
	/* The controller goes on. */
	assert_int_equal(h_read32(h, CSTS), NVME_CSTS_RDY);
	cmd = h_rw(NVME_IO_READ, 1, 0, 40, data, BASE);
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	h_free(h);
}

/* Shadow doorbells in the buffer; a command that compares with what is there. */
static void others(void **state)
{
	struct harness *h = h_ready(ARGS, NULL);
	struct nvme_sqe dbbuf = {
		.opcode = NVME_ADM_DBBUF_CONFIG, .prp1 = APART, .prp2 = APART + 4096};
	struct nvme_sqe cmd = h_rw(NVME_IO_COMPARE, 1, 8, 8, APART + 8192, 0);
	struct nvme_cqe cqe;

	h_cmb_at(h, APART);
	memset(h_ptr(h, APART + 8192), 0x21, 4096);
	memset(h->blocks[0]->data + 4096, 0x21, 4096);
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	((uint8_t *)h_ptr(h, APART + 8192))[7] = 0;
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), DNR(NVME_SC_COMPARE_FAILURE));
	assert_int_equal(h_cmd(h, 0, &dbbuf, NULL), 0);
	/* The tail of queue 1 is where it was told. */
	assert_int_equal(*(uint32_t *)h_ptr(h, APART + 8), 2);
	h_push(h, 1, &cmd);
	*(uint32_t *)h_ptr(h, APART + 8) = h->q[1].tail;
	h_ring_sq(h, 1);
	h_run(h);
	assert_true(h_pop(h, 1, &cqe));
	assert_int_equal(*(uint32_t *)h_ptr(h, APART + 4096 + 8), 3);
	h_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options),      cmocka_unit_test(bar),
		cmocka_unit_test(registers),    cmocka_unit_test(without),
		cmocka_unit_test(resets),       cmocka_unit_test(queues),
		cmocka_unit_test(burst),        cmocka_unit_test(admin_queues),
		cmocka_unit_test(queue_partly), cmocka_unit_test(queue_lost),
		cmocka_unit_test(memory_lost),  cmocka_unit_test(where),
		cmocka_unit_test(at_once),      cmocka_unit_test(data_partly),
		cmocka_unit_test(lists),        cmocka_unit_test(others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
