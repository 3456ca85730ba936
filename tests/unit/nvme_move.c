/* SPDX-License-Identifier: BSD-3-Clause */
/* Controllers that are moved, of nvme_harness.h. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/nvme_model.h"
#include "nvme_harness.h"

static int answer(struct harness *h, int (*fn)(void *priv, struct uvfio_error *err))
{
	int r;

	h->moved = 1;
	h->in_ctx = true;
	r = fn ? fn(h->priv, &h->err) : 0;
	h->in_ctx = false;
	if (r != -EINPROGRESS)
		return r;
	h_run(h);
	assert(h->moved <= 0);
	return h->moved;
}

int h_leave(struct harness *h)
{
	return answer(h, nvme_model.migration->leave);
}

int h_enter(struct harness *h)
{
	return answer(h, nvme_model.migration->enter);
}

void h_save(struct harness *h, struct model_stream *s)
{
	model_stream_drop(s);
	h->in_ctx = true;
	model_stream_save(s, nvme_model.migration, h->priv);
	h->in_ctx = false;
}

int h_load(struct harness *h, const struct model_stream *s)
{
	int r;

	h->err.msg[0] = 0;
	h->in_ctx = true;
	r = model_stream_load(s, nvme_model.migration, h->priv, &h->err);
	h->in_ctx = false;
	return r;
}

static void swap(void *a, void *b, size_t size)
{
	uint8_t *x = a, *y = b;

	for (size_t i = 0; i < size; i++) {
		uint8_t t = x[i];

		x[i] = y[i];
		y[i] = t;
	}
}

#define SWAP(a, b) swap(&(a), &(b), sizeof(a))

void h_swap_world(struct harness *a, struct harness *b)
{
	SWAP(a->mem, b->mem);
	SWAP(a->alloc, b->alloc);
	SWAP(a->q, b->q);
	SWAP(a->next_cid, b->next_cid);
	SWAP(a->cmb_base, b->cmb_base);
	SWAP(a->cmb_on, b->cmb_on);
	for (unsigned i = 0; i < 6; i++) {
		if (a->bar_memory[i])
			swap(a->bar_memory[i], b->bar_memory[i], a->desc.bars[i].size);
	}
	assert(a->nr_blocks == b->nr_blocks);
	for (unsigned i = 0; i < a->nr_blocks; i++) {
		SWAP(a->blocks[i]->data, b->blocks[i]->data);
		SWAP(a->blocks[i]->durable, b->blocks[i]->durable);
		SWAP(a->blocks[i]->note, b->blocks[i]->note);
	}
}

void h_move(struct harness *from, struct harness *to, struct model_stream *s)
{
	int r = h_leave(from);

	assert(!r);
	h_save(from, s);
	h_pause(to);
	r = h_leave(to);
	assert(!r);
	r = h_load(to, s);
	assert(!r);
	r = h_enter(to);
	assert(!r);
	h_swap_world(from, to);
}
