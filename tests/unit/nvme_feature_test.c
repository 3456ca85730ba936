/* SPDX-License-Identifier: BSD-3-Clause */
/* The NVMe controller: features and log pages. */
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

static bool all_zero(const void *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (((const uint8_t *)p)[i])
			return false;
	}
	return true;
}

static void cached(struct harness *h)
{
	h->block_volatile = true;
}

/* ---- features ---- */

static void features(void **state)
{
	struct harness *h = h_ready("memory=1M,queues=8", cached);
	static const struct {
		unsigned id;
		uint32_t set, get, dflt, caps; /* @get: what a Get answers after the Set */
	} rows[] = {
		{NVME_FEAT_ARBITRATION, 0x11223303, 0x11223303, 0, 4},
		{NVME_FEAT_POWER, 0x20, 0x20, 0, 4},
		{NVME_FEAT_VWC, 0, 0, 1, 4},
		{NVME_FEAT_COALESCING, 0x0a05, 0x0a05, 0, 4},
		{NVME_FEAT_ATOMICITY, 1, 1, 0, 4},
		{NVME_FEAT_ASYNC_EVENTS, 0xffffffff, 0x1ff, 0, 4},
		{NVME_FEAT_IOCS_PROFILE, 0, 0, 0, 4},
		{NVME_FEAT_SW_PROGRESS, 7, 7, 0, 4},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned id = rows[i].id;
		uint32_t v;

		assert_int_equal(h_admin(h, NVME_ADM_GET_FEATURES, 0, id, 0, NULL, &v), 0);
		assert_int_equal(v, rows[i].dflt);
		assert_int_equal(h_admin(h, NVME_ADM_SET_FEATURES, 0, id, rows[i].set, NULL, NULL),
				 0);
		assert_int_equal(h_admin(h, NVME_ADM_GET_FEATURES, 0, id, 0, NULL, &v), 0);
		assert_int_equal(v, rows[i].get);
		assert_int_equal(h_admin(h, NVME_ADM_GET_FEATURES, 0, id | 1 << 8, 0, NULL, &v), 0);
		assert_int_equal(v, rows[i].dflt);
		assert_int_equal(h_admin(h, NVME_ADM_GET_FEATURES, 0, id | 2 << 8, 0, NULL, &v), 0);
		assert_int_equal(v, rows[i].dflt);
		assert_int_equal(h_admin(h, NVME_ADM_GET_FEATURES, 0, id | 3 << 8, 0, NULL, &v), 0);
		assert_int_equal(v, rows[i].caps);
		assert_int_equal(h_admin(h, NVME_ADM_GET_FEATURES, 0, id | 4 << 8, 0, NULL, NULL),
				 DNR(NVME_SC_INVALID_FIELD));
		assert_int_equal(h_admin(h, NVME_ADM_SET_FEATURES, 0, id | 1u << 31, 0, NULL, NULL),
				 DNR(NVME_SC_NOT_SAVEABLE));
		/* Of the controller, not of a namespace; the write cache is an exception. */
		assert_int_equal(h_admin(h, NVME_ADM_SET_FEATURES, 1, id, rows[i].set, NULL, NULL),
				 id == NVME_FEAT_VWC ? 0 : DNR(NVME_SC_NOT_NS_SPECIFIC));
		assert_int_equal(h_admin(h, NVME_ADM_SET_FEATURES, 9, id, rows[i].set, NULL, NULL),
				 DNR(NVME_SC_INVALID_NS));
	}
	/* A controller reset brings back the defaults. */
	h_disable(h);
	assert_true(h_enable(h, 16));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t v;

		assert_int_equal(h_admin(h, NVME_ADM_GET_FEATURES, 0, rows[i].id, 0, NULL, &v), 0);
		assert_int_equal(v, rows[i].dflt);
	}
	h_free(h);
}

