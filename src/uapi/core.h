/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine as the runner sees it: what it calls of the core, and no more.  Two things are behind
 * it: a machine of the run's own (core_local.c, direct calls), or one that a server has (src/join,
 * each call a message).
 *
 * Each function is that of vfio/vfio.h with the same name: arguments, results and errno are its.
 * Handles are opaque, belong to the core that gave them out, and are released once.  Any thread may
 * call anything; a call may wait for a device, and for the client that it is made for.
 */
#ifndef UVFIO_UAPI_CORE_H
#define UVFIO_UAPI_CORE_H

#include <stdbool.h>
#include <stdint.h>
#include "pci/pci.h"
#include "sysfs/sysfs.h"
#include "vfio/vfio.h"

/* Where the functions of a served tree are, in /sys/devices. */
#define TREE_SUBDIR "uvfio"

struct sysfs_link;
struct uapi_core;
struct core_container;
struct core_group;
struct core_device;  /* a device file */
struct core_migration; /* of the core in this process: the struct vfio_migration_file */
struct core_export;  /* of the core in this process: the struct vfio_device_export */
struct core_iommufd; /* of the core in this process: the struct vfio_iommufd */

/* A device of the machine as it was when the run began, or when it was first met. */
struct uapi_device {
	char name[16];
	char pf[16];          /* of a VF: the name of its PF; else "" */
	char own_driver[48];  /* of the host: the name of its directory in /sys; "": it has none */
	unsigned group;       /* IOMMU group */
	bool noiommu;         /* which is one of no-IOMMU mode (A.9) */
	unsigned cdev;        /* as vfio_device_cdev(); of what was met later: then */
	int mmio;             /* as vfio_device_mmio() */
	unsigned config_size; /* bytes: 256 or 4096 */
	struct {
		uint64_t size;  /* bytes, 0: not implemented */
		unsigned flags; /* UVFIO_BAR_… */
	} bars[6];
	uint64_t rom_size; /* bytes */
};

struct uapi_core_ops {
	int (*container_open)(struct uapi_core *core, struct core_container **out);
	void (*container_release)(struct uapi_core *core, struct core_container *container);
	int (*container_ioctl)(struct uapi_core *core, struct core_container *container,
			       struct vfio_client *client, unsigned cmd, uint64_t arg);

	int (*group_open)(struct uapi_core *core, unsigned number, struct core_group **out);
	void (*group_release)(struct uapi_core *core, struct core_group *group);
	int (*group_get_status)(struct uapi_core *core, struct core_group *group,
				struct vfio_client *client, uint64_t arg);
	int (*group_set_container)(struct uapi_core *core, struct core_group *group,
				   struct core_container *container);
	int (*group_set_iommufd)(struct uapi_core *core, struct core_group *group,
				 struct core_iommufd *iommufd);
	int (*group_unset_container)(struct uapi_core *core, struct core_group *group);
	/* *@which: of which device; it stays until the core goes. */
	int (*group_get_device)(struct uapi_core *core, struct core_group *group,
				struct vfio_client *client, uint64_t arg, struct core_device **out,
				const struct uapi_device **which);

	int (*iommufd_open)(struct uapi_core *core, struct core_iommufd **out);
	void (*iommufd_release)(struct uapi_core *core, struct core_iommufd *iommufd);
	int (*iommufd_ioctl)(struct uapi_core *core, struct core_iommufd *iommufd,
			     struct vfio_client *client, unsigned cmd, uint64_t arg);

	/* vfio_cdev_open(); *@which as above. */
	int (*cdev_open)(struct uapi_core *core, unsigned number, struct core_device **out,
			 const struct uapi_device **which);
	void (*device_release)(struct uapi_core *core, struct core_device *df);
	int (*device_set_mmio)(struct uapi_core *core, struct core_device *df,
			       enum vfio_mmio_mode mode);
	int (*device_ioctl)(struct uapi_core *core, struct core_device *df,
			    struct vfio_client *client, unsigned cmd, uint64_t arg);
	ssize_t (*device_read)(struct uapi_core *core, struct core_device *df, uint64_t offset,
			       void *buf, size_t len);
	ssize_t (*device_write)(struct uapi_core *core, struct core_device *df, uint64_t offset,
				const void *buf, size_t len);
	int (*device_store)(struct uapi_core *core, struct core_device *df, uint64_t offset,
			    unsigned size, uint64_t value);
	int (*device_load)(struct uapi_core *core, struct core_device *df, uint64_t offset,
			   unsigned size, uint64_t *value);
	int (*device_mmap)(struct uapi_core *core, struct core_device *df, uint64_t offset,
			   uint64_t len, bool shared, bool *writable, bool *trap_reads);
	/* vfio_device_file_fd(): the core's, until the handle is released. */
	int (*device_view_fd)(struct uapi_core *core, struct core_device *df);
	/* [@offset, +@len) of that file as memory for DMA (D.4): as vfio_device_memory(), or a
	 * piece of the file for a core elsewhere to recognise, whose fd is the caller's to close.
	 */
	int (*device_memory)(struct uapi_core *core, struct core_device *df, uint64_t offset,
			     uint64_t len, struct iommu_mem *out);

