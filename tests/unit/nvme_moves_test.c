/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller is moved under load, at random moments and with random parts of its work
 * under way: at the storage, in transfers that the client is late with, waiting for a buffer, for a
 * partner, for room in a completion queue.  Every command is answered once, with the right status,
 * and the data is what the commands made it.
 *
 * The driver has at most one command that changes a block under way, and none that reads it then,
 * so it knows what each must find.
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

#define BLOCKS  2048u /* of 512 bytes */
#define QUEUES  5u
#define SLOTS   80u
#define MAX_NLB 600u

struct slot {
	bool used;
	uint16_t cid;
	unsigned qid;
	struct nvme_sqe cmd;
	uint64_t data; /* MAX_NLB blocks */
	uint64_t list; /* PRP list */
	uint8_t value; /* that a write writes, and a compare compares with */
	unsigned expect;
	int partner; /* of a fused pair: the other slot; -1 */
	bool second;
};

struct driver {
	struct harness *h, *spare;
	uint32_t seed;
	struct slot slots[SLOTS];
	uint8_t blocks[BLOCKS]; /* what each is filled with */
	int busy[BLOCKS];       /* -1: being changed; else how many read it */
	unsigned issued, answered, moves, aers;
	unsigned kinds[3]; /* of commands that were moved: section NVCM */
	struct model_stream a, b;
};

static uint32_t rnd(struct driver *d, uint32_t n)
{
	d->seed = d->seed * 1664525 + 1013904223;
	return (uint32_t)(((uint64_t)(d->seed >> 4) * n) >> 28);
}

/* ---- commands ---- */

static int free_slot(struct driver *d)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		if (!d->slots[i].used)
			return (int)i;
	}
	return -1;
}

static bool room(const struct driver *d, unsigned qid, unsigned n)
{
	const struct h_queue *q = &d->h->q[qid];
	unsigned under_way = 0;

	for (unsigned i = 0; i < SLOTS; i++)
		under_way += d->slots[i].used && d->slots[i].qid == qid;
	return under_way + n < q->size;
}

/* The data of @s, and some that belongs to nobody behind it. */
static void fill(struct driver *d, struct slot *s, unsigned nlb, uint8_t value)
{
	memset(h_ptr(d->h, s->data), value, (nlb < MAX_NLB ? nlb + 1 : nlb) * 512);
}

/* The data of @s as PRPs. */
static void point(struct driver *d, struct slot *s, unsigned nlb)
{
	uint64_t *list = h_ptr(d->h, s->list);
	unsigned pages = (nlb * 512 + 4095) / 4096;

	s->cmd.prp1 = s->data;
	s->cmd.prp2 = pages == 2 ? s->data + 4096 : pages > 2 ? s->list : 0;
	for (unsigned i = 1; i < pages; i++)
		list[i - 1] = s->data + i * 4096ull;
}

static bool blocks_free(const struct driver *d, uint64_t slba, unsigned nlb, bool changes)
{
	for (unsigned i = 0; i < nlb; i++) {
		if (d->busy[slba + i] < 0 || (changes && d->busy[slba + i]))
			return false;
	}
	return true;
}

static void take_blocks(struct driver *d, uint64_t slba, unsigned nlb, bool changes, int by)
{
	for (unsigned i = 0; i < nlb; i++)
		d->busy[slba + i] = changes ? (by > 0 ? -1 : 0) : d->busy[slba + i] + by;
}

static bool uniform(const struct driver *d, uint64_t slba, unsigned nlb)
{
	for (unsigned i = 1; i < nlb; i++) {
		if (d->blocks[slba + i] != d->blocks[slba])
			return false;
	}
	return true;
}

static bool changes(const struct nvme_sqe *cmd)
{
	return cmd->opcode == NVME_IO_WRITE || cmd->opcode == NVME_IO_WRITE_ZEROES ||
	       cmd->opcode == NVME_IO_DSM;
}