static void features_status(void **state)
{
	struct harness *h = h_ready("memory=1M,queues=8", NULL);
	static const struct {
		uint8_t opcode;
		uint32_t nsid, cdw10, cdw11;
		unsigned status;
	} rows[] = {
		{NVME_ADM_SET_FEATURES, 0, 0x00, 0, NVME_SC_INVALID_FIELD},
		{NVME_ADM_SET_FEATURES, 0, 0x03, 0, NVME_SC_INVALID_FIELD},
		{NVME_ADM_SET_FEATURES, 0, 0x0d, 0, NVME_SC_INVALID_FIELD}, /* host memory */
		{NVME_ADM_SET_FEATURES, 0, 0x0f, 0, NVME_SC_INVALID_FIELD}, /* keep alive */
		{NVME_ADM_GET_FEATURES, 0, 0x0c, 0, NVME_SC_INVALID_FIELD},
		{NVME_ADM_GET_FEATURES, 0, 0xff, 0, NVME_SC_INVALID_FIELD},
		{NVME_ADM_GET_FEATURES, 0, 0x03 | 3 << 8, 0, NVME_SC_INVALID_FIELD},
		{NVME_ADM_SET_FEATURES, 0, NVME_FEAT_POWER, 1, NVME_SC_INVALID_FIELD},
		{NVME_ADM_SET_FEATURES, 0, NVME_FEAT_TEMPERATURE, 1 << 16, NVME_SC_INVALID_FIELD},
		{NVME_ADM_SET_FEATURES, 0, NVME_FEAT_TEMPERATURE, 2 << 20, NVME_SC_INVALID_FIELD},
		{NVME_ADM_GET_FEATURES, 0, NVME_FEAT_TEMPERATURE, 3 << 20, NVME_SC_INVALID_FIELD},
		{NVME_ADM_SET_FEATURES, 0, NVME_FEAT_ERROR_RECOVERY, 0, NVME_SC_INVALID_NS},
		{NVME_ADM_SET_FEATURES, 2, NVME_FEAT_ERROR_RECOVERY, 0, NVME_SC_INVALID_NS},
		{NVME_ADM_SET_FEATURES, 1, NVME_FEAT_ERROR_RECOVERY, 1 << 16,
		 NVME_SC_INVALID_FIELD},
		{NVME_ADM_SET_FEATURES, 1, NVME_FEAT_ERROR_RECOVERY, 7, 0},
		{NVME_ADM_SET_FEATURES, ~0u, NVME_FEAT_ERROR_RECOVERY, 9, 0},
		{NVME_ADM_GET_FEATURES, ~0u, NVME_FEAT_ERROR_RECOVERY, 0, NVME_SC_INVALID_NS},
		{NVME_ADM_SET_FEATURES, 0, NVME_FEAT_QUEUES, 0x00000000, NVME_SC_SEQUENCE},
		{NVME_ADM_SET_FEATURES, 0, NVME_FEAT_QUEUES, 0xffff0000, NVME_SC_INVALID_FIELD},
		{NVME_ADM_SET_FEATURES, 0, NVME_FEAT_QUEUES, 0x0000ffff, NVME_SC_INVALID_FIELD},
		{NVME_ADM_SET_FEATURES, 0, NVME_FEAT_VECTOR_CONFIG, 9, NVME_SC_INVALID_FIELD},
		{NVME_ADM_GET_FEATURES, 0, NVME_FEAT_VECTOR_CONFIG, 0xffff, NVME_SC_INVALID_FIELD},
		{NVME_ADM_SET_FEATURES, 0, NVME_FEAT_IOCS_PROFILE, 1, NVME_SC_IOCS_COMBINATION},
		{NVME_ADM_GET_FEATURES, 0, NVME_FEAT_VWC, 0, NVME_SC_INVALID_FIELD},
	};
	uint32_t v;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(h_admin(h, rows[i].opcode, rows[i].nsid, rows[i].cdw10,
					 rows[i].cdw11, NULL, NULL),
				 rows[i].status ? DNR(rows[i].status) : 0);
	assert_int_equal(
		h_admin(h, NVME_ADM_GET_FEATURES, 1, NVME_FEAT_ERROR_RECOVERY, 0, NULL, &v), 0);
	assert_int_equal(v, 9);
	assert_int_equal(h_admin(h, NVME_ADM_GET_FEATURES, 1, NVME_FEAT_ERROR_RECOVERY | 3 << 8, 0,
				 NULL, &v),
			 0);
	assert_int_equal(v, NVME_FEATCAP_NS | NVME_FEATCAP_CHANGEABLE);
	h_free(h);
}

