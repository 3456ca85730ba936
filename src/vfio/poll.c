/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Polled pages: finding what clients wrote into doorbells (and registers that their model declares
 * pollable) by comparing the page with what was last there.
 *
 * Theory of operation.  The poller runs in the device's work context while memory decode is on and
 * a polled file is open.  For each range it keeps a copy of what we last put into the page or found
 * there; a difference is a client's write.  Our own writes change page and copy under one lock, so
 * they are never taken for a client's.  An equal value written again is not seen, which is why only
 * what says that it can bear this is polled.
 *
 * A turn looks at the few cache lines in which something was found lately (a driver rings the same
 * doorbells again and again), and only now and then at everything.
 *
 * After a write to a register the page shows what the model publishes again, so that, as with a
 * trapped write, a read never returns what was merely written.  Where writing 0 means nothing
 * (UVFIO_AREA_POLL_ZERO) it shows 0 instead: any other value is news, also the published one.
 *
 *	(inactive) ──start──▶ GOES ──hold──▶ HELD ──start──▶ GOES      and from each: ──stop──▶
 *(inactive) (inactive) ──load──▶ ARRIVED ──arrived──▶ GOES
 *
 * A device that an operator has stand still is polled no more, but clients go on storing.  So its
 * poller only rests: pages and copies stay as they are, and what differs afterwards is news as
 * ever, here or, with the copies (poll_save()), in the process that takes the pages over.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/guard.h"
#include "vfio/bar_access.h"

#define UNIT         4u /* bytes that are compared and written at once */
#define MAX_SLEEP_US 1000u
/* Every so many turns all lines are looked at, and at each turn when nothing comes anyway. */
#define FULL_EVERY        32u
#define FULL_AFTER_MISSES 64u

bool poll_is_polled(const struct range *range)
{
	return range->kind == RANGE_DOORBELLS ||
	       (range->kind == RANGE_REGISTERS && range->flags & UVFIO_AREA_POLLABLE);
}

/* The copy of what was last at @off.  Changed under the lock; the poller looks without it first. */
static uint32_t *last_at(const struct poll_range *range, uint64_t off)
{
	return range->last + (off - range->first) / UNIT;
}

static void last_set(const struct poll_range *range, uint64_t off, uint32_t value)
{
	__atomic_store_n(last_at(range, off), value, __ATOMIC_RELAXED);
}

static uint32_t last_get(const struct poll_range *range, uint64_t off)
{
	return __atomic_load_n(last_at(range, off), __ATOMIC_RELAXED);
}

/* What the page shows at @off while it is polled. */
static uint32_t shown(const struct vfio_device *dev, const struct poll_range *range, uint64_t off)
{
	return range->zero ? 0 : (uint32_t)shadow_load(&dev->bars[range->bar], off, UNIT);
}

bool poll_lock(struct vfio_device *dev)
{
	if (!atomic_load(&dev->poller.active))
		return false;
	pthread_mutex_lock(&dev->poller.lock);
	return true;
}

void poll_unlock(struct vfio_device *dev, unsigned bar, uint64_t off, unsigned size)
{
	struct poller *poller = &dev->poller;

	for (unsigned i = 0; i < poller->nr_ranges; i++) {
		struct poll_range *range = &poller->ranges[i];
		uint64_t first = off & ~(uint64_t)(UNIT - 1);
		uint64_t end = (off + size + UNIT - 1) & ~(uint64_t)(UNIT - 1);

		if (range->bar != bar || first >= range->end || end <= range->first)
			continue;
		for (uint64_t at = first; at < end; at += UNIT) {
			if (at >= range->first && at < range->end)
				last_set(range, at, shown(dev, range, at));
		}
	}
	pthread_mutex_unlock(&poller->lock);
}

/* Is what lies at @off news?  If so it is no longer, and *@value is what was written. */
static bool take_change(struct vfio_device *dev, struct poll_range *range, uint64_t off,
			uint32_t *value)
{
	bool changed = false;
	uint64_t found;

	pthread_mutex_lock(&dev->poller.lock);
	if (!uvfio_guard_load(dev->view.pages[range->bar] + off, UNIT, &found)) {
		*value = (uint32_t)found;
		changed = last_get(range, off) != *value;
		last_set(range, off, *value);
	}
	pthread_mutex_unlock(&dev->poller.lock);
	return changed;
}

