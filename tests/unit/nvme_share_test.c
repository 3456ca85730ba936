/* SPDX-License-Identifier: BSD-3-Clause */
/* Namespaces of several controllers: to whom they are attached, and what each does to the others.
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

/* A PF and two VFs, all enabled, with a queue pair each. */
struct three {
	struct harness *pf, *a, *b;
};

static struct harness *start(struct harness *h)
{
	assert_true(h_enable(h, 16));
	h_create_pair(h, 1, 16);
	return h;
}

/* @driven: the PF's driver has enabled it and brings the VFs online. */
static struct three make(const char *args, bool driven, void (*setup)(struct harness *h))
{
	struct three t = {.pf = h_new_with(args, setup)};
	struct nvme_sqe cmd = {.opcode = NVME_ADM_VIRT_MANAGEMENT};

	assert_non_null(t.pf);
	if (driven)
		start(t.pf);
	t.a = h_new_vf(t.pf, 0);
	t.b = h_new_vf(t.pf, 1);
	for (uint32_t id = 1; driven && id <= 2; id++) {
		for (uint32_t type = 0; type <= 1; type++) {
			cmd.cdw10 = id << 16 | type << 8 | NVME_VIRT_SECONDARY_ASSIGN;
			cmd.cdw11 = 3;
			assert_int_equal(h_cmd(t.pf, 0, &cmd, NULL), 0);
		}
		cmd.cdw10 = id << 16 | NVME_VIRT_SECONDARY_ONLINE;
		assert_int_equal(h_cmd(t.pf, 0, &cmd, NULL), 0);
	}
	h_run_all(t.pf);
	if (setup) {
		setup(t.a);
		setup(t.b);
	}
	start(t.a);
	start(t.b);
	return t;
}

static void stop(struct three *t)
{
	h_free(t->b);
	h_free(t->a);
	h_free(t->pf);
}

static uint64_t page_of(struct harness *h, int byte)
{
	uint64_t p = h_alloc(h, 4096, 4096);

	memset(h_ptr(h, p), byte, 4096);
	return p;
}

static unsigned rw(struct harness *h, uint8_t opcode, uint32_t nsid, uint64_t slba, int byte)
{
	struct nvme_sqe cmd = h_rw(opcode, nsid, slba, 1, page_of(h, byte), 0);

	return h_cmd(h, 1, &cmd, NULL);
}

static uint8_t first_byte(struct harness *h, uint32_t nsid, uint64_t slba)
{
	uint64_t p = page_of(h, 0x5a);
	struct nvme_sqe cmd = h_rw(NVME_IO_READ, nsid, slba, 1, p, 0);

	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	return *(uint8_t *)h_ptr(h, p);
}

/* Namespace Attachment with a controller list, whose first element says how many. */
static unsigned attach(struct harness *h, unsigned sel, uint32_t nsid, const uint16_t *list)
{
	uint64_t p = page_of(h, 0);
	struct nvme_sqe cmd = {
		.opcode = NVME_ADM_NS_ATTACHMENT, .nsid = nsid, .cdw10 = sel, .prp1 = p};
	unsigned status;

	memcpy(h_ptr(h, p), list, 4096);
	status = h_cmd(h, 0, &cmd, NULL);
	h_run_all(h);
	return status;
}

static unsigned attach_one(struct harness *h, unsigned sel, uint32_t nsid, uint16_t cntlid)
{
	uint16_t list[2048] = {1, cntlid};

	return attach(h, sel, nsid, list);
}

static void *identify(struct harness *h, unsigned cns, uint32_t nsid, unsigned cntid)
{
	void *out;

	assert_int_equal(h_admin(h, NVME_ADM_IDENTIFY, nsid, cntid << 16 | cns, 0, &out, NULL), 0);
	return out;
}

static void is_list(const uint32_t *list, unsigned n, const uint32_t *ids)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(list[i], ids[i]);
	assert_int_equal(list[n], 0);
}
#define IS_LIST(list, ...)                                                                         \
	is_list(list, sizeof((uint32_t[]){__VA_ARGS__}) / 4, (uint32_t[]){__VA_ARGS__})

