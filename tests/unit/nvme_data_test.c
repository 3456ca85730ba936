/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller: data pointers (PRP, SGL), each way that data takes, and every refusal.
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

#define DISK (4u << 20)
#define CC   0x14

/* The ways: straight to memory, pinned, bounced; each at once or later. */
struct way {
	const char *name;
	bool direct, no_pin, split, async, delay;
	bool cmb; /* everything is in the controller memory buffer */
};

static const struct way ways[] = {
	{"direct", true, false, false, false, false},
	{"direct, late DMA", true, false, false, false, true},
	{"pinned", false, false, false, false, false},
	{"pinned, split, late", false, false, true, true, false},
	{"bounced", false, true, false, false, false},
	{"bounced, all late", false, true, false, true, true},
	{"controller memory, direct", true, false, false, false, true, true},
	{"controller memory", false, false, false, false, false, true},
	{"controller memory, late", false, false, false, true, true, true},
};
#define NR_WAYS (sizeof(ways) / sizeof(ways[0]))

static struct harness *ready(const struct way *w)
{
	struct harness *h = h_ready(w->cmb ? "memory=4M,cmb=16M" : "memory=4M", NULL);

	if (w->cmb) {
		/* It hides half of the client's memory, which a transfer there would reach. */
		h_cmb_at(h, H_MEM_BASE + H_MEM_SIZE / 2);
		h_alloc_from(h, H_MEM_BASE + H_MEM_SIZE / 2);
	}
	h->blocks[0]->direct = w->direct;
	h->no_pin = w->no_pin;
	h->split_pin = w->split;
	h->block_async = w->async;
	h->delay_dma = w->delay;
	return h;
}

static void fill(uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 31 + (i >> 8) * 17 + seed);
}

/* A PRP list for @pages, chained in list pages of @per_list entries' room; returns prp2.  The first
 * list begins @per_list entries before the end of its page. */
static uint64_t make_list(struct harness *h, const uint64_t *pages, unsigned nr, unsigned per_list)
{
	uint64_t page = h_alloc(h, 4096, 4096), first = page + 4096 - 8 * per_list;
	uint64_t *e = h_ptr(h, first);
	unsigned room = per_list;

	for (unsigned i = 0; i < nr; i++) {
		if (room == 1 && i + 1 < nr) {
			uint64_t next = h_alloc(h, 4096, 4096);

			*e = next;
			e = h_ptr(h, next);
			room = 512;
		}
		*e++ = pages[i];
		room--;
	}
	return first;
}

/* Write @nlb blocks from scattered pages that begin at @offset of the first, read them back into
 * others, and compare with the disk. */
static void round_trip(struct harness *h, uint64_t slba, uint32_t nlb, uint32_t offset,
		       unsigned per_list)
{
	uint32_t len = nlb * 512, pages = (offset + len + 4095) / 4096;
	uint64_t *list = calloc(pages, sizeof(*list));
	uint8_t *data = malloc(len);

	fill(data, len, offset + nlb);
	for (int write = 1; write >= 0; write--) {
		uint64_t mark = h->alloc, prp2 = 0;
		struct nvme_sqe cmd;
		uint32_t done = 0;

		for (unsigned i = 0; i < pages; i++) /* not adjacent, and not in order */
			list[i] = h_alloc(h, 8192, 4096) + (i % 2 ? 0 : 4096);
		if (pages == 2)
			prp2 = list[1];
		else if (pages > 2)
			prp2 = make_list(h, list + 1, pages - 1, per_list);
		for (unsigned i = 0; write && i < pages; i++) {
			uint32_t o = i ? 0 : offset,
				 n = 4096 - o < len - done ? 4096 - o : len - done;

			memcpy(h_ptr(h, list[i] + o), data + done, n);
			done += n;
		}
		cmd = h_rw(write ? NVME_IO_WRITE : NVME_IO_READ, 1, slba, nlb, list[0] + offset,
			   prp2);
		assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
		if (write)
			assert_memory_equal(h->blocks[0]->data + slba * 512, data, len);
		for (unsigned i = 0; !write && i < pages; i++) {
			uint32_t o = i ? 0 : offset,
				 n = 4096 - o < len - done ? 4096 - o : len - done;

			assert_memory_equal(h_ptr(h, list[i] + o), data + done, n);
			done += n;
		}
		h->alloc = mark;
	}
	free(data);
	free(list);
}

