/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver side, inside: a device, and the ops table that the ways to reach it fill.
 *
 * What is the same for all ways (names, regions and their mappings, config space, IOVAs, the
 * bookkeeping of DMA memory, interrupts) is in the files named after it and asks the way only for
 * the elementary operations of struct drv_ops.
 */
#ifndef UVFIO_DRIVER_PRIVATE_H
#define UVFIO_DRIVER_PRIVATE_H

#include <linux/vfio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <uvfio/driver.h>
#include "driver/extent.h"
#include "driver/iova.h"

#define DRV_PAGE        4096u
#define DRV_NR_IRQS     5u
#define DRV_MAX_REGIONS 256u   /* what a server may claim to have */
#define DRV_MAX_INFO    65536u /* bytes of a region's info with its capabilities */
#define DRV_FIRST_INFO  (sizeof(struct vfio_region_info) + 1024) /* and room for it at first */

enum drv_via { DRV_VIA_AUTO, DRV_VIA_GROUP, DRV_VIA_CDEV };

struct drv_options {
	char vf_token[37]; /* text, "": none */
	enum drv_via via;
	bool share, posted, twin, mmap, go_on;
	unsigned timeout; /* seconds, 0: for ever */
};

/* Parse "key=value,…" for a socket (@vfio_user) or a kernel device: 0 or -EINVAL with a message. */
int drv_options_parse(struct drv_options *opt, const char *text, bool vfio_user,
		      struct uvfio_error *err);

/* After a store to [@offset, +@size) of a mapping, a signal of @fd has the device look at it. */
struct drv_notify {
	uint64_t offset, size;
	int fd;
};

struct drv_region {
	struct uvfio_pci_region pub; /* ->areas is owned */
	uint64_t file_offset;        /* of the region in @fd */
	int fd;                      /* to map; -1: the way's own */
	void **maps;                 /* per area, or NULL before it is mapped */
	struct drv_notify *notify;
	unsigned nr_notify;
};

/* A piece of memory that devices can reach.  The extent is first, so that a set can hold it. */
struct drv_mapping {
	struct extent at;
	uint8_t *addr;        /* NULL: known by its file only */
	int fd;               /* owned; -1: none */
	uint64_t file_offset; /* of @addr in @fd */
	unsigned flags;       /* UVFIO_PCI_DMA_READ, _WRITE */
	bool ready;           /* every view knows it that could, and nobody is unmapping it */
	bool arena;           /* memory of the space's own file, from uvfio_pci_dma_alloc() */
	uint64_t known;       /* the views that have it: their bits */
	struct drv_iova_token iova_token, next_token, file_token;
};

struct drv_ranges {
	unsigned nr;
	struct drv_range {
		uint64_t first, last;
	} * list; /* ascending, apart, without page 0 and the interrupt window */
};

struct drv_ops;

/*
 * Where a way has to be told of mappings: a container, an IOAS, a connection.  Several devices may
 * be behind one.  Made and freed under the space's ->change.
 */
struct drv_view {
	struct drv_view *next;
	const struct drv_ops *ops;
	struct uvfio_dma_space *space;
	void *place;           /* of the ops */
	struct uvfio_pci *dev; /* vfio-user: whose connection it is; NULL else */
	unsigned devices;
	uint64_t bit;       /* its own, in ->known */
	uint64_t page_size; /* the smallest that can be mapped */
	struct drv_ranges ranges;
};

#define DRV_MAX_VIEWS 64u
#define DRV_ARENA_MAX (1ull << 46) /* bytes of address space in the arena's file */

/*
 * A DMA space: see space.c.
 *
 * ->change is held for reading by who maps and unmaps, also while the views are told, and for
 * writing by who changes which views there are or what they know.  ->lock covers the set of
 * mappings, what is free, and the rest; it is held for bookkeeping and for copies on behalf of a
 * server, never across a call to the kernel or the server that could wait for one.  It is taken
 * after ->change.
 */
struct uvfio_dma_space {
	atomic_uint refs;        /* the creator's, and one for each device */
	struct uvfio_pci *owner; /* a device's own; NULL: made by uvfio_dma_space_new() */
	pthread_rwlock_t change;
	struct drv_view *views; /* under ->change */
	uint64_t bits;          /* ditto: that views have */

