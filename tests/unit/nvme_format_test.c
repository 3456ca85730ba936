/* SPDX-License-Identifier: BSD-3-Clause */
/* The NVMe controller: Format NVM, and what it leaves with the storage. */
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

static unsigned identify(struct harness *h, uint32_t nsid, uint32_t cns, unsigned csi, void **data)
{
	return h_admin(h, NVME_ADM_IDENTIFY, nsid, cns, csi << 24, data, NULL);
}

static bool all_zero(const void *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (((const uint8_t *)p)[i])
			return false;
	}
	return true;
}

static unsigned format(struct harness *h, uint32_t nsid, uint32_t cdw10)
{
	return h_admin(h, NVME_ADM_FORMAT, nsid, cdw10, 0, NULL, NULL);
}

static void formats(void **state)
{
	struct harness *h =
		h_ready("memory=1M,ns=memory=1M,ns=memory=1M:readonly=on,ns=memory=1536", NULL);
	struct nvme_sqe bad = h_rw(NVME_IO_WRITE_UNCORRECTABLE, 1, 0, 4, 0, 0);
	struct nvme_id_ns *id;

	h->block_async = true;
	assert_int_equal(format(h, 0, 0), DNR(NVME_SC_INVALID_NS));
	assert_int_equal(format(h, 5, 0), DNR(NVME_SC_INVALID_NS));
	assert_int_equal(format(h, 1, 2), DNR(NVME_SC_FORMAT_INVALID));
	assert_int_equal(format(h, 1, 15), DNR(NVME_SC_FORMAT_INVALID));
	assert_int_equal(format(h, 1, 1 << 4), DNR(NVME_SC_FORMAT_INVALID));
	assert_int_equal(format(h, 1, 1 << 5), DNR(NVME_SC_FORMAT_INVALID));
	assert_int_equal(format(h, 1, 2 << 9), DNR(NVME_SC_INVALID_FIELD));
	assert_int_equal(format(h, 1, 7 << 9), DNR(NVME_SC_INVALID_FIELD));
	assert_int_equal(format(h, 3, 1), DNR(NVME_SC_WRITE_PROTECTED));
	assert_int_equal(format(h, 4, 1), DNR(NVME_SC_FORMAT_INVALID)); /* no block would fit */
	assert_int_equal(format(h, NVME_NSID_ALL, 0), DNR(NVME_SC_WRITE_PROTECTED));

	memset(h->blocks[0]->data, 0xff, 1 << 20);
	memset(h->blocks[1]->data, 0xff, 1 << 20);
	assert_int_equal(h_cmd(h, 1, &bad, NULL), 0);
	assert_int_equal(format(h, 1, 1), 0);
	assert_true(all_zero(h->blocks[0]->data, 1 << 20));
	assert_int_equal(h->blocks[1]->data[0], 0xff);
	assert_int_equal(identify(h, 1, NVME_CNS_NS, 0, (void **)&id), 0);
	assert_int_equal(id->flbas, 1);
	assert_int_equal(id->nsze, 256);
	assert_int_equal(h_cmd(h, 1, &(struct nvme_sqe){.opcode = NVME_IO_VERIFY, .nsid = 1}, NULL),
			 0);
	/* It lasts over a reset, and goes back, erasing. */
	h_reset(h, UVFIO_RESET_FUNCTION);
	assert_true(h_enable(h, 16));
	h_create_pair(h, 1, 16);
	assert_int_equal(identify(h, 1, NVME_CNS_NS, 0, (void **)&id), 0);
	assert_int_equal(id->nsze, 256);
	assert_int_equal(format(h, 1, 0 | 1 << 9), 0);
	assert_int_equal(identify(h, 1, NVME_CNS_NS, 0, (void **)&id), 0);
	assert_int_equal(id->nsze, 2048);
	/* The storage fails. */
	h->blocks[0]->fail = true;
	h->blocks[0]->fail_op = BLOCK_WRITE_ZEROES;
	h->blocks[0]->fail_errno = -EIO;
	assert_int_equal(format(h, 1, 1), NVME_SC_WRITE_FAULT);
	assert_int_equal(h_cmd(h, 1, &(struct nvme_sqe){.nsid = 1}, NULL), 0);
	h_free(h);
}

static void noted_4096(struct harness *h)
{
	h->block_note = "blocksize=4096";
}

static void noted_512(struct harness *h)
{
	h->block_note = "blocksize=512";
}

static void noted_512_big(struct harness *h)
{
	noted_512(h);
	h->block_align = 4096;
}

static void noted_nonsense(struct harness *h)
{
	h->block_note = "blocksize=4096 tape";
}

static void no_notes(struct harness *h)
{
	h->block_no_note = true;
}

