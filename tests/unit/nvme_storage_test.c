/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller's storage is given back and taken (storage.c): what its host sees of that,
 * and who has it when something goes wrong.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "devices/nvme/nvme.h"
#include "devices/nvme/nvme_model.h"
#include "nvme_harness.h"

static void file(struct harness *h)
{
	h->file_size = 1u << 20;
	h->block_direct = false;
	h->block_volatile = true;
}

static void taken_file(struct harness *h)
{
	file(h);
	h->block_taken = true;
}

static void slow_taken_file(struct harness *h)
{
	taken_file(h);
	h->block_async = true;
}

static void slow_file(struct harness *h)
{
	file(h);
	h->block_async = true;
}

static unsigned rw(struct harness *h, uint8_t opcode, uint32_t nsid, uint64_t slba)
{
	struct nvme_sqe cmd = h_rw(opcode, nsid, slba, 8, h_alloc(h, 4096, 4096), 0);

	return h_cmd(h, 1, &cmd, NULL);
}

static unsigned read_ns(struct harness *h, uint32_t nsid)
{
	return rw(h, NVME_IO_READ, nsid, 0);
}

/* ->leave() or ->enter() as the core calls them: quiet, and until there is an answer. */
static int call(struct harness *h, int (*fn)(struct nvme_ctrl *c, struct uvfio_error *err))
{
	int r;

	h->err.msg[0] = '\0';
	h->in_ctx = true;
	r = fn(h->priv, &h->err);
	h->in_ctx = false;
	if (r == -EINPROGRESS) {
		assert_int_equal(h->moved, 1);
		h_run(h);
		assert_int_not_equal(h->moved, 1);
		r = h->moved;
		h->moved = 1;
	}
	assert_int_equal(r != 0, h->err.msg[0] != '\0');
	return r;
}

static int leave(struct harness *h)
{
	h_pause(h);
	return call(h, nvme_storage_release);
}

static int enter(struct harness *h)
{
	int r = call(h, nvme_storage_take);

	if (!r)
		h_resume(h);
	return r;
}

/* ---- one controller ---- */

static void given_back_and_taken(void **state)
{
	void (*const setups[])(struct harness * h) = {file, slow_file};

	for (unsigned i = 0; i < 2; i++) {
		struct harness *h =
			h_ready("file=a,ns=file=b,ns=memory=64K,ns=file=c:readonly=on", setups[i]);

		assert_int_equal(rw(h, NVME_IO_WRITE, 1, 0), 0);
		assert_int_equal(h->blocks[0]->nr_ops[BLOCK_FLUSH], 0);
		assert_int_equal(leave(h), 0);
		assert_int_equal(h->blocks[0]->nr_ops[BLOCK_FLUSH], 1);
		assert_false(h->blocks[0]->held);
		assert_false(h->blocks[1]->held);
		/* Nobody else can have the one, and all may have the other. */
		assert_true(h->blocks[2]->held);
		assert_true(h->blocks[3]->held);
		assert_int_equal(enter(h), 0);
		for (uint32_t n = 1; n <= 4; n++)
			assert_int_equal(read_ns(h, n), 0);
		h_free(h);
	}
}

static void the_other_side_has_it(void **state)
{
	struct harness *h = h_ready("file=a,ns=file=b", slow_file);

	assert_int_equal(leave(h), 0);
	h->blocks[1]->other_has_it = true;
	assert_int_equal(enter(h), -EBUSY);
	assert_non_null(strstr(h->err.msg, "namespace 2"));
	/* All or none. */
	assert_false(h->blocks[0]->held);
	h->blocks[1]->other_has_it = false;
	assert_int_equal(enter(h), 0);
	assert_int_equal(read_ns(h, 2), 0);
	h_free(h);
}

static void what_cannot_be_flushed_stays(void **state)
{
	struct harness *h = h_ready("file=a,ns=file=b", slow_file);

	h->blocks[1]->fail = true;
	h->blocks[1]->fail_op = BLOCK_FLUSH;
	h->blocks[1]->fail_errno = -EIO;
	assert_int_equal(leave(h), -EIO);
	assert_true(h->blocks[0]->held && h->blocks[1]->held);
	h_resume(h);
	assert_int_equal(read_ns(h, 1), 0);
	/* Likewise when it is the giving back that fails. */
	h->blocks[1]->fail = true;
	h->blocks[1]->fail_op = BLOCK_RELEASE;
	h->blocks[1]->fail_after = 0;
	assert_int_equal(leave(h), -EIO);
	assert_true(h->blocks[0]->held && h->blocks[1]->held);
	h_resume(h);
	for (uint32_t n = 1; n <= 2; n++)
		assert_int_equal(read_ns(h, n), 0);
	h_free(h);
}

