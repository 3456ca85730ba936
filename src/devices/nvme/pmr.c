/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The persistent memory region: a BAR whose contents are kept in a file.
 *
 * Theory of operation.  The host writes into plain memory, and nobody is told.  What it has written
 * is on stable storage when it has read PMRSTS (PMRCAP.PMRWBM bit 1): that read waits for a *save*,
 * in which the BAR is compared with an image of what the file holds, page by page; what differs is
 * taken into the image, and written from there; then the file is flushed.
 *
 * The region is ready from when the file was read into the image, once, and the image copied into
 * the BAR, until it is disabled.  What the host writes while it is not ready is gone when the BAR
 * is filled again.  Disabling it ends with a save, and so begins everything that makes the device
 * quiet, before the core resets it: so contents survive whatever is not a crash, saved or not.
 *
 *   IDLE ──enabled──▶ READING ──▶ SHOWING ──▶ IDLE, ready
 *   IDLE ──PMRSTS read, disabled, quiesce──▶ SCANNING ◀──▶ WRITING
 *                                               └──▶ FLUSHING ──▶ IDLE
 *
 * PMRCTL.EN may change faster than that: each change is a *transition*, and PMRSTS.NRDY says
 * whether the last one is complete.
 *
 * A save that fails leaves the region unreliable (PMRSTS.HSTS, SMART) until one succeeds, which
 * writes everything anew, and PMRSTS.ERR not zero until the function is reset.
 *
 * None of this is DMA: it goes on without bus mastering.  Comparing costs what reading the region
 * does, so it is done a piece at a time.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "devices/nvme/nvme.h"

#define PAGE      4096u
#define SLICE     (1u << 20) /* bytes compared or copied in one pass of work */
#define READ_MAX  (4u << 20) /* bytes of one request */
#define WRITE_MAX (1u << 20)
#define MIN_SIZE  4096u
#define MAX_SIZE  (1ull << 30)
#define TIMEOUT   60 /* PMRTO, 500 ms */

static const char *const op_names[] = {
	[NVME_PMR_IDLE] = "idle",       [NVME_PMR_READING] = "reading",
	[NVME_PMR_SHOWING] = "showing", [NVME_PMR_SCANNING] = "scanning",
	[NVME_PMR_WRITING] = "writing", [NVME_PMR_FLUSHING] = "flushing",
};
static_assert(sizeof(op_names) / sizeof(op_names[0]) == NVME_PMR_NR_OPS, "a name each");

static struct nvme_ctrl *ctrl_of(struct nvme_pmr *p)
{
	return (struct nvme_ctrl *)((char *)p - offsetof(struct nvme_ctrl, pmr));
}

/* ---- registers: any thread, one at a time ---- */

void nvme_pmr_write_ctl(struct nvme_ctrl *c, uint32_t value)
{
	unsigned now = atomic_load(&c->pmr.transitions);
	unsigned en = value & NVME_PMRCTL_EN;

	if (!c->pmr.blk || (now & 1) == en)
		return;
	atomic_store(&c->pmr.transitions, now + 1);
	uvfio_reg_set(c->dev, NVME_BAR, NVME_REG_PMRCTL, 4, en);
}

uint32_t nvme_pmr_status(struct nvme_ctrl *c)
{
	struct nvme_pmr *p = &c->pmr;
	unsigned now = atomic_load(&p->transitions), done = atomic_load(&p->done);
	uint32_t sts = NVME_PMRSTS_ERR(atomic_load(&p->err));

	if (atomic_load(&p->cbai))
		sts |= NVME_PMRSTS_CBAI;
	if (now & 1) {
		if (done != now)
			sts |= NVME_PMRSTS_NRDY;
		else
			sts |= NVME_PMRSTS_HSTS(atomic_load(&p->health));
	} else if (now && done == now) {
		sts |= NVME_PMRSTS_NRDY;
	}
	return sts;
}

uint64_t nvme_reg_read(void *priv, unsigned bar, uint64_t offset, unsigned size)
{
	struct nvme_ctrl *c = priv;

	return nvme_pmr_status(c) >> 8 * (offset - NVME_REG_PMRSTS);
}

void nvme_pmr_read_start(void *priv, unsigned bar, uint64_t offset, unsigned size, uint64_t ticket)
{
	struct nvme_ctrl *c = priv;
	struct nvme_pmr *p = &c->pmr;
	unsigned now = atomic_load(&p->transitions);

	/* Not ready: who asks whether it is needs no barrier. */
	if ((!(now & 1) || atomic_load(&p->done) != now) &&
	    atomic_load(&p->answered) == ticket - 1) {
		atomic_store(&p->answered, ticket);
		atomic_store(&p->asked, ticket);
		uvfio_reg_read_ready(c->dev, ticket);
		return;
	}
	atomic_store(&p->asked, ticket);
	uvfio_kick(c->dev);
}

