/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One system call of the program, from its notification to the answer.
 *
 * Used by one receiver.  Handlers of a system call return 0 with the answer in the request; what
 * they do not recognise they leave at UAPI_CONTINUE, and the kernel carries it out as if we were
 * not there.
 */
#ifndef UVFIO_UAPI_REQUEST_H
#define UVFIO_UAPI_REQUEST_H

#include <errno.h>
#include <linux/seccomp.h>
#include "uapi/files.h"
#include "uapi/server.h"
#include "vfio/client.h"

enum uapi_answer {
	UAPI_CONTINUE,
	UAPI_RESULT, /* ->result: the system call's return value, or -errno */
	UAPI_FD,     /* ->fd is given to the program, whose number for it is the result */
};

struct uapi_request {
	struct vfio_client client; /* first: what the core hands back */
	struct uapi_server *server;
	uint64_t id;
	pid_t tid;
	int nr;
	uint64_t args[6];

	enum uapi_answer answer;
	int64_t result;
	int fd;
	bool cloexec;
	bool stored; /* to a region: the device may have something to do */
	/* It only asks: nothing is acted upon but what the answer does to the program's memory. */
	bool asks;
	/* Whose hardware's config space has changed, perhaps, and those of others too: the files in
	 * sysfs are to be looked at.  NULL: nobody's. */
	const struct uapi_device *changed;

	/* For the trace: which kind of file, and the device's name or NULL. */
	enum uapi_file_kind kind;
	const char *device;

	/* The device that it is made on; NULL: none. */
	const struct core_device *on;

	/* A file that the core was given for the rest of the request. */
	struct uapi_file *held;

	/* What it asked of mmap for the BARs that it maps for DMA, PROT_…, where it says so. */
	unsigned asked_prot;

	/* The program's memory at @ahead_addr as it was read beforehand, NULL: none.  While there
	 * is some, nothing else is read: what is called then holds a lock, and reading may take for
	 * ever. */
	const char *ahead;
	uint64_t ahead_addr;
	size_t ahead_len;

	/* args[4] and args[5] are what args[2] points to (helper/trap.h).  Until something is
	 * written to the program's memory, which may be that. */
	bool carries;
};

/* Fill in what the core needs. */
void uapi_request_init(struct uapi_request *req, struct uapi_server *server,
		       const struct seccomp_notif *notif);
/*
 * Is the system call still waiting?  If it is, the task still has its number, so what was read
 * under that (its memory, its descriptors) was its own.  To be asked after reading, before anything
 * is done that outlives the call: changing a device, writing into memory.  Not before the answer
 * itself, which the kernel drops when nobody waits for it; so what only asks (->asks) is checked
 * once, in uapi_copy_to().
 */
bool uapi_request_valid(const struct uapi_request *req);
/* 0, or -EFAULT also when the task has gone (from memory: but of what only ->asks). */
int uapi_copy_from(struct uapi_request *req, void *dst, uint64_t uaddr, size_t len);
int uapi_copy_to(struct uapi_request *req, uint64_t uaddr, const void *src, size_t len);

static inline void uapi_answer(struct uapi_request *req, int64_t result)
{
	req->answer = UAPI_RESULT;
	req->result = result;
}

/* When @ret is a failure of ours for want of something, which says nothing about the program's
 * file: what to tell the program.  0 when it is not. */
static inline int uapi_short_of(int ret)
{
	return ret == -EMFILE || ret == -ENFILE ? -ENFILE : ret == -ENOMEM ? -ENOMEM : 0;
}

/* The file behind the program's fd, with a reference, or NULL; *@ret is then 0 when the fd is
 * something else, or -errno.  The caller must still check that the request is valid. */
struct uapi_file *uapi_request_file(struct uapi_request *req, int fd, int *ret);

/* The same for the file that the system call is made on (its first argument), noted for the trace;
 * NULL: the kernel's business. */
struct uapi_file *uapi_request_subject(struct uapi_request *req);

/* Give the program a descriptor of the same as @fd, which stays ours; @flags: O_CLOEXEC or 0.  Its
 * number, or -errno. */
int uapi_request_add_fd(const struct uapi_request *req, int fd, int flags);

/* Close a file of the program's that turned out to be none of ours.  One that does not close holds
 * up nothing; those of a program that does that again and again hold up its own requests. */
void uapi_request_throw_away(struct uapi_server *server, int fd);

/* Tell the user what a program does that cannot be answered, or how one ends: an error of the log,
 * at most @burst of its kind (@limit, of @server) in ten seconds. */
void uapi_complain(struct uapi_server *server, struct uvfio_ratelimit *limit, unsigned burst,
		   const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Route @req to its handler. */
void uapi_dispatch(struct uapi_request *req);

/* For such a program: open @name in our tree. */
enum uapi_path {
	UAPI_PATH_FOREIGN,  /* it is not there */
	UAPI_PATH_ANSWERED, /* it is, and the request has its answer */
	UAPI_PATH_NODE,     /* it is a node of /dev/vfio: *@kind, *@group */
};
enum uapi_path uapi_path_open(struct uapi_request *req, int dirfd, const char *name, uint64_t flags,
			      uint64_t resolve, enum uapi_file_kind *kind, unsigned *group);

/* The handlers, by system call. */
void uapi_do_open(struct uapi_request *req, int dirfd, uint64_t path, uint64_t flags);
void uapi_do_openat2(struct uapi_request *req);
/* Of a program that has no mounts (--sandbox paths), all other calls that take a path. */
void uapi_do_path(struct uapi_request *req);
/* eventfd and eventfd2 (kept.h). */
void uapi_do_eventfd(struct uapi_request *req);
void uapi_do_ioctl(struct uapi_request *req);
/* What the preloaded helper asks (helper/trap.h); false when it is not for us. */
bool uapi_do_trap(struct uapi_request *req, unsigned cmd);
void uapi_do_resource(struct uapi_request *req);
/* An ioctl on a file that is none of VFIO's, but perhaps uio's. */
void uapi_do_uio_ioctl(struct uapi_request *req, unsigned cmd, uint64_t arg);
/* PRECOPY_INFO on a file of migration data; false: it is something else. */
bool uapi_do_migration_ioctl(struct uapi_request *req, unsigned cmd, uint64_t arg);
/* Of struct vfio_client_ops, where there are such files. */
int uapi_give_migration(struct vfio_client *client, struct vfio_migration_file *file, int32_t *fd);
void uapi_do_rw(struct uapi_request *req, bool write);
void uapi_do_rwv(struct uapi_request *req, bool write, uint64_t flags);
void uapi_do_mmap(struct uapi_request *req);

#endif
