/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The migration region (E.1): the older interface to the state machine of migrate.c, for clients
 * that know no other.
 *
 *	0x0000  device_state u32, reserved u32, pending_bytes, data_offset, data_size u64
 *	0x1000  the data window, which clients may map
 *
 * Theory of operation.  The bits of device_state are the machine's states by another name; a write
 * of several bits at once is the steps of set_bits(), each a change of the machine, so wherever one
 * fails the device is in a state that a client could have asked for.  The data is that of the
 * session which the machine has then, cut into chunks that fit into the window:
 *
 *	pending_bytes ──▶ data_offset ──▶ data_size ──▶ the window ──▶ pending_bytes ──▶ …
 *
 * The first one lets the chunk before go and has the next one made, so that zero means that there
 * is none; whatever is read twice in between is the same.  A chunk that was shown and not let go
 * outlives a change to the stopped device: it is a part of the same stream.
 *
 * What a client writes into the window is looked at once, when it writes data_size: then it is
 * copied, and the copy is what is checked.
 *
 * The window is anonymous memory, and pages of the view's file (view.h) from when there is one;
 * these a client changes, and takes away, as it likes.  They lie in front of the BARs, so that the
 * view of those comes and goes without it.
 *
 * Locks: all of it is under config_lock, and registers wait for the model, as the features do:
 * doors access it where they may wait.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/guard.h"
#include "vfio/machine_private.h"

#define WINDOW_AT    4096ull
#define WINDOW_BYTES (1ull << 20)

#define RUNNING      UVFIO_MIG_REGION_RUNNING
#define SAVING       UVFIO_MIG_REGION_SAVING
#define RESUMING     UVFIO_MIG_REGION_RESUMING
#define NDMA         UVFIO_MIG_REGION_NDMA
#define ERROR        (SAVING | RESUMING)
#define PHASE        (RUNNING | SAVING | RESUMING)

static_assert(WINDOW_AT + WINDOW_BYTES == MIG_REGION_BYTES, "nothing else is in it");
static_assert(sizeof(struct uvfio_mig_region) == 32, "E.1");

struct migration_region {
	bool has_ndma;
	bool ndma;             /* as it was written; counts while the device does not run */
	struct mig_data *data; /* of the session; NULL: none */
	uint8_t *window;       /* WINDOW_BYTES */
	int fd;                /* whose pages these are, not ours; -1: anonymous */
	size_t chunk;          /* bytes that are in the window to be read; 0: none */
	bool shown;            /* data_offset was read since they are there */
	bool stopped;          /* @taken counts, because nothing changes any more */
	uint64_t taken;        /* bytes that were put into the window since */
};

/* ---- life ---- */

int migration_region_new(struct vfio_device *dev, bool ndma)
{
	struct migration_region *r = calloc(1, sizeof(*r));
	void *window = mmap(NULL, WINDOW_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (!r || window == MAP_FAILED) {
		if (window != MAP_FAILED)
			munmap(window, WINDOW_BYTES);
		free(r);
		return -ENOMEM;
	}
	*r = (struct migration_region){.has_ndma = ndma, .window = window, .fd = -1};
	dev->migration.region = r;
	return 0;
}

void migration_region_free(struct vfio_device *dev)
{
	struct migration_region *r = dev->migration.region;

	if (!r)
		return;
	mig_data_put(r->data);
	munmap(r->window, WINDOW_BYTES);
	free(r);
	dev->migration.region = NULL;
}

/* What is in the window goes, and the memory behind it. */
static void discard(struct migration_region *r)
{
	r->chunk = 0;
	r->shown = r->stopped = false;
	r->taken = 0;
	if (r->fd < 0)
		madvise(r->window, WINDOW_BYTES, MADV_DONTNEED);
	else if (fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)(MIG_REGION_OFFSET + WINDOW_AT), WINDOW_BYTES))
		uvfio_guard_fill(r->window, 0, WINDOW_BYTES);
}

void migration_region_reset(struct vfio_device *dev)
{
	struct migration_region *r = dev->migration.region;

	if (!r)
		return;
	mig_data_put(r->data);
	r->data = NULL;
	r->ndma = false;
	discard(r);
}

