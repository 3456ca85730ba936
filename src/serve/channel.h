/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages between keeper and server: a header, a text, descriptors; one packet each.  Both are one
 * executable, so the layout is nobody else's business.
 */
#ifndef UVFIO_SERVE_CHANNEL_H
#define UVFIO_SERVE_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

enum serve_kind {
	/* keeper → server, on tell */
	SERVE_ADD,       /* @id; text: the spec; the listening socket */
	SERVE_REMOVE,    /* @id */
	SERVE_READY,     /* what was to be served from the beginning is: control may answer */
	SERVE_VF_SOCKET, /* @id, @value: which VF; its listening socket, or none */
	SERVE_STATE,     /* @id: its state, in a file, before its ADD; @value: begin anew without it
			  * when     it cannot be used */
	SERVE_SAVE,      /* @id; a file to save it to; answered by DONE */
	SERVE_GIVE,      /* to the old server; a socket to the new one; answered by DONE of 0 */
	SERVE_BACK,      /* ditto: the new one has failed; text: why */
	SERVE_TAKE,      /* to the new one; a socket to the old one; answered by DONE of 0 */
	SERVE_END,
	/* server → keeper, on tell */
	SERVE_STARTED,  /* @value: 0 or -errno, also of READY then; text: a message */
	SERVE_DONE,     /* of ADD or REMOVE; @value: 0 or -errno; text: a message, or the name */
	SERVE_REFUSED,  /* @id: its state cannot be used, and it begins anew; text: why */
	SERVE_GONE,     /* @id was removed by somebody else */
	SERVE_VF_COMES, /* @id, @value: make a socket for this VF of it */
	SERVE_VF_GOES,  /* ditto: remove it */
	SERVE_UPGRADE,  /* somebody asks for it; answered by BACK, or not at all */
	/* old server → new server; those that name a file come with it */
	SERVE_HAND_DEVICE, /* @id; text: "NAME SERIAL DRIVER" (vfio/host.h) */
	SERVE_HAND_TOKEN,  /* @id; text: a VF token; @value 0: by its option, 1: that it has now */
	SERVE_HAND_STATE,  /* @id; a file */
	SERVE_HAND_CLIENT, /* @id; a file */
	SERVE_HAND_FD,     /* @id; a file */
	SERVE_HAND_SYSFS,  /* @value 0: the /dev/fuse of --sysfs; 1: a file with its beginning */
	SERVE_HAND_END,
	/* server → keeper, on ask; with a socket for the answer */
	SERVE_OPEN,    /* @value: flags; text: the path */
	SERVE_CONNECT, /* text: the URI */
	SERVE_ANSWER,  /* @value: 0 with the file, or -errno */
};

struct serve_message {
	uint32_t kind; /* enum serve_kind */
	int32_t value;
	uint64_t id;
};

#define SERVE_MAX_TEXT 32768u /* with the zero at its end */

/* @text may be NULL; @fd -1: none.  0 or -errno. */
int serve_send(int sock, const struct serve_message *msg, const char *text, int fd);
/* 1: a message; @text (SERVE_MAX_TEXT bytes, or NULL to drop it) ends with a zero; *@fd is a
 * descriptor that came with it, the caller's, or -1; @fd NULL: the kernel drops those, without
 * waiting for what is behind them.  0: the other side has gone.  -errno. */
int serve_receive(int sock, struct serve_message *msg, char *text, int *fd);

#endif
