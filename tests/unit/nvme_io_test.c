/* SPDX-License-Identifier: BSD-3-Clause */
/* The NVMe controller: I/O commands, what they do to the storage, and every status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/nvme/nvme.h"
#include "nvme_harness.h"

#define FUA NVME_RW_FUA

static void fail_next(struct block *b, enum block_op op, int err)
{
	b->fail = true;
	b->fail_op = op;
	b->fail_after = 0;
	b->fail_errno = err;
}

static void indirect(struct harness *h)
{
	h->block_direct = false;
}

static void cached(struct harness *h)
{
	h->block_direct = false;
	h->block_volatile = true;
}

static void cached_no_fua(struct harness *h)
{
	cached(h);
	h->block_no_fua = true;
}

/* ---- refusals before anything is done ---- */

static void refusals(void **state)
{
	struct harness *h = h_ready("memory=1M,ns=memory=1M:readonly=on,"
				    "ns=memory=16M:blocksize=4096",
				    NULL);
	uint64_t p = h_alloc(h, 4096, 4096), end = 2048;
	const struct {
		uint8_t opcode, flags;
		uint32_t nsid;
		uint64_t slba;
		uint32_t nlb;
		unsigned status;
	} rows[] = {
		{0x03, 0, 1, 0, 1, NVME_SC_INVALID_OPCODE},
		{0x7f, 0, 1, 0, 1, NVME_SC_INVALID_OPCODE},
		{0x0d, 0, 1, 0, 1, NVME_SC_INVALID_OPCODE}, /* reservations */
		{0x19, 0, 1, 0, 1, NVME_SC_INVALID_OPCODE}, /* Copy */
		{NVME_IO_READ, 0, 0, 0, 1, NVME_SC_INVALID_NS},
		{NVME_IO_READ, 0, 4, 0, 1, NVME_SC_INVALID_NS},
		{NVME_IO_READ, 0, NVME_NSID_ALL, 0, 1, NVME_SC_INVALID_NS},
		{NVME_IO_WRITE, 0, 0xfffffffe, 0, 1, NVME_SC_INVALID_NS},
		{NVME_IO_FLUSH, 0, 0, 0, 1, NVME_SC_INVALID_NS},
		{NVME_IO_FLUSH, 0, 4, 0, 1, NVME_SC_INVALID_NS},
		{NVME_IO_READ, 3, 1, 0, 1, NVME_SC_INVALID_FIELD}, /* FUSE, see nvme_fused_test.c */
		{NVME_IO_READ, 0, 1, end, 1, NVME_SC_LBA_RANGE},
		{NVME_IO_READ, 0, 1, end - 1, 2, NVME_SC_LBA_RANGE},
		{NVME_IO_READ, 0, 1, ~0ull, 1, NVME_SC_LBA_RANGE},
		{NVME_IO_READ, 0, 1, ~0ull, 2, NVME_SC_LBA_RANGE},
		{NVME_IO_READ, 0, 1, 1ull << 55, 1, NVME_SC_LBA_RANGE}, /* × 512 wraps to 0 */
		{NVME_IO_WRITE, 0, 1, end, 1, NVME_SC_LBA_RANGE},
		{NVME_IO_COMPARE, 0, 1, end, 1, NVME_SC_LBA_RANGE},
		{NVME_IO_VERIFY, 0, 1, end, 1, NVME_SC_LBA_RANGE},
		{NVME_IO_WRITE_ZEROES, 0, 1, end - 1, 2, NVME_SC_LBA_RANGE},
		{NVME_IO_WRITE_UNCORRECTABLE, 0, 1, end, 1, NVME_SC_LBA_RANGE},
		{NVME_IO_READ, 0, 3, 4095, 2, NVME_SC_LBA_RANGE},
		{NVME_IO_READ, 0, 1, 0, 4097, NVME_SC_INVALID_FIELD}, /* MDTS */
		{NVME_IO_WRITE, 0, 1, 0, 65536, NVME_SC_INVALID_FIELD},
		{NVME_IO_COMPARE, 0, 3, 0, 513, NVME_SC_INVALID_FIELD},
		{NVME_IO_WRITE, 0, 2, 0, 1, NVME_SC_WRITE_PROTECTED},
		{NVME_IO_WRITE_ZEROES, 0, 2, 0, 1, NVME_SC_WRITE_PROTECTED},
		{NVME_IO_WRITE_UNCORRECTABLE, 0, 2, 0, 1, NVME_SC_WRITE_PROTECTED},
		{NVME_IO_DSM, 0, 2, 0, 1, NVME_SC_WRITE_PROTECTED},
		{NVME_IO_READ, 0, 1, end - 1, 1, 0},
		{NVME_IO_READ, 0, 2, 0, 1, 0},
		{NVME_IO_READ, 0, 3, 4095, 1, 0},
		{NVME_IO_VERIFY, 0, 1, 0, 2048, 0},
		{NVME_IO_FLUSH, 0, NVME_NSID_ALL, 0, 1, 0},
		{NVME_IO_FLUSH, 0, 2, 0, 1, 0},
	};
	struct nvme_ctrl *c = h->priv;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_sqe cmd =
			h_rw(rows[i].opcode, rows[i].nsid, rows[i].slba, rows[i].nlb, p, 0);
		uint64_t errors = c->count.errors;
		struct nvme_cqe cqe;

		cmd.flags = rows[i].flags;
		assert_int_equal(h_cmd(h, 1, &cmd, &cqe), rows[i].status ? DNR(rows[i].status) : 0);
		/* A failure is in the error log, and says so. */
		assert_int_equal(c->count.errors - errors, !!rows[i].status);
		assert_int_equal(!!(cqe.status >> 1 & NVME_SC_MORE), !!rows[i].status);
	}
	h_free(h);
}