/* The block size is noted with the storage, and so is the same when that is used again. */
static void format_is_noted(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_ctrl *c = h->priv;
	struct nvme_id_ns *id;

	h->block_async = true;
	assert_int_equal(format(h, 1, 0), 0);
	assert_string_equal(h->blocks[0]->note, "");
	assert_int_equal(format(h, 1, 1), 0);
	assert_string_equal(h->blocks[0]->note, "blocksize=4096");
	assert_int_equal(format(h, 1, 0), 0);
	assert_string_equal(h->blocks[0]->note, "blocksize=512");
	/* What cannot be noted has not happened. */
	h->blocks[0]->fail = true;
	h->blocks[0]->fail_op = BLOCK_NOTE;
	h->blocks[0]->fail_errno = -EIO;
	memset(h->blocks[0]->data, 0xff, 1 << 20);
	assert_int_equal(format(h, 1, 1), NVME_SC_WRITE_FAULT);
	assert_int_equal(c->ns[0].shift, 9);
	assert_int_equal(h->blocks[0]->data[0], 0xff);
	/* What cannot be erased has its block size all the same. */
	h->blocks[0]->fail = true;
	h->blocks[0]->fail_op = BLOCK_WRITE_ZEROES;
	h->blocks[0]->fail_after = 0;
	assert_int_equal(format(h, 1, 1), NVME_SC_WRITE_FAULT);
	assert_int_equal(c->ns[0].shift, 12);
	assert_string_equal(h->blocks[0]->note, "blocksize=4096");
	assert_int_equal(format(h, 1, 0), 0);
	/* What has been noted has, whatever becomes of the command. */
	h->hold_block = true;
	h_push(h, 0, &(struct nvme_sqe){.opcode = NVME_ADM_FORMAT, .nsid = 1, .cdw10 = 1});
	h_ring_sq(h, 0);
	h_run(h);
	h_disable(h);
	h_complete_io(h, 1);
	h_run(h);
	assert_string_equal(h->blocks[0]->note, "blocksize=4096");
	assert_int_equal(c->ns[0].shift, 12);
	h_free(h);

	h = h_new_with("memory=1M,ns=memory=1M:blocksize=512", noted_4096);
	c = h->priv;
	assert_int_equal(c->ns[0].shift, 12);
	assert_int_equal(c->ns[1].shift, 12); /* and it is said that the option is not used */
	assert_int_equal(h->nr_errors_logged, 1);
	h_free(h);
	h = h_new_with("memory=1M,blocksize=4096", noted_512);
	c = h->priv;
	assert_int_equal(c->ns[0].shift, 9);
	h_free(h);
	assert_null(h_new_with("memory=1M", noted_512_big));
	assert_non_null(strstr(h_last_error(), "direct=on"));
	assert_null(h_new_with("memory=1M", noted_nonsense));
	assert_non_null(strstr(h_last_error(), "setfattr -x"));

	/* Storage that cannot keep a note has one block size. */
	h = h_ready("memory=1M", no_notes);
	assert_int_equal(identify(h, 1, NVME_CNS_NS, 0, (void **)&id), 0);
	assert_int_equal(id->lbaf[0].lbads, 9);
	assert_int_equal(id->lbaf[1].lbads, 0);
	assert_int_equal(format(h, 1, 1), DNR(NVME_SC_FORMAT_INVALID));
	assert_int_equal(format(h, 1, 0), 0);
	h_free(h);
}

static void format_meets_io(void **state)
{
	struct harness *h = h_ready("memory=1M,ns=memory=1M", NULL);
	struct nvme_sqe flush = {.opcode = NVME_IO_FLUSH, .nsid = 1};
	struct nvme_sqe cmd = {.opcode = NVME_ADM_FORMAT, .nsid = NVME_NSID_ALL, .cdw10 = 1};
	struct nvme_cqe cqe;

	h->block_async = h->hold_block = true;
	h_push(h, 1, &flush);
	h_ring_sq(h, 1);
	h_run(h);
	h_push(h, 0, &cmd);
	h_ring_sq(h, 0);
	h_run(h);
	assert_false(h_pop(h, 0, &cqe)); /* waits for the flush */
	assert_int_equal(h->nr_io_pending, 1);
	h_push(h, 1, &flush);
	h_ring_sq(h, 1);
	h_run(h);
	assert_true(h_pop(h, 1, &cqe));
	assert_int_equal(cqe.status >> 1 & ~NVME_SC_MORE, NVME_SC_FORMAT_IN_PROGRESS);
	h_push(h, 0, &cmd); /* another format */
	h_ring_sq(h, 0);
	h_run(h);
	assert_true(h_pop(h, 0, &cqe));
	assert_int_equal(cqe.status >> 1 & ~NVME_SC_MORE, NVME_SC_FORMAT_IN_PROGRESS);
	h_complete_io(h, 1);
	h_run(h);
	assert_true(h_pop(h, 1, &cqe));
	assert_int_equal(cqe.status >> 1, 0);
	assert_false(h_pop(h, 0, &cqe));
	/* Reset in the middle of it: usable afterwards. */
	h_reset(h, UVFIO_RESET_FUNCTION);
	h->hold_block = false;
	assert_true(h_enable(h, 16));
	h_create_pair(h, 1, 16);
	assert_int_equal(h_cmd(h, 1, &flush, NULL), 0);
	assert_int_equal(format(h, NVME_NSID_ALL, 1), 0);
	assert_int_equal(((struct nvme_ctrl *)h->priv)->ns[1].shift, 12);
	h_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats),
		cmocka_unit_test(format_meets_io),
		cmocka_unit_test(format_is_noted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