	/* vfio_export_put(). */
	void (*export_release)(struct uapi_core *core, struct core_export *export);

	/* vfio_migration_…(), of what give_migration() has handed over. */
	void (*migration_release)(struct uapi_core *core, struct core_migration *migration);
	bool (*migration_saves)(struct uapi_core *core, const struct core_migration *migration);
	ssize_t (*migration_read)(struct uapi_core *core, struct core_migration *migration,
				  void *buf, size_t len);
	ssize_t (*migration_write)(struct uapi_core *core, struct core_migration *migration,
				   const void *buf, size_t len);
	bool (*migration_readable)(struct uapi_core *core, struct core_migration *migration);
	int (*migration_ioctl)(struct uapi_core *core, struct core_migration *migration,
			       struct vfio_client *client, unsigned cmd, uint64_t arg);

	/* vfio_device_host_open(); *@view is the caller's. */
	int (*resource_open)(struct uapi_core *core, const struct uapi_device *dev,
			     enum vfio_mmio_mode mode, struct core_device **out, int *view);
	/* vfio_device_uio_ioctl(). */
	int (*uio_ioctl)(struct uapi_core *core, const struct uapi_device *dev,
			 struct vfio_client *client, unsigned cmd, uint64_t arg);

	/* Serve the tree in /sys (sysfs/sysfs.h), with functions in TREE_SUBDIR and @links, on
	 * @sock, which becomes the core's.  When devices came or went by what was written there, a
	 * byte is sent to @notify (a SOCK_SEQPACKET socket, likewise), and one is waited for, for a
	 * moment, before the write is answered.  Until the core goes.  0 or -errno.  NULL: it is in
	 * this process.
	 */
	int (*sysfs_serve)(struct uapi_core *core, int sock, int notify,
			   const struct sysfs_link *links, unsigned nr);

	/* sysfs_identify() of that tree; *@device as above, NULL when there is none. */
	enum sysfs_file (*sysfs_identify)(struct uapi_core *core, uint64_t ino,
					  const struct uapi_device **device, unsigned *bar);

	/* The machine's devices as they are now: from the @from'th on up to @max of them in @out;
	 * how many, 0: no more, or -errno.  *@stamp is another whenever a device has come or gone.
	 */
	int (*list)(struct uapi_core *core, unsigned from, struct uapi_device *out, unsigned max,
		    unsigned *stamp);
	/* The one with this name: 0, -ENODEV, -EIO. */
	int (*describe)(struct uapi_core *core, const char *name, struct uapi_device *out);

	/* sysfs_snapshot() (sysfs/snapshot.h) of the machine; its contents are to be checked.  Or
	 * -errno. */
	int (*sysfs_snapshot)(struct uapi_core *core, uint8_t **out, size_t *len);

	/* vfio_device_hw_config().  True with @bytes untouched when the device has gone. */
	bool (*hw_config)(struct uapi_core *core, const struct uapi_device *dev, uint8_t *bytes,
			  bool wait);
	/* Every handle has been released. */
	void (*free)(struct uapi_core *core);
};

struct uapi_core {
	const struct uapi_core_ops *ops;
	const struct vfio_policy *policy; /* the machine's */
	struct vfio_machine *machine;     /* NULL: it is not in this process */
	const struct uapi_device *devices;
	unsigned nr_devices;
	struct uapi_later *later; /* devices that were met since then (devices.c) */
	unsigned uio_first;       /* the first uioN */
	/* How many calls may wait at a time; those beyond wait for them. */
	unsigned max_calls;
};

/* The one of @core->devices with this name, or NULL. */
const struct uapi_device *uapi_core_find(const struct uapi_core *core, const char *name);
/* What has this name now; NULL: nothing, or no memory.  It stays until the core goes: there are not
 * more than a name can have groups and BARs, and 65,536 in all.  Any thread. */
const struct uapi_device *uapi_core_now(struct uapi_core *core, const char *name);
/* The same for what @dev tells. */
const struct uapi_device *uapi_core_know(struct uapi_core *core, const struct uapi_device *dev);
/* For those who make and free a core: false when out of memory. */
bool uapi_later_init(struct uapi_core *core);
void uapi_later_free(struct uapi_core *core);
/* What the tree in /sys and the handles tell of @dev. */
void uapi_device_describe(struct vfio_device *dev, struct uapi_device *out);
/* The node of the group of @dev in /dev/vfio: "7", or "noiommu-7" (A.9). */
#define UAPI_NODE_NAME 24u /* bytes */
void uapi_group_node(const struct uapi_device *dev, char out[UAPI_NODE_NAME]);
/* And of device @dev: "devices/vfio3"; false: it has none. */
bool uapi_cdev_node(const struct uapi_device *dev, char out[UAPI_NODE_NAME]);
/* The core in front of @machine, whose devices stay until it goes; not freed with it.  NULL when
 * out of memory. */
struct uapi_core *uapi_core_local(struct vfio_machine *machine);

#endif
