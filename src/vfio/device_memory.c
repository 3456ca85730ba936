/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device memory for DMA (D.4): which file is whose, and the peers that carry transfers out.  See
 * device_memory.h.
 *
 * Theory of operation.  A transfer comes as messages (iommu/peer.h) from other devices' threads.
 * They are queued, and a piece of work in the owner's context does them one after the other, a step
 * at a time: some pieces, or one run of memory.  Each step is an access to the BAR like any other:
 * it takes reg_lock and passes the memory gate.  So when device_memory() of device_state.c has shut
 * the gate no step lands any more, whatever is queued and however many mappings there are; what
 * comes later finds the gate shut and fails.
 *
 *      QUEUED ──work──▶ CURRENT ──last step──▶ done
 *         └──cancel──▶ ENDED ◀──cancel: waits for the step──┘
 *
 * Memory needs no callback of the model's, so it is copied by the initiator's own thread where that
 * can be had at once: nobody has reg_lock, under which the gate is looked at as in a step.
 * Registers are always the owner's: a model may hold a lock of its own when it starts a transfer,
 * and the other one want that lock in its callback.
 *
 * A cancelled message does not land: cancel() takes it out of the queue, or waits for the step that
 * is going on, which is a callback that never waits.  It is then ended by the work.
 *
 * A peer is kept by the mappings that use it and by its own work; the device has a list of its
 * peers that keeps none.  Whoever finds a peer there takes a reference if there still is one.
 *
 * Locks: machine->memory_lock (leaf); a peer's lock guards its queue, within it nothing is taken
 * but a reference.  cancel() comes with the mutex of the struct iommu_peer held.
 */
#include "vfio/device_memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "base/fd.h"
#include "iommu/peer.h"
#include "vfio/bar_access.h"

#define MESSAGE_BYTES 65536u
#define MESSAGES      64u        /* of a peer, that are started; */
#define BYTES         (4u << 20) /* and what they hold */
#define STEPS         16u        /* until others have their turn in the context */
#define COMES_BACK    UINT64_MAX

struct memory_peer {
	struct iommu_peer iommu;
	struct vfio_machine *machine;
	/* machine->memory_lock. */
	LIST_ENTRY(memory_peer) link;
	bool listed;
	uint64_t epoch; /* in which its memory was mapped, or COMES_BACK; constant */
	/* The owner; NULL when it was closed, and nothing is queued any more.  Written under @lock;
	 * the work may read it without. */
	struct vfio_device *dev;
	char name[16]; /* the owner's; it may have gone */
	struct uvfio_work work;
	pthread_mutex_t lock; /* what follows */
	pthread_cond_t stepped;
	struct iommu_peer_msg *first, **last; /* through NEXT */
	struct iommu_peer_msg *ended;         /* the same */
	struct iommu_peer_msg *current;       /* a step of it is going on; it is the first */
	bool cancelled;                       /* nobody wants the current one any more */
};

/* In msg->user. */
enum { NEXT, DONE_BYTES, IS_QUEUED };

static struct memory_peer *of_iommu(struct iommu_peer *iommu)
{
	return (struct memory_peer *)iommu;
}

/* ---- the owner's side ---- */

/* Do a part of @msg: 1 when something is left, 0, or -errno. */
static int step(const struct memory_peer *p, struct iommu_peer_msg *msg)
{
	uintptr_t done = (uintptr_t)msg->user[DONE_BYTES];
	ssize_t n = bar_peer_access(p->dev, p->epoch, msg->address + done, msg->data + done,
				    msg->len - done, msg->write);

	if (n < 0)
		return (int)n;
	done += (size_t)n;
	msg->user[DONE_BYTES] = (void *)done;
	return done < msg->len;
}

/* The work has something to do.  A message is started, which keeps @p. */
static void post(struct memory_peer *p)
{
	iommu_peer_ref(&p->iommu);
	if (!uvfio_ctx_post(p->dev->ctx, &p->work))
		iommu_peer_unref(&p->iommu);
}

