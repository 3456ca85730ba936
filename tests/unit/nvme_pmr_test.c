/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller's persistent memory region: its registers, when its contents are in the file,
 * what survives which reset, what fails, and the addresses that lead there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/nvme/nvme.h"
#include "nvme_harness.h"

#define CC     0x14
#define CSTS   0x1c
#define CC_ON  (4u << 20 | 6u << 16 | 1)
#define PMRCAP 0xe00
#define PMRCTL 0xe04
#define PMRMSC 0xe14
#define CMSE   2u
#define SIZE   (8u << 20)
#define ARGS   "memory=4M,cmb=256K,pmr=region"
#define APART  0x700000000000ull

static void with_file(struct harness *h)
{
	h->file_size = SIZE;
}

static void with_odd_file(struct harness *h)
{
	h->file_size = SIZE - 512;
}

static void with_small_file(struct harness *h)
{
	h->file_size = 2048;
}

static struct harness *ready(void)
{
	return h_ready(ARGS, with_file);
}

/* The region's file, and what the host sees. */
static struct block *file(struct harness *h)
{
	return h->blocks[0]; /* it is opened before the namespaces */
}

static uint8_t *bar(struct harness *h)
{
	return h->bar_memory[4];
}

static void enable(struct harness *h)
{
	h_write32(h, PMRCTL, 1);
	h_run(h);
	assert_int_equal(h_pmrsts(h) & NVME_PMRSTS_NRDY, 0);
}

/* Read PMRSTS as a program does. */
static uint32_t barrier(struct harness *h)
{
	uint64_t ticket = h_pmrsts_ask(h);

	h_run(h);
	assert_true(h->read_ready >= ticket);
	return h_pmrsts(h);
}

static void options(void **state)
{
	struct harness *h;

	assert_null(h_new_with("memory=1M,pmr=x", NULL));
	assert_non_null(strstr(h_last_error(), "cannot open x"));
	assert_null(h_new_with("memory=1M,pmr=x", with_odd_file));
	assert_non_null(strstr(h_last_error(), "power of 2"));
	assert_null(h_new_with("memory=1M,pmr=x", with_small_file));
	assert_non_null(strstr(h_last_error(), "2048 bytes"));
	h = h_new_with("memory=1M,pmr=x", with_file);
	assert_int_equal(h->desc.bars[4].size, SIZE);
	assert_int_equal(h->desc.bars[4].flags, UVFIO_BAR_MEM64 | UVFIO_BAR_PREFETCH);
	assert_int_equal(h->desc.bars[2].size, 0);
	h_free(h);
}

static void registers(void **state)
{
	struct harness *h = h_new_with(ARGS, with_file);
	uint32_t cap = h_read32(h, PMRCAP);

	assert_int_equal(h_read64(h, 0) >> 56 & 1, 1);
	assert_int_equal(cap >> 3 & 3, 3);      /* RDS, WDS */
	assert_int_equal(cap >> 5 & 7, 4);      /* BIR */
	assert_int_equal(cap >> 8 & 3, 0);      /* PMRTU */
	assert_int_equal(cap >> 10 & 0xf, 2);   /* PMRWBM */
	assert_int_equal(cap >> 16 & 0xff, 60); /* PMRTO */
	assert_int_equal(cap >> 24, 1);         /* CMSS */
	assert_int_equal(h_pmrsts(h), 0);
	/* One register of its own: the only one whose reading is an event. */
	for (unsigned i = 0; i < h->nr_areas; i++) {
		bool sts = h->areas[i].offset == 0xe08;

		assert_int_equal(!!(h->areas[i].flags & UVFIO_AREA_READ_EVENT), sts);
		assert_int_equal(!!(h->areas[i].flags & UVFIO_AREA_READ_LATER), sts);
		assert_true(!sts || h->areas[i].size == 4);
	}
	/* Reserved bits, and what cannot be written. */
	h_write32(h, PMRCTL, ~1u);
	assert_int_equal(h_read32(h, PMRCTL), 0);
	h_write32(h, PMRCTL, ~0u);
	assert_int_equal(h_read32(h, PMRCTL), 1);
	h_write32(h, PMRCAP, 0);
	h_write32(h, 0xe08, ~0u);
	h_write(h, 0xe0c, 4, ~0u);
	h_write(h, 0xe10, 4, ~0u);
	h_write(h, PMRCTL, 1, 0);
	assert_int_equal(h_read32(h, PMRCAP), cap);
	assert_int_equal(h_read32(h, 0xe0c), 0);
	assert_int_equal(h_read32(h, 0xe10), 0);
	assert_int_equal(h_read32(h, PMRCTL), 1);
	h_write32(h, PMRMSC, 0x12345ffd);
	h_write32(h, PMRMSC + 4, 0x9abcdef0);
	assert_int_equal(h_read32(h, PMRMSC), 0x12345000);
	assert_true(h_read32(h, PMRMSC + 4) == 0x9abcdef0);
	h_free(h);
	/* Without one. */
	h = h_new("memory=1M");
	assert_int_equal(h_read64(h, 0) >> 56 & 1, 0);
	h_write32(h, PMRCTL, 1);
	h_write32(h, PMRMSC, ~0u);
	h_run(h);
	for (unsigned reg = PMRCAP; reg < 0xe1c; reg += 4)
		assert_int_equal(h_read32(h, reg), 0);
	for (unsigned i = 0; i < h->nr_areas; i++)
		assert_false(h->areas[i].flags & UVFIO_AREA_READ_EVENT);
	h_free(h);
}