static void features_queues(void **state)
{
	struct harness *h = h_new("memory=1M,queues=8");
	uint32_t v;

	assert_true(h_enable(h, 16));
	assert_int_equal(h_admin(h, NVME_ADM_GET_FEATURES, 0, NVME_FEAT_QUEUES, 0, NULL, &v), 0);
	assert_int_equal(v, 7 << 16 | 7);
	assert_int_equal(
		h_admin(h, NVME_ADM_SET_FEATURES, 0, NVME_FEAT_QUEUES, 63 << 16 | 63, NULL, &v), 0);
	assert_int_equal(v, 7 << 16 | 7);
	assert_int_equal(
		h_admin(h, NVME_ADM_SET_FEATURES, 0, NVME_FEAT_QUEUES, 1 << 16 | 0, NULL, &v), 0);
	assert_int_equal(v, 1 << 16 | 0);
	/* What was not allocated cannot be created. */
	assert_int_equal(h_create_cq(h, 1, 16, true, 1), 0);
	assert_int_equal(h_create_cq(h, 2, 16, true, 8), 0);
	assert_int_equal(h_create_cq(h, 3, 16, true, 1), DNR(NVME_SC_QID_INVALID));
	assert_int_equal(h_create_sq(h, 1, 16, 2), 0);
	assert_int_equal(h_create_sq(h, 2, 16, 1), DNR(NVME_SC_QID_INVALID));
	h_free(h);
}

static unsigned set_data(struct harness *h, unsigned id, uint32_t cdw11, const void *data, size_t n)
{
	struct nvme_sqe cmd = {.opcode = NVME_ADM_SET_FEATURES,
			       .cdw10 = id,
			       .cdw11 = cdw11,
			       .prp1 = h_alloc(h, 4096, 4096)};

	memcpy(h_ptr(h, cmd.prp1), data, n);
	return h_cmd(h, 0, &cmd, NULL);
}