int migration_region_view(struct vfio_device *dev, int fd)
{
	struct migration_region *r = dev->migration.region;
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
	void *window;

	if (!r || fd == r->fd)
		return 0;
	window = mmap(NULL, WINDOW_BYTES, PROT_READ | PROT_WRITE, flags, fd,
		      fd < 0 ? 0 : (off_t)(MIG_REGION_OFFSET + WINDOW_AT));
	if (window == MAP_FAILED)
		return -ENOMEM;
	/* What is there so far; of a view that goes, nothing is needed any more. */
	if (fd >= 0)
		uvfio_guard_copy(window, r->window, WINDOW_BYTES);
	munmap(r->window, WINDOW_BYTES);
	r->window = window;
	r->fd = fd;
	return 0;
}

/* ---- the state ---- */

static uint32_t get_bits(const struct vfio_device *dev)
{
	static const uint8_t bits[NR_MIG_STATES] = {
		[MIG_ERROR] = ERROR,
		[MIG_STOP] = 0,
		[MIG_RUNNING] = RUNNING,
		[MIG_STOP_COPY] = SAVING,
		[MIG_RESUMING] = RESUMING,
		[MIG_RUNNING_P2P] = RUNNING | NDMA,
		[MIG_PRE_COPY] = SAVING | RUNNING,
		[MIG_PRE_COPY_P2P] = SAVING | RUNNING | NDMA,
	};
	enum mig_state state = migration_state(dev->migration.m);

	if (!(bits[state] & RUNNING) && state != MIG_ERROR && dev->migration.region->ndma)
		return bits[state] | NDMA;
	return bits[state];
}

static enum mig_state to_state(uint32_t bits)
{
	bool ndma = bits & NDMA;

	switch (bits & PHASE) {
	case RUNNING:
		return ndma ? MIG_RUNNING_P2P : MIG_RUNNING;
	case SAVING | RUNNING:
		return ndma ? MIG_PRE_COPY_P2P : MIG_PRE_COPY;
	case SAVING:
		return MIG_STOP_COPY;
	case RESUMING:
		return MIG_RESUMING;
	default:
		return MIG_STOP;
	}
}

/* To @bits, of which a step changes what is one thing. */
static int go(struct vfio_device *dev, uint32_t bits)
{
	struct migration_region *r = dev->migration.region;
	enum mig_session before = mig_session(migration_state(dev->migration.m));
	struct mig_data *data = NULL;
	enum mig_state now;
	int ret = device_migration_change(dev, to_state(bits), &data);

	now = migration_state(dev->migration.m);
	if (!ret)
		r->ndma = bits & NDMA;
	if (mig_session(now) == before && !data)
		return ret;
	mig_data_put(r->data);
	r->data = data;
	discard(r);
	return ret;
}

/* The steps from one set of bits to another, in this order. */
enum step {
	LEAVE_SAVING,
	LEAVE_RESUMING,
	ENTER_PRE_COPY,
	ENTER_NDMA,
	LEAVE_RUNNING,
	ENTER_SAVING,
	ENTER_RESUMING,
	ENTER_RUNNING,
	LEAVE_NDMA,
	NR_STEPS
};

/* What @step makes of @now on the way to @want; @now when it has nothing to do. */
static uint32_t take_step(enum step step, uint32_t now, uint32_t want)
{
	const uint32_t enter = want & ~now, leave = now & ~want;

	switch (step) {
	case LEAVE_SAVING:
		return now & ~(leave & SAVING);
	case LEAVE_RESUMING:
		return now & ~(leave & RESUMING);
	case ENTER_PRE_COPY:
		return (want & PHASE) == (SAVING | RUNNING) ? now | SAVING | RUNNING : now;
	case ENTER_NDMA:
		return now | (enter & NDMA);
	case LEAVE_RUNNING:
		return now & ~(leave & RUNNING);
	case ENTER_SAVING:
		return now | (enter & SAVING);
	case ENTER_RESUMING:
		return now | (enter & RESUMING);
	case ENTER_RUNNING:
		return now | (enter & RUNNING);
	case LEAVE_NDMA:
	default:
		return now & ~(leave & NDMA);
	}
}