/* ---- contents ---- */

static void enable_and_disable(void **state)
{
	for (int async = 0; async < 2; async++) {
		struct harness *h = ready();
		uint8_t *disk = file(h)->data;

		h->block_async = async;
		for (unsigned i = 0; i < SIZE; i += 513)
			disk[i] = (uint8_t)(i * 7 + 1);
		/* Not ready until the file has been read. */
		h->hold_block = async;
		h_write32(h, PMRCTL, 1);
		h_run(h);
		if (async)
			assert_int_equal(h_pmrsts(h), NVME_PMRSTS_NRDY);
		h->hold_block = false;
		h_run(h);
		assert_int_equal(h_pmrsts(h), 0);
		assert_memory_equal(bar(h), disk, SIZE);
		/* Disabling saves. */
		bar(h)[12345] = 0xaa;
		bar(h)[SIZE - 1] = 0xbb;
		h->hold_block = async;
		h_write32(h, PMRCTL, 0);
		if (async) {
			h_run(h);
			assert_int_equal(h_pmrsts(h), 0);
		}
		h->hold_block = false;
		h_run(h);
		assert_int_equal(h_pmrsts(h), NVME_PMRSTS_NRDY);
		assert_int_equal(file(h)->durable[12345], 0xaa);
		assert_int_equal(file(h)->durable[SIZE - 1], 0xbb);
		/* What is written while it is disabled is not kept. */
		bar(h)[12345] = 0xcc;
		enable(h);
		assert_int_equal(bar(h)[12345], 0xaa);
		h_free(h);
	}
}

static void barriers(void **state)
{
	struct harness *h = ready();
	uint64_t first, second;
	struct nvme_ctrl *c = h->priv;

	h->block_async = true;
	enable(h);
	/* Nothing was written: nothing is to be done. */
	assert_int_equal(barrier(h), 0);
	assert_int_equal(file(h)->nr_ops[BLOCK_WRITE], 0);
	assert_int_equal(file(h)->nr_ops[BLOCK_FLUSH], 0);
	/* Two pages apart, and three together. */
	bar(h)[0] = 1;
	bar(h)[5 << 20] = 2;
	memset(bar(h) + 4096 * 100, 3, 3 * 4096);
	assert_int_equal(barrier(h), 0);
	assert_int_equal(file(h)->nr_ops[BLOCK_WRITE], 3);
	assert_int_equal(file(h)->nr_ops[BLOCK_FLUSH], 1);
	assert_true(c->pmr.stats.written == 5 * 4096);
	assert_memory_equal(file(h)->durable, bar(h), SIZE);
	/* The read waits for the file, and one that comes meanwhile for what was written since. */
	bar(h)[0] = 4;
	h->hold_block = true;
	first = h_pmrsts_ask(h);
	h_run(h);
	assert_true(h->read_ready < first);
	bar(h)[0] = 5;
	second = h_pmrsts_ask(h);
	while (h->read_ready < first) {
		h_complete_io(h, 1);
		h_run(h);
	}
	assert_true(h->read_ready < second);
	assert_int_equal(file(h)->durable[0], 4);
	h->hold_block = false;
	h_run(h);
	assert_true(h->read_ready >= second);
	assert_int_equal(file(h)->durable[0], 5);
	/* Disabled: nobody waits, also in the midst of it. */
	h->hold_block = true;
	bar(h)[0] = 6;
	h_write32(h, PMRCTL, 0);
	first = h_pmrsts_ask(h);
	assert_true(h->read_ready >= first);
	h_run(h);
	first = h_pmrsts_ask(h);
	assert_true(h->read_ready >= first);
	h->hold_block = false;
	h_run(h);
	assert_int_equal(barrier(h), NVME_PMRSTS_NRDY);
	h_free(h);
}