/* ---- attachment ---- */

static void by_options(void **state)
{
	static const char *const wrong[] = {
		"memory=1M,vfs=2,attach=",      "memory=1M,vfs=2,attach=vf",
		"memory=1M,vfs=2,attach=vf2",   "memory=1M,vfs=2,attach=vf1-0",
		"memory=1M,vfs=2,attach=vf0-2", "memory=1M,vfs=2,attach=pf+",
		"memory=1M,vfs=2,attach=pf+x",  "memory=1M,vfs=2,attach=vf0x",
		"memory=1M,vfs=2,attach=vf-1",  "memory=1M,attach=pf",
	};
	struct three t;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_null(h_new(wrong[i]));
		assert_non_null(strstr(h_last_error(), "attach="));
	}
	t = make("memory=1M,vfs=3,attach=pf,ns=memory=1M:attach=vf0,ns=memory=1M,"
		 "ns=memory=1M:attach=vf0+vf1-2,ns=memory=1M:attach=none",
		 true, NULL);
	IS_LIST(identify(t.pf, NVME_CNS_NS_LIST, 0, 0), 1, 3);
	IS_LIST(identify(t.a, NVME_CNS_NS_LIST, 0, 0), 2, 3, 4);
	IS_LIST(identify(t.b, NVME_CNS_NS_LIST, 0, 0), 3, 4);
	IS_LIST(identify(t.a, NVME_CNS_NS_LIST, 2, 0), 3, 4);
	/* All that there are, and to whom they are attached. */
	IS_LIST(identify(t.pf, NVME_CNS_ALLOCATED_LIST, 0, 0), 1, 2, 3, 4, 5);
	assert_memory_equal(identify(t.pf, NVME_CNS_NS_CONTROLLERS, 4, 0),
			    ((uint16_t[]){3, 1, 2, 3}), 8);
	assert_memory_equal(identify(t.pf, NVME_CNS_NS_CONTROLLERS, 4, 2),
			    ((uint16_t[]){2, 2, 3, 0}), 8);
	assert_memory_equal(identify(t.pf, NVME_CNS_NS_CONTROLLERS, 5, 0), ((uint16_t[]){0, 0}), 4);
	assert_memory_equal(identify(t.pf, NVME_CNS_CONTROLLERS, 0, 1), ((uint16_t[]){3, 1, 2, 3}),
			    8);
	/* Others are not there. */
	assert_int_equal(rw(t.a, NVME_IO_READ, 1, 0, 0), DNR(NVME_SC_INVALID_NS));
	assert_int_equal(rw(t.pf, NVME_IO_READ, 2, 0, 0), DNR(NVME_SC_INVALID_NS));
	assert_int_equal(rw(t.a, NVME_IO_READ, 2, 0, 0), 0);
	assert_int_equal(((struct nvme_id_ns *)identify(t.b, NVME_CNS_NS, 2, 0))->nsze, 0);
	assert_int_equal(((struct nvme_id_ns *)identify(t.a, NVME_CNS_NS, 2, 0))->nsze, 2048);
	/* One that only one controller can have is private. */
	assert_int_equal(((struct nvme_id_ns *)identify(t.a, NVME_CNS_NS, 2, 0))->nmic, 0);
	assert_int_equal(((struct nvme_id_ns *)identify(t.a, NVME_CNS_NS, 3, 0))->nmic,
			 NVME_NMIC_SHARED);
	/* The PF's driver reads what it is, and no data. */
	assert_int_equal(((struct nvme_id_ns *)identify(t.pf, NVME_CNS_ALLOCATED_NS, 2, 0))->nsze,
			 2048);
	assert_int_equal(
		((struct nvme_id_ns *)identify(t.pf, NVME_CNS_NS, NVME_NSID_ALL, 0))->nlbaf, 1);
	/* What the options attach stays there. */
	assert_int_equal(attach_one(t.pf, 0, 2, 0), DNR(NVME_SC_NS_PRIVATE));
	assert_int_equal(attach_one(t.pf, 1, 2, 1), DNR(NVME_SC_OPERATION_DENIED));
	assert_int_equal(attach_one(t.pf, 0, 4, 0), DNR(NVME_SC_OPERATION_DENIED));
	assert_int_equal(attach_one(t.pf, 0, 5, 0), DNR(NVME_SC_OPERATION_DENIED));
	assert_int_equal(rw(t.a, NVME_IO_READ, 2, 0, 0), 0);
	stop(&t);
}