/* Of what is queued, the first.  p->lock held. */
static void unqueue(struct memory_peer *p, struct iommu_peer_msg *msg)
{
	struct iommu_peer_msg **link = &p->first;

	while (*link != msg)
		link = (struct iommu_peer_msg **)&(*link)->user[NEXT];
	*link = msg->user[NEXT];
	if (!*link)
		p->last = link;
	msg->user[IS_QUEUED] = NULL;
}

static void end_cancelled(struct memory_peer *p, struct iommu_peer_msg *list)
{
	while (list) {
		struct iommu_peer_msg *msg = list;

		list = msg->user[NEXT];
		iommu_peer_done(&p->iommu, msg, -ECANCELED);
	}
}

/* One step of the first message.  False: there is none. */
static bool work_step(struct memory_peer *p)
{
	struct iommu_peer_msg *msg;
	int ret;

	pthread_mutex_lock(&p->lock);
	msg = p->current = p->first;
	pthread_mutex_unlock(&p->lock);
	if (!msg)
		return false;
	ret = step(p, msg);
	pthread_mutex_lock(&p->lock);
	if (p->cancelled)
		ret = -ECANCELED;
	p->cancelled = false;
	p->current = NULL;
	if (ret <= 0)
		unqueue(p, msg);
	pthread_cond_broadcast(&p->stepped);
	pthread_mutex_unlock(&p->lock);
	if (ret <= 0)
		iommu_peer_done(&p->iommu, msg, ret);
	return true;
}

/* [the owner's work context] */
static void run(struct uvfio_work *work)
{
	struct memory_peer *p =
		(struct memory_peer *)((char *)work - offsetof(struct memory_peer, work));
	struct iommu_peer_msg *ended;
	unsigned steps = STEPS;

	pthread_mutex_lock(&p->lock);
	ended = p->ended;
	p->ended = NULL;
	pthread_mutex_unlock(&p->lock);
	end_cancelled(p, ended);
	while (steps && work_step(p))
		steps--;
	if (!steps)
		post(p);
	iommu_peer_unref(&p->iommu);
}

/* ---- the initiators' side ---- */

static int start(struct iommu_peer *iommu, struct iommu_peer_msg *msg)
{
	struct memory_peer *p = of_iommu(iommu);

	pthread_mutex_lock(&p->lock);
	msg->user[NEXT] = NULL;
	msg->user[DONE_BYTES] = NULL;
	msg->user[IS_QUEUED] = p;
	*p->last = msg;
	p->last = (struct iommu_peer_msg **)&msg->user[NEXT];
	pthread_mutex_unlock(&p->lock);
	post(p);
	return 0;
}

static void cancel(struct iommu_peer *iommu, struct iommu_peer_msg *msg)
{
	struct memory_peer *p = of_iommu(iommu);
	bool ended = false;

	pthread_mutex_lock(&p->lock);
	if (p->current == msg) {
		p->cancelled = true;
		while (p->current == msg)
			pthread_cond_wait(&p->stepped, &p->lock);
	} else if (msg->user[IS_QUEUED]) {
		unqueue(p, msg);
		msg->user[NEXT] = p->ended;
		p->ended = msg;
		ended = true;
	} /* else the work has done it, and is about to say so */
	pthread_mutex_unlock(&p->lock);
	if (ended)
		post(p);
}