/* A reader that waits is not let go by one that need not. */
static void barrier_overtaken(void **state)
{
	struct harness *h = ready();
	uint64_t waits, asks;

	h->block_async = h->hold_block = true;
	h_write32(h, PMRCTL, 1);
	h->hold_block = false;
	h_run(h);
	h->hold_block = true;
	bar(h)[77] = 1;
	waits = h_pmrsts_ask(h);
	h_run(h);
	h_write32(h, PMRCTL, 0);
	asks = h_pmrsts_ask(h);
	assert_true(h->read_ready < waits);
	h->hold_block = false;
	h_run(h);
	assert_true(h->read_ready >= asks);
	assert_int_equal(file(h)->durable[77], 1);
	h_free(h);
}

static void toggles(void **state)
{
	struct harness *h = ready();

	h->block_async = true;
	enable(h);
	for (unsigned i = 0; i < 50; i++) {
		bar(h)[i * 4096] = (uint8_t)(i + 1);
		for (unsigned n = 0; n < i % 4; n++) {
			h_write32(h, PMRCTL, 0);
			if (i & 1)
				h_work(h);
			h_write32(h, PMRCTL, 1);
			if (n)
				h_complete_io(h, 1);
		}
		assert_int_equal(!!(h_pmrsts(h) & NVME_PMRSTS_NRDY), i % 4 != 0);
		h_run(h);
		assert_int_equal(h_pmrsts(h), 0);
		assert_int_equal(bar(h)[i * 4096], i + 1);
	}
	barrier(h);
	assert_memory_equal(file(h)->durable, bar(h), SIZE);
	h_free(h);
}

/* ---- resets ---- */

static void resets(void **state)
{
	static const enum uvfio_reset_kind kinds[] = {UVFIO_RESET_FUNCTION, UVFIO_RESET_PM,
						      UVFIO_RESET_BUS, UVFIO_RESET_OPEN,
						      UVFIO_RESET_CLOSE};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct harness *h = ready();
		uint64_t ticket;

		h->block_async = true;
		enable(h);
		h_write32(h, PMRMSC, 0x1000 | CMSE);
		/* A controller reset is none of its business. */
		bar(h)[100] = 0x11;
		h_disable(h);
		assert_int_equal(h_read32(h, PMRCTL), 1);
		assert_int_equal(h_read32(h, PMRMSC), 0x1000 | CMSE);
		assert_int_equal(bar(h)[100], 0x11);
		/* Without a barrier, and with one that waits. */
		bar(h)[200] = 0x22;
		ticket = h_pmrsts_ask(h);
		h_reset(h, kinds[i]);
		assert_true(h->read_ready >= ticket);
		assert_int_equal(file(h)->durable[100], 0x11);
		assert_int_equal(file(h)->durable[200], 0x22);
		assert_int_equal(h_read32(h, PMRCTL), 0);
		assert_int_equal(h_read32(h, PMRMSC), 0);
		bar(h)[200] = 0x33;
		enable(h);
		assert_int_equal(bar(h)[200], 0x22);
		h_free(h);
	}
}

static void subsystem_reset(void **state)
{
	struct harness *h = ready();

	enable(h);
	h_write32(h, PMRMSC, 0x1000 | CMSE);
	bar(h)[3] = 0x44;
	h_write32(h, 0x20, NVME_NSSR_MAGIC);
	h_run(h);
	assert_int_equal(h_read32(h, PMRCTL), 0);
	assert_int_equal(h_read32(h, PMRMSC), 0);
	assert_int_equal(file(h)->durable[3], 0x44);
	assert_int_equal(h_pmrsts(h), NVME_PMRSTS_NRDY);
	h_free(h);
}