static void command(void **state)
{
	struct three t = make("memory=1M,vfs=2,ns=memory=1M", true, NULL);
	uint16_t list[2048] = {2, 1, 2};
	struct nvme_sqe aer = {.opcode = NVME_ADM_ASYNC_EVENT};
	uint32_t *changed;
	struct nvme_cqe cqe;

	/* What is wrong changes nothing. */
	assert_int_equal(attach_one(t.pf, 2, 1, 1), DNR(NVME_SC_INVALID_FIELD));
	assert_int_equal(attach_one(t.pf, 0, 0, 1), DNR(NVME_SC_INVALID_NS));
	assert_int_equal(attach_one(t.pf, 0, 3, 1), DNR(NVME_SC_INVALID_NS));
	assert_int_equal(attach_one(t.pf, 0, NVME_NSID_ALL, 1), DNR(NVME_SC_INVALID_NS));
	assert_int_equal(attach_one(t.pf, 0, 1, 3), DNR(NVME_SC_CONTROLLER_LIST));
	assert_int_equal(attach(t.pf, 0, 1, (uint16_t[2048]){0}), DNR(NVME_SC_CONTROLLER_LIST));
	assert_int_equal(attach(t.pf, 0, 1, (uint16_t[2048]){2, 2, 1}),
			 DNR(NVME_SC_CONTROLLER_LIST));
	assert_int_equal(attach(t.pf, 0, 1, (uint16_t[2048]){2, 1, 1}),
			 DNR(NVME_SC_CONTROLLER_LIST));
	assert_int_equal(attach(t.pf, 0, 1, (uint16_t[2048]){2048, 1}),
			 DNR(NVME_SC_CONTROLLER_LIST));
	assert_int_equal(attach_one(t.pf, 0, 1, 1), DNR(NVME_SC_ALREADY_ATTACHED));

	/* VF 0 wants to be told. */
	assert_int_equal(h_admin(t.a, NVME_ADM_SET_FEATURES, 0, NVME_FEAT_ASYNC_EVENTS,
				 NVME_AEC_NS_ATTR, NULL, NULL),
			 0);
	h_push(t.a, 0, &aer);
	h_ring_sq(t.a, 0);
	h_run(t.a);
	assert_int_equal(rw(t.a, NVME_IO_WRITE, 2, 0, 7), 0);
	assert_int_equal(attach(t.pf, 1, 2, list), 0);
	assert_int_equal(rw(t.a, NVME_IO_READ, 2, 0, 0), DNR(NVME_SC_INVALID_NS));
	assert_int_equal(rw(t.b, NVME_IO_READ, 2, 0, 0), DNR(NVME_SC_INVALID_NS));
	assert_int_equal(first_byte(t.pf, 2, 0), 7);
	assert_true(h_pop(t.a, 0, &cqe));
	h_ring_cq(t.a, 0);
	IS_LIST(identify(t.a, NVME_CNS_NS_LIST, 0, 0), 1);
	assert_int_equal(cqe.dw0, NVME_EVENT_NOTICE | NVME_LOG_CHANGED_NS << 16);
	assert_int_equal(h_log(t.a, NVME_LOG_CHANGED_NS, 1024, 0, false, (void **)&changed), 0);
	IS_LIST(changed, 2);
	/* All or none. */
	assert_int_equal(attach_one(t.pf, 0, 2, 1), 0);
	assert_int_equal(attach(t.pf, 0, 2, list), DNR(NVME_SC_ALREADY_ATTACHED));
	assert_int_equal(rw(t.b, NVME_IO_READ, 2, 0, 0), DNR(NVME_SC_INVALID_NS));
	assert_int_equal(attach(t.pf, 1, 2, list), DNR(NVME_SC_NOT_ATTACHED));
	assert_int_equal(first_byte(t.a, 2, 0), 7);
	stop(&t);
}