static void prp(void **state)
{
	for (size_t w = 0; w < NR_WAYS; w++) {
		struct harness *h = ready(&ways[w]);

		round_trip(h, 0, 1, 0, 512);
		round_trip(h, 3, 1, 512, 512);
		round_trip(h, 5, 8, 0, 512);
		round_trip(h, 5, 8, 4, 512); /* dword offset: two pages */
		round_trip(h, 9, 16, 0, 512);
		round_trip(h, 9, 16, 2048, 512); /* three */
		round_trip(h, 100, 24, 0, 512);
		round_trip(h, 7, 256, 0, 512);
		round_trip(h, 7, 256, 4092, 512);
		round_trip(h, 7, 256, 0, 2);  /* a list that begins at the end of its page */
		round_trip(h, 7, 256, 8, 31); /* exactly: no pointer to a further list */
		round_trip(h, 7, 256, 8, 32);
		round_trip(h, 7, 256, 8, 1);    /* a single entry, which must be a pointer */
		round_trip(h, 0, 4096, 0, 512); /* MDTS, 511 entries */
		round_trip(h, 0, 4096, 4, 512); /* 512 entries */
		round_trip(h, 0, 4096, 4, 100);
		assert_int_equal(h->nr_pinned, 0);
		h_free(h);
	}
}

static void prp_big_pages(void **state)
{
	struct harness *h = h_new("memory=4M");
	uint64_t a, list, data = h_alloc(h, 4 * 65536, 65536);
	struct nvme_sqe cmd;

	/* 64 KiB pages: the admin queues are aligned so too. */
	h_write32(h, 0x24, 0x000f000f);
	h->q[0] = (struct h_queue){.sq = h_alloc(h, 1024, 65536),
				   .cq = h_alloc(h, 256, 65536),
				   .size = 16,
				   .cq_size = 16,
				   .phase = true};
	h_write(h, 0x28, 8, h->q[0].sq);
	h_write(h, 0x30, 8, h->q[0].cq);
	h_write32(h, CC, 4u << 20 | 6u << 16 | 4u << 7 | 1);
	h_run(h);
	h->alloc = (h->alloc + 65535) & ~65535ull;
	assert_int_equal(h_create_cq(h, 1, 16, false, 0), 0);
	h->alloc = (h->alloc + 65535) & ~65535ull;
	assert_int_equal(h_create_sq(h, 1, 16, 1), 0);

	fill(h->blocks[0]->data, 3 * 65536, 1);
	list = h_alloc(h, 65536, 65536);
	a = h_alloc(h, 65536, 65536);
	((uint64_t *)h_ptr(h, list))[0] = data + 2 * 65536;
	((uint64_t *)h_ptr(h, list))[1] = data;
	cmd = h_rw(NVME_IO_READ, 1, 0, 3 * 128, a, list);
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	assert_memory_equal(h_ptr(h, a), h->blocks[0]->data, 65536);
	assert_memory_equal(h_ptr(h, data + 2 * 65536), h->blocks[0]->data + 65536, 65536);
	assert_memory_equal(h_ptr(h, data), h->blocks[0]->data + 2 * 65536, 65536);
	/* An entry that is aligned to 4 KiB only. */
	((uint64_t *)h_ptr(h, list))[1] = data + 4096;
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), DNR(NVME_SC_PRP_OFFSET));
	h_free(h);
}

