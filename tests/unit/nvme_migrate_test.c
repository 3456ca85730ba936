/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller is moved (migrate*.c): all that it is arrives, and a stream that is wrong
 * changes nothing.  Moves under load are in nvme_move_test.c.
 */
#include <errno.h>
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

static const char *const moved_args = "memory=1M,move=none,queues=8,cmb=16K";

/* Times that go on, wherever the controller is. */
static void zero_times(struct model_stream *s)
{
	struct model_section *logs = model_stream_find(s, "NVLG", 0);
	struct model_section *features = model_stream_find(s, "NVFT", 0);

	memset(logs->bytes + 64, 0, 8);
	memset(features->bytes + 42, 0, 8);
}

static size_t bytes_of(const struct model_stream *s)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < s->nr; i++)
		bytes += s->sections[i].len;
	return bytes;
}

static void assert_same(struct model_stream *a, struct model_stream *b)
{
	zero_times(a);
	zero_times(b);
	assert_int_equal(a->nr, b->nr);
	for (unsigned i = 0; i < a->nr; i++) {
		assert_string_equal(a->sections[i].kind, b->sections[i].kind);
		assert_int_equal(a->sections[i].len, b->sections[i].len);
		if (memcmp(a->sections[i].bytes, b->sections[i].bytes, a->sections[i].len) != 0)
			fail_msg("section %s differs", a->sections[i].kind);
	}
}

/* One with something in all that can be saved. */
static struct harness *eventful(void)
{
	struct harness *h = h_new(moved_args);
	struct nvme_sqe aer = {.opcode = NVME_ADM_ASYNC_EVENT};
	struct nvme_sqe write,
		wu = {.opcode = NVME_IO_WRITE_UNCORRECTABLE, .nsid = 1, .cdw10 = 1000};
	uint64_t stamp = 123456789, p;
	struct nvme_cqe cqe;
	void *data;

	assert_true(h_enable(h, 16));
	h_create_pair(h, 1, 8);
	h_create_pair(h, 5, 32);
	assert_int_equal(h_create_sq(h, 2, 16, 5), 0);
	h_cmb_at(h, 0x40000000);
	memset(h->bar_memory[2], 0x42, 16384);
	assert_int_equal(
		h_admin(h, NVME_ADM_SET_FEATURES, 0, NVME_FEAT_COALESCING, 0x0703, NULL, NULL), 0);
	assert_int_equal(
		h_admin(h, NVME_ADM_SET_FEATURES, 0, NVME_FEAT_VECTOR_CONFIG, 0x10002, NULL, NULL),
		0);
	assert_int_equal(
		h_admin(h, NVME_ADM_SET_FEATURES, 0, NVME_FEAT_ASYNC_EVENTS, 0x102, NULL, NULL), 0);
	assert_int_equal(
		h_admin(h, NVME_ADM_SET_FEATURES, 0, NVME_FEAT_TEMPERATURE, 400, NULL, NULL), 0);
	assert_int_equal(
		h_admin(h, NVME_ADM_SET_FEATURES, 1, NVME_FEAT_ERROR_RECOVERY, 77, NULL, NULL), 0);
	p = h_alloc(h, 4096, 4096);
	memcpy(h_ptr(h, p), &stamp, 8);
	assert_int_equal(h_cmd(h, 0,
			       &(struct nvme_sqe){.opcode = NVME_ADM_SET_FEATURES,
						  .cdw10 = NVME_FEAT_TIMESTAMP,
						  .prp1 = p},
			       NULL),
			 0);
	assert_int_equal(h_cmd(h, 1, &wu, NULL), 0);
	/* Errors, and an event that is masked then. */
	assert_int_equal(h_admin(h, 0x55, 0, 0, 0, NULL, NULL), DNR(NVME_SC_INVALID_OPCODE));
	h_push(h, 0, &aer);
	h_push(h, 0, &aer);
	h_ring_sq(h, 0);
	h_run(h);
	h_write32(h, 0x1000 + 8 * 3, 5); /* a queue that is not there */
	h_run(h);
	h_write32(h, 0x1000 + 8 * 1, 99); /* no value of queue 1 */
	h_run(h);
	assert_true(h_pop(h, 0, &cqe));
	h_ring_cq(h, 0);
	h_run(h);
	assert_int_equal(h_log(h, NVME_LOG_ERROR, 16, 0, true, &data), 0);
	/* Completions that find no room: 7 are there, the others wait. */
	p = h_alloc(h, 4096, 4096);
	memset(h_ptr(h, p), 0x3c, 4096);
	for (unsigned i = 0; i < 7; i++) {
		write = h_rw(NVME_IO_WRITE, 1, 8 * i, 8, p, 0);
		h_push(h, 1, &write);
	}
	h_ring_sq(h, 1);
	h_run(h);
	for (unsigned i = 0; i < 3; i++)
		h_push(h, 1, &write);
	h_ring_sq(h, 1);
	h_run(h);
	return h;
}