/* Show the register's published value again, unless the client has written another one since. */
static void restore_register(struct vfio_device *dev, struct poll_range *range, uint64_t off)
{
	uint8_t *page = dev->view.pages[range->bar] + off;
	uint32_t published;
	uint64_t found;

	pthread_mutex_lock(&dev->poller.lock);
	published = shown(dev, range, off);
	if (!uvfio_guard_load(page, UNIT, &found) && found == last_get(range, off) &&
	    found != published && !uvfio_guard_store(page, UNIT, published))
		last_set(range, off, published);
	pthread_mutex_unlock(&dev->poller.lock);
}

static bool poll_unit(struct vfio_device *dev, struct poll_range *range, uint64_t off)
{
	uint32_t value;

	if (!take_change(dev, range, off, &value))
		return false;
	pthread_mutex_lock(&dev->reg_lock);
	if (dev->mem == MEM_ON)
		bar_write_piece(dev, range->bar, off, UNIT, value, true);
	pthread_mutex_unlock(&dev->reg_lock);
	atomic_fetch_add_explicit(&dev->stats.stores, 1, memory_order_relaxed);
	device_emit(dev, VFIO_EVENT_STORE, VFIO_REGION_OFFSET(range->bar) + off, UNIT, value, 0);
	if (range->registers)
		restore_register(dev, range, off);
	return true;
}

/* Look at the (part of a) line at @off of @range. */
static bool poll_line(struct vfio_device *dev, struct poll_range *range, uint64_t off)
{
	size_t len = range->end - off < POLL_LINE ? range->end - off : POLL_LINE;
	uint32_t now[POLL_LINE / UNIT];
	bool found = false;

	if (uvfio_guard_copy(now, dev->view.pages[range->bar] + off, len))
		return false;
	for (size_t i = 0; i < len / UNIT; i++) {
		/* poll_unit() looks again, under the lock. */
		if (now[i] != last_get(range, off + i * UNIT))
			found |= poll_unit(dev, range, off + i * UNIT);
	}
	return found;
}

/* Something was written there: look at it at every turn from now on. */
static void make_hot(struct poller *poller, struct poll_range *range, uint64_t off)
{
	struct poll_hot *oldest = &poller->hot[0];

	for (unsigned i = 0; i < POLL_HOT; i++) {
		struct poll_hot *hot = &poller->hot[i];

		if (hot->range == range && hot->off == off) {
			oldest = hot;
			break;
		}
		if (hot->turn < oldest->turn)
			oldest = hot;
	}
	*oldest = (struct poll_hot){range, off, poller->turn};
}

static bool poll_hot(struct vfio_device *dev)
{
	struct poller *poller = &dev->poller;
	bool found = false;

	for (unsigned i = 0; i < POLL_HOT; i++) {
		struct poll_hot *hot = &poller->hot[i];

		if (!hot->range || !poll_line(dev, hot->range, hot->off))
			continue;
		hot->turn = poller->turn;
		found = true;
	}
	return found;
}

static bool poll_all(struct vfio_device *dev)
{
	struct poller *poller = &dev->poller;
	bool found = false;

	for (unsigned i = 0; i < poller->nr_ranges; i++) {
		struct poll_range *range = &poller->ranges[i];

		for (uint64_t off = range->first; off < range->end; off += POLL_LINE) {
			if (!poll_line(dev, range, off))
				continue;
			make_hot(poller, range, off);
			found = true;
		}
	}
	return found;
}

static bool poll_once(void *arg)
{
	struct vfio_device *dev = arg;
	struct poller *poller = &dev->poller;
	bool found = poll_hot(dev);

	poller->turn++;
	poller->misses = found ? 0 : poller->misses + 1;
	if (poller->turn % FULL_EVERY == 0 || poller->misses > FULL_AFTER_MISSES)
		found |= poll_all(dev);
	return found;
}