/* ---- errors of the backend ---- */

static void backend_errors(void **state)
{
	static const struct {
		uint8_t opcode;
		enum block_op op;
		int err;
		unsigned status;
	} rows[] = {
		{NVME_IO_READ, BLOCK_READ, -EIO, NVME_SC_UNRECOVERED_READ},
		{NVME_IO_READ, BLOCK_READ, -EILSEQ, NVME_SC_UNRECOVERED_READ},
		{NVME_IO_READ, BLOCK_READ, -EFAULT, DNR(NVME_SC_DATA_TRANSFER)},
		{NVME_IO_READ, BLOCK_READ, -ENOTCONN, NVME_SC_NS_NOT_READY},
		{NVME_IO_READ, BLOCK_READ, -ETIMEDOUT, NVME_SC_NS_NOT_READY},
		{NVME_IO_READ, BLOCK_READ, -ENOMEM, NVME_SC_INTERNAL},
		{NVME_IO_WRITE, BLOCK_WRITE, -EIO, NVME_SC_WRITE_FAULT},
		{NVME_IO_WRITE, BLOCK_WRITE, -ENOSPC, DNR(NVME_SC_CAPACITY)},
		{NVME_IO_WRITE, BLOCK_WRITE, -EDQUOT, DNR(NVME_SC_CAPACITY)},
		{NVME_IO_WRITE, BLOCK_WRITE, -EROFS, DNR(NVME_SC_WRITE_PROTECTED)},
		{NVME_IO_WRITE, BLOCK_WRITE, -EFAULT, DNR(NVME_SC_DATA_TRANSFER)},
		{NVME_IO_FLUSH, BLOCK_FLUSH, -EIO, NVME_SC_WRITE_FAULT},
		{NVME_IO_FLUSH, BLOCK_FLUSH, -ENOSPC, DNR(NVME_SC_CAPACITY)},
		{NVME_IO_COMPARE, BLOCK_READ, -EIO, NVME_SC_UNRECOVERED_READ},
		{NVME_IO_VERIFY, BLOCK_READ, -EIO, NVME_SC_UNRECOVERED_READ},
		{NVME_IO_WRITE_ZEROES, BLOCK_WRITE_ZEROES, -EIO, NVME_SC_WRITE_FAULT},
		{NVME_IO_WRITE_ZEROES, BLOCK_WRITE_ZEROES, -ENOSPC, DNR(NVME_SC_CAPACITY)},
		{NVME_IO_DSM, BLOCK_DISCARD, -EIO, NVME_SC_WRITE_FAULT},
		{NVME_IO_DSM, BLOCK_DISCARD, -EOPNOTSUPP, 0}, /* advice */
	};

	for (int way = 0; way < 4; way++) {
		struct harness *h = h_ready("memory=1M", indirect);

		h->block_async = way & 1;
		h->no_pin = way & 2;
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			uint64_t p = h_alloc(h, 4096, 4096);
			struct nvme_dsm_range *range = h_ptr(h, p);
			struct nvme_sqe cmd = h_rw(rows[i].opcode, 1, 0, 8, p, 0);

			if (rows[i].opcode == NVME_IO_DSM) {
				range->nlb = 8;
				cmd.cdw10 = 0;
				cmd.cdw11 = NVME_DSM_AD;
			}
			fail_next(h->blocks[0], rows[i].op, rows[i].err);
			assert_int_equal(h_cmd(h, 1, &cmd, NULL), rows[i].status);
			assert_false(h->blocks[0]->fail);
			/* The next one works. */
			assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
		}
		assert_int_equal(h->nr_pinned, 0);
		h_free(h);
	}
}