static void prp_status(void **state)
{
	for (size_t w = 0; w < NR_WAYS; w++) {
		struct harness *h = ready(&ways[w]);
		uint64_t p = h_alloc(h, 16 * 4096, 4096), list = p + 8 * 4096, bad = 0x1000;
		uint64_t *e = h_ptr(h, list);
		const struct {
			uint32_t nlb;
			uint64_t prp1, prp2, e0, e1;
			unsigned status;
		} rows[] = {
			{1, p + 1, 0, 0, 0, NVME_SC_PRP_OFFSET},
			{1, p + 2, 0, 0, 0, NVME_SC_PRP_OFFSET},
			{16, p, p + 4096 + 4, 0, 0, NVME_SC_PRP_OFFSET},
			{16, p, p + 4096 + 2048, 0, 0, NVME_SC_PRP_OFFSET},
			{24, p, list + 4, p, p, NVME_SC_PRP_OFFSET},
			{24, p, list, p + 4, p, NVME_SC_PRP_OFFSET},
			{24, p, list, p, p + 512, NVME_SC_PRP_OFFSET},
			/* Leads to 0, which is in another place than the buffer. */
			{24, p, list + 4096 - 8, p, p,
			 ways[w].cmb ? NVME_SC_INVALID_CMB : NVME_SC_DATA_TRANSFER},
			{1, bad, 0, 0, 0, NVME_SC_DATA_TRANSFER},
			{16, p, bad, 0, 0, NVME_SC_DATA_TRANSFER},
			{24, p, bad, 0, 0, NVME_SC_DATA_TRANSFER},
			{24, p, list, bad, p, NVME_SC_DATA_TRANSFER},
			{24, p, list, p, 0xfffffffffffff000ull, NVME_SC_DATA_TRANSFER},
			{24, p, list, p, p, 0},
		};

		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			struct nvme_sqe cmd;

			for (int write = 0; write < 2; write++) {
				e[0] = rows[i].e0;
				e[1] = rows[i].e1;
				cmd = h_rw(write ? NVME_IO_WRITE : NVME_IO_READ, 1, 0, rows[i].nlb,
					   rows[i].prp1, rows[i].prp2);
				assert_int_equal(h_cmd(h, 1, &cmd, NULL),
						 rows[i].status ? DNR(rows[i].status) : 0);
			}
		}
		assert_int_equal(h->nr_pinned, 0);
		/* No fault of a transfer is fatal. */
		assert_int_equal(h_read32(h, 0x1c), NVME_CSTS_RDY);
		h_free(h);
	}
}

/* A list whose last entry of each page points to itself ends, because the length does. */
static void prp_loop(void **state)
{
	struct harness *h = ready(&ways[1]);
	uint64_t page = h_alloc(h, 4096, 4096);
	struct nvme_sqe cmd = h_rw(NVME_IO_WRITE, 1, 0, 4096, page, page + 4088);
	unsigned status;

	((uint64_t *)h_ptr(h, page))[511] = page + 4088;
	/* An offset within the page is not allowed where a list page follows another. */
	status = h_cmd(h, 1, &cmd, NULL);
	assert_int_equal(status, DNR(NVME_SC_PRP_OFFSET));
	/* The whole page as a list that leads to itself. */
	for (int i = 0; i < 512; i++)
		((uint64_t *)h_ptr(h, page))[i] = page;
	cmd.prp2 = page;
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	h_free(h);
}

/* ---- SGL ---- */

static struct nvme_sgl_desc desc(unsigned type, uint64_t addr, uint32_t len)
{
	return (struct nvme_sgl_desc){.addr = addr, .len = len, .id = (uint8_t)(type << 4)};
}

static struct nvme_sqe sgl_rw(uint8_t opcode, uint32_t nlb, struct nvme_sgl_desc sgl)
{
	struct nvme_sqe cmd = h_rw(opcode, 1, 0, nlb, 0, 0);

	cmd.flags = NVME_PSDT_SGL << 6;
	cmd.sgl = sgl;
	return cmd;
}