static void all_fields(void **state)
{
	struct harness *a = eventful(), *b = h_new(moved_args);
	struct nvme_sqe verify = {.opcode = NVME_IO_VERIFY, .nsid = 1};
	struct model_stream sa = {0}, sb = {0};
	struct nvme_cqe cqe;
	unsigned n = 0;
	uint32_t dw0;

	h_pause(a);
	h_move(a, b, &sa);
	h_save(b, &sb);
	assert_same(&sa, &sb);
	assert_true(bytes_of(&sa) <= 64 << 10);
	for (unsigned off = 0; off < 0x60; off += 4)
		assert_int_equal(h_read32(b, off), h_read32(a, off));
	h_resume(b);
	while (h_pop(b, 1, &cqe)) {
		assert_int_equal(cqe.status >> 1, 0);
		h_ring_cq(b, 1);
		h_run(b);
		n++;
	}
	assert_int_equal(n, 10);
	assert_int_equal(h_admin(b, NVME_ADM_GET_FEATURES, 0, NVME_FEAT_COALESCING, 0, NULL, &dw0),
			 0);
	assert_int_equal(dw0, 0x0703);
	/* Blocks that are marked. */
	verify.cdw10 = 1000;
	assert_int_equal(h_cmd(b, 2, &verify, NULL), DNR(NVME_SC_UNRECOVERED_READ));
	verify.cdw10 = 1001;
	assert_int_equal(h_cmd(b, 2, &verify, NULL), 0);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(b->blocks[0]->data[i], 0x3c);
	assert_int_equal(b->bar_memory[2][16383], 0x42);
	model_stream_drop(&sa);
	model_stream_drop(&sb);
	h_free(a);
	h_free(b);
}

/* Back and forth, idle: the state is the same each time, and little. */
static void idle(void **state)
{
	struct harness *h[2] = {h_ready("memory=1M,move=none", NULL), h_new("memory=1M,move=none")};
	struct model_stream s[2] = {{.nr = 0}, {.nr = 0}};

	h_pause(h[0]);
	for (unsigned i = 0; i < 4; i++) {
		h_move(h[i & 1], h[!(i & 1)], &s[i & 1]);
		if (i)
			assert_same(&s[0], &s[1]);
		assert_true(bytes_of(&s[i & 1]) < 64 << 10);
	}
	h_resume(h[0]);
	assert_int_equal(
		h_cmd(h[0], 1, &(struct nvme_sqe){.opcode = NVME_IO_FLUSH, .nsid = 1}, NULL), 0);
	h_resume(h[1]);
	for (unsigned i = 0; i < 2; i++) {
		model_stream_drop(&s[i]);
		h_free(h[i]);
	}
}

