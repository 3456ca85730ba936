/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The messages between a runner that has joined a machine and the server that has it.
 *
 * A channel is a pair of SOCK_SEQPACKET sockets; a message is one packet: a head, then head.len
 * bytes of data, with head.fds descriptors.  One call is under way on a channel at a time:
 *
 *     runner  ── call ──────────▶ server
 *             ◀── question ──────              as often as the core asks (vfio/client.h)
 *             ── more … answer ─▶
 *             ◀── done ──────────
 *
 * Numbers are the machine's own: both ends are the same program on the same host.  JOIN_VERSION is
 * raised with every change of what follows or of the structs it carries.
 *
 * Neither end trusts the other.  What is malformed or out of turn ends the channel; the end of the
 * first channel ends the connection, which releases everything that it has open.
 */
#ifndef UVFIO_JOIN_PROTOCOL_H
#define UVFIO_JOIN_PROTOCOL_H

#include <stdint.h>
#include "uapi/core.h"

#define JOIN_VERSION 9u

#define JOIN_DATA    65536u /* bytes behind a head, at most */
#define JOIN_FDS     64u    /* with a message */
#define JOIN_PIECES  64u    /* of memory in a message */

/* Limits of one connection, and of all. */
#define JOIN_CHANNELS     128u
#define JOIN_OBJECTS      1024u  /* handles */
#define JOIN_LISTED       128u   /* devices in a message */
#define JOIN_MAX_DEVICES  16384u /* that a program is shown */
#define JOIN_CONNECTIONS  256u
#define JOIN_ALL_CHANNELS 1024u
#define JOIN_MAX_PIECES   4096u /* of one mapping */
#define JOIN_ACCOUNTS     64u   /* processes that are limited in what they lock, with mappings */

enum join_kind {
	/* Calls.  `handle` names an object where there is one; arg[] in the order of the function.
	 */
	JOIN_HELLO,           /* arg: version.  Done: struct join_hello */
	JOIN_CHANNEL,         /* fd: another channel */
	JOIN_CONTAINER_OPEN,  /* done: value is the handle */
	JOIN_CONTAINER_IOCTL, /* arg: pid, cmd, arg */
	JOIN_GROUP_OPEN,      /* arg: number.  Done: value is the handle */
	JOIN_GROUP_STATUS,    /* arg: pid, arg */
	JOIN_GROUP_SET,       /* arg: handle of the container, 0: none */
	JOIN_GROUP_UNSET,
	JOIN_GROUP_GET_DEVICE, /* arg: pid, arg.  Done: value is the handle, data: struct
				  uapi_device */
	JOIN_DEVICE_MMIO,      /* arg: mode */
	JOIN_DEVICE_IOCTL, /* arg: pid, cmd, arg, and whether there are files of migration data */
	JOIN_DEVICE_READ,  /* arg: offset, length.  Done: value, that many bytes */
	JOIN_DEVICE_WRITE, /* arg: offset; data */
	JOIN_DEVICE_STORE, /* arg: offset, size, value */
	JOIN_DEVICE_LOAD,  /* arg: offset, size.  Done: arg: value */
	JOIN_DEVICE_MMAP,  /* arg: offset, length, shared.  Done: arg: writable, trap_reads */
	JOIN_DEVICE_VIEW,  /* done: fd */
	JOIN_RELEASE,
	/* arg: gid; data: names and targets of links, each with its 0; fds: where requests for the
	 * tree in /sys come from (sysfs/sysfs.h), and maybe what is told when devices came or went
	 * by them: a byte there, a byte back.  Done: value is the handle */
	JOIN_SYSFS,
	JOIN_CONFIG,            /* arg: wait; data: name.  Done: value 1 and 4096 bytes; 0: busy */
	JOIN_IOMMUFD_OPEN,      /* done: value is the handle */
	JOIN_IOMMUFD_IOCTL,     /* arg: pid, cmd, arg */
	JOIN_GROUP_SET_IOMMUFD, /* arg: handle of the iommufd */
	JOIN_CDEV_OPEN,         /* arg: number.  Done: the same */
	/* arg: offset into sysfs_snapshot(), of which 0 makes a new one and the last byte is the
	 * end. Done: value: how long it is; data from the offset on */
	JOIN_SNAPSHOT,
	/* On the handle that JOIN_SYSFS gave.  arg: inode number.  Done: value: enum sysfs_file;
	 * arg: BAR; data: name of the device */
	JOIN_SYSFS_IDENTIFY,
	/* arg: mode; data: name.  Done: value is the handle of a file for JOIN_DEVICE_MMAP, _STORE
	 * and _LOAD alone; fd: its view */
	JOIN_RESOURCE_OPEN,
	JOIN_UIO_IOCTL, /* arg: pid, cmd, arg; data: name */
	/* arg: from which one, how many.  Done: value is how many follow; arg: a stamp, which is
	 * another whenever a device has come or gone; data: struct uapi_device[] */
	JOIN_LIST,
	JOIN_DESCRIBE, /* data: name.  Done: data: struct uapi_device */
	/* On a session of migration data. */
	JOIN_MIG_READ,     /* arg: length.  Done: value, that many bytes */
	JOIN_MIG_WRITE,    /* data.  Done: value */
	JOIN_MIG_READABLE, /* done: value: 0 or 1 */
	JOIN_MIG_IOCTL,    /* arg: pid, cmd, arg */
	JOIN_CALLS,

	/* Questions. */
	JOIN_ASK_FROM = 64, /* arg: address, length.  Answer: value, the bytes */
	JOIN_ASK_TO,        /* arg: address; data.  Answer: value */
	JOIN_ASK_EVENTFD,   /* arg: number.  Answer: value, fd */
	JOIN_ASK_GROUP,     /* arg: number.  Answer: value */
	JOIN_ASK_IMPORT, /* arg: address, size, prot.  More and answer: struct join_piece[], fds */
	JOIN_ASK_LIMIT, /* answer: arg: bytes; and if that is a limit, the process: a number that is
			 * unique in the connection, 0: none is to be had */
	JOIN_ASK_IOMMUFD, /* arg: number.  Answer: value: its handle */
	JOIN_ASK_FILE,    /* arg: number, offset, size, prot.  As JOIN_ASK_IMPORT */
	JOIN_ASK_PATH,    /* arg: number.  Answer: value, fd: a path only (O_PATH) */
	JOIN_ASK_EXPORT,  /* arg: open_flags, handle of the export; fd: its file.  Answer: value */
	/* arg: handle of a session of migration data, whether it is read.  Answer: value: the
	 * program's descriptor or -errno; arg: whether the handle is the runner's from here on */
	JOIN_ASK_MIGRATION,
	JOIN_ASK_END,

	JOIN_MORE = 128, /* a part of an answer */
	JOIN_ANSWER,
	JOIN_DONE,
};

struct join_head {
	uint32_t kind;
	uint32_t handle;
	int64_t value; /* of an answer or a call: the result, or -errno */
	uint64_t arg[4];
	uint32_t len; /* bytes of data */
	uint32_t fds;
};

struct join_hello {
	uint32_t version;
	uint32_t uio_first;
	struct vfio_policy policy;
};

struct join_piece {
	uint32_t kind; /* enum iommu_mem_kind: FILE or PROCESS */
	uint32_t fd;   /* which of the message's */
	uint64_t offset, len;
	uint64_t id;         /* PROCESS: of the address space, unique in the connection */
	uint64_t unpinnable; /* PROCESS: 0 or 1, as in struct iommu_mem */
};

#endif
