/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which fd of the program is what, and when it has gone.
 *
 * Theory of operation.  Every open container and group has an inode of its own, every device that
 * of its view memfd: an fd is recognised by (st_dev, st_ino), which survives dup, fork, exec and
 * SCM_RIGHTS.  Those inodes are on a tmpfs that was mounted on /dev/vfio (iommufds': on /dev)
 * first: links of /proc read right, but no path leads there, because a second one covers it.  On
 * that lie the nodes, which are all that a path leads to.  So an open that is not seen here
 * (O_RDONLY, io_uring, 32 bit) gets an empty file, never what another process has open.
 *
 * Nobody tells us when the last fd or mapping of an inode goes.  But the kernel grants a write
 * lease on a file only while nobody else has it open for writing, so taking one (and giving it back
 * at once) on a description of our own answers the question exactly, without waiting for anything.
 * This probe precedes every decision that depends on what is open: a close followed by an open is
 * in order. inotify's IN_CLOSE wakes the janitor, so that what is closed and never asked about goes
 * too; the event precedes the drop of the count, so the janitor asks again for a while.
 *
 * The release of a device waits until it is quiet, for as long as its backend likes.  So each has a
 * thread of its own, and only requests on the same group wait for it: nobody else's opens do.
 *
 * A call that is being carried out keeps its file, also when that is closed meanwhile; so it is
 * with the kernel, where the group is busy then.  But there a process is not gone before its calls
 * have ended; here it is, and what its calls still use would be busy for who waited for its death.
 * So who opens waits for the calls of those who are dead, and for the copies of descriptors that
 * they have taken.  A call whose own process is dead does
 * not wait, so nobody waits in a circle.  And it waits, for a second at most, for imports of memory
 * (MAP) that look at what was closed meanwhile: a kernel's have no reference to that, only to
 * pages.
 *
 * Locks: `opening` serialises opens and the other releases, held across calls into the core that do
 * not wait for a device other than the one being opened; then `lock` for the table, never held
 * across anything that waits.  A file that a request uses (a reference) is not released.
 */
#ifndef UVFIO_UAPI_FILES_H
#define UVFIO_UAPI_FILES_H

#include <pthread.h>
#include <sys/stat.h>
#include "uapi/server.h"

enum uapi_file_kind {
	UAPI_CONTAINER,
	UAPI_GROUP,
	UAPI_DEVICE,
	UAPI_RESOURCE, /* BARs as /sys's `resourceN` have them: to be mapped, and no more */
	UAPI_IOMMUFD,
	UAPI_EXPORT, /* BARs as FEATURE DMA_BUF gives them (D.4) */
	UAPI_CDEV,   /* a node only: what is open of it is a UAPI_DEVICE */
	UAPI_FILE_KINDS,
};

#define UAPI_FILE_USERS 32u

struct uapi_file {
	struct uapi_file *next; /* in the table */
	enum uapi_file_kind kind;
	/* Random: by which the helper names it (helper/trap.h).  0: it may not. */
	uint64_t key;
	dev_t dev;
	ino_t ino;
	int probe; /* our description, O_RDWR */
	int watch;
	unsigned refs;                   /* requests that use it: files->lock */
	unsigned lookers;                /* those of them without a call: files->lock */
	bool closed;                     /* found closed while in use: files->lock */
	uint64_t users[UAPI_FILE_USERS]; /* the first of these requests, 0: none: files->lock */
	uint64_t round;                  /* of the search that found it closed */
	pid_t owner;                     /* process that opened it first, of a device */
	struct uapi_files *files;
	unsigned group; /* number, of a group */
	struct core_container *container;
	struct core_group *group_file;
	struct core_iommufd *iommufd;
	struct core_export *export;
	/* A device that GET_DEVICE_FD handed out several times has one inode: the first file
	 * stands for all, until the last fd goes.  Each open of its node has an inode. */
	struct core_device *device_file;
	const struct uapi_device *device; /* of which device */
	enum vfio_mmio_mode mmio;         /* of a device */
	bool node;                        /* it was opened by its node, */
	unsigned cdev;                    /* which has this number */
};

/* Needs server->core, ->nodes, ->devdir and ->iommudir.  NULL with a message. */
struct uapi_files *uapi_files_new(struct uapi_server *server, struct uvfio_error *err);
/* Releases everything; no request is being handled. */
void uapi_files_free(struct uapi_files *files);

/* The file of an fd, with a reference for the notified call @call; 0: to look at it for a moment,
 * waiting for no client.  NULL when it is not ours. */
struct uapi_file *uapi_files_find(struct uapi_files *files, const struct stat *st, uint64_t call);
/* The file with @key, likewise. */
struct uapi_file *uapi_files_by_key(struct uapi_files *files, uint64_t key, uint64_t call);
/* Give the reference of that call back; NULL is allowed. */
void uapi_files_put(struct uapi_files *files, struct uapi_file *file, uint64_t call);

/* A copy of a descriptor of the program's that the call @call takes to look at it: what it is of is
 * open for so long, and the program may be dead meanwhile. */
struct uapi_copy {
	struct uapi_copy *next;
	uint64_t call;
};
/* Before the copy is taken, and when it is closed. */
void uapi_files_copy_begin(struct uapi_files *files, struct uapi_copy *copy, uint64_t call);
void uapi_files_copy_end(struct uapi_files *files, struct uapi_copy *copy);

/* Is what @st describes open now: a container, a group or a device? */
bool uapi_files_open(struct uapi_files *files, const struct stat *st);
/* Is what @st describes /dev/vfio/vfio, a /dev/vfio/N, /dev/iommu or a /dev/vfio/devices/vfioN?
 * *@group is set for the second, and for the last to its number.
 * UAPI_FILE_KINDS: none.  What is open counts too: a link in /proc leads there. */
enum uapi_file_kind uapi_files_node(struct uapi_files *files, const struct stat *st,
				    unsigned *group);
/* Open what a node stands for, with @access (O_RDONLY, …), for task @tid.  Returns an fd to be
 * given to the program and then closed, or -errno. */
int uapi_files_open_node(struct uapi_files *files, enum uapi_file_kind kind, unsigned group,
			 int access, pid_t tid, uint64_t call);
/* GROUP_GET_DEVICE_FD, likewise.  *@dev is set on success. */
int uapi_files_open_device(struct uapi_files *files, struct uapi_file *group,
			   struct vfio_client *client, uint64_t arg, uint64_t call,
			   const struct uapi_device **dev);

/* The name of group @number's node: "7", "noiommu-7". */
void uapi_files_group_name(struct uapi_files *files, unsigned number, char out[UAPI_NODE_NAME]);
/* The machine may have other devices than before: have a node for each group and device that is
 * new, and none for those that came after the start and have gone.  False: nothing is new. */
bool uapi_files_look(struct uapi_files *files);

/* Map BARs of @dev as the host, likewise, for the process @owner; @access as for open(2). */
int uapi_files_open_resource(struct uapi_files *files, const struct uapi_device *dev, int access,
			     pid_t owner, uint64_t call);

/* An fd for the program on the export @export (taken over) behind the memory file @memory, with
 * @flags (O_NONBLOCK), or -errno. */
int uapi_files_add_export(struct uapi_files *files, struct core_export *export, int memory,
			  int flags);
/* Release exports that are closed by now, if there are many. */
void uapi_files_settle_exports(struct uapi_files *files);
bool uapi_files_have_exports(struct uapi_files *files);

/* Release what is closed by now, and wait until nothing of @group is left that is, for the call
 * @call (0: for none).  Any thread, without locks. */
void uapi_files_settle(struct uapi_files *files, unsigned group, uint64_t call);
/* The same for what this call found closed, and what the process @owner had opened. */
void uapi_files_settle_own(struct uapi_files *files, pid_t owner);
/* The same for one file: that with inode @ino of @dev, or when @ino is 0 that with @key.  Others
 * that are being released are not waited for.  None is this: nothing is waited for. */
void uapi_files_settle_one(struct uapi_files *files, dev_t dev, ino_t ino, uint64_t key);

#endif
