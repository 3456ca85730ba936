/* SPDX-License-Identifier: BSD-3-Clause */
/* Groups and containers (D.1), for this room; nobody else includes it. */
#ifndef UVFIO_VFIO_GROUP_H
#define UVFIO_VFIO_GROUP_H

#include <stdatomic.h>
#include <stdbool.h>
#include "base/trash.h"
#include "iommu/type1.h"
#include "vfio/vfio.h"

struct iommufd_object;
struct vfio_iommufd;

struct vfio_group {
	struct vfio_machine *machine;
	unsigned number;
	bool noiommu; /* constant (A.9) */
	/* Under machine->lock. */
	struct vfio_group_file *file;     /* at most one open at a time (D.1) */
	struct vfio_container *container; /* NULL: none */
	unsigned device_files;            /* open, or about to be */
	unsigned nr_devices;
	unsigned refs; /* devices, until they are freed, and the group's file */
	/* The iommufd that its file was put into in place of a container; a reference. */
	struct vfio_iommufd *iommufd;
	unsigned cdev_files;        /* device files that are bound, or about to be (A.3) */
	struct vfio_iommufd *owner; /* of the devices that are bound to one */
	unsigned bound;             /* how many */
	/* Under the owner's attach_lock: */
	struct iommufd_object *hwpt; /* what its attached devices are attached to */
	unsigned attached;           /* how many */
};

struct vfio_group_file {
	struct vfio_group *group;
	/* Under machine->lock. */
	bool gone;         /* no function of it was left to vfio-pci */
	bool was_iommufds; /* it was in an iommufd then, and nobody has taken it out */
};

/* What SET_IOMMU made; outlives the container's use of it while a request runs. */
struct backend {
	struct uvfio_trash_item item; /* when nobody may wait for its end */
	struct type1 *type1;          /* of no-IOMMU: nothing is ever in it, so every DMA faults */
	bool noiommu;
	atomic_uint refs;
};

struct vfio_container {
	struct vfio_machine *machine;
	/* Under machine->lock. */
	unsigned nr_groups;
	bool noiommu;            /* its groups are */
	struct backend *backend; /* NULL before SET_IOMMU */
	unsigned refs;           /* the file, and each group in it */
};

/* May a group be attached to @container's IOMMU, or be the first to be (F)?  0 or -EPERM;
 * machine->lock held.  What is to be said about it is said by the second one, without the lock. */
enum attach_remark { ATTACH_SILENT, ATTACH_UNSAFE, ATTACH_REFUSED };
int machine_may_attach_locked(struct vfio_machine *machine, enum attach_remark *remark);
int container_may_attach_locked(struct vfio_container *container, enum attach_remark *remark);
void container_attach_remark(struct vfio_machine *machine, enum attach_remark remark);
/* The rest under machine->lock. */
void container_get_locked(struct vfio_container *container);
/* A group leaves; returns a backend to put after unlocking, or NULL. */
struct backend *container_leave_locked(struct vfio_container *container);
/* The last one ends the address space, which takes a while when it has many mappings. */
void backend_put(struct backend *backend);
/* For a thread that must not wait: then that is done elsewhere. */
void backend_put_later(struct vfio_machine *machine, struct backend *backend);
struct vfio_group *machine_group_locked(struct vfio_machine *machine, unsigned number, bool make);
/* The group is empty: nobody finds it any more. */
void machine_forget_group_locked(struct vfio_machine *machine, struct vfio_group *group);
void group_put_locked(struct vfio_group *group);
/* A function of @group has lost vfio-pci.  Was it the last one, an open file is that of a group
 * that is gone, and has left its container (D.1).  machine->lock held; let go meanwhile. */
void group_lost_driver_locked(struct vfio_group *group);
/* A driver that does DMA for the host has a function of it: users are kept away (D.1). */
bool group_other_driver_locked(const struct vfio_group *group);
/* The other way round: a container or an iommufd has it. */
bool group_claimed_locked(const struct vfio_group *group);

#endif
