/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVM subsystem: what the primary controller (the PF) and the secondary ones (its VFs) have in
 * common.  A controller without VFs is a subsystem of one.
 *
 * Theory of operation.  Each controller has its work context, its queues, its requests and, of each
 * namespace that is attached to it, a view (struct nvme_ns) with a block device of its own, so that
 * commands of different controllers never meet.  What they have to agree on is here:
 *
 *   - of a namespace: its size and block size, to whom it is attached, whether it is being
 *     formatted.  Who changes that notes it here, counts ->gen up and kicks the others; each takes
 *     it over in its own context (nvme_subsys_sync()), before it carries out a command that it has
 *     fetched later.
 *   - claims to ranges of blocks (claim.c), so that a Compare and Write of one controller excludes
 *     writes of all.
 *   - which secondary controllers are online, and their resources (virt.c).
 *
 * Nobody waits for another controller's client: a claim is held while the storage works and at no
 * other time, and all else is taken over whenever the other one gets to it.
 *
 * Locks: @lock of the subsystem and of each disk.  Both are held for a few instructions; under them
 * nothing is called but uvfio_kick().  A disk's comes after the subsystem's.
 */
#ifndef UVFIO_NVME_SUBSYS_H
#define UVFIO_NVME_SUBSYS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uvfio/device.h>

#include "block/block.h"
#include "devices/nvme/nvme_spec.h"
#include "devices/nvme/virt_spec.h"

struct nvme_ctrl;
struct nvme_dirty;
struct nvme_disk;

enum {
	NVME_MAX_VFS = 4095,
	NVME_CNTLID_PF = 0, /* of the primary controller; VF i has i + 1 */
	NVME_VF_SHARE = 9,  /* resources of a VF unless the options say otherwise: 8 I/O queues */
	NVME_VF_MIN_QUEUES = 2 /* what a secondary controller needs to be online */
};

/* Of a request: the range of blocks that it changes while the storage works on it. */
struct nvme_claim {
	enum nvme_claim_state { NVME_CLAIM_NONE, NVME_CLAIM_WAITING, NVME_CLAIM_HELD } state;
	bool exclusive; /* nobody else may change the range; else nobody exclusive */
	uint64_t start, end;
	struct nvme_ctrl *ctrl;
	struct nvme_disk *disk;
	TAILQ_ENTRY(nvme_claim) link;       /* disk->held or ->waiting; its lock */
	struct nvme_claim *_Atomic granted; /* ctrl->granted */
};

TAILQ_HEAD(nvme_claims, nvme_claim);

/* A namespace, as all controllers have it. */
struct nvme_disk {
	struct nvme_subsys *sub;
	uint32_t id;
	struct block *blk; /* the primary controller's; others share it */
	bool readonly;
	bool fixed; /* attached for good, as the options say */
	uint32_t align, mem_align;
	uint8_t uuid[16];
	/* A lock, or a connection, that two servers hand over to one another (storage.c). */
	bool handed;
	bool copied; /* its contents travel with the controller (contents.h) */
	bool kept;   /* in a file or an export: they are somebody's, also without this server */
	atomic_bool ready; /* it may be read and written */

	/* sub->lock */
	uint64_t size; /* of the storage, bytes */
	uint8_t shift;
	struct nvme_ctrl *formatter; /* who formats it */
	bool ours;                   /* what is handed over is here */
	bool whole;                  /* no contents are missing that are to come */
	struct nvme_ctrl *tracker;   /* whose session has the marks of what is written */
	struct nvme_ctrl *mover;     /* who gives it back, or takes it, at the moment */
	uint8_t *attached;           /* a bit for each controller */

	/* Set by @tracker under sub->lock; read by whoever writes. */
	atomic_bool tracked;
	struct nvme_dirty *_Atomic dirty;

	pthread_mutex_t lock;
	struct nvme_claims held, waiting;
	unsigned nr_exclusive; /* of these, both */
	/* Write Uncorrectable: ranges of blocks, ascending, apart.  The number may be read without
	 * the lock, for whether there are any. */
	struct nvme_bad_range {
		uint64_t start, end; /* in blocks; @end is behind it */
	} * bad;
	atomic_uint nr_bad;
};

/* A secondary controller; sub->lock. */
struct nvme_secondary {
	uint16_t nvq, nvi; /* resources assigned to it */
	bool online;
	struct nvme_ctrl *ctrl; /* NULL: there is no such VF now */
};