static void features_data(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	const uint64_t stamp = 0x123456789abcull;
	const uint8_t id[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
	uint64_t *t;
	uint8_t *p;

	assert_int_equal(
		h_admin(h, NVME_ADM_GET_FEATURES, 0, NVME_FEAT_TIMESTAMP, 0, (void **)&t, NULL), 0);
	assert_int_equal(*t >> 48, 0);
	assert_int_equal(set_data(h, NVME_FEAT_TIMESTAMP, 0, &stamp, 8), 0);
	assert_int_equal(
		h_admin(h, NVME_ADM_GET_FEATURES, 0, NVME_FEAT_TIMESTAMP, 0, (void **)&t, NULL), 0);
	assert_int_equal(*t >> 48, 2); /* set by the host */
	assert_true((*t & 0xffffffffffff) - stamp < 60000);
	h_disable(h); /* a controller reset keeps it */
	assert_true(h_enable(h, 16));
	assert_int_equal(
		h_admin(h, NVME_ADM_GET_FEATURES, 0, NVME_FEAT_TIMESTAMP, 0, (void **)&t, NULL), 0);
	assert_int_equal(*t >> 48, 2);

	assert_int_equal(set_data(h, NVME_FEAT_HOST_ID, 1, id, 16), 0);
	assert_int_equal(
		h_admin(h, NVME_ADM_GET_FEATURES, 0, NVME_FEAT_HOST_ID, 1, (void **)&p, NULL), 0);
	assert_memory_equal(p, id, 16);
	assert_int_equal(set_data(h, NVME_FEAT_HOST_ID, 0, id + 8, 8), 0);
	assert_int_equal(
		h_admin(h, NVME_ADM_GET_FEATURES, 0, NVME_FEAT_HOST_ID, 0, (void **)&p, NULL), 0);
	assert_memory_equal(p, id + 8, 8);
	assert_true(all_zero(p + 8, 8));
	assert_int_equal(h_cmd(h, 0,
			       &(struct nvme_sqe){.opcode = NVME_ADM_SET_FEATURES,
						  .cdw10 = NVME_FEAT_HOST_ID,
						  .prp1 = 0x1000},
			       NULL),
			 DNR(NVME_SC_DATA_TRANSFER));
	h_free(h);
}

/* ---- log pages ---- */

static void log_status(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	const struct {
		unsigned id;
		uint32_t dwords;
		uint64_t offset;
		unsigned status;
	} rows[] = {
		{0x00, 1, 0, DNR(NVME_SC_LOG_PAGE_INVALID)},
		{0x06, 1, 0, DNR(NVME_SC_LOG_PAGE_INVALID)},
		{0x80, 1, 0, DNR(NVME_SC_LOG_PAGE_INVALID)},
		{0xff, 1, 0, DNR(NVME_SC_LOG_PAGE_INVALID)},
		{0x02, 1, 2, DNR(NVME_SC_INVALID_FIELD)},
		{0x02, 1, 516, DNR(NVME_SC_INVALID_FIELD)},
		{0x02, 1, 1ull << 40, DNR(NVME_SC_INVALID_FIELD)},
		{0x02, (NVME_MAX_TRANSFER / 4) + 1, 0, DNR(NVME_SC_INVALID_FIELD)},
		{0x02, 128, 0, 0},
		{0x02, 1, 512, 0}, /* nothing left */
		{0x03, 128, 0, 0},
		{0x04, 1024, 0, 0},
		{0x05, 1024, 0, 0},
		{0x01, 1024, 0, 0},
	};
	struct nvme_sqe cmd = {.opcode = NVME_ADM_GET_LOG_PAGE,
			       .cdw10 = NVME_LOG_SMART,
			       .nsid = 1,
			       .prp1 = h_alloc(h, 4096, 4096)};
	uint8_t *p;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(h_log(h, rows[i].id, rows[i].dwords, rows[i].offset, false, NULL),
				 rows[i].status);
	/* Not kept for one namespace. */
	assert_int_equal(h_cmd(h, 0, &cmd, NULL), DNR(NVME_SC_INVALID_FIELD));
	cmd.nsid = 2;
	assert_int_equal(h_cmd(h, 0, &cmd, NULL), DNR(NVME_SC_INVALID_NS));
	cmd.nsid = NVME_NSID_ALL;
	assert_int_equal(h_cmd(h, 0, &cmd, NULL), 0);
	/* Behind the end nothing is written; and a part is a part of the whole. */
	assert_int_equal(h_log(h, NVME_LOG_FIRMWARE, 256, 8, false, (void **)&p), 0);
	assert_memory_equal(p, "1.0     ", 8);
	assert_int_equal(p[503], 0);
	assert_int_equal(p[504], 0x5a);
	h_free(h);
}

static void log_errors(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_error_entry *e;
	struct nvme_sqe bad = h_rw(NVME_IO_READ, 1, 777777, 1, 0, 0);
	struct nvme_cqe cqe;

	assert_int_equal(h_cmd(h, 1, &bad, &cqe), DNR(NVME_SC_LBA_RANGE));
	assert_int_equal(h_admin(h, NVME_ADM_SET_FEATURES, 0, NVME_FEAT_POWER, 1, NULL, NULL),
			 DNR(NVME_SC_INVALID_FIELD));
	assert_int_equal(h_log(h, NVME_LOG_ERROR, 1024, 0, false, (void **)&e), 0);
	assert_int_equal(e[0].count, 2);
	assert_int_equal(e[0].sqid, 0);
	assert_int_equal(e[0].location, 44); /* command dword 11 */
	assert_int_equal(e[1].count, 1);
	assert_int_equal(e[1].sqid, 1);
	assert_int_equal(e[1].cid, cqe.cid);
	assert_int_equal(e[1].status & ~1, cqe.status & ~1);
	assert_int_equal(e[1].lba, 777777);
	assert_int_equal(e[1].nsid, 1);
	assert_int_equal(e[1].location, 0xffff);
	assert_int_equal(e[2].count, 0);
	/* The ring: the latest 64. */
	for (int i = 0; i < 100; i++)
		h_cmd(h, 1, &bad, NULL);
	assert_int_equal(h_log(h, NVME_LOG_ERROR, 1024, 0, false, (void **)&e), 0);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(e[i].count, 102 - i);
	h_free(h);
}

static void log_effects(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_effects_log *e;
	unsigned n = 0;

	/* It says "supported" of exactly the opcodes that are not invalid. */
	assert_int_equal(h_log(h, NVME_LOG_EFFECTS, 1024, 0, false, (void **)&e), 0);
	for (unsigned op = 0; op < 256; op++) {
		struct nvme_sqe cmd = {.opcode = (uint8_t)op, .nsid = 0xffff0000};

		if (op != NVME_ADM_ASYNC_EVENT) {
			bool invalid = h_cmd(h, 0, &cmd, NULL) == DNR(NVME_SC_INVALID_OPCODE);

			assert_int_equal(invalid, !e->admin[op]);
		}
		assert_int_equal(h_cmd(h, 1, &cmd, NULL) == DNR(NVME_SC_INVALID_OPCODE),
				 !e->io[op]);
		n += e->admin[op] != 0;
	}
	assert_int_equal(n, 12);
	h_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(features),        cmocka_unit_test(features_status),
		cmocka_unit_test(features_queues), cmocka_unit_test(features_data),
		cmocka_unit_test(log_status),      cmocka_unit_test(log_errors),
		cmocka_unit_test(log_effects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