/* A write of many chunks fails in the middle. */
static void error_in_chunk(void **state)
{
	struct harness *h = h_ready("memory=4M", indirect);
	uint64_t p = h_alloc(h, 2 << 20, 4096), list = h_alloc(h, 4096, 4096);
	struct nvme_sqe cmd = h_rw(NVME_IO_WRITE, 1, 0, 4096, p, list);

	h->no_pin = true;
	for (int i = 0; i < 511; i++)
		((uint64_t *)h_ptr(h, list))[i] = p + 4096ull * (unsigned)(i + 1);
	for (int async = 0; async < 2; async++) {
		h->block_async = async;
		h->blocks[0]->nr_ops[BLOCK_WRITE] = 0;
		fail_next(h->blocks[0], BLOCK_WRITE, -EIO);
		h->blocks[0]->fail_after = 5;
		assert_int_equal(h_cmd(h, 1, &cmd, NULL), NVME_SC_WRITE_FAULT);
		assert_int_equal(h->blocks[0]->nr_ops[BLOCK_WRITE], 6);
	}
	h_free(h);
}

/* ---- durability ---- */

static bool durable(struct harness *h, unsigned byte)
{
	return h->blocks[0]->durable[0] == byte;
}

static void write_byte(struct harness *h, unsigned byte, uint32_t flags)
{
	uint64_t p = h_alloc(h, 512, 512);
	struct nvme_sqe cmd = h_rw(NVME_IO_WRITE, 1, 0, 1, p, 0);

	memset(h_ptr(h, p), (int)byte, 512);
	cmd.cdw12 |= flags;
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	assert_int_equal(h->blocks[0]->data[0], byte);
}