/* To become quiet takes as long as the file does, whatever was going on. */
static void quiesce(void **state)
{
	for (unsigned what = 0; what < 3; what++) {
		struct harness *h = ready();
		unsigned before;

		h->block_async = true;
		if (what)
			enable(h);
		bar(h)[9] = 9;
		h->hold_block = true;
		if (what == 0) /* loading */
			h_write32(h, PMRCTL, 1);
		else if (what == 1) /* saving */
			h_pmrsts_ask(h);
		h_run(h);
		before = h->quiesced;
		h_quiesce(h);
		h_run(h);
		assert_int_equal(h->quiesced, before);
		h->hold_block = false;
		h_run(h);
		assert_int_equal(h->quiesced, before + 1);
		assert_int_equal(h->nr_io_pending, 0);
		assert_int_equal(file(h)->durable[9], what ? 9 : 0);
		h_resume(h);
		/* It is as it was. */
		assert_int_equal(h_pmrsts(h), 0);
		bar(h)[9] = 10;
		assert_int_equal(barrier(h), 0);
		assert_int_equal(file(h)->durable[9], 10);
		h_free(h);
	}
}

/* ---- failures ---- */

static void fail_next(struct harness *h, enum block_op op)
{
	file(h)->fail = true;
	file(h)->fail_op = op;
	file(h)->fail_after = 0;
	file(h)->fail_errno = -5;
}

static void read_error(void **state)
{
	struct harness *h = ready();

	memset(file(h)->data, 0x66, SIZE);
	fail_next(h, BLOCK_READ);
	enable(h);
	assert_int_equal(h_pmrsts(h), NVME_PMRSTS_HSTS(NVME_PMR_RESTORE_ERROR));
	assert_int_equal(bar(h)[0], 0);
	assert_int_equal(bar(h)[SIZE - 1], 0x66);
	/* What was not read is not overwritten. */
	bar(h)[SIZE - 1] = 0x67;
	assert_int_equal(barrier(h), NVME_PMRSTS_HSTS(NVME_PMR_RESTORE_ERROR));
	assert_int_equal(file(h)->data[0], 0x66);
	assert_int_equal(file(h)->data[SIZE - 1], 0x67);
	/* Another try. */
	h_write32(h, PMRCTL, 0);
	h_run(h);
	enable(h);
	assert_int_equal(h_pmrsts(h), 0);
	assert_int_equal(bar(h)[0], 0x66);
	assert_int_equal(bar(h)[SIZE - 1], 0x67);
	h_free(h);
}

static void write_error(void **state)
{
	static const enum block_op ops[] = {BLOCK_WRITE, BLOCK_FLUSH};
	const uint32_t bad = NVME_PMRSTS_HSTS(NVME_PMR_UNRELIABLE) | NVME_PMRSTS_ERR(1);

	for (size_t i = 0; i < 2; i++) {
		struct harness *h = ready();
		struct nvme_sqe aer = {.opcode = NVME_ADM_ASYNC_EVENT};
		struct nvme_cqe cqe;
		struct nvme_smart_log *smart;

		assert_int_equal(h_admin(h, NVME_ADM_SET_FEATURES, 0, NVME_FEAT_ASYNC_EVENTS,
					 NVME_SMART_WARN_PMR, NULL, NULL),
				 0);
		h_push(h, 0, &aer);
		h_ring_sq(h, 0);
		enable(h);
		bar(h)[0] = 1;
		fail_next(h, ops[i]);
		assert_int_equal(barrier(h), bad);
		assert_true(h_pop(h, 0, &cqe));
		assert_int_equal(cqe.dw0, NVME_EVENT_SMART | NVME_EVENT_SMART_RELIABILITY << 8 |
						  NVME_LOG_SMART << 16);
		h_ring_cq(h, 0);
		assert_int_equal(h_log(h, NVME_LOG_SMART, 128, 0, false, (void **)&smart), 0);
		assert_int_equal(smart->critical_warning, NVME_SMART_WARN_PMR);
		/* Not ready: no health. */
		assert_int_equal(file(h)->durable[0], 0);
		/* The next one writes all, and is right; ERR stays. */
		file(h)->nr_ops[BLOCK_WRITE] = 0;
		assert_int_equal(barrier(h), NVME_PMRSTS_ERR(1));
		assert_int_equal(file(h)->nr_ops[BLOCK_WRITE], SIZE >> 20);
		assert_int_equal(file(h)->durable[0], 1);
		assert_int_equal(h_log(h, NVME_LOG_SMART, 128, 0, false, (void **)&smart), 0);
		assert_int_equal(smart->critical_warning, 0);
		file(h)->nr_ops[BLOCK_WRITE] = 0;
		assert_int_equal(barrier(h), NVME_PMRSTS_ERR(1));
		assert_int_equal(file(h)->nr_ops[BLOCK_WRITE], 0);
		h_disable(h);
		assert_int_equal(h_pmrsts(h), NVME_PMRSTS_ERR(1));
		h_reset(h, UVFIO_RESET_FUNCTION);
		enable(h);
		assert_int_equal(h_pmrsts(h), 0);
		h_free(h);
	}
}