/* The ranges, made once. */
static int make_ranges(struct vfio_device *dev)
{
	struct poller *poller = &dev->poller;
	unsigned n = 0;

	if (poller->ranges)
		return 0;
	for (unsigned i = 0; i < NR_BARS; i++) {
		for (unsigned r = 0; r < dev->bars[i].nr_ranges; r++)
			n += poll_is_polled(&dev->bars[i].ranges[r]);
	}
	poller->ranges = calloc(n ? n : 1, sizeof(*poller->ranges));
	if (!poller->ranges)
		return -ENOMEM;
	for (unsigned i = 0; i < NR_BARS; i++) {
		for (unsigned r = 0; r < dev->bars[i].nr_ranges; r++) {
			const struct range *range = &dev->bars[i].ranges[r];
			struct poll_range *polled = &poller->ranges[poller->nr_ranges];

			if (!poll_is_polled(range) || dev->bars[i].flags & UVFIO_BAR_IO)
				continue;
			polled->bar = i;
			polled->first = (range->first + UNIT - 1) & ~(uint64_t)(UNIT - 1);
			polled->end = range->end & ~(uint64_t)(UNIT - 1);
			polled->registers = range->kind == RANGE_REGISTERS;
			polled->zero = range->flags & UVFIO_AREA_POLL_ZERO;
			if (polled->first >= polled->end)
				continue;
			polled->last = calloc(1, polled->end - polled->first);
			if (!polled->last)
				return -ENOMEM;
			poller->nr_ranges++;
		}
	}
	return 0;
}

/* Polling begins, or ends: a range that shows zeroes meanwhile. */
static void show_zeroes(struct vfio_device *dev, struct poll_range *range, bool on)
{
	uint8_t *page = dev->view.pages[range->bar];

	for (uint64_t at = range->first; page && range->zero && at < range->end; at += UNIT)
		uvfio_guard_store(page + at, UNIT,
				  on ? 0 : shadow_load(&dev->bars[range->bar], at, UNIT));
}

/* What was stored meanwhile is found first. */
static void go_on(struct vfio_device *dev)
{
	dev->poller.misses = FULL_AFTER_MISSES;
	atomic_store(&dev->poller.hold, POLL_GOES);
	uvfio_ctx_set_poller(dev->ctx, poll_once, dev, MAX_SLEEP_US);
}

void poll_start(struct vfio_device *dev)
{
	struct poller *poller = &dev->poller;

	if (atomic_load(&poller->active)) {
		if (atomic_load(&poller->hold) == POLL_HELD)
			go_on(dev);
		return;
	}
	if (!poller->users || dev->view.fd < 0 || dev->view.sealed)
		return;
	if (make_ranges(dev)) {
		uvfio_log(dev->machine->log, UVFIO_LOG_ERROR,
			  "%s: out of memory; doorbells are not polled", dev->name);
		return;
	}
	pthread_mutex_lock(&poller->lock);
	atomic_store(&poller->active, true);
	for (unsigned i = 0; i < poller->nr_ranges; i++) {
		struct poll_range *range = &poller->ranges[i];

		for (uint64_t at = range->first; at < range->end; at += UNIT)
			last_set(range, at, shown(dev, range, at));
		show_zeroes(dev, range, true);
	}
	pthread_mutex_unlock(&poller->lock);
	uvfio_ctx_set_poller(dev->ctx, poll_once, dev, MAX_SLEEP_US);
}

static void look(struct vfio_device *dev, void *arg)
{
	if (atomic_load(&dev->poller.hold) == POLL_GOES)
		poll_all(dev);
}

void poll_look(struct vfio_device *dev)
{
	if (atomic_load(&dev->poller.active))
		device_call(dev, look, NULL);
}

void poll_stop(struct vfio_device *dev)
{
	struct poller *poller = &dev->poller;

	if (!atomic_load(&poller->active))
		return;
	uvfio_ctx_set_poller(dev->ctx, NULL, NULL, 0);
	pthread_mutex_lock(&poller->lock);
	for (unsigned i = 0; i < poller->nr_ranges; i++)
		show_zeroes(dev, &poller->ranges[i], false);
	atomic_store(&poller->active, false);
	atomic_store(&poller->hold, POLL_GOES);
	pthread_mutex_unlock(&poller->lock);
}

/* ---- standing still ---- */