static void sgl(void **state)
{
	for (size_t w = 0; w < NR_WAYS; w++) {
		struct harness *h = ready(&ways[w]);
		uint8_t *disk = h->blocks[0]->data;
		uint64_t p = h_alloc(h, 65536, 4096), s = h_alloc(h, 8192, 4096);
		struct nvme_sgl_desc *d = h_ptr(h, s);
		struct nvme_sqe cmd;

		fill(disk, 65536, 7);
		/* One block, at an odd address. */
		cmd = sgl_rw(NVME_IO_READ, 4, desc(NVME_SGL_DATA, p + 1, 2048));
		assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
		assert_memory_equal(h_ptr(h, p + 1), disk, 2048);

		/* A last segment with pieces of odd sizes, an empty one and a bit bucket. */
		d[0] = desc(NVME_SGL_DATA, p, 100);
		d[1] = desc(NVME_SGL_DATA, p + 3000, 0);
		d[2] = desc(NVME_SGL_BIT_BUCKET, 0, 900);
		d[3] = desc(NVME_SGL_DATA, p + 5001, 1048);
		cmd = sgl_rw(NVME_IO_READ, 4, desc(NVME_SGL_LAST_SEGMENT, s, 64));
		assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
		assert_memory_equal(h_ptr(h, p), disk, 100);
		assert_memory_equal(h_ptr(h, p + 5001), disk + 1000, 1048);

		/* For a write the bucket has no length; and the list may be longer than the data.
		 */
		d[0] = desc(NVME_SGL_DATA, p, 1024);
		d[1] = desc(NVME_SGL_BIT_BUCKET, 0, 900);
		d[2] = desc(NVME_SGL_DATA, p + 8192, 4096);
		fill(h_ptr(h, p), 16384, 99);
		cmd = sgl_rw(NVME_IO_WRITE, 4, desc(NVME_SGL_LAST_SEGMENT, s, 48));
		assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
		assert_memory_equal(disk, h_ptr(h, p), 1024);
		assert_memory_equal(disk + 1024, h_ptr(h, p + 8192), 1024);

		/* Segments in a chain; 100 pieces. */
		for (unsigned i = 0; i < 100; i++) {
			unsigned at = i < 50 ? i : i + 1;

			d[at] = desc(NVME_SGL_DATA, p + i * 600, 512);
		}
		d[50] = desc(NVME_SGL_LAST_SEGMENT, s + 51 * 16, 50 * 16);
		fill(h_ptr(h, p), 61440, 5);
		cmd = sgl_rw(NVME_IO_WRITE, 100, desc(NVME_SGL_SEGMENT, s, 51 * 16));
		cmd.flags = (uint8_t)(NVME_PSDT_SGL_MSGL << 6);
		assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
		for (unsigned i = 0; i < 100; i++)
			assert_memory_equal(disk + i * 512, h_ptr(h, p + i * 600), 512);
		assert_int_equal(h->nr_pinned, 0);
		h_free(h);
	}
}

/* A segment of more descriptors than are read at a time. */
static void sgl_long(void **state)
{
	struct harness *h = ready(&ways[1]);
	uint64_t p = h_alloc(h, 512 * 1024, 4096), s = h_alloc(h, 16384, 4096);
	struct nvme_sgl_desc *d = h_ptr(h, s);
	struct nvme_sqe cmd;

	for (unsigned i = 0; i < 700; i++)
		d[i] = desc(NVME_SGL_DATA, p + i * 700, 512);
	fill(h_ptr(h, p), 490000, 3);
	cmd = sgl_rw(NVME_IO_WRITE, 700, desc(NVME_SGL_LAST_SEGMENT, s, 700 * 16));
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	for (unsigned i = 0; i < 700; i++)
		assert_memory_equal(h->blocks[0]->data + i * 512, h_ptr(h, p + i * 700), 512);
	/* More pieces than one command may name. */
	for (unsigned i = 0; i < 900; i++)
		d[i] = desc(NVME_SGL_DATA, p + i * 500, 256);
	cmd = sgl_rw(NVME_IO_WRITE, 450, desc(NVME_SGL_LAST_SEGMENT, s, 900 * 16));
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), DNR(NVME_SC_SGL_COUNT));
	h_free(h);
}