/* ---- the file: the work context ---- */

static void set_op(struct nvme_pmr *p, enum nvme_pmr_op op)
{
	uvfio_device_log(ctrl_of(p)->dev, UVFIO_LOG_DEBUG, "nvme: PMR: %s → %s", op_names[p->op],
			 op_names[op]);
	p->op = op;
}

static void answer(struct nvme_pmr *p, uint64_t ticket)
{
	/* Tickets are given out one at a time, so none is answered in between. */
	if (atomic_load(&p->answered) < ticket)
		atomic_store(&p->answered, ticket);
	uvfio_reg_read_ready(ctrl_of(p)->dev, ticket);
}

static void fail(struct nvme_pmr *p, const char *what, int err)
{
	uvfio_count_local(&p->stats.errors, 1);
	uvfio_device_log(ctrl_of(p)->dev, UVFIO_LOG_ERROR,
			 "nvme: the persistent memory region's file: cannot %s: %s", what,
			 strerror(-err));
}

static void io_end(struct nvme_pmr *p)
{
	int err = p->io.status;

	switch (p->op) {
	case NVME_PMR_READING:
		if (err) {
			fail(p, "read it; its contents are not what was left there", err);
			memset(p->image + p->at, 0, p->len);
			p->failed = true;
		}
		p->at += p->len;
		break;
	case NVME_PMR_WRITING:
		if (err) {
			fail(p, "write it", err);
			p->failed = true;
		}
		set_op(p, NVME_PMR_SCANNING);
		break;
	case NVME_PMR_FLUSHING:
		if (err) {
			fail(p, "flush it", err);
			p->failed = true;
		}
		p->written = false;
		break;
	default:
		assert(false);
	}
}

static void io_done(struct block_io *io)
{
	struct nvme_pmr *p = (struct nvme_pmr *)((char *)io - offsetof(struct nvme_pmr, io));

	io_end(p);
	p->io.done = NULL;
	uvfio_kick(ctrl_of(p)->dev);
}

/* True when it is done. */
static bool submit(struct nvme_pmr *p, enum block_op op, uint64_t at, uint64_t len)
{
	p->iov = (struct iovec){.iov_base = p->image + at, .iov_len = len};
	p->io.op = op;
	p->io.flags = 0;
	p->io.offset = at;
	p->io.len = len;
	p->io.iov = &p->iov;
	p->io.nr_iov = op == BLOCK_FLUSH ? 0 : 1;
	p->io.status = 0;
	p->io.done = io_done;
	if (!ctrl_of(p)->storage.pmr_held) {
		p->io.status = -EBUSY; /* another server has it */
	} else if (block_submit(p->blk, &p->io) == 1) {
		block_kick(p->blk);
		return !p->io.done; /* block_kick() may have completed it */
	}
	io_end(p);
	p->io.done = NULL;
	return true;
}

/* ---- loading ---- */

/* True: go on at once. */
static bool read_on(struct nvme_pmr *p)
{
	if (p->at == p->window.size && p->moved) {
		/* The contents are right; what the file has in place of them is known now, or all
		 * is written. */
		p->moved = false;
		p->loaded = true;
		p->all |= p->failed;
		set_op(p, NVME_PMR_IDLE);
		return true;
	}
	if (p->at == p->window.size) {
		/* What could not be read is tried again when the region is enabled again. */
		p->loaded = !p->failed;
		atomic_store(&p->health, p->failed ? NVME_PMR_RESTORE_ERROR : NVME_PMR_NORMAL);
		p->at = 0;
		set_op(p, NVME_PMR_SHOWING);
		return true;
	}
	p->len = p->window.size - p->at;
	if (p->len > READ_MAX)
		p->len = READ_MAX;
	return submit(p, BLOCK_READ, p->at, p->len);
}

static void transition_done(struct nvme_pmr *p)
{
	atomic_store(&p->done, p->gen);
}

/* Pages that nobody has touched stay so. */
static void show_some(struct nvme_pmr *p)
{
	uint64_t end = p->at + SLICE < p->window.size ? p->at + SLICE : p->window.size;
	uint8_t page[PAGE];

	for (; p->at < end; p->at += PAGE) {
		if (uvfio_copy(page, p->window.memory + p->at, PAGE) ||
		    memcmp(page, p->image + p->at, PAGE) != 0)
			uvfio_copy(p->window.memory + p->at, p->image + p->at, PAGE);
	}
	if (p->at < p->window.size)
		return;
	set_op(p, NVME_PMR_IDLE);
	p->ready = true;
	transition_done(p);
}

