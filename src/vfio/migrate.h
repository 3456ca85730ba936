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
#include "vfio/vfio_uapi.h"

struct vfio_device;
struct memory_copy;
struct migration_region;

/* What a client sees of it: the migration= key. */
enum migration_interface {
	MIGRATION_V2,          /* features 1, 2, 9, 12 */
	MIGRATION_REGION,      /* the region of E.1 */
	MIGRATION_REGION_NDMA, /* the same with the bit NDMA */
	MIGRATION_OFF,
	NR_MIGRATION_INTERFACES
};
extern const char *const migration_interface_names[NR_MIGRATION_INTERFACES];

/* What a session saves, in this order; a session of pre-copy goes through the first two again and
 * again. */
enum save_phase { SAVE_MEMORY, SAVE_MODEL, SAVE_IRQS, SAVE_KEPT, SAVE_DONE, NR_SAVE_PHASES };

struct device_migration {
	struct migration *m; /* NULL: its model cannot be moved, or is not to be */
	enum migration_interface interface;
	bool interface_given;            /* who made the device has asked for it */
	struct migration_region *region; /* NULL: another interface */
	bool saves_early;                /* the model can give something before it is stopped */
	unsigned cannot;                 /* UVFIO_MIGRATE_…, of what its model can */
	unsigned withheld;               /* the same, by who made the device; its VFs' too */
	bool quiet_mmio;   /* nobody is to reach its registers while it does not run; constant */
	atomic_bool quiet; /* it starts no DMA and no interrupts, whatever config space says */
	bool stopped;      /* and nobody reaches its registers */
	bool first;        /* the model has given or taken nothing yet in this session */
	bool reinit;       /* the client understands that PRE_COPY begins anew (feature 12);
			    * until the last close */
	bool was_stopped;  /* @phase is of the device as it stays */
	bool given_back;   /* by ->leave(), and not taken by ->enter() */
	bool committed;    /* the model has what was loaded; only ->enter() has failed */
	atomic_bool lost;  /* the model has said so, in the change that is under way */
	bool answer_owed;  /* of a call that returned -EINPROGRESS; both under quiet_lock */
	int answer;
	_Atomic(enum vfio_place) place; /* of an operator's move: move.c */
	enum save_phase phase;
	struct vfio_migration_file *files; /* of sessions, also of those that have ended; under
					    * machine->lock */
	bool memory_is_free; /* of this session: what BAR memory holds went with the device */
	struct memory_copy *memory; /* what of BAR memory was saved, or is aside */
	uint64_t *pending;          /* interrupts that are aside; NULL: none */
	unsigned nr_pending;        /* words */

	/* For who looks on (observe.h), without config_lock. */
	atomic_uint shown; /* the state */
	/* Since it was opened a client has asked for a feature of migration, or read the header of
	 * the region. */
	atomic_bool asked;
	_Atomic uint64_t left_initial, left_dirty; /* bytes, as of when it was last asked */
};

/* Once its model is known.  0; -ENOMEM; -EINVAL: it cannot do what was asked for.  With a message.
 */
int device_migration_init(struct vfio_device *dev, struct uvfio_error *err);
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
/* migration_set() for a user, who is told what goes wrong in the log: *@data as there.  -EIO: the
 * device was pulled out.  Every interface changes the state by this.  config_lock held. */
int device_migration_change(struct vfio_device *dev, unsigned target, struct mig_data **data);
/* Has it the features (A.10)? */
static inline bool device_migration_has_features(const struct device_migration *mig)
{
	return mig->m && mig->interface == MIGRATION_V2;
}

/* ---- migrate_sections.c: what a model is called with ---- */

struct uvfio_save {
	struct mig_writer *out;
	bool in_section;
};

struct uvfio_load {
	struct mig_section *section;
	char kind[5];
};

/* ---- migrate_file.c: the features (A.10); without config_lock ---- */

struct vfio_client;
int device_migration_get(struct vfio_device *dev, struct vfio_client *client, uint64_t data);
int device_migration_size(struct vfio_device *dev, struct vfio_client *client, uint64_t data);
int device_migration_state_get(struct vfio_device *dev, struct vfio_client *client, uint64_t data);
int device_migration_state_set(struct vfio_device *dev, struct vfio_client *client, uint64_t data);
int device_migration_reinit(struct vfio_device *dev);

/* ---- migrate_session.c: files of sessions ---- */

/* A file for who has asked for @data, whose reference it takes, also when it fails; NULL: no
 * memory.  Without config_lock. */
struct vfio_migration_file *migration_file_new(struct vfio_device *dev, struct mig_data *data);
/* The last close: the files that there are, for device_migration_let_go(), without a lock: then
 * none of them keeps the device any more. */
struct vfio_migration_file *device_migration_files(struct vfio_device *dev);
void device_migration_let_go(struct vfio_migration_file *files);

/* ---- migrate_memory.c: the contents of memory areas ---- */

#define MIG_TAG_MEMORY MIG_TAG('.', 'M', 'E', 'M')
#define MIG_TAG_IRQS   MIG_TAG('.', 'I', 'R', 'Q')

/* Sections of what is not saved yet, and of what has changed since.  1: more in this pass, 0: the
 * pass is over, -errno.  @stopped: the device is, and this is the last pass, which looks at all of
 * it whatever the pass before has not come to. */
int memory_copy_save(struct vfio_device *dev, bool stopped, struct mig_writer *out);
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

/* ---- migrate_region.c: the region (E.1) ---- */

#define MIG_REGION_INDEX  ((unsigned)VFIO_PCI_NUM_REGIONS)
#define MIG_REGION_BYTES  (4096ull + (1ull << 20))
#define MIG_REGION_OFFSET VFIO_REGION_OFFSET(MIG_REGION_INDEX) /* of the view, too */

/* 0 or -ENOMEM. */
int migration_region_new(struct vfio_device *dev, bool ndma);
void migration_region_free(struct vfio_device *dev);
/* The device was reset: what is in the window goes. */
void migration_region_reset(struct vfio_device *dev);
/* The window is in the file @fd, or, -1, not any more.  0 or -ENOMEM, and it is where it was. */
int migration_region_view(struct vfio_device *dev, int fd);

/* An access at @pos of the region, without config_lock: the bytes done, or -EINVAL: there is no
 * region, no such register, or it is not to be accessed so, in this state; -EFAULT: the client has
 * taken the window away; -EIO: pulled out; what the change of state or the device's data answered.
 * Waits for the model. */
ssize_t migration_region_rdwr(struct vfio_device *dev, uint64_t pos, void *buf, size_t len,
			      bool write);
/* May clients map this part of it?  Any thread. */
bool migration_region_mappable(const struct vfio_device *dev, uint64_t pos, uint64_t len);

/* The capabilities of GET_REGION_INFO. */
struct migration_region_caps {
	struct vfio_region_info_cap_type type;
	struct vfio_info_cap_header sparse;
	uint32_t nr_areas, reserved;
	struct vfio_region_sparse_mmap_area area;
	struct vfio_info_cap_header ndma;
};
/* Those of the region, which are to lie at @at of the answer: how many bytes of @out. */
size_t migration_region_caps(const struct vfio_device *dev, size_t at,
			     struct migration_region_caps *out);

#endif
