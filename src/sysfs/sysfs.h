/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Door 3: the machine as the kernel's sysfs shows it, a file system that can be read and written.
 *
 *     bus/pci/{devices,drivers,slots,drivers_probe,…}   kernel/iommu_groups   module/vfio*
 *     devices[/…]/0000:01:00.0/{vendor,config,reset,driver_override,…}
 *
 * Names, modes, values and errno are those of the kernel's sysfs; docs/sysfs.md says where they are
 * not.  The tree is a table (table.h); fuse.c serves it to whoever has the file system mounted.
 *
 * Threads: one of the door's answers everything that does not wait.  What may wait (unbinding a
 * device that is in use, a reset, a write to `config`) is done by threads of its own, at most two
 * for each function, so that a user who does not let go of a device holds up nobody else.
 */
#ifndef UVFIO_SYSFS_SYSFS_H
#define UVFIO_SYSFS_SYSFS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "vfio/vfio.h"

struct sysfs;

/* An entry of bus/pci/devices that is not ours: the real machine's. */
struct sysfs_link {
	char *name, *target;
};

struct sysfs_config {
	struct vfio_machine *machine; /* outlives the door */
	struct uvfio_log *log;
	/* The functions are in devices/@subdir, or in devices itself when it is NULL. */
	const char *subdir;
	/* Who owns the files: that user and root have CAP_SYS_ADMIN as far as files ask for it. */
	uid_t uid;
	gid_t gid;
	const struct sysfs_link *links; /* kept by the caller */
	unsigned nr_links;
	/* May be NULL: after a write by which devices came or went, before it is answered.  In a
	 * thread that may wait. */
	void (*changed)(void *arg);
	void *changed_arg;
};

/* NULL with a message. */
struct sysfs *sysfs_new(const struct sysfs_config *config, struct uvfio_error *err);
/* Serve @fd, a /dev/fuse of a file system that was mounted with it or a socket to who has that; it
 * becomes the door's, also on failure.  Once.  0 or -errno with a message. */
int sysfs_serve(struct sysfs *sysfs, int fd, struct uvfio_error *err);
/*
 * Another process goes on with the file system, on the same descriptor.  The file system says once,
 * at its beginning, what it can, and whoever answers it has to know that.
 *
 * sysfs_hold(): from here on nothing is taken from @out->fd, which stays the door's, and all that
 * was taken is answered; who asks meanwhile waits.  -EBUSY with a message, and all goes on: there
 * are requests that wait for something, or a uio file is open; -ENOTCONN: it serves nobody.
 */
#define SYSFS_INIT_BYTES 256u
struct sysfs_handed {
	int fd;
	size_t len;
	uint8_t init[SYSFS_INIT_BYTES];
};
int sysfs_hold(struct sysfs *sysfs, struct sysfs_handed *out, struct uvfio_error *err);
/* As sysfs_serve() of what another one's sysfs_hold() has given (@from->fd becomes the door's),
 * held too.  -EINVAL: it is none of that. */
int sysfs_continue(struct sysfs *sysfs, const struct sysfs_handed *from, struct uvfio_error *err);
/* Requests are taken again. */
void sysfs_go_on(struct sysfs *sysfs);
/* Ends everything: who waits gets EINTR.  Before the machine goes; NULL is allowed. */
void sysfs_free(struct sysfs *sysfs);

/* What the file with inode number @ino of the tree is.  A BAR of memory (`resourceN`, _wc) or a uio
 * file: of @device (untouched when that has gone), and @bar which.  Any thread. */
enum sysfs_file { SYSFS_FILE_OTHER, SYSFS_FILE_BAR, SYSFS_FILE_UIO };
enum sysfs_file sysfs_identify(struct sysfs *sysfs, uint64_t ino, char device[16], unsigned *bar);

/* Is libfuse there?  Without it sysfs_new() fails. */
bool sysfs_built(void);

#endif