static void push(struct driver *d, struct slot *s, unsigned qid)
{
	s->used = true;
	s->qid = qid;
	s->cid = h_push(d->h, qid, &s->cmd);
	d->issued++;
}

static void push_pair(struct driver *d, unsigned qid)
{
	unsigned slba = rnd(d, BLOCKS);
	int i, j;

	if (!room(d, qid, 3) || !blocks_free(d, slba, 1, true))
		return;
	i = free_slot(d);
	if (i < 0)
		return;
	d->slots[i].used = true;
	j = free_slot(d);
	d->slots[i].used = false;
	if (j < 0)
		return;
	for (unsigned k = 0; k < 2; k++) {
		struct slot *s = &d->slots[k ? j : i];
		bool equal = rnd(d, 2);

		s->cmd = h_rw(k ? NVME_IO_WRITE : NVME_IO_COMPARE, 1, slba, 1, 0, 0);
		s->cmd.flags = k ? NVME_FUSE_SECOND : NVME_FUSE_FIRST;
		s->second = k;
		s->partner = k ? i : j;
		s->value = k || !equal ? (uint8_t)(1 + rnd(d, 255)) : d->blocks[slba];
		s->expect = 0;
		if (!k && s->value != d->blocks[slba])
			s->expect = DNR(NVME_SC_COMPARE_FAILURE);
		if (k && d->slots[i].expect)
			s->expect = DNR(NVME_SC_FAILED_FUSED);
		fill(d, s, 1, s->value);
		point(d, s, 1);
		push(d, s, qid);
	}
	take_blocks(d, slba, 1, true, 1);
}

static void push_one(struct driver *d)
{
	static const uint8_t opcodes[] = {NVME_IO_READ,   NVME_IO_READ,         NVME_IO_WRITE,
					  NVME_IO_WRITE,  NVME_IO_COMPARE,      NVME_IO_FLUSH,
					  NVME_IO_VERIFY, NVME_IO_WRITE_ZEROES, NVME_IO_DSM};
	unsigned qid = 1 + rnd(d, QUEUES), nlb = 1 + rnd(d, rnd(d, 4) ? 16 : MAX_NLB);
	uint64_t slba = rnd(d, BLOCKS - nlb + 1);
	int i = free_slot(d);
	struct slot *s;

	if (i < 0 || !room(d, qid, 1))
		return;
	s = &d->slots[i];
	s->cmd = h_rw(opcodes[rnd(d, sizeof(opcodes))], 1, slba, nlb, 0, 0);
	s->partner = -1;
	s->expect = 0;
	s->value = (uint8_t)(1 + rnd(d, 255));
	if (s->cmd.opcode == NVME_IO_FLUSH) {
		s->cmd.cdw10 = s->cmd.cdw12 = 0;
		push(d, s, qid);
		return;
	}
	if (!blocks_free(d, slba, nlb, changes(&s->cmd)))
		return;
	fill(d, s, nlb, s->value);
	if (s->cmd.opcode == NVME_IO_WRITE && !rnd(d, 4))
		s->cmd.cdw12 |= NVME_RW_FUA;
	if (s->cmd.opcode == NVME_IO_COMPARE && uniform(d, slba, nlb) && rnd(d, 2)) {
		s->value = d->blocks[slba];
		fill(d, s, nlb, s->value);
	} else if (s->cmd.opcode == NVME_IO_COMPARE) {
		for (unsigned k = 0; k < nlb; k++) {
			if (d->blocks[slba + k] != s->value)
				s->expect = DNR(NVME_SC_COMPARE_FAILURE);
		}
	}
	point(d, s, nlb);
	if (s->cmd.opcode == NVME_IO_DSM) {
		struct nvme_dsm_range *range = h_ptr(d->h, s->data);

		*range = (struct nvme_dsm_range){.nlb = nlb, .slba = slba};
		s->cmd.cdw12 = 0;
		s->cmd.cdw10 = 0;
		s->cmd.cdw11 = NVME_DSM_AD;
		s->cmd.cdw13 = nlb; /* for us: no field of this command */
		s->cmd.cdw14 = (uint32_t)slba;
	}
	take_blocks(d, slba, nlb, changes(&s->cmd), 1);
	push(d, s, qid);
}

