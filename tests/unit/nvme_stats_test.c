/* SPDX-License-Identifier: BSD-3-Clause */
/* What the NVMe controller reports of itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/nvme/nvme.h"
#include "nvme_harness.h"

static void commands(void **state)
{
	struct harness *h = h_ready("memory=1M,ns=memory=1M:readonly=on", NULL);
	uint64_t p = h_alloc(h, 8192, 4096);
	struct nvme_sqe read = h_rw(NVME_IO_READ, 1, 0, 8, p, 0);
	struct nvme_sqe write = h_rw(NVME_IO_WRITE, 1, 0, 16, p, p + 4096);
	struct nvme_sqe dsm = {.opcode = NVME_IO_DSM, .nsid = 1, .cdw11 = NVME_DSM_AD, .cdw10 = 1};
	struct nvme_dsm_range *ranges = h_ptr(h, h_alloc(h, 4096, 4096));
	uint64_t admin = h_stat(h, "command_seconds{op=admin}");

	assert_int_equal(admin, 2); /* the queues of h_ready() */
	for (int i = 0; i < 3; i++)
		assert_int_equal(h_cmd(h, 1, &read, NULL), 0);
	assert_int_equal(h_cmd(h, 1, &write, NULL), 0);
	dsm.prp1 = h->alloc - 4096;
	ranges[0].nlb = 4;
	ranges[1].nlb = 8;
	assert_int_equal(h_cmd(h, 1, &dsm, NULL), 0);
	assert_int_equal(h_stat(h, "command_seconds{op=read}"), 3);
	assert_int_equal(h_stat(h, "command_bytes{op=read}"), 3 * 4096);
	assert_int_equal(h_stat(h, "command_seconds{op=write}"), 1);
	assert_int_equal(h_stat(h, "command_bytes{op=write}"), 8192);
	assert_int_equal(h_stat(h, "command_bytes{op=dataset_management}"), 12 * 512);
	assert_int_equal(h_stat(h, "command_errors{op=read,type=generic}"), 0);

	/* Errors, by type; their bytes do not count. */
	read.cdw10 = 5000;
	assert_int_equal(h_cmd(h, 1, &read, NULL), DNR(NVME_SC_LBA_RANGE));
	read.cdw10 = 0;
	h->blocks[0]->direct = false;
	h->blocks[0]->fail = true;
	h->blocks[0]->fail_op = BLOCK_READ;
	h->blocks[0]->fail_errno = -5;
	assert_int_equal(h_cmd(h, 1, &read, NULL), NVME_SC_UNRECOVERED_READ);
	read.opcode = 0x99;
	assert_int_equal(h_cmd(h, 1, &read, NULL), DNR(NVME_SC_INVALID_OPCODE));
	read.opcode = 0x03;
	assert_int_equal(h_cmd(h, 1, &read, NULL), DNR(NVME_SC_INVALID_OPCODE));
	assert_int_equal(h_admin(h, NVME_ADM_DELETE_SQ, 0, 9, 0, NULL, NULL),
			 DNR(NVME_SC_QID_INVALID));
	assert_int_equal(h_stat(h, "command_errors{op=read,type=generic}"), 1);
	assert_int_equal(h_stat(h, "command_errors{op=read,type=media}"), 1);
	assert_int_equal(h_stat(h, "command_errors{op=unknown,type=generic}"), 2);
	assert_int_equal(h_stat(h, "command_errors{op=admin,type=command}"), 1);
	assert_int_equal(h_stat(h, "command_errors{op=admin,type=other}"), 0);
	assert_int_equal(h_stat(h, "command_seconds{op=read}"), 5);
	assert_int_equal(h_stat(h, "command_bytes{op=read}"), 3 * 4096);
	assert_int_equal(h_stat(h, "command_seconds{op=admin}"), admin + 1);
	h_free(h);
}