/* Namespaces are neither created nor deleted. */
static void management(void **state)
{
	struct three t = make("memory=1M,vfs=2", true, NULL);

	assert_int_equal(h_admin(t.pf, NVME_ADM_NS_MANAGEMENT, 0, NVME_NS_CREATE, 0, NULL, NULL),
			 DNR(NVME_SC_NS_CAPACITY));
	assert_int_equal(h_admin(t.pf, NVME_ADM_NS_MANAGEMENT, 1, NVME_NS_DELETE, 0, NULL, NULL),
			 DNR(NVME_SC_OPERATION_DENIED));
	assert_int_equal(
		h_admin(t.pf, NVME_ADM_NS_MANAGEMENT, NVME_NSID_ALL, NVME_NS_DELETE, 0, NULL, NULL),
		DNR(NVME_SC_OPERATION_DENIED));
	assert_int_equal(h_admin(t.pf, NVME_ADM_NS_MANAGEMENT, 2, NVME_NS_DELETE, 0, NULL, NULL),
			 DNR(NVME_SC_INVALID_NS));
	assert_int_equal(h_admin(t.pf, NVME_ADM_NS_MANAGEMENT, 1, 2, 0, NULL, NULL),
			 DNR(NVME_SC_INVALID_FIELD));
	assert_int_equal(h_admin(t.a, NVME_ADM_NS_MANAGEMENT, 1, NVME_NS_DELETE, 0, NULL, NULL),
			 DNR(NVME_SC_INVALID_OPCODE));
	assert_int_equal(attach_one(t.a, 1, 1, 2), DNR(NVME_SC_INVALID_OPCODE));
	stop(&t);
}

/* ---- what they share ---- */

static void data(void **state)
{
	struct three t = make("memory=1M,vfs=2", false, NULL);

	assert_int_equal(rw(t.a, NVME_IO_WRITE, 1, 3, 0x11), 0);
	assert_int_equal(first_byte(t.b, 1, 3), 0x11);
	assert_int_equal(rw(t.b, NVME_IO_WRITE, 1, 3, 0x22), 0);
	assert_int_equal(first_byte(t.a, 1, 3), 0x22);
	/* Marks of Write Uncorrectable are the namespace's. */
	assert_int_equal(rw(t.a, NVME_IO_WRITE_UNCORRECTABLE, 1, 3, 0), 0);
	assert_int_equal(rw(t.b, NVME_IO_READ, 1, 3, 0), DNR(NVME_SC_UNRECOVERED_READ));
	assert_int_equal(rw(t.b, NVME_IO_WRITE, 1, 3, 0x33), 0);
	assert_int_equal(first_byte(t.a, 1, 3), 0x33);
	/* A reset of one is nothing to the other. */
	h_reset(t.a, UVFIO_RESET_FUNCTION);
	assert_int_equal(first_byte(t.b, 1, 3), 0x33);
	stop(&t);
}

static void async(struct harness *h)
{
	h->block_direct = false;
	h->block_async = true;
}

static void push(struct harness *h, const struct nvme_sqe *cmd)
{
	h_push(h, 1, cmd);
	h_ring_sq(h, 1);
	h_run(h);
}

static unsigned status_of(struct harness *h)
{
	struct nvme_cqe cqe;

	assert_true(h_pop(h, 1, &cqe));
	h_ring_cq(h, 1);
	h_run(h);
	return (cqe.status >> 1) & ~(unsigned)NVME_SC_MORE;
}

static void push_cas(struct harness *h, uint64_t slba, int old, int new)
{
	struct nvme_sqe a = h_rw(NVME_IO_COMPARE, 1, slba, 1, page_of(h, old), 0);
	struct nvme_sqe b = h_rw(NVME_IO_WRITE, 1, slba, 1, page_of(h, new), 0);

	a.flags = NVME_FUSE_FIRST;
	b.flags = NVME_FUSE_SECOND;
	h_push(h, 1, &a);
	push(h, &b);
}