static void push_admin(struct driver *d)
{
	static const uint32_t features[] = {NVME_FEAT_ARBITRATION, NVME_FEAT_TIMESTAMP,
					    NVME_FEAT_HOST_ID};
	int i = free_slot(d);
	struct slot *s;

	if (i < 0 || !room(d, 0, 1))
		return;
	s = &d->slots[i];
	s->partner = -1;
	s->expect = 0;
	s->cmd = (struct nvme_sqe){.prp1 = s->data};
	switch (rnd(d, d->aers < 3 ? 5 : 4)) {
	case 0:
		s->cmd.opcode = NVME_ADM_IDENTIFY;
		s->cmd.cdw10 = 1;
		break;
	case 1:
		s->cmd.opcode = NVME_ADM_GET_FEATURES;
		s->cmd.cdw10 = features[rnd(d, 3)];
		break;
	case 2:
		s->cmd.opcode = NVME_ADM_SET_FEATURES;
		s->cmd.cdw10 = features[rnd(d, 3)];
		break;
	case 3:
		s->cmd.opcode = NVME_ADM_GET_LOG_PAGE;
		s->cmd.cdw10 = 15u << 16 | NVME_LOG_ERROR;
		break;
	default:
		s->cmd.opcode = NVME_ADM_ASYNC_EVENT;
		d->aers++;
	}
	push(d, s, 0);
}

/* ---- completions ---- */

/* Is each byte of @len what the block is filled with? */
static void assert_filled(const uint8_t *data, uint8_t value, size_t len)
{
	if (data[0] == value && !memcmp(data, data + 1, len - 1))
		return;
	for (size_t i = 0; i < len; i++)
		assert_int_equal(data[i], value);
}

static void settle_blocks(struct driver *d, struct slot *s, unsigned status)
{
	uint64_t slba = nvme_slba(&s->cmd);
	unsigned nlb = NVME_RW_NLB(s->cmd.cdw12);
	const uint8_t *data = h_ptr(d->h, s->data);

	if (s->cmd.opcode == NVME_IO_FLUSH)
		return;
	if (s->cmd.opcode == NVME_IO_DSM) {
		slba = s->cmd.cdw14;
		nlb = s->cmd.cdw13;
	}
	for (unsigned i = 0; i < nlb && !status; i++) {
		if (s->cmd.opcode == NVME_IO_WRITE)
			d->blocks[slba + i] = s->value;
		else if (changes(&s->cmd))
			d->blocks[slba + i] = 0;
		else if (s->cmd.opcode == NVME_IO_READ)
			assert_filled(data + 512 * i, d->blocks[slba + i], 512);
	}
	/* A pair has its block until both are over. */
	if (s->partner < 0)
		take_blocks(d, slba, nlb, changes(&s->cmd), -1);
	else if (!d->slots[s->partner].used)
		take_blocks(d, slba, nlb, true, -1);
}

static void completion(struct driver *d, const struct nvme_cqe *cqe)
{
	unsigned status = (cqe->status >> 1) & ~(unsigned)NVME_SC_MORE;

	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *s = &d->slots[i];

		if (!s->used || s->cid != cqe->cid || s->qid != cqe->sqid)
			continue;
		if (status != s->expect)
			fail_msg("opcode 0x%x: status 0x%x, expected 0x%x", s->cmd.opcode, status,
				 s->expect);
		s->used = false;
		d->answered++;
		if (s->qid)
			settle_blocks(d, s, status);
		else if (s->cmd.opcode == NVME_ADM_ASYNC_EVENT)
			d->aers--;
		return;
	}
	fail_msg("command %u of queue %u was answered and is not under way", cqe->cid, cqe->sqid);
}

