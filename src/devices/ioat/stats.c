/* SPDX-License-Identifier: BSD-3-Clause */
/* Counters: written in the work context, or under the lock, and read by any thread. */
#include "devices/ioat/ioat.h"

static const char *const op_names[IOAT_NR_OPS] = {
	[IOAT_COUNT_COPY] = "copy",
	[IOAT_COUNT_FILL] = "fill",
	[IOAT_COUNT_NULL] = "null",
};

static const char *const error_names[IOAT_NR_ERRORS] = {
	[IOAT_ERR_SOURCE] = "source",
	[IOAT_ERR_DESTINATION] = "destination",
	[IOAT_ERR_NEXT] = "next",
	[IOAT_ERR_DESCRIPTOR] = "descriptor",
	[IOAT_ERR_CHAIN] = "chain",
	[IOAT_ERR_COMMAND] = "command",
	[IOAT_ERR_READ] = "read",
	[IOAT_ERR_WRITE] = "write",
	[IOAT_ERR_CONTROL] = "control",
	[IOAT_ERR_LENGTH] = "length",
	[IOAT_ERR_COMPLETION] = "completion",
};

static uint64_t load(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void report_channel(const struct ioat_chan *ch, struct uvfio_stats *out)
{
	const struct ioat_chan_stats *s = &ch->stats;
	unsigned n = ch->index;

	for (unsigned i = 0; i < IOAT_NR_OPS; i++) {
		uvfio_stat_counter(out, "descriptors", "descriptors that have completed",
				   load(&s->descriptors[i]), "channel=%u,op=%s", n, op_names[i]);
		if (i != IOAT_COUNT_NULL)
			uvfio_stat_counter(out, "bytes", "bytes that they have written",
					   load(&s->bytes[i]), "channel=%u,op=%s", n, op_names[i]);
	}
	for (unsigned i = 0; i < IOAT_NR_ERRORS; i++) {
		if (error_names[i])
			uvfio_stat_counter(out, "errors", "bits of CHANERR that were set",
					   load(&s->errors[i]), "channel=%u,error=%s", n,
					   error_names[i]);
	}
	uvfio_stat_counter(out, "doorbells", "writes of DMACOUNT", load(&s->doorbells),
			   "channel=%u", n);
	uvfio_stat_counter(out, "completion_writes", "writes to the address in CHANCMP",
			   load(&s->reports), "channel=%u", n);
	uvfio_stat_counter(out, "interrupts", "times that the channel has interrupted",
			   load(&s->interrupts), "channel=%u", n);
	uvfio_stat_counter(out, "channel_resets", "resets by CHANCMD", load(&s->resets),
			   "channel=%u", n);
}

void ioat_stats(void *priv, struct uvfio_stats *out)
{
	const struct ioat_dev *d = priv;

	for (unsigned i = 0; i < d->nr_chans; i++)
		report_channel(&d->chans[i], out);
}