static void queues_and_storage(void **state)
{
	struct harness *h = h_ready("memory=1M,ns=memory=1M", NULL);
	struct nvme_sqe read = h_rw(NVME_IO_READ, 2, 0, 8, h_alloc(h, 4096, 4096), 0);
	struct nvme_sqe flush = {.opcode = NVME_IO_FLUSH, .nsid = 2};
	struct nvme_cqe cqe;
	uint64_t doorbells = h_stat(h, "doorbells{}"), irqs = h_stat(h, "interrupts{}");

	h->blocks[1]->direct = false;
	h->block_async = h->hold_block = true;
	h_push(h, 1, &read);
	h_push(h, 1, &read);
	h_push(h, 1, &flush);
	h_ring_sq(h, 1);
	h_run(h);
	assert_int_equal(h_stat(h, "queue_submitted{queue=1}"), 3);
	assert_int_equal(h_stat(h, "queue_completed{queue=1}"), 0);
	assert_int_equal(h_stat(h, "queue_depth{queue=1}"), 3);
	assert_int_equal(h_stat(h, "storage_requests{namespace=1}"), 0);
	assert_int_equal(h_stat(h, "storage_requests{namespace=2}"), 3);
	assert_int_equal(h_stat(h, "storage_in_flight{namespace=2}"), 3);
	h->blocks[1]->fail = true;
	h->blocks[1]->fail_op = BLOCK_READ;
	h->blocks[1]->fail_errno = -5;
	h->hold_block = false;
	h_run(h);
	assert_int_equal(h_stat(h, "queue_completed{queue=1}"), 3);
	assert_int_equal(h_stat(h, "queue_depth{queue=1}"), 0);
	assert_int_equal(h_stat(h, "storage_in_flight{namespace=2}"), 0);
	assert_int_equal(h_stat(h, "storage_flushes{namespace=2}"), 1);
	assert_int_equal(h_stat(h, "storage_errors{namespace=2}"), 1);
	assert_int_equal(h_stat(h, "doorbells{}"), doorbells + 1);
	assert_true(h_stat(h, "interrupts{}") > irqs);
	while (h_pop(h, 1, &cqe))
		;
	h_ring_cq(h, 1);
	h_run(h);
	assert_int_equal(h_stat(h, "doorbells{}"), doorbells + 2);

	/* A reset ends what it takes. */
	h->hold_block = true;
	h_push(h, 1, &read);
	h_ring_sq(h, 1);
	h_run(h);
	assert_int_equal(h_stat(h, "queue_depth{queue=1}"), 1);
	assert_int_equal(h_stat(h, "controller_resets{}"), 0);
	h_write32(h, 0x14, 0);
	h->hold_block = false;
	h_run(h);
	assert_int_equal(h_stat(h, "queue_depth{queue=1}"), 0);
	assert_int_equal(h_stat(h, "storage_in_flight{namespace=2}"), 0);
	assert_int_equal(h_stat(h, "controller_resets{}"), 1);
	assert_int_equal(h_stat(h, "fatal_statuses{}"), 0);
	h_write32(h, 0x14, 1 | 1 << 11); /* an arbitration that is not there */
	h_run(h);
	assert_int_equal(h_stat(h, "fatal_statuses{}"), 1);
	h_free(h);
}

/* The latency is that of the command, wherever the time was spent. */
static void latency(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_sqe read = h_rw(NVME_IO_READ, 1, 0, 8, h_alloc(h, 4096, 4096), 0);
	struct nvme_ctrl *c = h->priv;
	uint64_t begun = nvme_now_ns(), past;

	h->blocks[0]->direct = false;
	h->block_async = h->hold_block = true;
	h_push(h, 1, &read);
	h_ring_sq(h, 1);
	h_run(h);
	past = nvme_now_ns();
	while (nvme_now_ns() < past + 2000000)
		;
	h->hold_block = false;
	h_run(h);
	assert_true(c->stats.op[NVME_OP_READ].latency.sum >= 2000000);
	assert_true(c->stats.op[NVME_OP_READ].latency.sum <= nvme_now_ns() - begun);
	h_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands),
		cmocka_unit_test(queues_and_storage),
		cmocka_unit_test(latency),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