static void consume(struct driver *d, unsigned cqid, unsigned most)
{
	struct nvme_cqe cqe;
	unsigned n = 0;

	while (n < most && h_pop(d->h, cqid, &cqe)) {
		completion(d, &cqe);
		n++;
	}
	if (n)
		h_ring_cq(d->h, cqid);
}

/* ---- moving ---- */

/* Quiet: what is under way ends, or the client is given up after some of it. */
static void pause_somehow(struct driver *d)
{
	struct harness *h = d->h;
	unsigned before = h->quiesced;

	h->hold_dma = h->hold_block = false;
	if (rnd(d, 2)) {
		h_pause(h);
		return;
	}
	h->paused = true;
	h_quiesce(h);
	for (unsigned n = rnd(d, 20); n; n--) {
		h_work(h);
		if (rnd(d, 2))
			h_complete_dma(h, 1);
		else
			h_complete_io(h, 1);
	}
	h->bus_master = false;
	h_abandon_dma(h, -EPERM);
	h_run(h);
	assert_int_equal(h->quiesced, before + 1);
	assert_int_equal(h->nr_dma_pending + h->nr_io_pending + h->nr_pinned, 0);
}

static void equal(struct driver *d)
{
	for (unsigned i = 0; i < d->a.nr; i++) {
		struct model_section *x = &d->a.sections[i], *y = &d->b.sections[i];

		assert_string_equal(x->kind, y->kind);
		assert_int_equal(x->len, y->len);
		if (!strcmp(x->kind, "NVLG")) /* time goes on */
			memset(x->bytes + 64, 0, 8), memset(y->bytes + 64, 0, 8);
		if (!strcmp(x->kind, "NVFT"))
			memset(x->bytes + 42, 0, 8), memset(y->bytes + 42, 0, 8);
		if (memcmp(x->bytes, y->bytes, x->len) != 0)
			fail_msg("section %s differs", x->kind);
	}
	assert_int_equal(d->a.nr, d->b.nr);
}

static void count_kinds(struct driver *d)
{
	const struct model_section *s = model_stream_find(&d->a, "NVCM", 0);

	for (size_t at = 4; at < s->len; at += 10 + sizeof(struct nvme_sqe))
		d->kinds[s->bytes[at]]++;
}

static void move(struct driver *d)
{
	struct harness *to = d->spare;
	unsigned seen = 0;

	pause_somehow(d);
	/* Registers work: what is rung now is found at the other end. */
	if (rnd(d, 2)) {
		push_one(d);
		for (unsigned i = 0; i <= QUEUES; i++)
			h_ring_sq(d->h, i);
		h_run(d->h);
	}
	if (!rnd(d, 4)) { /* back again */
		h_resume(d->h);
		return;
	}
	h_move(d->h, to, &d->a);
	d->spare = d->h;
	d->h = to;
	h_save(to, &d->b);
	equal(d);
	count_kinds(d);
	d->moves++;
	/* The other one is as it was opened. */
	d->spare->paused = false;
	d->spare->bus_master = true;
	h_reset(d->spare, UVFIO_RESET_OPEN);
	to->hold_dma = to->hold_block = rnd(d, 2);
	h_resume(to);
	for (unsigned i = 0; i < SLOTS; i++)
		seen += d->slots[i].used;
	assert_int_equal(d->issued - d->answered, seen);
}

/* ---- the test ---- */

static unsigned how;

static void setup(struct harness *h)
{
	h->block_direct = how & 1;
	h->block_async = !(how & 1);
	if (how & 2)
		h->delay_dma = h->dma_shuffle = h->no_pin = true;
	h->split_pin = how & 4;
	h->block_no_fua = how & 4;
	h->block_volatile = true;
}