/* ---- addresses ---- */

static void data(void **state)
{
	struct harness *h = ready();
	struct nvme_sqe cmd = h_rw(NVME_IO_READ, 1, 0, 8, APART + 8192, 0);

	h->blocks[1]->direct = false;
	memset(h->blocks[1]->data, 0x71, 4096);
	h_write32(h, PMRMSC + 4, (uint32_t)(APART >> 32));
	h_write32(h, PMRMSC, (uint32_t)APART | CMSE);
	/* Not ready: nothing can be transferred, and nothing is. */
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), DNR(NVME_SC_DATA_TRANSFER));
	assert_int_equal(bar(h)[8192], 0);
	enable(h);
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	assert_int_equal(bar(h)[8192], 0x71);
	assert_int_equal(bar(h)[8192 + 4095], 0x71);
	assert_int_equal(bar(h)[8192 + 4096], 0);
	assert_int_equal(barrier(h), 0);
	assert_int_equal(file(h)->durable[8192], 0x71);
	bar(h)[8192] = 0x72;
	cmd.opcode = NVME_IO_WRITE;
	cmd.cdw10 = 16;
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	assert_int_equal(h->blocks[1]->data[16 * 512], 0x72);
	/* One page in the region, one in the buffer. */
	h_cmb_at(h, APART + SIZE);
	cmd = h_rw(NVME_IO_READ, 1, 0, 16, APART + SIZE - 4096, APART + SIZE);
	memset(h->blocks[1]->data, 0x73, 8192);
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	assert_int_equal(bar(h)[SIZE - 1], 0x73);
	assert_int_equal(h->bar_memory[2][0], 0x73);
	h_write32(h, PMRMSC, 0);
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), DNR(NVME_SC_DATA_TRANSFER));
	h_free(h);
}

static void overlaps(void **state)
{
	struct harness *h = ready();
	struct nvme_ctrl *c = h->priv;
	uint32_t high = (uint32_t)(APART >> 32), low = (uint32_t)APART;

	h_write32(h, PMRMSC + 4, ~0u);
	h_write32(h, PMRMSC, (0u - SIZE) | CMSE);
	assert_int_equal(h_pmrsts(h), 0);
	h_write32(h, PMRMSC, (0u - SIZE + 4096) | CMSE);
	assert_int_equal(h_pmrsts(h), NVME_PMRSTS_CBAI);
	h_write32(h, PMRMSC, 0u - SIZE + 4096);
	assert_int_equal(h_pmrsts(h), 0);
	/* The first one has the addresses. */
	h_write32(h, PMRMSC, low | CMSE);
	h_write32(h, PMRMSC + 4, high);
	h_write(h, 0x50, 8, (APART + SIZE - 4096) | 3);
	assert_int_equal(h_read32(h, 0x58), NVME_CMBSTS_CBAI);
	assert_int_equal(h_pmrsts(h), 0);
	/* It goes: the other one is valid, without being written. */
	h_write32(h, PMRMSC, low);
	assert_int_equal(h_read32(h, 0x58), 0);
	h_write32(h, PMRMSC, low | CMSE);
	assert_int_equal(h_read32(h, 0x58), 0);
	assert_int_equal(h_pmrsts(h), NVME_PMRSTS_CBAI);
	h_run(h);
	assert_true(c->cmb.on);
	assert_false(c->pmr.window.on);
	h_write(h, 0x50, 8, (APART + SIZE) | 3);
	assert_int_equal(h_pmrsts(h), 0);
	h_write(h, 0x50, 8, (APART - (256 << 10)) | 3);
	assert_int_equal(h_read32(h, 0x58), 0);
	h_write(h, 0x50, 8, (APART - (256 << 10) + 4096) | 3);
	assert_int_equal(h_read32(h, 0x58), NVME_CMBSTS_CBAI);
	h_run(h);
	assert_false(c->cmb.on);
	assert_true(c->pmr.window.on);
	h_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options),
		cmocka_unit_test(registers),
		cmocka_unit_test(enable_and_disable),
		cmocka_unit_test(barriers),
		cmocka_unit_test(barrier_overtaken),
		cmocka_unit_test(toggles),
		cmocka_unit_test(resets),
		cmocka_unit_test(subsystem_reset),
		cmocka_unit_test(quiesce),
		cmocka_unit_test(read_error),
		cmocka_unit_test(write_error),
		cmocka_unit_test(data),
		cmocka_unit_test(overlaps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