/* Each state that a controller can be in. */
static void states(void **state)
{
	enum { DISABLED, READY, SHUT, SHUTTING, FATAL, NOT_ENABLED, NR };

	for (unsigned i = 0; i < NR; i++) {
		struct harness *a = h_new("memory=1M,move=none"), *b = h_new("memory=1M,move=none");
		struct model_stream sa = {0}, sb = {0};
		uint32_t csts;

		if (i == READY || i == SHUT || i == SHUTTING || i == FATAL)
			assert_true(h_enable(a, 16));
		if (i == SHUT) {
			h_write32(a, 0x14, 4 << 20 | 6 << 16 | 1 << 14 | 1);
			h_run(a);
		}
		if (i == NOT_ENABLED) {
			h_write32(a, 0x14, 1);
			h_run(a);
		}
		if (i == FATAL) {
			h_fault(a, a->q[0].sq, 64);
			a->q[0].tail = 1;
			h_ring_sq(a, 0);
			h_run(a);
			h_no_faults(a);
			assert_int_equal(h_read32(a, 0x1c) & 2, 2);
		}
		h_pause(a);
		if (i == SHUTTING) {
			h_write32(a, 0x14, 4 << 20 | 6 << 16 | 1 << 14 | 1);
			h_run(a);
			assert_int_equal(h_read32(a, 0x1c) >> 2 & 3, 1);
		}
		csts = h_read32(a, 0x1c);
		h_move(a, b, &sa);
		h_save(b, &sb);
		assert_same(&sa, &sb);
		assert_int_equal(h_read32(b, 0x1c), csts);
		h_resume(b);
		if (i == SHUTTING)
			assert_int_equal(h_read32(b, 0x1c) >> 2 & 3, 2);
		h_disable(b);
		assert_true(h_enable(b, 16));
		model_stream_drop(&sa);
		model_stream_drop(&sb);
		h_free(a);
		h_free(b);
	}
}

/* ---- what is refused ---- */

/* Another controller than the stream's. */
static void other_controllers(void **state)
{
	static const struct {
		const char *args, *message;
	} others[] = {
		{"memory=1M,move=none,queues=9,cmb=16K", "queues="},
		{"memory=1M,move=none,queues=8", "cmb="},
		{"memory=1M,move=none,queues=8,cmb=8K", "cmb="},
		{"memory=1M,move=none,queues=8,cmb=16K,serial=x", "serial="},
		{"memory=1M,move=none,queues=8,cmb=16K,vendor=1", "vendor="},
		{"memory=1M,move=none,queues=8,cmb=16K,ns=memory=1M", "ns="},
		{"memory=512K,move=none,queues=8,cmb=16K", "too small"},
		{"memory=1M,move=none,queues=8,cmb=16K,readonly=on", "read-only here"},
		{"memory=1M,move=none,queues=8,cmb=16K,interrupts=intx", "interrupts="},
		{"memory=1M,move=none,queues=8,cmb=16K,vfs=2", "vfs="},
	};
	struct harness *a = eventful();
	struct model_stream s = {0}, before = {0}, after = {0};

	h_pause(a);
	h_save(a, &s);
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		struct harness *b = h_new(others[i].args);

		h_pause(b);
		h_save(b, &before);
		assert_int_equal(h_load(b, &s), -EINVAL);
		if (!strstr(b->err.msg, others[i].message))
			fail_msg("%s: %s", others[i].args, b->err.msg);
		h_save(b, &after);
		assert_same(&before, &after);
		h_resume(b);
		h_free(b);
	}
	model_stream_drop(&s);
	model_stream_drop(&before);
	model_stream_drop(&after);
	h_resume(a);
	h_free(a);
}