static void durability(void **state)
{
	void (*const setups[])(struct harness * h) = {cached, cached_no_fua};

	for (int s = 0; s < 2; s++) {
		struct harness *h = h_ready("memory=64K", setups[s]);
		struct block *b = h->blocks[0];
		struct nvme_sqe vwc = {.opcode = NVME_ADM_SET_FEATURES, .cdw10 = NVME_FEAT_VWC};
		struct nvme_sqe zero = h_rw(NVME_IO_WRITE_ZEROES, 1, 0, 1, 0, 0);
		struct nvme_sqe flush = {.opcode = NVME_IO_FLUSH, .nsid = 1};

		/* Written, not flushed. */
		write_byte(h, 1, 0);
		assert_true(durable(h, 0));
		assert_int_equal(h_cmd(h, 1, &flush, NULL), 0);
		assert_true(durable(h, 1));
		/* FUA. */
		write_byte(h, 2, FUA);
		assert_true(durable(h, 2));
		assert_int_equal(b->nr_fua, s ? 0 : 1);
		zero.cdw12 |= FUA;
		assert_int_equal(h_cmd(h, 1, &zero, NULL), 0);
		assert_true(durable(h, 0));
		/* The cache off: each write. */
		assert_int_equal(h_cmd(h, 0, &vwc, NULL), 0);
		write_byte(h, 3, 0);
		assert_true(durable(h, 3));
		zero.cdw12 &= ~FUA;
		assert_int_equal(h_cmd(h, 1, &zero, NULL), 0);
		assert_true(durable(h, 0));
		/* And on again. */
		vwc.cdw11 = 1;
		assert_int_equal(h_cmd(h, 0, &vwc, NULL), 0);
		write_byte(h, 4, 0);
		assert_true(durable(h, 0));
		/* All namespaces. */
		flush.nsid = NVME_NSID_ALL;
		assert_int_equal(h_cmd(h, 1, &flush, NULL), 0);
		assert_true(durable(h, 4));
		/* A flush that fails after a FUA write is the write's failure. */
		if (s) {
			struct nvme_sqe cmd = h_rw(NVME_IO_WRITE, 1, 0, 1, h_alloc(h, 512, 512), 0);

			cmd.cdw12 |= FUA;
			fail_next(b, BLOCK_FLUSH, -EIO);
			assert_int_equal(h_cmd(h, 1, &cmd, NULL), NVME_SC_WRITE_FAULT);
		}
		/* A normal shutdown flushes. */
		write_byte(h, 5, 0);
		h_write32(h, 0x14, 4 << 20 | 6 << 16 | 1 << 14 | 1);
		h_run(h);
		assert_true(durable(h, 5));
		h_free(h);
	}
}

static void no_cache(void **state)
{
	struct harness *h = h_ready("memory=64K", indirect);
	struct nvme_sqe cmd = {.opcode = NVME_ADM_SET_FEATURES, .cdw10 = NVME_FEAT_VWC};

	/* Storage without a volatile cache: FUA costs nothing, and there is no such feature. */
	write_byte(h, 1, FUA);
	assert_int_equal(h->blocks[0]->nr_fua, 0);
	assert_int_equal(h->blocks[0]->nr_ops[BLOCK_FLUSH], 0);
	assert_int_equal(h_cmd(h, 0, &cmd, NULL), DNR(NVME_SC_INVALID_FIELD));
	h_free(h);
}

/* ---- the commands ---- */

static void compare(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	uint64_t p = h_alloc(h, 512 * 1024, 4096), list = h_alloc(h, 4096, 4096);
	uint8_t *disk = h->blocks[0]->data;
	struct nvme_sqe cmd = h_rw(NVME_IO_COMPARE, 1, 0, 1024, p, list);

	for (int i = 0; i < 127; i++)
		((uint64_t *)h_ptr(h, list))[i] = p + 4096ull * (unsigned)(i + 1);
	for (int i = 0; i < 512 * 1024; i++)
		disk[i] = (uint8_t)(i * 7 + i / 4096);
	memcpy(h_ptr(h, p), disk, 512 * 1024);
	for (int way = 0; way < 8; way++) {
		h->blocks[0]->direct = way & 1;
		h->block_async = way & 2;
		h->delay_dma = way & 4;
		assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
		/* One byte, in the first and in the last piece. */
		disk[100] ^= 1;
		assert_int_equal(h_cmd(h, 1, &cmd, NULL), DNR(NVME_SC_COMPARE_FAILURE));
		disk[100] ^= 1;
		disk[512 * 1024 - 1] ^= 0x80;
		assert_int_equal(h_cmd(h, 1, &cmd, NULL), DNR(NVME_SC_COMPARE_FAILURE));
		disk[512 * 1024 - 1] ^= 0x80;
	}
	h_fault(h, p + 400 * 1024, 1);
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), DNR(NVME_SC_DATA_TRANSFER));
	h_free(h);
}