/* Before it stops it is flushed, so that there is little to be flushed then. */
static void flushed_ahead(void **state)
{
	struct harness *h = h_ready("file=a,ns=memory=64K:move=none", slow_file);
	static struct model_stream s;

	assert_int_equal(rw(h, NVME_IO_WRITE, 1, 0), 0);
	for (unsigned fail = 0; fail < 2; fail++) {
		h->blocks[0]->fail = fail;
		h->blocks[0]->fail_op = BLOCK_FLUSH;
		h->blocks[0]->fail_after = 0;
		h->blocks[0]->fail_errno = -EIO;
		h->moved = 1;
		h->in_ctx = true;
		assert_int_equal(
			model_stream_save_some(&s, nvme_model.migration, h->priv, false, true),
			-EINPROGRESS);
		h->in_ctx = false;
		h_run(h);
		assert_int_equal(h->moved, fail ? -EIO : 0);
		assert_int_equal(h->blocks[0]->nr_ops[BLOCK_FLUSH], 1 + fail);
		assert_true(h->blocks[0]->held);
		assert_int_equal(read_ns(h, 1), 0);
		h->in_ctx = true;
		nvme_model.migration->end(h->priv);
		h->in_ctx = false;
	}
	h->moved = 1;
	model_stream_drop(&s);
	h_free(h);
}

/* What is not here is not touched, and a host that asks anyhow may ask again. */
static void not_ready(void **state)
{
	struct harness *h = h_new_with("file=a,incoming=yes", taken_file);
	struct nvme_sqe cmd = {.opcode = NVME_IO_FLUSH, .nsid = 1};

	assert_non_null(h);
	assert_true(h_enable(h, 16));
	h_create_pair(h, 1, 16);
	assert_int_equal(read_ns(h, 1), NVME_SC_NS_NOT_READY);
	assert_int_equal(rw(h, NVME_IO_WRITE, 1, 0), NVME_SC_NS_NOT_READY);
	assert_int_equal(rw(h, NVME_IO_WRITE_ZEROES, 1, 0), NVME_SC_NS_NOT_READY);
	assert_int_equal(rw(h, NVME_IO_COMPARE, 1, 0), NVME_SC_NS_NOT_READY);
	assert_int_equal(rw(h, NVME_IO_VERIFY, 1, 0), NVME_SC_NS_NOT_READY);
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), NVME_SC_NS_NOT_READY);
	cmd.nsid = NVME_NSID_ALL;
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	cmd = (struct nvme_sqe){.opcode = NVME_ADM_FORMAT, .nsid = 1};
	assert_int_equal(h_cmd(h, 0, &cmd, NULL), NVME_SC_NS_NOT_READY);
	/* It is shut down without what is not its own. */
	h_write32(h, NVME_REG_CC, h_read32(h, NVME_REG_CC) | NVME_SHN_NORMAL << 14);
	h_run(h);
	assert_int_equal(h_read32(h, NVME_REG_CSTS) & NVME_CSTS_SHST_MASK, NVME_CSTS_SHST_COMPLETE);
	assert_int_equal(h->blocks[0]->nr_ops[BLOCK_FLUSH], 0);
	/* It is free now: whoever enables the controller next has it. */
	h->blocks[0]->other_has_it = false;
	h_disable(h);
	assert_true(h_enable(h, 16));
	h_create_pair(h, 1, 16);
	assert_int_equal(read_ns(h, 1), 0);
	h_free(h);
}

/* A reset takes nothing, also that of an open; an enable takes what is free. */
static void resets(void **state)
{
	static const enum uvfio_reset_kind kinds[] = {UVFIO_RESET_CLOSE, UVFIO_RESET_OPEN,
						      UVFIO_RESET_FUNCTION, UVFIO_RESET_BUS,
						      UVFIO_RESET_PM};

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct harness *h = h_ready("file=a", slow_file);

		assert_int_equal(leave(h), 0);
		h->paused = false;
		h->bus_master = true;
		h_reset(h, kinds[i]);
		assert_false(h->blocks[0]->held);
		assert_true(h_enable(h, 16));
		assert_true(h->blocks[0]->held);
		h_create_pair(h, 1, 16);
		assert_int_equal(read_ns(h, 1), 0);
		h_free(h);
	}
}