/* While one compares and writes, nobody else writes these blocks; others, and reads, go on. */
static void compare_and_write(void **state)
{
	struct three t = make("memory=1M,vfs=2", false, async);
	struct nvme_sqe same = h_rw(NVME_IO_WRITE, 1, 5, 1, page_of(t.b, 9), 0);
	struct nvme_sqe other = h_rw(NVME_IO_WRITE, 1, 6, 1, page_of(t.b, 8), 0);
	struct nvme_sqe read = h_rw(NVME_IO_READ, 1, 5, 1, page_of(t.b, 1), 0);

	t.a->hold_block = true;
	push_cas(t.a, 5, 0, 7);
	assert_int_equal(t.a->nr_io_pending, 1); /* it reads */
	push(t.b, &same);
	assert_int_equal(t.b->nr_io_pending, 0);
	push(t.b, &other);
	assert_int_equal(status_of(t.b), 0);
	push(t.b, &read);
	assert_int_equal(status_of(t.b), 0);
	h_complete_io(t.a, 1);
	h_run_all(t.pf);
	assert_int_equal(t.a->nr_io_pending, 1); /* it writes */
	assert_false(h_pop(t.b, 1, &(struct nvme_cqe){0}));
	t.a->hold_block = false;
	h_run_all(t.pf);
	assert_int_equal(status_of(t.a), 0);
	assert_int_equal(status_of(t.a), 0);
	assert_int_equal(status_of(t.b), 0);
	assert_int_equal(first_byte(t.a, 1, 5), 9); /* after it, not in between */
	/* Two at once: one of them finds what the other one has written. */
	t.a->hold_block = t.b->hold_block = true;
	push_cas(t.a, 5, 9, 1);
	push_cas(t.b, 5, 9, 2);
	assert_int_equal(t.a->nr_io_pending + t.b->nr_io_pending, 1);
	t.a->hold_block = t.b->hold_block = false;
	h_run_all(t.pf);
	assert_int_equal(status_of(t.a), 0);
	assert_int_equal(status_of(t.a), 0);
	assert_int_equal(status_of(t.b), DNR(NVME_SC_COMPARE_FAILURE));
	assert_int_equal(status_of(t.b), DNR(NVME_SC_FAILED_FUSED));
	assert_int_equal(first_byte(t.b, 1, 5), 1);
	stop(&t);
}

/* A write that is under way is waited for. */
static void claims_wait(void **state)
{
	struct three t = make("memory=1M,vfs=2", false, async);
	struct nvme_sqe write = h_rw(NVME_IO_WRITE, 1, 4, 4, page_of(t.b, 9), 0);

	t.b->hold_block = true;
	push(t.b, &write);
	push_cas(t.a, 5, 9, 7);
	assert_int_equal(t.a->nr_io_pending, 0);
	/* A further write does not overtake it. */
	push(t.b, &write);
	assert_int_equal(t.b->nr_io_pending, 1);
	t.b->hold_block = false;
	h_run_all(t.pf);
	assert_int_equal(status_of(t.a), 0);
	assert_int_equal(status_of(t.a), 0);
	assert_int_equal(status_of(t.b), 0);
	assert_int_equal(status_of(t.b), 0);
	assert_int_equal(first_byte(t.a, 1, 5), 9);
	stop(&t);
}