static void write_zeroes(void **state)
{
	struct harness *h = h_ready("memory=40M", indirect);
	struct block *b = h->blocks[0];
	struct nvme_sqe cmd = h_rw(NVME_IO_WRITE_ZEROES, 1, 1, 65536, 0, 0);

	memset(b->data, 0xff, b->info.size);
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0); /* 32 MiB: no limit of MDTS */
	assert_int_equal(b->data[511], 0xff);
	assert_int_equal(b->data[512], 0);
	assert_int_equal(b->data[65537 * 512 - 1], 0);
	assert_int_equal(b->data[65537 * 512], 0xff);
	assert_int_equal(b->nr_may_free, 0);
	cmd.cdw12 |= NVME_RW_DEAC;
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	assert_int_equal(b->nr_may_free, 1);
	h_free(h);
}

static unsigned dsm(struct harness *h, const struct nvme_dsm_range *ranges, unsigned nr,
		    uint32_t attr)
{
	uint64_t p = h_alloc(h, 4096, 4096);
	struct nvme_sqe cmd = {
		.opcode = NVME_IO_DSM, .nsid = 1, .prp1 = p, .cdw10 = nr - 1, .cdw11 = attr};

	memcpy(h_ptr(h, p), ranges, nr * sizeof(*ranges));
	return h_cmd(h, 1, &cmd, NULL);
}

static void dataset_management(void **state)
{
	struct harness *h = h_ready("memory=1M", indirect);
	struct block *b = h->blocks[0];
	struct nvme_dsm_range many[256];
	const struct nvme_dsm_range two[] = {{0, 8, 0}, {0, 16, 100}};
	const struct nvme_dsm_range outside[] = {{0, 8, 0}, {0, 2, 2047}};
	const struct nvme_dsm_range empty[] = {{0, 0, 5}, {0, 1, 7}};

	for (int async = 0; async < 2; async++) {
		h->block_async = async;
		h->delay_dma = async;
		memset(b->data, 0xff, b->info.size);
		b->nr_ops[BLOCK_DISCARD] = 0;
		b->discarded = 0;
		assert_int_equal(dsm(h, two, 2, NVME_DSM_AD), 0);
		assert_int_equal(b->discarded, 24 * 512);
		assert_int_equal(b->data[0], 0);
		assert_int_equal(b->data[100 * 512], 0);
		assert_int_equal(b->data[116 * 512], 0xff);
		/* A range outside: nothing is done at all. */
		b->data[0] = 1;
		assert_int_equal(dsm(h, outside, 2, NVME_DSM_AD), DNR(NVME_SC_LBA_RANGE));
		assert_int_equal(b->data[0], 1);
		assert_int_equal(dsm(h, empty, 2, NVME_DSM_AD), 0);
		assert_int_equal(b->nr_ops[BLOCK_DISCARD], 3);
		/* Hints only. */
		assert_int_equal(dsm(h, two, 2, 3), 0);
		assert_int_equal(b->nr_ops[BLOCK_DISCARD], 3);
		memset(b->data, 0xff, b->info.size);
		for (unsigned i = 0; i < 256; i++)
			many[i] = (struct nvme_dsm_range){0, 4, i * 8};
		assert_int_equal(dsm(h, many, 256, NVME_DSM_AD), 0);
		assert_int_equal(b->nr_ops[BLOCK_DISCARD], 259);
		for (unsigned i = 0; i < 2048; i++)
			assert_int_equal(b->data[i * 512 + 511], i % 8 < 4 ? 0 : 0xff);
	}
	h_fault(h, h->alloc, 1 << 20);
	{
		struct nvme_sqe cmd = {.opcode = NVME_IO_DSM, .nsid = 1, .prp1 = h->alloc + 4096};

		assert_int_equal(h_cmd(h, 1, &cmd, NULL), DNR(NVME_SC_DATA_TRANSFER));
	}
	h_free(h);
}

