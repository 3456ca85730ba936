/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that is moved (E): how src/migration, which knows states and streams, and a device
 * with its model meet.  For this room; what doors need is in vfio.h.
 *
 * All of it is under config_lock, which a change of state keeps while the device becomes quiet, as
 * a reset does.
 */
#ifndef UVFIO_VFIO_MIGRATE_H
#define UVFIO_VFIO_MIGRATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "migration/migration.h"
#include "vfio/move.h"

struct vfio_device;
struct memory_copy;

/* What a session saves, in this order; a session of pre-copy goes through the first two again and
 * again. */
enum save_phase { SAVE_MEMORY, SAVE_MODEL, SAVE_IRQS, SAVE_KEPT, SAVE_DONE, NR_SAVE_PHASES };

struct device_migration {
	struct migration *m; /* NULL: its model cannot be moved */
	unsigned cannot;     /* UVFIO_MIGRATE_…, of what its model can */
	bool quiet_mmio;     /* nobody is to reach its registers while it does not run; constant */
	atomic_bool quiet;   /* it starts no DMA and no interrupts, whatever config space says */
	bool stopped;        /* and nobody reaches its registers */
	bool first;          /* the model has given or taken nothing yet in this session */
	bool reinit;         /* the client understands that PRE_COPY begins anew (feature 12);
			      * until the last close */
	bool was_stopped;    /* @phase is of the device as it stays */
	bool committed;      /* the model has what was loaded; only ->enter() has failed */
	bool answer_owed;    /* of ->leave() or ->enter(); both under quiet_lock */
	int answer;
	_Atomic(enum vfio_place) place; /* of an operator's move: move.c */
	enum save_phase phase;
	struct memory_copy *memory; /* what of BAR memory was saved, or is aside */
	uint64_t *pending;          /* interrupts that are aside; NULL: none */
	unsigned nr_pending;        /* words */
};

/* Once its model is known.  0 or -ENOMEM. */
int device_migration_init(struct vfio_device *dev);
void device_migration_fini(struct vfio_device *dev);
/* A reset, or the last close: RUNNING, without a session. */
void device_migration_reset(struct vfio_device *dev);

/* move.c: the host resets a device, which is as good as new then, also if it had gone.  -EBUSY: it
 * is in doubt whether it is here.  No lock held. */
int device_forget_moved(struct vfio_device *dev);
/* It is in another state than RUNNING.  config_lock held. */
bool device_moves(const struct vfio_device *dev);
/* Its BARs are no memory for DMA, so that it is left alone while it does not run (E.2). */
bool device_quiet_mmio(const struct vfio_device *dev);

/* ---- migrate_file.c: the features (A.10); without config_lock ---- */

struct vfio_client;
int device_migration_get(struct vfio_device *dev, struct vfio_client *client, uint64_t data);
int device_migration_size(struct vfio_device *dev, struct vfio_client *client, uint64_t data);
int device_migration_state_get(struct vfio_device *dev, struct vfio_client *client, uint64_t data);
int device_migration_state_set(struct vfio_device *dev, struct vfio_client *client, uint64_t data);
int device_migration_reinit(struct vfio_device *dev);

/* ---- migrate_memory.c: the contents of memory areas ---- */

#define MIG_TAG_MEMORY MIG_TAG('.', 'M', 'E', 'M')
#define MIG_TAG_IRQS   MIG_TAG('.', 'I', 'R', 'Q')

/* Sections of what is not saved yet, and of what has changed since.  1: more in this pass, 0: the
 * pass is over, -errno. */
int memory_copy_save(struct vfio_device *dev, struct mig_writer *out);
int memory_copy_load(struct vfio_device *dev, struct mig_section *section, struct uvfio_error *err);
/* What is aside becomes the contents. */
void memory_copy_commit(struct vfio_device *dev);
/* The session is over. */
void memory_copy_drop(struct vfio_device *dev);
uint64_t memory_copy_size(struct vfio_device *dev); /* bytes, all of it */
/* Bytes that were never saved in this session. */
uint64_t memory_copy_left(struct vfio_device *dev);
/* About how many have changed since they were. */
uint64_t memory_copy_dirty(struct vfio_device *dev);

#endif