void poll_hold(struct vfio_device *dev)
{
	struct poller *poller = &dev->poller;

	if (!atomic_load(&poller->active) || atomic_load(&poller->hold) != POLL_GOES)
		return;
	atomic_store(&poller->hold, POLL_HELD);
	uvfio_ctx_set_poller(dev->ctx, NULL, NULL, 0);
}

void poll_save(struct vfio_device *dev, struct mig_buf *out)
{
	struct poller *poller = &dev->poller;
	unsigned nr = atomic_load(&poller->active) ? poller->nr_ranges : 0;

	mig_put_u32(out, nr);
	for (unsigned i = 0; i < nr; i++) {
		const struct poll_range *range = &poller->ranges[i];

		mig_put_u32(out, range->bar);
		mig_put_u64(out, range->first);
		mig_put_u64(out, range->end);
		for (uint64_t at = range->first; at < range->end; at += UNIT)
			mig_put_u32(out, last_get(range, at));
	}
}

int poll_load(struct vfio_device *dev, struct mig_in *in)
{
	struct poller *poller = &dev->poller;
	unsigned nr = mig_get_u32(in);

	if (in->bad || !nr)
		return in->bad ? -EINVAL : 0;
	if (!poller->users || dev->view.fd >= 0 || atomic_load(&poller->active))
		return -EINVAL;
	if (make_ranges(dev))
		return -ENOMEM;
	if (nr != poller->nr_ranges)
		return -EINVAL;
	for (unsigned i = 0; i < nr; i++) {
		struct poll_range *range = &poller->ranges[i];

		if (mig_get_u32(in) != range->bar || mig_get_u64(in) != range->first ||
		    mig_get_u64(in) != range->end)
			return -EINVAL;
		for (uint64_t at = range->first; at < range->end; at += UNIT)
			last_set(range, at, mig_get_u32(in));
	}
	if (in->bad)
		return -EINVAL;
	pthread_mutex_lock(&poller->lock);
	atomic_store(&poller->hold, POLL_ARRIVED);
	atomic_store(&poller->active, true);
	pthread_mutex_unlock(&poller->lock);
	return 0;
}

void poll_arrived(struct vfio_device *dev)
{
	struct poller *poller = &dev->poller;

	if (!atomic_load(&poller->active) || atomic_load(&poller->hold) != POLL_ARRIVED)
		return;
	if (dev->view.fd < 0) {
		poll_stop(dev);
		return;
	}
	/* Registers show what is published here, where nobody has stored anything. */
	for (unsigned i = 0; i < poller->nr_ranges; i++) {
		struct poll_range *range = &poller->ranges[i];

		for (uint64_t at = range->first; range->registers && at < range->end; at += UNIT)
			restore_register(dev, range, at);
	}
	go_on(dev);
}

int vfio_device_file_set_mmio(struct vfio_device_file *df, enum vfio_mmio_mode mode)
{
	struct vfio_device *dev = df->dev;
	struct poller *poller = &dev->poller;
	int ret = 0;

	/* BIND puts it into effect. */
	if (atomic_load(&df->bind) == BIND_UNBOUND) {
		df->wanted_mmio = mode;
		return 0;
	}
	pthread_mutex_lock(&dev->config_lock);
	if (mode == VFIO_MMIO_POLLED && dev->view.sealed && dev->view.fd >= 0) {
		ret = -EBUSY;
	} else if (df->mmio != (int)mode) {
		if (df->mmio == VFIO_MMIO_POLLED && --poller->users == 0)
			poll_stop(dev);
		dev->untrapped -= df->mmio != VFIO_MMIO_EXACT;
		dev->untrapped += mode != VFIO_MMIO_EXACT;
		atomic_store(&df->mmio, (int)mode);
		if (mode == VFIO_MMIO_POLLED && poller->users++ == 0 && dev->view.state == VIEW_OUT)
			poll_start(dev);
	}
	pthread_mutex_unlock(&dev->config_lock);
	return ret;
}

void poll_free(struct vfio_device *dev)
{
	for (unsigned i = 0; i < dev->poller.nr_ranges; i++)
		free(dev->poller.ranges[i].last);
	free(dev->poller.ranges);
}