static unsigned rw(struct harness *h, uint8_t opcode, uint64_t slba, uint32_t nlb)
{
	struct nvme_sqe cmd = h_rw(opcode, 1, slba, nlb, H_MEM_BASE + H_MEM_SIZE - 8192,
				   H_MEM_BASE + H_MEM_SIZE - 4096);

	return h_cmd(h, 1, &cmd, NULL);
}

static void write_uncorrectable(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_ctrl *c = h->priv;
	const unsigned bad = DNR(NVME_SC_UNRECOVERED_READ);

	assert_int_equal(rw(h, NVME_IO_WRITE_UNCORRECTABLE, 10, 6), 0);
	assert_int_equal(rw(h, NVME_IO_READ, 9, 1), 0);
	assert_int_equal(rw(h, NVME_IO_READ, 9, 2), bad);
	assert_int_equal(rw(h, NVME_IO_READ, 15, 1), bad);
	assert_int_equal(rw(h, NVME_IO_READ, 16, 1), 0);
	assert_int_equal(rw(h, NVME_IO_COMPARE, 12, 1), bad);
	assert_int_equal(rw(h, NVME_IO_VERIFY, 0, 100), bad);
	assert_int_equal(c->count.media_errors, 4);
	/* A write heals what it covers: in the middle, and the ends. */
	assert_int_equal(rw(h, NVME_IO_WRITE, 12, 2), 0);
	assert_int_equal(rw(h, NVME_IO_READ, 12, 2), 0);
	assert_int_equal(rw(h, NVME_IO_READ, 11, 1), bad);
	assert_int_equal(rw(h, NVME_IO_READ, 14, 1), bad);
	assert_int_equal(c->ns[0].disk->nr_bad, 2);
	assert_int_equal(rw(h, NVME_IO_WRITE_ZEROES, 0, 12), 0);
	assert_int_equal(rw(h, NVME_IO_WRITE, 14, 2), 0);
	assert_int_equal(rw(h, NVME_IO_READ, 8, 8), 0);
	assert_int_equal(c->ns[0].disk->nr_bad, 0);
	/* Ranges that touch or overlap are one. */
	assert_int_equal(rw(h, NVME_IO_WRITE_UNCORRECTABLE, 0, 1), 0);
	assert_int_equal(rw(h, NVME_IO_WRITE_UNCORRECTABLE, 2, 1), 0);
	assert_int_equal(rw(h, NVME_IO_WRITE_UNCORRECTABLE, 4, 1), 0);
	assert_int_equal(c->ns[0].disk->nr_bad, 3);
	assert_int_equal(rw(h, NVME_IO_WRITE_UNCORRECTABLE, 1, 2), 0);
	assert_int_equal(c->ns[0].disk->nr_bad, 2);
	assert_int_equal(rw(h, NVME_IO_WRITE_UNCORRECTABLE, 0, 100), 0);
	assert_int_equal(c->ns[0].disk->nr_bad, 1);
	/* A reset does not heal. */
	h_reset(h, UVFIO_RESET_FUNCTION);
	assert_true(h_enable(h, 16));
	h_create_pair(h, 1, 16);
	assert_int_equal(rw(h, NVME_IO_READ, 99, 1), bad);
	h_free(h);
}