static void start(struct driver *d, uint32_t seed)
{
	bool late;

	*d = (struct driver){.seed = seed};
	how = seed % 8;
	d->h = h_new_with("memory=1M,move=none,queues=8", setup);
	d->spare = h_new_with("memory=1M,move=none,queues=8", setup);
	late = d->h->delay_dma;
	d->h->delay_dma = false;
	assert_true(h_enable(d->h, 16));
	for (unsigned i = 1; i <= QUEUES; i++) {
		/* One with a completion queue that is smaller, and two that share one. */
		unsigned cq = i == QUEUES ? 1 : i, entries = 8u << i;

		if (cq == i)
			assert_int_equal(h_create_cq(d->h, i, i == 2 ? 4 : entries, true, i), 0);
		assert_int_equal(h_create_sq(d->h, i, entries, cq), 0);
	}
	d->h->delay_dma = late;
	for (unsigned i = 0; i < SLOTS; i++) {
		d->slots[i].partner = -1;
		d->slots[i].data = h_alloc(d->h, MAX_NLB * 512, 4096);
		d->slots[i].list = h_alloc(d->h, 4096, 4096);
	}
}

static void finish(struct driver *d)
{
	struct harness *h = d->h;

	h->hold_dma = h->hold_block = false;
	for (unsigned i = 0; i <= QUEUES; i++)
		h_ring_sq(h, i);
	for (unsigned n = 0; n < 200 && d->issued - d->answered > d->aers; n++) {
		h_run(h);
		for (unsigned i = 0; i < QUEUES; i++)
			consume(d, i, 1000);
	}
	assert_int_equal(d->issued - d->answered, d->aers);
	for (unsigned i = 0; i < BLOCKS; i++)
		assert_filled(h->blocks[0]->data + 512 * i, d->blocks[i], 512);
	assert_int_equal(h_read32(h, 0x1c), NVME_CSTS_RDY);
	model_stream_drop(&d->a);
	model_stream_drop(&d->b);
	h_free(d->h);
	h_free(d->spare);
}

static void step(struct driver *d)
{
	struct harness *h = d->h;

	switch (rnd(d, 12)) {
	case 0:
	case 1:
	case 2:
		for (unsigned n = 1 + rnd(d, 12); n; n--)
			push_one(d);
		break;
	case 3:
		push_pair(d, 1 + rnd(d, QUEUES));
		break;
	case 4:
		push_admin(d);
		break;
	case 5:
	case 6: /* of two fused commands one ring tells */
		for (unsigned i = 0; i <= QUEUES; i++)
			h_ring_sq(h, i);
		break;
	case 7:
		consume(d, rnd(d, QUEUES), 1 + rnd(d, 20));
		break;
	case 8:
		h->hold_dma = rnd(d, 2);
		h->hold_block = rnd(d, 2);
		break;
	case 9:
		h_complete_dma(h, rnd(d, 6));
		break;
	case 10:
		h_complete_io(h, rnd(d, 6));
		break;
	case 11:
		h_run(h);
		break;
	}
	if (rnd(d, 2))
		h_work(h);
}

static void moves(void **state)
{
	const char *only = getenv("NVME_TEST_SEED");
	uint32_t first = only ? (uint32_t)strtoul(only, NULL, 0) : 1;
	unsigned total = 0, answered = 0, kinds[3] = {0};

	for (uint32_t seed = first; seed < first + (only ? 1 : 48); seed++) {
		struct driver d;

		start(&d, seed);
		for (unsigned i = 0; i < 600; i++) {
			step(&d);
			if (!rnd(&d, 25))
				move(&d);
		}
		total += d.moves;
		answered += d.answered;
		for (unsigned i = 0; i < 3; i++)
			kinds[i] += d.kinds[i];
		if (getenv("NVME_TEST_LOG"))
			fprintf(stderr, "seed %u: %u moves, %u commands, %u %u %u moved\n", seed,
				d.moves, d.answered, d.kinds[0], d.kinds[1], d.kinds[2]);
		finish(&d);
	}
	if (!only) {
		assert_true(total > 400);
		assert_true(answered > 5000);
		for (unsigned i = 0; i < 3; i++)
			assert_true(kinds[i] > 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(moves)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