/* Sections that are missing, come twice, are cut or have more behind them. */
static void sections(void **state)
{
	struct harness *a = eventful(), *b = h_ready(moved_args, NULL);
	struct model_stream s = {0}, bad = {0}, before = {0}, after = {0};

	h_pause(a);
	h_save(a, &s);
	h_pause(b);
	h_save(b, &before);
	for (unsigned i = 0; i < s.nr; i++) {
		for (unsigned how = 0; how < 6; how++) {
			struct model_section *section = &bad.sections[i];

			model_stream_drop(&bad);
			model_stream_copy(&bad, &s);
			switch (how) {
			case 0: /* missing */
				if (!strcmp(section->kind, "NVBD"))
					continue;
				free(section->bytes);
				memmove(section, section + 1, (bad.nr - i - 1) * sizeof(*section));
				bad.nr--;
				break;
			case 1: /* twice */
				bad.sections[bad.nr] = *section;
				section = &bad.sections[bad.nr++];
				section->bytes = malloc(section->len + 1);
				memcpy(section->bytes, s.sections[i].bytes, section->len);
				break;
			case 2:
				section->len--;
				break;
			case 3:
				section->len = 0;
				break;
			case 4:
				section->len++;
				break;
			case 5:
				section->version = 2;
				break;
			}
			assert_int_equal(h_load(b, &bad), -EINVAL);
			assert_true(b->err.msg[0]);
			h_save(b, &after);
			assert_same(&before, &after);
		}
	}
	model_stream_drop(&bad);
	model_stream_copy(&bad, &s);
	strcpy(bad.sections[2].kind, "NVXX");
	assert_int_equal(h_load(b, &bad), -EINVAL);
	assert_non_null(strstr(b->err.msg, "NVXX"));
	assert_int_equal(h_load(b, &s), 0);
	model_stream_drop(&s);
	model_stream_drop(&bad);
	model_stream_drop(&before);
	model_stream_drop(&after);
	h_resume(a);
	h_free(a);
	h_resume(b);
	h_free(b);
}

/* Each byte, as something else: refused, and nothing has changed; or one of the values that it may
 * have, and then the controller is one that works, whatever it makes of its queues. */
static void each_byte(void **state)
{
	struct harness *a = eventful(), *b = h_ready(moved_args, NULL);
	struct model_stream s = {0}, bad = {0}, before = {0}, after = {0};
	struct model_section *section;
	unsigned refused = 0, seed = 1;

	h_pause(a);
	h_save(a, &s);
	h_pause(b);
	h_save(b, &before);
	model_stream_copy(&bad, &s);
	for (size_t n = 0; n < bytes_of(&s); n++) {
		size_t at = n;
		uint8_t *byte, old;

		for (section = bad.sections; at >= section->len; section++)
			at -= section->len;
		byte = &section->bytes[at];
		old = *byte;
		for (unsigned i = 0; i < 4; i++) {
			seed = seed * 1103515245 + 12345;
			*byte = i == 0 ? old ^ 0xff : i == 1 ? old ^ 1 : (uint8_t)(seed >> 16);
			if (h_load(b, &bad)) {
				refused++;
				assert_true(b->err.msg[0]);
				h_save(b, &after);
				assert_same(&before, &after);
				continue;
			}
			/* It runs, with client memory that has nothing to do with it. */
			h_resume(b);
			h_write32(b, 0x1000, 3);
			h_write32(b, 0x1008, 5);
			h_write32(b, 0x100c, 2);
			h_run(b);
			h_disable(b);
			assert_int_equal(h_read32(b, 0x1c) & 1, 0);
			/* And is another one again. */
			h_reset(b, UVFIO_RESET_OPEN);
			b->alloc = H_MEM_BASE;
			assert_true(h_enable(b, 64));
			h_create_pair(b, 1, 128);
			h_pause(b);
			h_save(b, &before);
		}
		*byte = old;
	}
	assert_true(refused > bytes_of(&s) / 2);
	assert_int_equal(h_load(b, &s), 0);
	model_stream_drop(&s);
	model_stream_drop(&bad);
	model_stream_drop(&before);
	model_stream_drop(&after);
	h_resume(a);
	h_free(a);
	h_resume(b);
	h_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_fields), cmocka_unit_test(idle),
		cmocka_unit_test(states),     cmocka_unit_test(other_controllers),
		cmocka_unit_test(sections),   cmocka_unit_test(each_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