static void sgl_status(void **state)
{
	struct harness *h = ready(&ways[0]);
	uint64_t p = h_alloc(h, 65536, 4096), s = h_alloc(h, 4096, 4096);
	struct nvme_sgl_desc *d = h_ptr(h, s), sub = desc(NVME_SGL_DATA, p, 512);
	const struct nvme_sgl_desc data = desc(NVME_SGL_DATA, p, 512);
	const struct {
		struct nvme_sgl_desc sgl, d0, d1;
		unsigned status;
	} rows[] = {
		{desc(NVME_SGL_DATA, p, 511), {0}, {0}, NVME_SC_SGL_LENGTH},
		{desc(NVME_SGL_DATA, p, 0), {0}, {0}, NVME_SC_SGL_LENGTH},
		{desc(NVME_SGL_DATA, p, 4096), {0}, {0}, 0},
		{desc(NVME_SGL_DATA, ~0ull - 10, 512), {0}, {0}, NVME_SC_DATA_TRANSFER},
		{desc(4, p, 512), {0}, {0}, NVME_SC_SGL_TYPE}, /* keyed */
		{desc(0xf, p, 512), {0}, {0}, NVME_SC_SGL_TYPE},
		{desc(NVME_SGL_BIT_BUCKET, p, 512), {0}, {0}, NVME_SC_SGL_TYPE},
		{desc(NVME_SGL_SEGMENT, s, 0), data, data, NVME_SC_SGL_SEGMENT},
		{desc(NVME_SGL_SEGMENT, s, 17), data, data, NVME_SC_SGL_SEGMENT},
		{desc(NVME_SGL_LAST_SEGMENT, s, 15), data, data, NVME_SC_SGL_SEGMENT},
		{desc(NVME_SGL_LAST_SEGMENT, 0x100, 32), data, data, NVME_SC_DATA_TRANSFER},
		/* A segment inside the last; one that is not the end of its segment. */
		{desc(NVME_SGL_LAST_SEGMENT, s, 32), desc(NVME_SGL_DATA, p, 256),
		 desc(NVME_SGL_SEGMENT, s, 32), NVME_SC_SGL_SEGMENT},
		{desc(NVME_SGL_LAST_SEGMENT, s, 32), desc(NVME_SGL_DATA, p, 256),
		 desc(NVME_SGL_LAST_SEGMENT, s, 32), NVME_SC_SGL_SEGMENT},
		{desc(NVME_SGL_SEGMENT, s, 32), desc(NVME_SGL_LAST_SEGMENT, s, 32), data,
		 NVME_SC_SGL_SEGMENT},
		/* A segment that leads nowhere though data is missing. */
		{desc(NVME_SGL_SEGMENT, s, 16), desc(NVME_SGL_DATA, p, 256), data,
		 NVME_SC_SGL_SEGMENT},
		{desc(NVME_SGL_LAST_SEGMENT, s, 32), desc(NVME_SGL_DATA, p, 256),
		 desc(NVME_SGL_DATA, p, 255), NVME_SC_SGL_LENGTH},
		{desc(NVME_SGL_LAST_SEGMENT, s, 32), desc(7, p, 256), data, NVME_SC_SGL_TYPE},
		/* Leads to itself for ever, with and without data. */
		{desc(NVME_SGL_SEGMENT, s, 16), desc(NVME_SGL_SEGMENT, s, 16), data,
		 NVME_SC_SGL_COUNT},
		{desc(NVME_SGL_SEGMENT, s, 32), desc(NVME_SGL_DATA, p, 0),
		 desc(NVME_SGL_SEGMENT, s, 32), NVME_SC_SGL_COUNT},
		{desc(NVME_SGL_SEGMENT, s, 0xfffffff0u), desc(NVME_SGL_DATA, p, 256),
		 desc(NVME_SGL_DATA, p, 256), 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_sqe cmd = sgl_rw(NVME_IO_READ, 1, rows[i].sgl);

		d[0] = rows[i].d0;
		d[1] = rows[i].d1;
		assert_int_equal(h_cmd(h, 1, &cmd, NULL), rows[i].status ? DNR(rows[i].status) : 0);
	}
	/* Sub types: an address is the only one. */
	sub.id |= 1;
	d[0] = sub;
	assert_int_equal(
		h_cmd(h, 1,
		      &(struct nvme_sqe){
			      .opcode = NVME_IO_READ, .nsid = 1, .flags = 0x40, .sgl = sub},
		      NULL),
		DNR(NVME_SC_SGL_TYPE));
	assert_int_equal(h_cmd(h, 1,
			       &(struct nvme_sqe){.opcode = NVME_IO_READ,
						  .nsid = 1,
						  .flags = 0x40,
						  .sgl = desc(NVME_SGL_LAST_SEGMENT, s, 16)},
			       NULL),
			 DNR(NVME_SC_SGL_TYPE));
	/* PSDT 3 is reserved. */
	assert_int_equal(h_cmd(h, 1,
			       &(struct nvme_sqe){.opcode = NVME_IO_READ, .nsid = 1, .flags = 0xc0},
			       NULL),
			 DNR(NVME_SC_INVALID_FIELD));
	/* Admin commands take PRPs only. */
	assert_int_equal(
		h_cmd(h, 0,
		      &(struct nvme_sqe){.opcode = NVME_ADM_IDENTIFY, .flags = 0x40, .cdw10 = 1},
		      NULL),
		DNR(NVME_SC_INVALID_FIELD));
	h_free(h);
}

/* ---- bounce buffers ---- */

/* More commands than there are buffers: they wait in order, all end. */
static void bounce_queue(void **state)
{
	struct harness *h = ready(&ways[5]);
	struct nvme_ctrl *c = h->priv;
	struct nvme_cqe cqe;
	uint64_t p = h_alloc(h, 4096, 4096);
	unsigned got = 0;

	h->hold_block = true;
	for (unsigned i = 0; i < 100; i++) {
		struct nvme_sqe cmd = h_rw(NVME_IO_READ, 1, i * 8, 8, p, 0);

		h_push(h, 1, &cmd);
	}
	h_ring_sq(h, 1);
	h_run(h);
	assert_int_equal(h->nr_io_pending, NVME_NR_BOUNCE);
	assert_int_equal(c->nr_bounce, NVME_NR_BOUNCE);
	h->hold_block = false;
	h_run(h);
	while (h_pop(h, 1, &cqe)) {
		assert_int_equal(cqe.status >> 1, 0);
		got++;
	}
	assert_int_equal(got, 100);
	assert_int_equal(c->nr_bounce_free, NVME_NR_BOUNCE);
	h_free(h);
}

/* A buffer that comes free within the pass of work, where nothing else calls for another pass. */
static void bounce_in_work(void **state)
{
	struct harness *h = ready(&ways[5]);
	struct nvme_sqe cmd = h_rw(NVME_IO_READ, 1, 0, 8, h_alloc(h, 4096, 4096), 0);
	struct nvme_cqe cqe;
	unsigned got = 0;

	h->delay_dma = false;
	h->kick_completes = true;
	for (unsigned i = 0; i < 100; i++)
		h_push(h, 1, &cmd);
	h_ring_sq(h, 1);
	while (h_work(h))
		;
	while (h_pop(h, 1, &cqe))
		got++;
	assert_int_equal(got, 100);
	h_free(h);
}

/* Abort finds those that wait. */
static void bounce_abort(void **state)
{
	struct harness *h = ready(&ways[5]);
	struct nvme_sqe cmd = h_rw(NVME_IO_READ, 1, 0, 8, h_alloc(h, 4096, 4096), 0);
	struct nvme_sqe abort_cmd = {.opcode = NVME_ADM_ABORT};
	struct nvme_cqe cqe;
	uint16_t cid = 0, first = 0;

	h->hold_block = true;
	for (unsigned i = 0; i < 40; i++) {
		cid = h_push(h, 1, &cmd);
		if (!i)
			first = cid;
	}
	h_ring_sq(h, 1);
	h_run(h);
	abort_cmd.cdw10 = 1 | (uint32_t)cid << 16;
	assert_int_equal(h_cmd(h, 0, &abort_cmd, &cqe), 0);
	assert_int_equal(cqe.dw0, 0);
	assert_true(h_pop(h, 1, &cqe));
	assert_int_equal(cqe.cid, cid);
	assert_int_equal(cqe.status >> 1, NVME_SC_ABORT_REQUESTED);
	/* What is at the backend is let end. */
	abort_cmd.cdw10 = 1 | (uint32_t)first << 16;
	assert_int_equal(h_cmd(h, 0, &abort_cmd, &cqe), 0);
	assert_int_equal(cqe.dw0, 1);
	/* Reset with some waiting and some at the backend. */
	h_reset(h, UVFIO_RESET_FUNCTION);
	h->hold_block = false;
	assert_true(h_enable(h, 16));
	h_create_pair(h, 1, 16);
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	h_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prp),          cmocka_unit_test(prp_big_pages),
		cmocka_unit_test(prp_status),   cmocka_unit_test(prp_loop),
		cmocka_unit_test(sgl),          cmocka_unit_test(sgl_long),
		cmocka_unit_test(sgl_status),   cmocka_unit_test(bounce_queue),
		cmocka_unit_test(bounce_abort), cmocka_unit_test(bounce_in_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