/* ---- saving ---- */

static void save_begin(struct nvme_pmr *p)
{
	p->ticket = atomic_load(&p->asked);
	p->save_due = false;
	p->failed = false;
	p->at = 0;
	set_op(p, NVME_PMR_SCANNING);
}

/* Take a page into the image; false: it is there. */
static bool take_page(struct nvme_pmr *p, uint64_t at)
{
	uint8_t page[PAGE];

	/* What a client has cut off is not there to be read: it stays as it was. */
	if (uvfio_copy(page, p->window.memory + at, PAGE) || !memcmp(page, p->image + at, PAGE))
		return p->all;
	memcpy(p->image + at, page, PAGE);
	return true;
}

static void save_end(struct nvme_pmr *p)
{
	struct nvme_ctrl *c = ctrl_of(p);
	bool was = atomic_load(&p->health) == NVME_PMR_UNRELIABLE;

	if (p->failed) {
		atomic_store(&p->err, 1);
		atomic_store(&p->health, NVME_PMR_UNRELIABLE);
		if (!was && (c->feat.async_events & NVME_SMART_WARN_PMR))
			nvme_event(c, NVME_EVENT_SMART, NVME_EVENT_SMART_RELIABILITY);
	} else if (was) {
		atomic_store(&p->health, NVME_PMR_NORMAL);
	}
	p->all = p->failed;
	uvfio_count_local(&p->stats.saves, 1);
	set_op(p, NVME_PMR_IDLE);
	answer(p, p->ticket);
}

/* Compare up to SLICE bytes.  True: go on at once, false: something is in flight, or enough for
 * now. */
static bool scan_some(struct nvme_pmr *p)
{
	uint64_t end = p->at + SLICE < p->window.size ? p->at + SLICE : p->window.size, first;

	while (p->at < end && !take_page(p, p->at))
		p->at += PAGE;
	first = p->at;
	for (; p->at < end && p->at - first < WRITE_MAX; p->at += PAGE) {
		if (p->at != first && !take_page(p, p->at))
			break;
	}
	if (p->at > first) {
		p->written = true;
		uvfio_count_local(&p->stats.written, p->at - first);
		set_op(p, NVME_PMR_WRITING);
		return submit(p, BLOCK_WRITE, first, p->at - first);
	}
	if (p->at < p->window.size)
		return false;
	if (p->written && !p->failed) {
		set_op(p, NVME_PMR_FLUSHING);
		return submit(p, BLOCK_FLUSH, 0, 0);
	}
	save_end(p);
	return true;
}

/* ---- what is to be done ---- */

/* False: nothing. */
static bool begin(struct nvme_pmr *p)
{
	unsigned now = atomic_load(&p->transitions);
	uint64_t asked = atomic_load(&p->asked);
	bool wanted = asked > atomic_load(&p->answered);

	if (p->ready && (p->gen != now || p->save_due || wanted)) {
		if (p->moved) {
			p->at = 0;
			p->failed = false;
			set_op(p, NVME_PMR_READING);
			return true;
		}
		/* Not the host's any more, from before the last save. */
		p->ready = p->gen == now;
		save_begin(p);
		return true;
	}
	if (p->gen != now) {
		if (now & 1 && nvme_storage_try(ctrl_of(p)))
			return false; /* the file may be another server's; it comes back here */
		p->gen = now;
		if (!(now & 1)) {
			transition_done(p);
			return true;
		}
		p->at = 0;
		p->failed = false;
		set_op(p, p->loaded ? NVME_PMR_SHOWING : NVME_PMR_READING);
		return true;
	}
	p->save_due = false;
	if (wanted) /* not ready: nothing to wait for */
		answer(p, asked);
	if (p->holds) {
		p->holds = false;
		nvme_external_done(ctrl_of(p));
	}
	if (ctrl_of(p)->migration.leaving)
		nvme_migrate_leave_on(ctrl_of(p));
	return false;
}

bool nvme_pmr_run(struct nvme_ctrl *c)
{
	struct nvme_pmr *p = &c->pmr;

	while (!p->io.done) {
		switch (p->op) {
		case NVME_PMR_IDLE:
			if (!begin(p))
				return false;
			break;
		case NVME_PMR_READING:
			read_on(p);
			break;
		case NVME_PMR_SHOWING:
			show_some(p);
			return true;
		case NVME_PMR_SCANNING:
			if (!scan_some(p))
				return !p->io.done;
			break;
		case NVME_PMR_FLUSHING: /* has ended */
			save_end(p);
			break;
		default:
			assert(false);
		}
	}
	return false;
}

