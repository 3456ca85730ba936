/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters and latencies.
 *
 * They are counted in the work context, with a load and a store each, and read by any thread.  The
 * clock is read once for what one DMA fetched, and once for what one pass posts: the latency of a
 * command is the time between the two.
 */
#include <time.h>

#include "devices/nvme/nvme.h"

static const char *const op_names[] = {
	[NVME_OP_READ] = "read",
	[NVME_OP_WRITE] = "write",
	[NVME_OP_FLUSH] = "flush",
	[NVME_OP_COMPARE] = "compare",
	[NVME_OP_VERIFY] = "verify",
	[NVME_OP_WRITE_ZEROES] = "write_zeroes",
	[NVME_OP_DSM] = "dataset_management",
	[NVME_OP_WRITE_UNCORRECTABLE] = "write_uncorrectable",
	[NVME_OP_ADMIN] = "admin",
	[NVME_OP_ASYNC_EVENT] = "async_event",
	[NVME_OP_UNKNOWN] = "unknown",
};
static_assert(sizeof(op_names) / sizeof(op_names[0]) == NVME_NR_OPS, "a name each");

/* Bits 10:8 of a status. */
static const char *const type_names[NVME_NR_STATUS_TYPES] = {"generic", "command", "media",
							     "other"};

uint64_t nvme_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static enum nvme_op op_of(const struct nvme_req *req)
{
	static const uint8_t io[] = {
		[NVME_IO_FLUSH] = NVME_OP_FLUSH,
		[NVME_IO_WRITE] = NVME_OP_WRITE,
		[NVME_IO_READ] = NVME_OP_READ,
		[3] = NVME_OP_UNKNOWN,
		[NVME_IO_WRITE_UNCORRECTABLE] = NVME_OP_WRITE_UNCORRECTABLE,
		[NVME_IO_COMPARE] = NVME_OP_COMPARE,
		[6 ... 7] = NVME_OP_UNKNOWN,
		[NVME_IO_WRITE_ZEROES] = NVME_OP_WRITE_ZEROES,
		[NVME_IO_DSM] = NVME_OP_DSM,
		[10 ... 11] = NVME_OP_UNKNOWN,
		[NVME_IO_VERIFY] = NVME_OP_VERIFY,
	};

	if (!req->sq->id)
		return req->cmd.opcode == NVME_ADM_ASYNC_EVENT ? NVME_OP_ASYNC_EVENT
							       : NVME_OP_ADMIN;
	return req->cmd.opcode < sizeof(io) ? io[req->cmd.opcode] : NVME_OP_UNKNOWN;
}

void nvme_stats_completed(struct nvme_req *req, uint64_t now)
{
	struct nvme_op_stats *op = &req->ctrl->stats.op[op_of(req)];

	uvfio_count_local(&req->sq->completed, 1);
	uvfio_histogram_add_local(&op->latency, now - req->start_ns);
	if (req->status) {
		unsigned type = (req->status >> 8) & 7;

		if (type >= NVME_NR_STATUS_TYPES)
			type = NVME_NR_STATUS_TYPES - 1;
		uvfio_count_local(&op->errors[type], 1);
	} else if (req->bytes) {
		uvfio_count_local(&op->bytes, req->bytes);
	}
}

static uint64_t load(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* Two counters that were not read at the same time. */
static uint64_t less(uint64_t more, uint64_t of_them)
{
	return more > of_them ? more - of_them : 0;
}

static void report_queues(const struct nvme_ctrl *c, struct uvfio_stats *out)
{
	for (unsigned i = 0; i <= c->nr_queues; i++) {
		uint64_t completed = load(&c->sqs[i].completed);
		uint64_t submitted = load(&c->sqs[i].submitted);

		if (i && !submitted)
			continue; /* never used */
		uvfio_stat_counter(out, "queue_submitted", "commands fetched from the queue",
				   submitted, "queue=%u", i);
		uvfio_stat_counter(out, "queue_completed", "commands of the queue that have ended",
				   completed, "queue=%u", i);
		uvfio_stat_gauge(out, "queue_depth", "commands of the queue in progress",
				 less(submitted, completed), "queue=%u", i);
	}
}

static void report_ops(const struct nvme_ctrl *c, struct uvfio_stats *out)
{
	for (unsigned i = 0; i < NVME_NR_OPS; i++) {
		const struct nvme_op_stats *op = &c->stats.op[i];

		uvfio_stat_counter(out, "command_bytes",
				   "bytes that successful commands read, wrote or named",
				   load(&op->bytes), "op=%s", op_names[i]);
		for (unsigned t = 0; t < NVME_NR_STATUS_TYPES; t++)
			uvfio_stat_counter(
				out, "command_errors", "commands that failed, by status code type",
				load(&op->errors[t]), "op=%s,type=%s", op_names[i], type_names[t]);
		uvfio_stat_histogram(out, "command_seconds",
				     "from the fetch of a command to its completion entry",
				     &op->latency, "op=%s", op_names[i]);
	}
}

static void report_namespaces(const struct nvme_ctrl *c, struct uvfio_stats *out)
{
	for (unsigned i = 0; i < c->nr_ns; i++) {
		const struct nvme_ns_stats *ns = &c->ns[i].stats;
		uint64_t completed = load(&ns->completed);
		uint64_t submitted = load(&ns->submitted);

		/* Of a VF: those that it has used. */
		if (c->secondary && !submitted)
			continue;
		uvfio_stat_counter(out, "storage_requests", "requests to the storage", submitted,
				   "namespace=%u", i + 1);
		uvfio_stat_gauge(out, "storage_in_flight", "requests that the storage works on",
				 less(submitted, completed), "namespace=%u", i + 1);
		uvfio_stat_counter(out, "storage_flushes", "of the requests, flushes",
				   load(&ns->flushes), "namespace=%u", i + 1);
		uvfio_stat_counter(out, "storage_errors", "of the requests, those that failed",
				   load(&ns->errors), "namespace=%u", i + 1);
	}
}

void nvme_stats(void *priv, struct uvfio_stats *out)
{
	const struct nvme_ctrl *c = priv;

	report_queues(c, out);
	report_ops(c, out);
	report_namespaces(c, out);
	if (c->pmr.blk) {
		uvfio_stat_counter(out, "pmr_saves",
				   "times that the PMR was compared with its file",
				   load(&c->pmr.stats.saves), NULL);
		uvfio_stat_counter(out, "pmr_saved_bytes", "bytes of the PMR written to its file",
				   load(&c->pmr.stats.written), NULL);
		uvfio_stat_counter(out, "pmr_errors", "errors of the PMR's file",
				   load(&c->pmr.stats.errors), NULL);
	}
	uvfio_stat_counter(out, "doorbells",
			   "doorbells found rung (several rings may be found as one)",
			   load(&c->stats.doorbells), NULL);
	uvfio_stat_counter(out, "interrupts", "vectors raised, and INTx asserted",
			   load(&c->stats.interrupts), NULL);
	uvfio_stat_counter(out, "controller_resets", "resets by CC.EN or NSSR",
			   load(&c->stats.resets), NULL);
	uvfio_stat_counter(out, "fatal_statuses", "times that CSTS.CFS was set",
			   load(&c->stats.fatals), NULL);
}