	pthread_mutex_t lock;
	struct drv_iova iova;
	struct extent_set mappings; /* struct drv_mapping */
	uint64_t page_size;         /* the smallest that all views can map */
	int arena_fd;               /* memfd of uvfio_pci_dma_alloc(), -1 before the first */
	uint64_t arena_size;
	struct drv_iova arena;
	struct drv_ranges ranges; /* common to all views */
};

struct uvfio_pci {
	char *name;
	const struct drv_ops *ops;
	void *way; /* of the ops: struct drv_kernel, struct drv_vu */
	struct drv_options opt;
	uint32_t flags; /* VFIO_DEVICE_FLAGS_… */
	unsigned nr_regions, nr_irqs;
	struct drv_region *regions;
	struct {
		unsigned count, flags;
	} irqs[DRV_NR_IRQS];
	pthread_mutex_t irq_lock; /* one SET_IRQS at a time; protects @irq_active */
	bool irq_active[DRV_NR_IRQS];
	pthread_mutex_t config_lock; /* read-modify-write of COMMAND */
	/* Something reaches the device beside the messages: a mapped region, a notify fd.  A posted
	 * write could be overtaken by it, so nothing is posted any more. */
	atomic_bool shortcut;
	uint32_t id; /* vendor and device, to know it again */
	bool opened; /* once, so that what comes is a reconnect */
	bool continued; /* by the last reconnect */
	struct uvfio_dma_space *space;
	struct drv_view *view; /* of ->space; NULL before drv_space_attach() */
};

/*
 * One way to reach a device.  All may be called from several threads at once unless they say
 * otherwise.  They return 0 (or what they say) or -errno.
 */
struct drv_ops {
	enum uvfio_pci_way way;
	/* Set @dev->way; over vfio-user, connect.  On failure nothing is left. */
	int (*open)(struct uvfio_pci *dev, struct uvfio_error *err);
	/* Optional: calls that wait end now.  Before ->close. */
	void (*hang_up)(struct uvfio_pci *dev);
	/* [->change held for writing] Have the device in a view of its space, one that is there or
	 * a new one (drv_view_new()), set @dev->view, and say what ->ranges and ->page_size the
	 * view has now.  From then on the device can be used.  What was done when it fails, ->close
	 * undoes. */
	int (*attach)(struct uvfio_pci *dev, struct uvfio_error *err);
	/* [->change held for writing] The end, also after a failed ->attach.  The last device of a
	 * view (@dev->view->devices is 1) takes its ->place along. */
	void (*close)(struct uvfio_pci *dev);
	int (*device_info)(struct uvfio_pci *dev, struct vfio_device_info *info);
	/* Optional: all the questions of the next two follow, until ->asked (which is also called
	 * when not all did).  [alone] */
	void (*ask_ahead)(struct uvfio_pci *dev);
	void (*asked)(struct uvfio_pci *dev);
	/* ->index is set; fills at most @size bytes at @info (zeroed), capabilities included, which
	 * ->argsz then tells the need of.  *@fd: a descriptor to map, owned by the caller, or -1
	 * when the way has its own (drv_ops.map_fd).  [alone] */
	int (*region_info)(struct uvfio_pci *dev, struct vfio_region_info *info, size_t size,
			   int *fd);
	int (*map_fd)(struct uvfio_pci *dev); /* what to mmap for a region without a descriptor */
	int (*irq_info)(struct uvfio_pci *dev, struct vfio_irq_info *info);
	/* At most as much as the way can in one piece; returns the bytes done. */
	ssize_t (*read)(struct uvfio_pci *dev, unsigned index, uint64_t offset, void *buf,
			size_t len);
	ssize_t (*write)(struct uvfio_pci *dev, unsigned index, uint64_t offset, const void *buf,
			 size_t len, bool posted);
	/* Several posted writes; NULL: one by one. */
	int (*write_multi)(struct uvfio_pci *dev, const struct uvfio_pci_reg *writes, unsigned nr);
	int (*notify_fd)(struct uvfio_pci *dev, unsigned index, uint64_t offset, unsigned size,
			 uint64_t value);
	/* Optional: the areas of a mapped region that have an eventfd for stores.  *@out and the
	 * descriptors in it are the caller's, also after an error. */
	int (*notify_areas)(struct uvfio_pci *dev, unsigned index, struct drv_notify **out,
			    unsigned *nr);
	/* One SET_IRQS; @fds with DATA_EVENTFD, ->count of them.  May return a positive number
	 * (A.8).  A way with limits cuts it up; @active: the mode is enabled. */
	int (*set_irqs)(struct uvfio_pci *dev, const struct vfio_irq_set *set, const int *fds,
			bool active);
	int (*reset)(struct uvfio_pci *dev);
	/* VFIO_DEVICE_FEATURE; @feature->argsz bytes at @feature.  Returns the bytes behind the
	 * header that GET gave. */
	ssize_t (*feature)(struct uvfio_pci *dev, struct vfio_device_feature *feature);
	/* uvfio_pci_region_fd() of a range that is in the BAR. */
	int (*region_fd)(struct uvfio_pci *dev, unsigned index, uint64_t offset, uint64_t size,
			 uint64_t *at);
	/* [->change held] -EOPNOTSUPP: not without an address, or by a file. */
	int (*dma_map)(struct drv_view *view, const struct drv_mapping *m);
	int (*dma_unmap)(struct drv_view *view, uint64_t iova, uint64_t size);
	/* Optional: the server is gone, for all that has to do with DMA. */
	bool (*lost)(const struct drv_view *view);
	/* Optional: connect anew, at most until @deadline (CLOCK_MONOTONIC ms; -1: for ever).  The
	 * view knows nothing then: drv_view_forget(). */
	int (*reconnect)(struct uvfio_pci *dev, int64_t deadline, struct uvfio_error *err);
	int (*lost_fd)(const struct uvfio_pci *dev); /* optional */
	void (*give_up)(struct uvfio_pci *dev); /* optional: the server lied; end the connection */
};