static int set_bits(struct vfio_device *dev, uint32_t want)
{
	struct migration_region *r = dev->migration.region;
	uint32_t now = get_bits(dev);

	want &= PHASE | (r->has_ndma ? NDMA : 0);
	if ((now & PHASE) == ERROR || (want & RESUMING && want & (SAVING | RUNNING)))
		return -EINVAL;
	for (unsigned step = 0; step < NR_STEPS; step++) {
		uint32_t next = take_step((enum step)step, now, want);
		int ret = next == now ? 0 : go(dev, next);

		if (ret)
			return ret;
		now = next;
	}
	return 0;
}

/* ---- saving ---- */

static bool saves(const struct migration_region *r)
{
	return r->data && mig_data_saves(r->data);
}

/* Have the next chunk in the window, if there is one. */
static int fetch(struct migration_region *r)
{
	const void *bytes;
	ssize_t n;

	if (r->chunk || !saves(r))
		return 0;
	do
		n = mig_data_peek(r->data, &bytes);
	while (n == -EAGAIN); /* a register is answered within the call */
	if (n == -ENOMSG)
		return 0;
	if (n <= 0)
		return (int)n;
	if ((size_t)n > WINDOW_BYTES)
		n = (ssize_t)WINDOW_BYTES;
	/* The client has truncated the file. */
	if (uvfio_guard_copy(r->window, bytes, (size_t)n))
		return -EFAULT;
	mig_data_take(r->data, (size_t)n);
	r->chunk = (size_t)n;
	r->taken += (uint64_t)n;
	return 0;
}

/* How much there is besides the chunk, about. */
static uint64_t behind_chunk(struct vfio_device *dev)
{
	struct migration_region *r = dev->migration.region;
	struct mig_left left;
	bool complete;
	uint64_t held = mig_data_held(r->data, &complete), size;

	if (complete)
		return held;
	if (!mig_data_left(r->data, &left))
		return left.initial + left.dirty; /* which @held is in */
	size = migration_size(dev->migration.m);
	return size > r->taken && size - r->taken > held ? size - r->taken : held;
}

static int get_pending(struct vfio_device *dev, uint64_t *out)
{
	struct migration_region *r = dev->migration.region;
	bool stopped = migration_state(dev->migration.m) == MIG_STOP_COPY;
	int ret;

	if (r->shown)
		r->chunk = 0;
	r->shown = false;
	if (stopped && !r->stopped)
		r->taken = 0;
	r->stopped = stopped;
	ret = fetch(r);
	*out = r->chunk ? r->chunk + behind_chunk(dev) : 0;
	return ret;
}

static int get_offset(struct vfio_device *dev)
{
	struct migration_region *r = dev->migration.region;
	int ret = fetch(r);

	r->shown = r->chunk != 0;
	return ret;
}

/* ---- resuming ---- */

static bool loads(const struct migration_region *r)
{
	return r->data && !mig_data_saves(r->data);
}

static int put_size(struct vfio_device *dev, uint64_t len)
{
	struct migration_region *r = dev->migration.region;
	struct uvfio_error err;
	ssize_t ret = -EFAULT;
	uint8_t *copy;

	if (!loads(r) || len > WINDOW_BYTES)
		return -EINVAL;
	if (!len)
		return 0;
	copy = malloc(len);
	if (!copy)
		return -ENOMEM;
	if (!uvfio_guard_copy(copy, r->window, len)) {
		ret = mig_data_write(r->data, copy, len, &err);
		if (ret < 0)
			uvfio_device_log((struct uvfio_device *)dev, UVFIO_LOG_WARN,
					 "migration: %s", err.msg);
	}
	free(copy);
	return ret < 0 ? (int)ret : 0;
}

/* ---- accesses ---- */

static ssize_t window_rdwr(struct migration_region *r, uint64_t at, void *buf, size_t len,
			   bool write)
{
	if (len > WINDOW_BYTES - at)
		len = WINDOW_BYTES - at;
	if (write && !loads(r))
		return -EINVAL;
	if (write ? uvfio_guard_copy(r->window + at, buf, len)
		  : uvfio_guard_copy(buf, r->window + at, len))
		return -EFAULT;
	return (ssize_t)len;
}

