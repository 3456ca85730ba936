/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the harnesses of device models have in common (ioat_harness.h, nvme_harness.h): timers,
 * which tests let run off, transfers that complete later, pinned pieces, options and statistics.
 * One thread.
 */
#ifndef UVFIO_TESTS_MODEL_CORE_H
#define UVFIO_TESTS_MODEL_CORE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <uvfio/device.h>

/* ---- time: uvfio_timer_*() ---- */

struct model_clock {
	uint64_t now; /* ns */
	struct uvfio_timer *timers;
	bool *in_ctx; /* the work context runs */
	bool strict;  /* timers are armed there alone */
};
/* The harness says which is a device's. */
struct model_clock *model_clock(struct uvfio_device *dev);
/* Let @ns pass; what is due is called, once, in the work context. */
void model_clock_advance(struct model_clock *clock, uint64_t ns);

/* ---- transfers ---- */

struct model_transfers {
	struct uvfio_dma *head, *tail;
};
void model_transfers_add(struct model_transfers *q, struct uvfio_dma *op);
/* The @n-th of them, which there must be. */
struct uvfio_dma *model_transfers_take(struct model_transfers *q, unsigned n);
/* Copies @op from or to @client, the memory that its IOVA stands for. */
void model_copy(const struct uvfio_dma *op, void *client);
/* @len bytes at @client as pieces; at most a page each, as @iova lies, with @split.  How many, or
 * -E2BIG. */
int model_pieces(void *client, uint64_t iova, size_t len, bool split, struct iovec *iov, int max);

/* ---- options and statistics ---- */

/* "a=1,b=2", which is taken apart: how many. */
unsigned model_options(char *text, struct uvfio_option *options, unsigned max);
/* Is the environment's @name "late"? */
bool model_late(const char *name);

struct model_stat {
	const char *what; /* "errors{channel=0,error=source}" */
	bool found;
	uint64_t value;
};
/* One that is reported: is it the one that is looked for?  @labels may be NULL. */
void model_stat_seen(struct model_stat *stat, const char *name, uint64_t value, const char *labels,
		     va_list ap);

#endif
