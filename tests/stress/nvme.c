/* SPDX-License-Identifier: BSD-3-Clause */
/* The disk: from windows to blocks, from blocks to windows, and to buffers that are looked at. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nvme_ctrl.h"
#include "stress/stress.h"

#define BLOCKS 128u /* of WINDOW_BYTES */

struct nvme_engine {
	struct nvme_ctrl ctrl;
	unsigned nr;
	uint32_t sunk[MAX_BATCH];
};

static int nvme_engine_open(struct engine *e, const char *name)
{
	struct nvme_config config = {.options = e->options,
				     .space = e->stress->space,
				     .queues = 1,
				     .slots = MAX_BATCH,
				     .slot_size = SINK_BYTES,
				     .irqs = true};
	struct nvme_engine *n = calloc(1, sizeof(*n));
	int ret;

	if (!n)
		return -ENOMEM;
	e->priv = n;
	ret = nvme_open(&n->ctrl, name, &config);
	if (ret)
		return ret;
	e->dev = n->ctrl.dev;
	e->sink = n->ctrl.io[0].data;
	return 0;
}

static int nvme_engine_start(struct engine *e)
{
	struct nvme_engine *n = e->priv;

	return nvme_start(&n->ctrl);
}

/* Another address than the slot's own buffer for the command that was put last: whole pages. */
static void redirect(struct nvme_queue *q, uint32_t bytes, uint64_t to)
{
	struct nvme_sqe *sqe = &q->sqes[(q->tail + q->entries - 1) % q->entries];
	uint32_t rest = (bytes - 1) / STRESS_PAGE;
	uint64_t *list = (uint64_t *)((char *)q->mem.addr + (sqe->prp2 - q->mem.iova));

	sqe->prp1 = to;
	if (rest == 1)
		sqe->prp2 = to + STRESS_PAGE;
	for (uint32_t i = 0; rest > 1 && i < rest; i++)
		list[i] = to + (i + 1) * STRESS_PAGE;
}

static int nvme_begin(struct engine *e)
{
	struct nvme_engine *n = e->priv;
	struct nvme_queue *q = &n->ctrl.io[0];

	n->nr = 1 + stress_below(&e->seed, MAX_BATCH);
	for (unsigned i = 0; i < n->nr; i++) {
		uint32_t len = (engine_length(e) + STRESS_PAGE - 1) / STRESS_PAGE * STRESS_PAGE;
		uint64_t lba = stress_below(&e->seed, BLOCKS) * (WINDOW_BYTES / n->ctrl.block_size);
		unsigned what = stress_below(&e->seed, 4);

		nvme_queue_rw(q, what < 2 ? NVME_WRITE : NVME_READ, i, lba, len);
		n->sunk[i] = 0;
		if (what < 3) {
			redirect(q, len, engine_target(e, len, STRESS_PAGE - 1));
		} else {
			n->sunk[i] = len;
			memset(nvme_buffer(q, i), 0, len);
		}
	}
	return nvme_ring(q);
}

static int nvme_engine_wait(struct engine *e)
{
	struct nvme_engine *n = e->priv;
	struct nvme_queue *q = &n->ctrl.io[0];
	unsigned slot, status;
	int ret;

	while (n->nr) {
		bool any = false;

		while (n->nr && nvme_reap(q, &slot, &status)) {
			any = true;
			n->nr--;
			e->good += !status;
			e->faults += status != 0;
		}
		ret = any ? nvme_reaped(q) : nvme_wait(q);
		if (ret)
			return ret;
	}
	return 0;
}

/* What it had in hand it may have given up. */
static int nvme_stopped(struct engine *e)
{
	struct nvme_engine *n = e->priv;

	n->nr = 0;
	return nvme_start(&n->ctrl);
}

static void nvme_look(struct engine *e)
{
	struct nvme_engine *n = e->priv;

	for (unsigned i = 0; i < MAX_BATCH; i++) {
		engine_delivered(e, nvme_buffer(&n->ctrl.io[0], i), n->sunk[i], "a block");
		n->sunk[i] = 0;
	}
}

static void nvme_engine_close(struct engine *e)
{
	struct nvme_engine *n = e->priv;

	nvme_close(&n->ctrl);
	free(n);
}

const struct engine_ops nvme_ops = {
	.name = "nvme",
	.open = nvme_engine_open,
	.start = nvme_engine_start,
	.begin = nvme_begin,
	.wait = nvme_engine_wait,
	.stopped = nvme_stopped,
	.look = nvme_look,
	.close = nvme_engine_close,
};