static void release(struct iommu_peer *iommu)
{
	struct memory_peer *p = of_iommu(iommu);

	pthread_mutex_lock(&p->machine->memory_lock);
	if (p->listed)
		LIST_REMOVE(p, link);
	pthread_mutex_unlock(&p->machine->memory_lock);
	pthread_cond_destroy(&p->stepped);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* In the initiator's thread.  Under the lock, which nobody has for long, the owner stays. */
static uint64_t copy(struct iommu_peer *iommu, uint64_t address, uint8_t *buf, uint64_t len,
		     bool write)
{
	struct memory_peer *p = of_iommu(iommu);
	uint64_t done = 0;
	size_t n;

	do {
		pthread_mutex_lock(&p->lock);
		n = p->dev ? bar_peer_copy(p->dev, p->epoch, address + done, buf + done, len - done,
					   write)
			   : 0;
		pthread_mutex_unlock(&p->lock);
		done += n;
	} while (n && done < len);
	return done;
}

static const struct iommu_peer_ops ops = {
	.start = start,
	.cancel = cancel,
	.copy = copy,
	.release = release,
};

/* The peer of @dev for mappings that are made in @epoch, with a reference; NULL: out of memory.
 * memory_lock held. */
static struct memory_peer *get_peer_locked(struct vfio_device *dev, uint64_t epoch)
{
	struct memory_peers *peers = &dev->memory.peers[epoch != COMES_BACK];
	struct memory_peer *p;

	LIST_FOREACH(p, peers, link)
	{
		if (p->epoch != epoch)
			break;
		if (iommu_peer_tryref(&p->iommu))
			return p;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	iommu_peer_init(&p->iommu, &ops, MESSAGE_BYTES, MESSAGES);
	p->iommu.max_bytes = BYTES;
	snprintf(p->name, sizeof(p->name), "%s", dev->name);
	p->iommu.device = p->name;
	p->machine = dev->machine;
	p->epoch = epoch;
	p->dev = dev;
	p->work.fn = run;
	p->last = &p->first;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->stepped, NULL);
	LIST_INSERT_HEAD(peers, p, link);
	p->listed = true;
	return p;
}

static int memory_locked(struct vfio_device *dev, uint64_t epoch, unsigned bar, uint64_t pos,
			 uint64_t len, struct iommu_mem *out)
{
	struct memory_peer *p = get_peer_locked(dev, epoch);

	if (!p)
		return -ENOMEM;
	*out = (struct iommu_mem){
		.kind = IOMMU_MEM_PEER,
		.fd = -1,
		.offset = VFIO_REGION_OFFSET(bar) + pos,
		.len = len,
		.page = IOMMU_PAGE_SIZE,
		.peer = &p->iommu,
	};
	return 0;
}

void vfio_device_memory_put(const struct iommu_mem *mem)
{
	iommu_peer_unref(mem->peer);
}

/* ---- files: the last one that was added is what a file is ---- */

static struct memory_files *bucket_of(struct vfio_machine *machine, uint64_t ino)
{
	return &machine->memory_files[ino % MEMORY_FILE_BUCKETS];
}

static void add_file_locked(struct vfio_machine *machine, struct memory_file *file,
			    const struct stat *st)
{
	file->id[0] = st->st_dev;
	file->id[1] = st->st_ino;
	LIST_INSERT_HEAD(bucket_of(machine, file->id[1]), file, link);
}

static struct memory_file *find_file_locked(struct vfio_machine *machine, const struct stat *st)
{
	struct memory_file *file;

	LIST_FOREACH(file, bucket_of(machine, st->st_ino), link)
	{
		if (file->id[0] == st->st_dev && file->id[1] == st->st_ino)
			return file;
	}
	return NULL;
}

int device_memory_view(struct vfio_device *dev, int fd)
{
	struct vfio_machine *machine = dev->machine;
	struct device_memory *memory = &dev->memory;
	struct stat st;

	if (fd >= 0 && uvfio_fstat(fd, &st))
		return -errno;
	pthread_mutex_lock(&machine->memory_lock);
	if (memory->has_view)
		LIST_REMOVE(&memory->view, link);
	memory->has_view = fd >= 0;
	if (memory->has_view)
		add_file_locked(machine, &memory->view, &st);
	pthread_mutex_unlock(&machine->memory_lock);
	return 0;
}

int device_memory_claim(struct vfio_machine *machine, struct memory_file *file, int fd)
{
	struct stat st;

	if (fd >= 0 && uvfio_fstat(fd, &st))
		return -errno;
	pthread_mutex_lock(&machine->memory_lock);
	if (fd >= 0)
		add_file_locked(machine, file, &st);
	else
		LIST_REMOVE(file, link);
	pthread_mutex_unlock(&machine->memory_lock);
	return 0;
}

static bool in_bar(const struct vfio_device *dev, uint64_t offset, uint64_t len, unsigned *index,
		   uint64_t *pos)
{
	uint64_t size;

	if (device_quiet_mmio(dev) || region_decode(offset, index, pos) ||
	    !bar_mappable(dev, *index, VFIO_MMIO_EXACT))
		return false;
	size = PAGE_ROUND(dev->bars[*index].size);
	return *pos <= size && len <= size - *pos;
}

int vfio_device_memory(struct vfio_machine *machine, const struct stat *st, uint64_t offset,
		       uint64_t len, struct iommu_mem *out)
{
	const struct memory_file *file;
	struct vfio_device *dev;
	int ret = -EFAULT;
	unsigned index;
	uint64_t pos;

	pthread_mutex_lock(&machine->memory_lock);
	file = find_file_locked(machine, st);
	dev = file && !file->export ? file->dev : NULL;
	if (!file)
		ret = -ENOENT;
	else if (dev && dev->memory.open && in_bar(dev, offset, len, &index, &pos) &&
		 (!device_memory_away(&dev->memory) || atomic_load(&dev->in_reset)))
		ret = memory_locked(dev, COMES_BACK, index, pos, len, out);
	pthread_mutex_unlock(&machine->memory_lock);
	return ret;
}

/* ---- exports ---- */

struct vfio_device_export {
	struct memory_file file;
	LIST_ENTRY(vfio_device_export) link;
	struct vfio_machine *machine;
	unsigned refs;           /* memory_lock */
	struct vfio_device *dev; /* NULL: closed; memory_lock */
	unsigned bar;
	uint64_t size;
	uint32_t nr;                    /* ranges */
	struct vfio_export_range range; /* when it is one */
};

int vfio_export_new(struct vfio_device *dev, unsigned bar, const struct vfio_export_range *first,
		    uint32_t nr, uint64_t size, const struct stat *st,
		    struct vfio_device_export **out)
{
	struct vfio_machine *machine = dev->machine;
	struct vfio_device_export *export = calloc(1, sizeof(*export));
	int ret = 0;

	if (!export)
		return -ENOMEM;
	export->machine = machine;
	export->refs = 1;
	export->bar = bar;
	export->nr = nr;
	export->range = *first;
	export->size = size;
	pthread_mutex_lock(&machine->memory_lock);
	if (!dev->memory.open)
		ret = -ENODEV;
	else if (dev->memory.nr_exports == VFIO_EXPORTS)
		ret = -ENOMEM;
	if (!ret) {
		atomic_fetch_add(&machine->nr_exports, 1);
		export->dev = dev;
		export->file.export = export;
		dev->memory.nr_exports++;
		LIST_INSERT_HEAD(&dev->memory.exports, export, link);
		add_file_locked(machine, &export->file, st);
		*out = export;
	}
	pthread_mutex_unlock(&machine->memory_lock);
	if (ret)
		free(export);
	return ret;
}

/* It has nothing to do with its device any more.  memory_lock held. */
static void export_leave_locked(struct vfio_device_export *export)
{
	if (!export->dev)
		return;
	LIST_REMOVE(export, link);
	export->dev->memory.nr_exports--;
	export->dev = NULL;
}

void vfio_export_put(struct vfio_device_export *export)
{
	struct vfio_machine *machine = export->machine;
	bool last;

	pthread_mutex_lock(&machine->memory_lock);
	last = !--export->refs;
	if (last) {
		atomic_fetch_sub(&machine->nr_exports, 1);
		export_leave_locked(export);
		LIST_REMOVE(&export->file, link);
	}
	pthread_mutex_unlock(&machine->memory_lock);
	if (last)
		free(export);
}

bool vfio_exports(const struct vfio_machine *machine)
{
	return atomic_load(&((struct vfio_machine *)(uintptr_t)machine)->nr_exports);
}

struct vfio_device_export *vfio_export_find(struct vfio_machine *machine, const struct stat *st)
{
	struct vfio_device_export *export = NULL;
	const struct memory_file *file;

	pthread_mutex_lock(&machine->memory_lock);
	file = find_file_locked(machine, st);
	if (file && file->export) {
		export = file->export;
		export->refs++;
	}
	pthread_mutex_unlock(&machine->memory_lock);
	return export;
}

bool vfio_export_revoked(struct vfio_device_export *export)
{
	bool revoked;

	pthread_mutex_lock(&export->machine->memory_lock);
	revoked = !export->dev || device_memory_away(&export->dev->memory);
	pthread_mutex_unlock(&export->machine->memory_lock);
	return revoked;
}

uint64_t vfio_export_size(const struct vfio_device_export *export)
{
	return export->size;
}

int vfio_export_memory(struct vfio_device_export *export, uint64_t offset, uint64_t len,
		       struct iommu_mem *out)
{
	struct vfio_machine *machine = export->machine;
	uint64_t epoch;
	int ret;

	pthread_mutex_lock(&machine->memory_lock);
	epoch = export->dev ? atomic_load(&export->dev->memory.epoch) : 1;
	if (epoch & 1)
		ret = -ENODEV;
	else if (export->nr > 1)
		ret = -EOPNOTSUPP;
	else if (offset > export->size || len > export->size - offset)
		ret = -EINVAL;
	else
		ret = memory_locked(export->dev, epoch, export->bar, export->range.offset + offset,
				    len, out);
	pthread_mutex_unlock(&machine->memory_lock);
	return ret;
}

/* ---- the device's life ---- */

void device_memory_init(struct vfio_device *dev)
{
	atomic_init(&dev->memory.epoch, 1);
	dev->memory.view.dev = dev;
	LIST_INIT(&dev->memory.peers[0]);
	LIST_INIT(&dev->memory.peers[1]);
	LIST_INIT(&dev->memory.exports);
}

void device_memory_note(struct vfio_device *dev, bool on)
{
	if (on == device_memory_away(&dev->memory))
		atomic_fetch_add(&dev->memory.epoch, 1);
}

void device_memory_open(struct vfio_device *dev)
{
	pthread_mutex_lock(&dev->machine->memory_lock);
	dev->memory.open = true;
	pthread_mutex_unlock(&dev->machine->memory_lock);
}

/* Move some of the peers of @dev to @ending, with a reference; false: there are no more.  In
 * between the lock is everybody's. */
static bool unlist_some(struct vfio_device *dev, struct memory_peers *ending)
{
	struct device_memory *memory = &dev->memory;
	struct memory_peer *p = NULL;

	pthread_mutex_lock(&dev->machine->memory_lock);
	for (unsigned i = 0; i < 64; i++) {
		p = LIST_FIRST(&memory->peers[LIST_EMPTY(&memory->peers[0])]);
		if (!p)
			break;
		LIST_REMOVE(p, link);
		p->listed = false;
		if (iommu_peer_tryref(&p->iommu))
			LIST_INSERT_HEAD(ending, p, link);
	}
	pthread_mutex_unlock(&dev->machine->memory_lock);
	return p;
}

void device_memory_close(struct vfio_device *dev)
{
	struct memory_peers ending = LIST_HEAD_INITIALIZER(ending);
	struct vfio_machine *machine = dev->machine;
	struct vfio_device_export *export;
	struct memory_peer *p;

	/* From here on there are no new ones. */
	pthread_mutex_lock(&machine->memory_lock);
	dev->memory.open = false;
	while ((export = LIST_FIRST(&dev->memory.exports)))
		export_leave_locked(export);
	pthread_mutex_unlock(&machine->memory_lock);
	while (unlist_some(dev, &ending))
		;
	/* Nothing is started any more, and what was has been taken back; then that is ended. */
	LIST_FOREACH(p, &ending, link)
	{
		iommu_peer_dead(&p->iommu);
	}
	if (!LIST_EMPTY(&ending))
		uvfio_ctx_flush(dev->ctx);
	while ((p = LIST_FIRST(&ending))) {
		LIST_REMOVE(p, link);
		pthread_mutex_lock(&p->lock);
		p->dev = NULL;
		pthread_mutex_unlock(&p->lock);
		iommu_peer_unref(&p->iommu);
	}
}
