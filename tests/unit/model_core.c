/* SPDX-License-Identifier: BSD-3-Clause */
/* See model_core.h. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_core.h"

/* ---- timers ---- */

struct uvfio_timer {
	struct model_clock *clock;
	struct uvfio_timer *next;
	void (*fn)(void *arg);
	void *arg;
	bool armed;
	uint64_t due;
};

struct uvfio_timer *uvfio_timer_new(struct uvfio_device *dev, void (*fn)(void *arg), void *arg)
{
	struct model_clock *clock = model_clock(dev);
	struct uvfio_timer *t = calloc(1, sizeof(*t));

	t->clock = clock;
	t->fn = fn;
	t->arg = arg;
	t->next = clock->timers;
	clock->timers = t;
	return t;
}

void uvfio_timer_arm(struct uvfio_timer *t, uint64_t ns)
{
	assert(!t->clock->strict || *t->clock->in_ctx);
	t->armed = true;
	t->due = t->clock->now + ns;
}

void uvfio_timer_cancel(struct uvfio_timer *t)
{
	t->armed = false;
}

void uvfio_timer_free(struct uvfio_timer *t)
{
	struct uvfio_timer **p = &t->clock->timers;

	while (*p != t)
		p = &(*p)->next;
	*p = t->next;
	free(t);
}

void model_clock_advance(struct model_clock *clock, uint64_t ns)
{
	clock->now += ns;
	for (struct uvfio_timer *t = clock->timers; t; t = t->next) {
		if (t->armed && t->due <= clock->now) {
			t->armed = false;
			*clock->in_ctx = true;
			t->fn(t->arg);
			*clock->in_ctx = false;
		}
	}
}

/* ---- transfers ---- */

void model_transfers_add(struct model_transfers *q, struct uvfio_dma *op)
{
	op->core[0] = NULL;
	if (q->tail)
		q->tail->core[0] = op;
	else
		q->head = op;
	q->tail = op;
}

struct uvfio_dma *model_transfers_take(struct model_transfers *q, unsigned n)
{
	struct uvfio_dma *op = q->head, *before = NULL;

	while (n--) {
		before = op;
		op = op->core[0];
	}
	if (before)
		before->core[0] = op->core[0];
	else
		q->head = op->core[0];
	if (q->tail == op)
		q->tail = before;
	return op;
}

void model_copy(const struct uvfio_dma *op, void *client)
{
	if (op->to_client)
		memcpy(client, op->buf, op->len);
	else
		memcpy(op->buf, client, op->len);
}

int model_pieces(void *client, uint64_t iova, size_t len, bool split, struct iovec *iov, int max)
{
	uint8_t *at = client;
	int n = 0;

	while (len) {
		size_t part = len;

		if (split && part > 4096 - (iova & 4095))
			part = 4096 - (iova & 4095);
		if (n == max)
			return -E2BIG;
		iov[n].iov_base = at;
		iov[n++].iov_len = part;
		iova += part;
		at += part;
		len -= part;
	}
	return n;
}

/* ---- options and statistics ---- */

unsigned model_options(char *text, struct uvfio_option *options, unsigned max)
{
	char *save = NULL;
	unsigned n = 0;

	for (char *tok = strtok_r(text, ",", &save); tok; tok = strtok_r(NULL, ",", &save)) {
		char *eq = strchr(tok, '=');

		assert(eq && n < max);
		*eq = 0;
		options[n++] = (struct uvfio_option){tok, eq + 1};
	}
	return n;
}

bool model_late(const char *name)
{
	const char *late = getenv(name);

	return late && !strcmp(late, "late");
}

void model_stat_seen(struct model_stat *stat, const char *name, uint64_t value, const char *labels,
		     va_list ap)
{
	char text[100] = "", what[200];

	if (labels)
		vsnprintf(text, sizeof(text), labels, ap);
	snprintf(what, sizeof(what), "%s{%s}", name, text);
	if (strcmp(what, stat->what) != 0)
		return;
	assert(!stat->found);
	stat->found = true;
	stat->value = value;
}