/* Resets on either side of a claim. */
static void claims_reset(void **state)
{
	struct three t = make("memory=1M,vfs=2", false, async);
	struct nvme_sqe write = h_rw(NVME_IO_WRITE, 1, 5, 1, page_of(t.b, 9), 0);

	/* Who holds it is reset: the other one goes on. */
	t.a->hold_block = true;
	push_cas(t.a, 5, 0, 7);
	push(t.b, &write);
	t.a->hold_block = false;
	h_reset(t.a, UVFIO_RESET_FUNCTION);
	h_run_all(t.pf);
	assert_int_equal(status_of(t.b), 0);
	start(t.a);
	assert_int_equal(first_byte(t.a, 1, 5), 9);
	/* Who waits is reset: that waits for the storage, and the claim is nobody's then. */
	t.a->hold_block = true;
	push_cas(t.a, 5, 9, 7);
	push(t.b, &write);
	h_write32(t.b, NVME_REG_CC, 0);
	h_run(t.b);
	assert_true(h_read32(t.b, NVME_REG_CSTS) & NVME_CSTS_RDY);
	t.a->hold_block = false;
	h_run_all(t.pf);
	assert_false(h_read32(t.b, NVME_REG_CSTS) & NVME_CSTS_RDY);
	assert_int_equal(status_of(t.a), 0);
	assert_int_equal(status_of(t.a), 0);
	start(t.b);
	assert_int_equal(first_byte(t.b, 1, 5), 7);
	/* Two that compare, of which the second waits and is reset. */
	t.a->hold_block = true;
	push_cas(t.a, 5, 7, 1);
	push_cas(t.b, 5, 7, 2);
	h_write32(t.b, NVME_REG_CC, 0);
	h_run(t.b);
	t.a->hold_block = false;
	h_run_all(t.pf);
	assert_int_equal(status_of(t.a), 0);
	assert_int_equal(status_of(t.a), 0);
	start(t.b);
	assert_int_equal(rw(t.b, NVME_IO_WRITE, 1, 5, 3), 0);
	assert_int_equal(first_byte(t.a, 1, 5), 3);
	stop(&t);
}

/* A client that does not answer holds no claim. */
static void stalled_client(void **state)
{
	struct three t = make("memory=1M,vfs=2", false, async);
	struct nvme_sqe write = h_rw(NVME_IO_WRITE, 1, 5, 1, page_of(t.b, 9), 0);

	t.a->no_pin = t.a->delay_dma = t.a->hold_dma = true;
	push_cas(t.a, 5, 0, 7);
	/* Wherever it stands still, the commands, their data or their completions. */
	for (unsigned i = 0; i < 8; i++) {
		push(t.b, &write);
		assert_int_equal(status_of(t.b), 0);
		h_complete_dma(t.a, 1);
		h_run(t.a);
	}
	t.a->hold_dma = false;
	h_run_all(t.pf);
	stop(&t);
}

/* ---- Format ---- */

static unsigned format(struct harness *h, uint32_t nsid, uint32_t cdw10)
{
	struct nvme_sqe cmd = {.opcode = NVME_ADM_FORMAT, .nsid = nsid, .cdw10 = cdw10};
	unsigned status = h_cmd(h, 0, &cmd, NULL);

	h_run_all(h->pf ? h->pf : h);
	return status;
}