/* The list of bad blocks against a plain array of them. */
static void bad_random(void **state)
{
	struct nvme_disk d = {.id = 1};
	struct nvme_ns ns = {.shift = 9, .disk = &d};
	bool model[200] = {false};

	pthread_mutex_init(&d.lock, NULL);
	srand(3);
	for (int i = 0; i < 20000; i++) {
		unsigned start = (unsigned)rand() % 200, n = 1 + (unsigned)rand() % 20,
			 op = (unsigned)rand() % 3;
		bool hit = false;

		if (n > 200 - start)
			n = 200 - start;
		if (op == 0)
			assert_true(nvme_bad_mark(&ns, start, n));
		else if (op == 1)
			assert_true(nvme_bad_clear(&ns, start, n));
		for (unsigned k = start; k < start + n; k++) {
			if (op < 2)
				model[k] = op == 0;
			hit |= model[k];
		}
		assert_int_equal(nvme_bad_hit(&ns, start * 512ull, n * 512ull), hit);
		for (unsigned k = 1; k < d.nr_bad; k++)
			assert_true(d.bad[k - 1].end < d.bad[k].start);
	}
	nvme_bad_free(&d);
	/* The number of ranges is limited. */
	for (unsigned i = 0; i < NVME_BAD_RANGES_MAX; i++)
		assert_true(nvme_bad_mark(&ns, 2 * i, 1));
	assert_false(nvme_bad_mark(&ns, 1000000, 1));
	assert_true(nvme_bad_mark(&ns, 1, 1)); /* joins two */
	nvme_bad_free(&d);
}

static void counters(void **state)
{
	struct harness *h = h_ready("memory=2M", NULL);
	uint64_t p = h_alloc(h, 4096, 4096);
	struct nvme_sqe log = {
		.opcode = NVME_ADM_GET_LOG_PAGE, .prp1 = p, .cdw10 = 127u << 16 | NVME_LOG_SMART};
	struct nvme_smart_log *s = h_ptr(h, p);

	for (int i = 0; i < 200; i++)
		assert_int_equal(rw(h, NVME_IO_READ, 0, 16), 0);
	for (int i = 0; i < 50; i++)
		assert_int_equal(rw(h, NVME_IO_WRITE, 0, 8), 0);
	assert_int_equal(h_cmd(h, 0, &log, NULL), 0);
	assert_int_equal(s->host_reads[0], 200);
	assert_int_equal(s->host_writes[0], 50);
	assert_int_equal(s->data_units_read[0], 4); /* 3,200 blocks, in thousands, rounded up */
	assert_int_equal(s->data_units_written[0], 1);
	assert_int_equal(s->power_cycles[0], 1);
	h_free(h);
}

/* The client changes a command and a list after the fact: it was copied once. */
static void copied_once(void **state)
{
	struct harness *h = h_ready("memory=1M", indirect);
	uint64_t p = h_alloc(h, 4096, 4096);
	struct nvme_sqe cmd = h_rw(NVME_IO_WRITE, 1, 5, 1, p, 0);
	struct nvme_cqe cqe;

	memset(h_ptr(h, p), 0xaa, 512);
	h->block_async = h->hold_block = true;
	h_push(h, 1, &cmd);
	h_ring_sq(h, 1);
	h_run(h);
	memset(h_ptr(h, h->q[1].sq), 0xff, 64 * 128);
	h_complete_io(h, 1);
	h_run(h);
	assert_true(h_pop(h, 1, &cqe));
	assert_int_equal(cqe.status >> 1, 0);
	assert_int_equal(h->blocks[0]->data[5 * 512], 0xaa);
	h_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refusals),
		cmocka_unit_test(backend_errors),
		cmocka_unit_test(error_in_chunk),
		cmocka_unit_test(durability),
		cmocka_unit_test(no_cache),
		cmocka_unit_test(compare),
		cmocka_unit_test(write_zeroes),
		cmocka_unit_test(dataset_management),
		cmocka_unit_test(write_uncorrectable),
		cmocka_unit_test(bad_random),
		cmocka_unit_test(counters),
		cmocka_unit_test(copied_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
