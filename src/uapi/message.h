/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What P0, S and C tell each other, over SOCK_SEQPACKET pairs.  One message a packet; one fd may
 * ride along.
 */
#ifndef UVFIO_UAPI_MESSAGE_H
#define UVFIO_UAPI_MESSAGE_H

#include <stdint.h>
#include <sys/types.h>

enum uapi_message_kind {
	/* S → P0 */
	UAPI_MSG_STARTED, /* a pidfd of C rides along; value: its pid */
	UAPI_MSG_STOPPED, /* value: the signal */
	UAPI_MSG_CONTINUED,
	UAPI_MSG_ENDED,  /* value: the wait status; S ends too */
	UAPI_MSG_LEFT,   /* the same, but descendants of the program live on and S stays */
	UAPI_MSG_FAILED, /* S could not start; it has said why */
	/* S → C */
	UAPI_MSG_TREE,   /* a memfd with the tree rides along; value: preload the helper */
	UAPI_MSG_SERVED, /* a memfd with the tree of a served /sys; -1: there is none after all */
	UAPI_MSG_MAPPED, /* the user namespace has its maps; value: 0 or errno */
	UAPI_MSG_FILTER, /* value: UAPI_FILTER_… */
	UAPI_MSG_GO,     /* everybody is ready: become the program */
	/* C → S */
	UAPI_MSG_FUSE,     /* /dev/fuse, mounted on /sys, rides along; or value: errno */
	UAPI_MSG_MIG_FUSE,  /* /dev/fuse for files of migration data rides along, */
	UAPI_MSG_MIG_MOUNT, /* and the mount, which is nowhere */
	UAPI_MSG_MAP_ME,   /* C is in a new user namespace without maps */
	UAPI_MSG_IOMMUDIR, /* the directory for open iommufds rides along, covered by /dev */
	UAPI_MSG_DEVDIR,   /* the directory for what is open else rides along, covered by */
	UAPI_MSG_NODES,    /* the directory /dev/vfio, which rides along */
	UAPI_MSG_SANDBOX,  /* value: 0, the mounts are made; or errno: they cannot be */
	UAPI_MSG_SYSDIR,   /* the directory /sys/bus/pci/devices rides along */
	UAPI_MSG_LISTENER, /* the listener rides along */
};

struct uapi_message {
	uint32_t kind;
	int32_t value;
};

/* 0 or -errno.  @fd: to ride along, or -1. */
int uapi_send(int sock, enum uapi_message_kind kind, int32_t value, int fd);
/* 1, 0 at the end of the stream, or -errno.  *@fd is -1 or an fd of ours (close-on-exec). */
int uapi_receive(int sock, struct uapi_message *msg, int *fd);
/* Wait for a message of @kind: 0, -EPIPE when the peer has gone, -EPROTO for another kind. */
int uapi_expect(int sock, enum uapi_message_kind kind, int32_t *value, int *fd);

#endif