static void format_for_all(void **state)
{
	struct three t = make("memory=1M,vfs=2,ns=memory=1M:attach=vf0", true, async);
	struct nvme_sqe write = h_rw(NVME_IO_WRITE, 1, 5, 1, page_of(t.a, 9), 0);
	struct nvme_sqe cmd = {.opcode = NVME_ADM_FORMAT, .nsid = 1, .cdw10 = 1};
	struct nvme_id_ns *id;

	/* A VF formats what nobody else has. */
	assert_int_equal(format(t.a, 1, 1), DNR(NVME_SC_OPERATION_DENIED));
	assert_int_equal(format(t.a, NVME_NSID_ALL, 1), DNR(NVME_SC_OPERATION_DENIED));
	assert_int_equal(format(t.a, 2, 1), 0);
	assert_int_equal(format(t.b, 2, 1), DNR(NVME_SC_INVALID_NS));
	assert_int_equal(format(t.pf, 2, 1), DNR(NVME_SC_INVALID_NS));
	/* The PF formats with a command of VF 0 under way, which has its old block size. */
	t.a->hold_block = true;
	push(t.a, &write);
	t.pf->hold_block = true;
	h_push(t.pf, 0, &cmd);
	h_ring_sq(t.pf, 0);
	h_run(t.pf);
	assert_int_equal(rw(t.b, NVME_IO_READ, 1, 0, 0), NVME_SC_FORMAT_IN_PROGRESS);
	assert_int_equal(format(t.b, 1, 0), NVME_SC_FORMAT_IN_PROGRESS);
	t.pf->hold_block = false;
	h_run_all(t.pf);
	assert_true(h_pop(t.pf, 0, &(struct nvme_cqe){0}));
	h_ring_cq(t.pf, 0);
	/* Over for VF 1, which had nothing under way. */
	assert_int_equal(rw(t.b, NVME_IO_READ, 1, 0, 0), 0);
	id = identify(t.b, NVME_CNS_NS, 1, 0);
	assert_int_equal(id->nsze, 256);
	assert_int_equal(id->flbas, 1);
	push(t.a, &write);
	assert_int_equal(status_of(t.a), NVME_SC_FORMAT_IN_PROGRESS);
	t.a->hold_block = false;
	h_run_all(t.pf);
	assert_int_equal(status_of(t.a), 0);
	id = identify(t.a, NVME_CNS_NS, 1, 0);
	assert_int_equal(id->nsze, 256);
	assert_int_equal(rw(t.a, NVME_IO_WRITE, 1, 255, 1), 0);
	assert_int_equal(rw(t.a, NVME_IO_WRITE, 1, 256, 1), DNR(NVME_SC_LBA_RANGE));
	assert_int_equal(first_byte(t.pf, 1, 255), 1);
	stop(&t);
}

/* The controller that formats is reset: the others have the namespace again. */
static void format_reset(void **state)
{
	struct three t = make("memory=1M,vfs=2", true, async);
	struct nvme_sqe cmd = {.opcode = NVME_ADM_FORMAT, .nsid = 1, .cdw10 = 1};

	t.pf->hold_block = true;
	h_push(t.pf, 0, &cmd);
	h_ring_sq(t.pf, 0);
	h_run(t.pf);
	assert_int_equal(rw(t.a, NVME_IO_READ, 1, 0, 0), NVME_SC_FORMAT_IN_PROGRESS);
	t.pf->hold_block = false;
	h_reset(t.pf, UVFIO_RESET_FUNCTION);
	h_run_all(t.pf);
	start(t.a);
	start(t.b);
	assert_int_equal(rw(t.a, NVME_IO_READ, 1, 0, 0), 0);
	assert_int_equal(((struct nvme_id_ns *)identify(t.a, NVME_CNS_NS, 1, 0))->flbas,
			 ((struct nvme_id_ns *)identify(t.b, NVME_CNS_NS, 1, 0))->flbas);
	stop(&t);
}

/* ---- sizes ---- */

static void sizes(void **state)
{
	struct three t = make("memory=1M,vfs=2", false, NULL);
	struct harness *pf = start(t.pf);

	/* VFs are offline now: their size is taken over all the same. */
	pf->blocks[0]->new_size = 2 << 20;
	identify(pf, NVME_CNS_NS, 1, 0);
	h_run_all(pf);
	assert_int_equal(block_info(((struct nvme_ctrl *)t.a->priv)->ns[0].blk)->size, 2 << 20);
	h_reset(pf, UVFIO_RESET_CLOSE);
	h_run_all(pf);
	start(t.a);
	start(t.b);
	assert_int_equal(((struct nvme_id_ns *)identify(t.a, NVME_CNS_NS, 1, 0))->nsze, 4096);
	assert_int_equal(rw(t.b, NVME_IO_WRITE, 1, 4095, 4), 0);
	assert_int_equal(first_byte(t.a, 1, 4095), 4);
	stop(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_options),
		cmocka_unit_test(command),
		cmocka_unit_test(management),
		cmocka_unit_test(data),
		cmocka_unit_test(compare_and_write),
		cmocka_unit_test(claims_wait),
		cmocka_unit_test(claims_reset),
		cmocka_unit_test(stalled_client),
		cmocka_unit_test(format_for_all),
		cmocka_unit_test(format_reset),
		cmocka_unit_test(sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
