/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moving a device to another server, or into a file: what is said on the way.  Private to
 * src/control.
 *
 * Theory of operation.  The two sides speak in frames over a stream that somebody has connected for
 * them (docs/migration.md has the layout):
 *
 *	source                                  target
 *	HELLO: which device this is        ──▶  is it one like mine?
 *	                                   ◀──  WELCOME
 *	DATA …, while it runs; it pauses;
 *	DATA …, the rest; END              ──▶  checks everything, keeps it aside
 *	                                   ◀──  READY
 *	notes that it has given it away;
 *	YOURS                              ──▶  takes it: it is its own from here on
 *	                                   ◀──  HAVE
 *	closes its users' connections
 *
 * Either side says NO, with the reason, in place of anything else, and then neither has changed.  A
 * stream that ends without one leaves the source as it was before YOURS, and the target before
 *READY. Behind these points who hears nothing does not know, and does nothing: it is in doubt, and
 *an operator decides (vfio/move.h).
 *
 * A file has no other side: what replaces READY is that all of it is on the disk, what replaces
 *YOURS and HAVE is a word at its beginning, which says in the end that it holds a device, and later
 *that the device was taken out.
 *
 * The other side is taken for hostile: frames are limited in length, each is to come in a limited
 * time and at its place, and what they hold is checked by whose it is.
 *
 * Threads: a move is one thread's, which waits; move_cancel() and reading the progress are any's.
 */
#ifndef UVFIO_CONTROL_MOVE_H
#define UVFIO_CONTROL_MOVE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uvfio/error.h>

struct vfio_device;

#define MOVE_VERSION     1u
#define MOVE_PAYLOAD_MAX (256u << 10) /* bytes of a frame */
#define MOVE_STALL_MS    30000u       /* that a frame may take, or what is waited for */
#define MOVE_DOWNTIME_NS 300000000u   /* without another wish */

enum move_step {
	MOVE_HELLO, /* nothing has been agreed */
	MOVE_COPY,  /* it runs while it is copied */
	MOVE_STILL, /* it is paused */
	MOVE_READY, /* all of it is there */
	MOVE_GIVEN, /* the source has said YOURS */
	MOVE_DONE,
	NR_MOVE_STEPS
};
const char *move_step_name(enum move_step step); /* "hello", "copy", … */

struct move_progress {
	_Atomic(enum move_step) step;
	_Atomic uint64_t bytes;    /* of the stream, so far */
	_Atomic uint64_t left;     /* to be moved before the pause, about */
	_Atomic uint64_t passes;   /* through what can be moved before */
	_Atomic uint64_t began_ns; /* uvfio_now_ns() */
	_Atomic uint64_t still_ns; /* when it paused; 0: not yet */
	_Atomic uint64_t ended_ns; /* 0: not yet */
};

struct move_options {
	uint64_t bandwidth;   /* bytes a second; 0: no limit */
	uint64_t downtime_ns; /* it pauses when what is left takes no longer */
	uint64_t timeout_ns;  /* for all of it; 0: none */
	unsigned stall_ms;
	bool again; /* a file from which it was taken before is taken from again */
};

struct move {
	struct vfio_device *dev; /* held by the caller */
	int fd;                  /* the caller's */
	struct move_options options;
	/* [the move's thread] The device has gone, and its users are to be sent away before they
	 * are answered by what is left of it.  May be NULL. */
	void (*gone)(void *arg, struct vfio_device *dev);
	void *arg;
	struct move_progress progress;

	/* The move's own. */
	int cancel_fd;
	atomic_bool cancelled, ending;
	bool file; /* @fd is a regular file */
	uint64_t deadline;
	bool doubt; /* the end: it is in doubt where the device is */
};

/* 0, or -errno with a message.  @move is zeroed but for its first members. */
int move_init(struct move *move, struct uvfio_error *err);
void move_fini(struct move *move);
/* Move it away; or take what comes.  0: it has gone, or come.  -errno with a message: it is where
 * it was, or ->doubt. */
int move_send(struct move *move, struct uvfio_error *err);
int move_receive(struct move *move, struct uvfio_error *err);
/* Any thread.  A move that has gone too far goes on; @ending: the process ends, nothing is waited
 * for any more. */
void move_cancel(struct move *move, bool ending);

/* ---- move_frame.c ---- */

enum move_kind {
	MOVE_FRAME_HELLO = 1,
	MOVE_FRAME_WELCOME,
	MOVE_FRAME_DATA,
	MOVE_FRAME_END,
	MOVE_FRAME_READY,
	MOVE_FRAME_YOURS,
	MOVE_FRAME_HAVE,
	MOVE_FRAME_NO,
	NR_MOVE_FRAMES
};
#define MOVE_FRAME_HEAD 8u /* bytes: u32 kind, u32 length of what follows */

/* Send a frame.  0; -errno with a message: -ECANCELED, -ETIMEDOUT, -ECONNRESET; -EREMOTEIO: the
 * other side has said NO, and why. */
int move_frame_send(struct move *move, enum move_kind kind, const void *bytes, size_t len,
		    struct uvfio_error *err);
/* The next frame into @buf (MOVE_PAYLOAD_MAX bytes): 0 with *@kind and *@len.  Errors as above,
 * -EPROTO: it is none, or none that may come here (@may: bits 1 << kind); -ENODATA: the other side
 * has gone. */
int move_frame_receive(struct move *move, unsigned may, enum move_kind *kind, void *buf,
		       size_t *len, struct uvfio_error *err);
/* Has the other side said something, or gone?  0: it has not. */
int move_frame_listen(struct move *move, struct uvfio_error *err);
/* Say NO, if that can be done at once. */
void move_frame_refuse(struct move *move, const char *why);
/* Is this the end of what may be waited for?  0, -ECANCELED, -ETIMEDOUT. */
int move_check(struct move *move, struct uvfio_error *err);
/* Wait @ns, or until the end of it: as move_check(). */
int move_sleep(struct move *move, uint64_t ns, struct uvfio_error *err);

/* The word at the beginning of a file. */
enum move_file { MOVE_FILE_PART, MOVE_FILE_WHOLE, MOVE_FILE_TAKEN };
#define MOVE_FILE_HEAD 16u /* bytes: "UVFIOSAV", u32 version, u32 enum move_file */
/* Write it, and have it, and all before, on the disk. */
int move_file_mark(struct move *move, enum move_file word, struct uvfio_error *err);
int move_file_begin(struct move *move, struct uvfio_error *err); /* behind it */
int move_file_open(struct move *move, struct uvfio_error *err);  /* check it */

/* ---- move_hello.c: which device it is ---- */

#define MOVE_HELLO_BYTES 128u
void move_hello_write(struct vfio_device *dev, uint8_t bytes[MOVE_HELLO_BYTES]);
/* Can @dev become what this is of?  0 or -EINVAL, -EPROTO with a message. */
int move_hello_check(struct vfio_device *dev, const void *bytes, size_t len,
		     struct uvfio_error *err);

/* ---- move_rate.c: how much may be sent ---- */

struct move_rate {
	uint64_t bandwidth; /* bytes a second; 0: no limit */
	uint64_t credit;    /* bytes */
	uint64_t last;      /* ns; 0: not begun */
};
/* How many bytes a frame has, so that they come evenly. */
size_t move_rate_frame(const struct move_rate *rate);
/* May @bytes be sent at @now?  0: yes, and they count; else after so many ns. */
uint64_t move_rate_take(struct move_rate *rate, uint64_t now, size_t bytes);

#endif
