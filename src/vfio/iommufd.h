/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of this room share about iommufd (D.3).
 *
 * Theory of operation.  An iommufd has objects, each with an id: IOASs (src/iommu/ioas.h), hardware
 * page tables (HWPTs), each of one IOAS, and the devices that are bound to it.  An HWPT here has no
 * tables: what its IOAS maps is what its devices reach, so all HWPTs of an IOAS are one address
 * space.  A device that is attached to none reaches an empty one.  What belongs to an HWPT is the
 * log of the pages that its devices write (dma_log.h), if it was made to have one.
 *
 *     bound ──ATTACH IOAS──▶ attached to its automatic HWPT ──last DETACH──▶ that HWPT goes
 *       │                                                       ▲
 *       └──ATTACH HWPT──▶ attached ──ATTACH: replaces, for all attached devices of the group
 *
 * An object is used by those that build on it (an HWPT its IOAS, a device its HWPT) and by requests
 * under way; DESTROY is EBUSY then.  A device keeps its iommufd, whatever becomes of its file.
 *
 * Locks: attach_lock (which device of a group is attached to what; held while a device changes its
 * address space) → a device's config_lock; attach_lock → lock (objects; a leaf, like machine->lock,
 * and neither is taken within the other).  Neither is held across a call into a client.
 */
#ifndef UVFIO_VFIO_IOMMUFD_H
#define UVFIO_VFIO_IOMMUFD_H

#include "iommu/ioas.h"
#include "vfio/iommufd_uapi.h"
#include "vfio/machine_private.h"

#define IOMMUFD_MAX_OBJECTS  1024u
#define IOMMUFD_MAX_TRACKING 16u /* HWPTs that track: each may have DIRTY_MAX_BYTES */

enum iommufd_kind { IOMMUFD_OBJ_IOAS, IOMMUFD_OBJ_HWPT, IOMMUFD_OBJ_DEVICE };
#define IOMMUFD_ANY (-1)

struct iommufd_object {
	enum iommufd_kind kind;
	uint32_t id;
	bool ready;                    /* can be found */
	bool retired;                  /* cannot be found any more: the last user frees it */
	unsigned users;                /* besides the table */
	struct ioas *ioas;             /* IOAS */
	struct iommufd_object *parent; /* HWPT: its IOAS */
	bool automatic;                /* HWPT: made by ATTACH, goes with the last device */
	bool tracks;                   /* HWPT: made with DIRTY; constant */
	struct dma_logging dirty;      /* HWPT that does: what its devices write, when enabled */
	struct vfio_device *dev;       /* DEVICE */
};

struct vfio_iommufd {
	struct vfio_machine *machine;
	struct ioas_ctx *ctx;
	atomic_uint refs; /* its file, groups that have it for a container, devices, requests */
	pthread_mutex_t attach_lock;
	pthread_mutex_t lock;                                /* what follows */
	struct iommufd_object *objects[IOMMUFD_MAX_OBJECTS]; /* by id - 1 */
	unsigned nr_objects, nr_tracking;
	struct iommufd_object *vfio_ioas; /* of the VFIO interface; NULL: none */
	bool no_iommu;                    /* it is the container of a group without IOMMU (A.9) */
	bool per_process;                 /* option RLIMIT_MODE */
};

void iommufd_get(struct vfio_iommufd *fd);
void iommufd_put(struct vfio_iommufd *fd);

/* ---- iommufd.c: objects ---- */

/* A new object, which nobody can find before iommufd_obj_ready().  NULL: -ENOMEM. */
struct iommufd_object *iommufd_obj_new(struct vfio_iommufd *fd, enum iommufd_kind kind);
void iommufd_obj_ready(struct vfio_iommufd *fd, struct iommufd_object *obj);
/* An HWPT that is not ready gets a log; -ENOMEM when there are as many as there may be. */
int iommufd_obj_track(struct vfio_iommufd *fd, struct iommufd_object *hwpt);
/* By id and kind (IOMMUFD_ANY), used until it is put.  NULL: -ENOENT. */
struct iommufd_object *iommufd_obj_use(struct vfio_iommufd *fd, uint32_t id, int kind);
void iommufd_obj_put(struct vfio_iommufd *fd, struct iommufd_object *obj);
/* Take it out and free it with what it holds, if nobody uses it besides @uses of the caller's.
 * False: somebody does; then those uses end all the same. */
bool iommufd_obj_remove(struct vfio_iommufd *fd, struct iommufd_object *obj, unsigned uses);
/* End the caller's use of a device's object, and nobody finds it any more. */
void iommufd_obj_retire(struct vfio_iommufd *fd, struct iommufd_object *obj);