bool nvme_pmr_busy(const struct nvme_ctrl *c)
{
	const struct nvme_pmr *p = &c->pmr;

	return p->blk && (p->op != NVME_PMR_IDLE || p->gen != atomic_load(&p->transitions) ||
			  atomic_load(&p->asked) > atomic_load(&p->answered));
}

void nvme_pmr_quiesce(struct nvme_ctrl *c)
{
	struct nvme_pmr *p = &c->pmr;
	/* The contents of a device that is moved go with it, and are still in the BAR of one that
	 * is not. */
	bool save = p->ready && !uvfio_paused(c->dev);

	if (!p->blk || p->holds || (!save && !nvme_pmr_busy(c)))
		return;
	p->save_due = save;
	p->holds = true;
	c->external++;
	uvfio_kick(c->dev);
}

void nvme_pmr_put(struct nvme_ctrl *c, unsigned phase, bool ready, bool settled, unsigned err,
		  unsigned health)
{
	struct nvme_pmr *p = &c->pmr;

	assert(p->op == NVME_PMR_IDLE && !p->holds);
	p->gen = settled ? phase : phase - 1;
	atomic_store(&p->transitions, phase);
	atomic_store(&p->done, p->gen);
	p->ready = p->moved = ready;
	p->loaded = p->save_due = p->all = false;
	atomic_store(&p->err, err);
	atomic_store(&p->health, health);
	uvfio_reg_set(c->dev, NVME_BAR, NVME_REG_PMRCTL, 4, phase & 1);
}

void nvme_pmr_reset(struct nvme_ctrl *c)
{
	struct nvme_pmr *p = &c->pmr;

	if (!p->blk)
		return;
	assert(p->op == NVME_PMR_IDLE && !p->holds);
	nvme_pmr_write_ctl(c, 0);
	nvme_pmr_msc_reset(c);
	p->ready = p->save_due = p->moved = false;
	p->gen = atomic_load(&p->transitions);
	transition_done(p);
	atomic_store(&p->err, 0);
	answer(p, atomic_load(&p->asked));
	uvfio_reg_set(c->dev, NVME_BAR, NVME_REG_PMRCAP, 4,
		      NVME_PMRCAP_RDS | NVME_PMRCAP_WDS | NVME_PMRCAP_BIR(NVME_BAR_PMR) |
			      NVME_PMRCAP_PMRTU_500MS | NVME_PMRCAP_PMRWBM_STS |
			      NVME_PMRCAP_PMRTO(TIMEOUT) | NVME_PMRCAP_CMSS);
}

/* ---- life ---- */

int nvme_pmr_open(struct nvme_ctrl *c, const struct uvfio_args *args, struct uvfio_error *err)
{
	const char *path = uvfio_arg(args, "pmr");
	const struct block_options options = {
		.dev = c->dev, .file = path, .no_map = true, .unlocked = c->sub->incoming};
	struct nvme_pmr *p = &c->pmr;
	uint64_t size;
	int r;

	if (!path)
		return 0;
	r = block_open(&options, uvfio_device_ctx(c->dev), &p->blk, err);
	if (r)
		return r;
	size = block_info(p->blk)->size;
	if (size < MIN_SIZE || size > MAX_SIZE || size & (size - 1))
		return uvfio_error_set(
			err, -EINVAL,
			"pmr=%s: the file has %llu bytes; its size must be a power of "
			"2 from 4K to 1G (truncate -s)",
			path, (unsigned long long)size);
	if (block_info(p->blk)->readonly)
		return uvfio_error_set(err, -EROFS, "pmr=%s: cannot be written", path);
	p->window.size = size;
	c->storage.pmr_held = !c->sub->incoming;
	return 0;
}

int nvme_pmr_start(struct nvme_ctrl *c, struct uvfio_error *err)
{
	struct nvme_pmr *p = &c->pmr;

	if (!p->blk)
		return 0;
	/* Zeros cost no memory until they are touched. */
	p->image = mmap(NULL, p->window.size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p->image == MAP_FAILED) {
		p->image = NULL;
		return uvfio_error_set(err, -ENOMEM, "nvme: out of memory for the PMR");
	}
	p->window.memory = uvfio_bar_memory(c->dev, NVME_BAR_PMR, 0);
	return 0;
}

void nvme_pmr_close(struct nvme_ctrl *c)
{
	if (c->pmr.blk)
		block_close(c->pmr.blk);
	if (c->pmr.image)
		munmap(c->pmr.image, c->pmr.window.size);
	c->pmr.blk = NULL;
	c->pmr.image = NULL;
}
