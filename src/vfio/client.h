/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client as the core sees it: the seam between the rules and a door.
 *
 * The core walks a request in the order that the rules give and fetches from the client only what
 * the rule at hand reads, through these functions, once each.  A door implements them: the one
 * behind /dev/vfio reads the memory of the task that made the system call and takes its eventfds;
 * the vfio-user one reads the message and the fds that came with it.  The core opens nothing
 * itself.
 *
 * Threads: a struct vfio_client is one request; used by one thread.  The callbacks may take long (a
 * dying client), so no lock is held across them, except where irq_set_irqs() says so.
 */
#ifndef UVFIO_VFIO_CLIENT_H
#define UVFIO_VFIO_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "iommu/type1.h"

struct vfio_client;
struct vfio_device_export;
struct vfio_iommufd;
struct vfio_migration_file;

struct vfio_client_ops {
	/* Copy @len bytes from or to the client's address @uaddr: 0 or -EFAULT. */
	int (*copy_from)(struct vfio_client *client, void *dst, uint64_t uaddr, size_t len);
	int (*copy_to)(struct vfio_client *client, uint64_t uaddr, const void *src, size_t len);
	/* An fd of our own on the client's eventfd @fd: ≥ 0, -EBADF, -EINVAL (not an eventfd). */
	int (*get_eventfd)(struct vfio_client *client, int32_t fd);
	/* The number of the IOMMU group whose open file the client's fd @fd is: ≥ 0, -EBADF, or
	 * -EINVAL when it is no group.  NULL: the door has no group files. */
	int (*get_group)(struct vfio_client *client, int32_t fd);
	/* The iommufd that the client's fd @fd is: 0 with *@out, which stays for the rest of the
	 * request; -EBADF; or -EBADFD when it is something else.  NULL: the door has none. */
	int (*get_iommufd)(struct vfio_client *client, int32_t fd, struct vfio_iommufd **out);
	/* A descriptor of ours, which is a path only (O_PATH), of the file that the client has as
	 * @fd: ≥ 0, to be looked at and closed; -EBADF.  NULL: the door has no files of clients. */
	int (*get_path)(struct vfio_client *client, int32_t fd);
	/* The client is given a descriptor of the export behind the memory file @fd, as the result
	 * of its call.  @open_flags: O_CLOEXEC and O_NONBLOCK count, whatever else is set.  Both
	 * are the door's from here on, also on failure; it puts @export when no process has the
	 * file any more.  0 or -errno.  NULL: the door cannot, and nothing is exported through it.
	 */
	int (*give_export)(struct vfio_client *client, int fd, uint32_t open_flags,
			   struct vfio_device_export *export);
	/* A session of migration data (E.3) has begun: what the client has of it is the result, a
	 * descriptor or -1, or -errno.  @file is the door's from here on, also on failure: it
	 * releases it when the client has no use for it any more, and before the device's.  NULL:
	 * devices do not migrate through this door. */
	int (*give_migration)(struct vfio_client *client, struct vfio_migration_file *file,
			      int32_t *fd);
	struct type1_memory_ops memory;
};

#define VFIO_CAP_IPC_LOCK     (1u << 0)
#define VFIO_CAP_SYS_RAWIO    (1u << 1)
#define VFIO_CAP_SYS_RESOURCE (1u << 2)

/* Who is behind a door, for people; decides nothing. */
struct vfio_who {
	const char *door; /* a literal: "vfio", "vfio-user" */
	int64_t uid;      /* -1: unknown */
};

struct vfio_client {
	const struct vfio_client_ops *ops;
	unsigned caps; /* VFIO_CAP_…: what the machine treats this client as having */
	int32_t pid;   /* for traces and listings only */
	const struct vfio_who *who; /* may be NULL; copied where it is kept */
	/* It opens a device to go on with it where it was left (keep.h), when it can be. */
	bool continues;
};

#endif