static int read_register(struct vfio_device *dev, uint64_t at, void *buf, size_t len)
{
	const struct migration_region *r = dev->migration.region;
	uint64_t value = 0;
	int ret = 0;

	switch (at) {
	case offsetof(struct uvfio_mig_region, device_state):
		value = get_bits(dev);
		break;
	case offsetof(struct uvfio_mig_region, pending_bytes):
		ret = get_pending(dev, &value);
		break;
	case offsetof(struct uvfio_mig_region, data_offset):
		ret = get_offset(dev);
		value = WINDOW_AT;
		break;
	case offsetof(struct uvfio_mig_region, data_size):
		value = r->shown ? r->chunk : 0;
		break;
	}
	memcpy(buf, &value, len);
	return ret;
}

static int write_register(struct vfio_device *dev, uint64_t at, const void *buf, size_t len)
{
	uint64_t value = 0;

	memcpy(&value, buf, len);
	switch (at) {
	case offsetof(struct uvfio_mig_region, device_state):
		return set_bits(dev, (uint32_t)value);
	case offsetof(struct uvfio_mig_region, reserved):
		return 0;
	case offsetof(struct uvfio_mig_region, data_size):
		return put_size(dev, value);
	default:
		return -EINVAL; /* to be read only */
	}
}

static ssize_t rdwr(struct vfio_device *dev, uint64_t pos, void *buf, size_t len, bool write)
{
	int ret;

	if (device_is_cut(dev))
		return -EIO;
	if (pos >= WINDOW_AT)
		return window_rdwr(dev->migration.region, pos - WINDOW_AT, buf, len, write);
	if (pos >= sizeof(struct uvfio_mig_region) || pos % len ||
	    len != (pos < offsetof(struct uvfio_mig_region, pending_bytes) ? 4 : 8))
		return -EINVAL;
	atomic_store(&dev->migration.asked, true);
	ret = write ? write_register(dev, pos, buf, len) : read_register(dev, pos, buf, len);
	return ret ? ret : (ssize_t)len;
}

ssize_t migration_region_rdwr(struct vfio_device *dev, uint64_t pos, void *buf, size_t len,
			      bool write)
{
	ssize_t ret;

	if (!dev->migration.region || pos >= MIG_REGION_BYTES)
		return -EINVAL;
	pthread_mutex_lock(&dev->config_lock);
	ret = rdwr(dev, pos, buf, len, write);
	pthread_mutex_unlock(&dev->config_lock);
	return ret;
}

/* ---- what GET_REGION_INFO says of it ---- */

size_t migration_region_caps(const struct vfio_device *dev, size_t at,
			     struct migration_region_caps *out)
{
	const struct migration_region *r = dev->migration.region;
	size_t len = r->has_ndma ? sizeof(*out) : offsetof(struct migration_region_caps, ndma);

	*out = (struct migration_region_caps){
		.type = {.header = {.id = VFIO_REGION_INFO_CAP_TYPE,
				    .version = 1,
				    .next = (uint32_t)(at + offsetof(struct migration_region_caps,
								     sparse))},
			 .type = UVFIO_REGION_TYPE_MIGRATION,
			 .subtype = UVFIO_REGION_SUBTYPE_MIGRATION},
		.sparse = {.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1},
		.nr_areas = 1,
		.area = {.offset = WINDOW_AT, .size = WINDOW_BYTES},
		.ndma = {.id = UVFIO_REGION_INFO_CAP_MIGRATION_NDMA, .version = 1},
	};
	if (r->has_ndma)
		out->sparse.next = (uint32_t)(at + offsetof(struct migration_region_caps, ndma));
	return len;
}

bool migration_region_mappable(const struct vfio_device *dev, uint64_t pos, uint64_t len)
{
	return dev->migration.region && !(pos & (PAGE_BYTES - 1)) && pos >= WINDOW_AT &&
	       pos < MIG_REGION_BYTES && len <= MIG_REGION_BYTES - pos;
}