/* A target: it opens, its user leaves it alone, and what was loaded has the storage. */
static void incoming(void **state)
{
	struct harness *h = h_new_with("file=a,pmr=p,incoming=yes", slow_taken_file);

	assert_non_null(h);
	for (unsigned i = 0; i < 2; i++)
		assert_false(h->blocks[i]->held);
	/* An answer is owed although the attempt of an enable goes on. */
	h->hold_block = true;
	h_write32(h, NVME_REG_CC, 4 << 20 | 6 << 16 | 1);
	h_run(h);
	assert_true(h->nr_io_pending);
	h->in_ctx = true;
	assert_int_equal(nvme_storage_release(h->priv, &h->err), -EINPROGRESS);
	h->in_ctx = false;
	assert_int_equal(h->moved, 1);
	h->hold_block = false;
	h_run(h);
	assert_int_equal(h->moved, 0);
	h->moved = 1;
	assert_int_equal(enter(h), -EBUSY);
	for (unsigned i = 0; i < 2; i++)
		h->blocks[i]->other_has_it = false;
	h->blocks[1]->new_size = 2u << 20;
	assert_int_equal(enter(h), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_true(h->blocks[i]->held);
	h_disable(h);
	assert_true(h_enable(h, 16));
	h_create_pair(h, 1, 16);
	assert_int_equal(read_ns(h, 1), 0);
	h_free(h);
}

/* The other side has formatted it. */
static void another_block_size(void **state)
{
	struct harness *h = h_ready("file=a", file);
	struct nvme_id_ns *id;

	assert_int_equal(leave(h), 0);
	strcpy(h->blocks[0]->note, "blocksize=4096");
	assert_int_equal(enter(h), 0);
	assert_int_equal(h_admin(h, NVME_ADM_IDENTIFY, 1, NVME_CNS_NS, 0, (void **)&id, NULL), 0);
	assert_int_equal(id->nsze, (1u << 20) / 4096);
	h_free(h);
}

/* ---- several controllers ---- */

static struct harness *start(struct harness *h)
{
	assert_true(h_enable(h, 16));
	h_create_pair(h, 1, 16);
	return h;
}

static int leave_vf(struct harness *pf, struct harness *vf)
{
	int r = leave(vf);

	h_run_all(pf);
	return r;
}

static void the_last_one_gives_it_back(void **state)
{
	struct harness *pf = h_new_with("file=a,vfs=2", file), *a, *b;
	struct nvme_ns *ns;

	a = start(h_new_vf(pf, 0));
	b = start(h_new_vf(pf, 1));
	ns = &((struct nvme_ctrl *)pf->priv)->ns[0];
	assert_int_equal(leave_vf(pf, a), 0);
	assert_true(nvme_ns_ready(ns));
	assert_int_equal(read_ns(b, 1), 0);
	assert_int_equal(leave_vf(pf, b), 0);
	assert_false(nvme_ns_ready(ns));
	/* Whoever comes first takes it for both, and the PF's driver finds it. */
	assert_int_equal(enter(b), 0);
	assert_true(nvme_ns_ready(ns));
	assert_int_equal(enter(a), 0);
	assert_int_equal(read_ns(a, 1), 0);
	start(pf);
	assert_int_equal(read_ns(pf, 1), 0);
	h_free(b);
	h_free(a);
	h_free(pf);
}

static void the_pf_stays(void **state)
{
	struct harness *pf = h_new_with("file=a,vfs=1,ns=file=b:attach=vf0", file), *a;

	start(pf);
	a = h_new_vf(pf, 0);
	h_run_all(pf);
	assert_int_equal(leave_vf(pf, a), -EBUSY);
	assert_non_null(strstr(a->err.msg, "attach=vf0"));
	h_resume(a);
	h_free(a);
	h_free(pf);

	/* Its own alone it may take along. */
	pf = h_new_with("attach=pf,file=a,vfs=1,ns=file=b:attach=vf0", file);
	start(pf);
	a = h_new_vf(pf, 0);
	h_run_all(pf);
	assert_int_equal(leave_vf(pf, a), 0);
	assert_int_equal(read_ns(pf, 1), 0);
	assert_false(nvme_ns_ready(&((struct nvme_ctrl *)pf->priv)->ns[1]));
	h_free(a);
	h_free(pf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(given_back_and_taken),
		cmocka_unit_test(the_other_side_has_it),
		cmocka_unit_test(what_cannot_be_flushed_stays),
		cmocka_unit_test(flushed_ahead),
		cmocka_unit_test(not_ready),
		cmocka_unit_test(resets),
		cmocka_unit_test(incoming),
		cmocka_unit_test(another_block_size),
		cmocka_unit_test(the_last_one_gives_it_back),
		cmocka_unit_test(the_pf_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