extern const struct drv_ops drv_kernel_group_ops, drv_kernel_cdev_ops, drv_vfio_user_ops;

/* region.c */
int drv_regions_init(struct uvfio_pci *dev, struct uvfio_error *err);
void drv_regions_fini(struct uvfio_pci *dev);
/* After a reconnect: the same regions?  Map what was mapped at the same addresses. */
int drv_regions_renew(struct uvfio_pci *dev, struct uvfio_error *err);

/* irq.c */
int drv_irqs_init(struct uvfio_pci *dev, struct uvfio_error *err);
void drv_irqs_fini(struct uvfio_pci *dev);
int drv_irqs_renew(struct uvfio_pci *dev, struct uvfio_error *err);

/* space.c */
/* A space of the device's own, if @dev has none. */
int drv_space_init(struct uvfio_pci *dev, struct uvfio_error *err);
/* Have the opened device see all mappings of its space; its ranges and page size count from now on.
 */
int drv_space_attach(struct uvfio_pci *dev, struct uvfio_error *err);
/* Close the device and leave the space, which is freed when nobody else has it. */
void drv_space_leave(struct uvfio_pci *dev);
/* After a reconnect: map everything again. */
int drv_space_renew(struct uvfio_pci *dev, struct uvfio_error *err);
/* For ops->attach: a view of the device's own, or NULL with a message when there are too many or no
 * memory; or another device's view. */
struct drv_view *drv_view_new(struct uvfio_pci *dev, void *place, struct uvfio_error *err);
void drv_view_join(struct uvfio_pci *dev, struct drv_view *view);
/* For ops->attach: [@first, @last] is usable; begin with @view->ranges.nr 0.  0 or -ENOMEM. */
int drv_view_add_range(struct drv_view *view, uint64_t first, uint64_t last);
/* [->change held for writing] It has lost its mappings. */
void drv_view_forget(struct drv_view *view);

/* dma.c */
void drv_mapping_free(struct drv_mapping *m);
/* What it says, with a name in front: of @dev, unless NULL.  Returns @ret. */
int drv_map_error(const struct uvfio_pci *dev, struct uvfio_error *err, int ret, uint64_t size,
		  const char *why);
/* A server's DMA_READ (@to_device) or DMA_WRITE: copy between @buf and [@iova, +@len), which may
 * cross adjacent mappings.  -EFAULT when not all of it is mapped, -EPERM when not so permitted;
 * then nothing was copied. */
int drv_dma_copy(struct uvfio_dma_space *space, uint64_t iova, void *buf, size_t len,
		 bool to_device);

#endif