/* ---- a request ---- */

struct iommufd_call {
	struct vfio_iommufd *fd;
	struct vfio_client *client;
	uint64_t arg;       /* the client's address */
	uint32_t user_size; /* of what lies there */
	uint32_t size;      /* of what we know */
	union {
		struct iommufd_destroy destroy;
		struct iommufd_ioas_alloc alloc;
		struct iommufd_allow_iovas allow;
		struct iommufd_iova_ranges ranges;
		struct iommufd_map map;
		struct iommufd_map_file map_file;
		struct iommufd_copy copy;
		struct iommufd_unmap unmap;
		struct iommufd_option option;
		struct iommufd_vfio_ioas vfio_ioas;
		struct iommufd_hwpt_alloc hwpt;
		struct iommufd_hw_info hw_info;
		struct iommufd_set_dirty set_dirty;
		struct iommufd_get_dirty get_dirty;
		struct iommufd_invalidate invalidate;
		struct iommufd_viommu_alloc viommu;
		struct iommufd_vdevice_alloc vdevice;
		struct iommufd_veventq_alloc veventq;
		struct iommufd_hw_queue_alloc hw_queue;
		struct iommufd_change_process process;
		uint8_t bytes[64];
	} cmd;
};
/* Copy the answer back: 0 or -EFAULT. */
int iommufd_respond(struct iommufd_call *call);
/* Tell observers of a mapping of @ioas. */
void iommufd_emit(struct iommufd_call *call, enum vfio_event_kind kind, const struct ioas *ioas,
		  uint64_t iova, uint64_t length, unsigned flags, int result);

/* The commands: iommufd_ioas.c, iommufd_hwpt.c. */
int iommufd_ioas_alloc(struct iommufd_call *call);
int iommufd_allow_iovas(struct iommufd_call *call);
int iommufd_iova_ranges(struct iommufd_call *call);
int iommufd_map(struct iommufd_call *call);
int iommufd_map_file(struct iommufd_call *call);
int iommufd_copy(struct iommufd_call *call);
int iommufd_unmap(struct iommufd_call *call);
int iommufd_change_process(struct iommufd_call *call);
int iommufd_option_huge(struct iommufd_call *call);
int iommufd_hwpt_alloc(struct iommufd_call *call);
int iommufd_get_hw_info(struct iommufd_call *call);
int iommufd_set_dirty(struct iommufd_call *call);
int iommufd_get_dirty(struct iommufd_call *call);
int iommufd_invalidate(struct iommufd_call *call);

/* iommufd_locked.c: whose account it is what @client maps (ioas_account_fn). */
struct iommu_account *iommufd_account(void *arg, const struct type1_memory_ops *ops, void *client);

/* A new IOAS that is not ready; NULL: -ENOMEM. */
struct iommufd_object *iommufd_new_ioas(struct vfio_iommufd *fd);

/* ---- iommufd_compat.c: the VFIO interface ---- */

int iommufd_vfio_ioctl(struct vfio_iommufd *fd, struct vfio_client *client, unsigned cmd,
		       uint64_t arg);
/* The IOAS of it, used until it is put; NULL: -ENODEV. */
struct iommufd_object *iommufd_compat_ioas(struct vfio_iommufd *fd);
/* A group takes it for a container: -EINVAL for what does not go together, -ENOMEM. */
int iommufd_compat_enter(struct vfio_iommufd *fd, bool noiommu);

/* ---- iommufd_device.c ---- */

/* D.3 BIND.  0, -EPERM, -ENOMEM; the device's id is dev->idev->id.  Nobody else opens or closes
 * @dev meanwhile. */
int iommufd_bind(struct vfio_iommufd *fd, struct vfio_device *dev);
/* Detach and unbind; the device is quiet. */
void iommufd_unbind(struct vfio_device *dev);
/* D.3 ATTACH: *@pt_id becomes the HWPT's id. */
int iommufd_attach(struct vfio_device *dev, uint32_t *pt_id, struct vfio_client *client);
/* The same to a PASID of the device, which nothing here has: -ENOENT, -EINVAL. */
int iommufd_attach_pasid(struct vfio_device *dev, uint32_t pt_id);
void iommufd_detach(struct vfio_device *dev);
/* The id of @dev in @fd; 0: it is not bound, but another of its group is; -1: neither (A.5). */
int32_t iommufd_id_of(struct vfio_iommufd *fd, const struct vfio_device *dev);

#endif