struct nvme_subsys {
	pthread_mutex_t lock;
	struct nvme_ctrl *pf;
	bool shared; /* there may be VFs */
	unsigned total_vfs;
	unsigned nr_disks;
	struct nvme_disk *disks;
	bool incoming; /* the options say so: its storage is another server's at first */
	_Atomic uint64_t gen;

	struct nvme_secondary *secondaries; /* total_vfs */
	unsigned vq_total, vi_total;        /* flexible resources; all are the secondaries' */
	unsigned vq_max, vi_max;            /* that one may have */
	unsigned vq_used, vi_used;          /* assigned */
	/* The driver of the primary controller manages the secondary ones; else they are online
	 * with equal shares. */
	bool managed;
	bool host; /* the primary controller's driver is the host's own */
};

/* ---- subsys.c ---- */

/* @c becomes the primary controller of a new subsystem for @total_vfs.  NULL: no memory. */
struct nvme_subsys *nvme_subsys_new(struct nvme_ctrl *c, unsigned total_vfs);
void nvme_subsys_free(struct nvme_subsys *sub);
/* Room for @nr disks: 0 or -ENOMEM. */
int nvme_subsys_disks(struct nvme_subsys *sub, unsigned nr);
unsigned nvme_subsys_controllers(const struct nvme_subsys *sub);
static inline bool nvme_disk_attached(const struct nvme_disk *d, unsigned cntlid)
{
	return d->attached[cntlid / 8] >> cntlid % 8 & 1;
}
void nvme_disk_attach(struct nvme_disk *d, unsigned cntlid, bool on); /* sub->lock */
/* Is it attached to another controller than @c? */
bool nvme_disk_has_others(struct nvme_disk *d, const struct nvme_ctrl *c);
/* Something has changed: all controllers take it over.  sub->lock. */
void nvme_subsys_changed(struct nvme_subsys *sub);
/* Secondary controller @c, which nobody uses yet, takes over all there is. */
void nvme_subsys_join(struct nvme_ctrl *c);
/* [work context of @c] Take over what has changed, if anything has. */
void nvme_subsys_sync(struct nvme_ctrl *c);
/* [work context] The storage of namespace @index has another size, as @c sees it. */
void nvme_subsys_resized(struct nvme_ctrl *c, unsigned index);

/* ---- claim.c ---- */

/* [work context] Claim [@start, @start + @len) bytes of @d for @claim of controller @c.  True: it
 * is held; false: it will be, and is found by nvme_claims_run() then. */
bool nvme_claim(struct nvme_ctrl *c, struct nvme_claim *claim, struct nvme_disk *d, uint64_t start,
		uint64_t len, bool exclusive);
/* A claim that is held is given back; one that is not is left alone. */
void nvme_claim_put(struct nvme_claim *claim);
/* [work context] Go on with what waited for a claim. */
void nvme_claims_run(struct nvme_ctrl *c);

/* ---- attach.c ---- */

/* "pf+vf0-3": to which controllers the options attach @d.  0 or -EINVAL with a message. */
int nvme_attach_parse(struct nvme_disk *d, const char *list, struct uvfio_error *err);

/* ---- virt.c ---- */

/* Equal shares for all, and the state that goes with who drives the primary controller.  Any
 * thread. */
void nvme_virt_default(struct nvme_subsys *sub);
/* The same for a new subsystem. */
void nvme_virt_start(struct nvme_subsys *sub);
/* [work context of the primary controller] It is enabled, or reset, by its driver. */
void nvme_virt_enabled(struct nvme_ctrl *c);
void nvme_virt_reset(struct nvme_ctrl *c, bool subsystem);
/* Secondary controller @c comes and goes; in the thread that makes it, and that takes it away. */
void nvme_virt_join(struct nvme_ctrl *c);
void nvme_virt_leave(struct nvme_ctrl *c);
/* [work context of a secondary controller] Its state and its queues are now those assigned. */
void nvme_virt_take_over(struct nvme_ctrl *c);
/* Is it the driver of the primary controller who says how many vectors @c has, *@nvi? */
bool nvme_virt_decides(struct nvme_ctrl *c, unsigned *nvi);
/* The host's own driver takes, or leaves, the primary controller. */
void nvme_virt_host(struct nvme_subsys *sub, bool bound);
/* The host has given VF @index @n vectors.  Any thread. */
void nvme_virt_vectors(struct nvme_subsys *sub, unsigned index, unsigned n);
/* vf.c: the core is to give VF @index of @pf @n vectors: 0 or -errno. */
int nvme_vf_set_vectors(struct nvme_ctrl *pf, unsigned index, unsigned n);

#endif
