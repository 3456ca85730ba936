/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the keeper keeps the state of devices between two servers (--state): a file a device in one
 * directory, named after its socket.
 *
 *   SOCKET.tmp ──saved, fsync──▶ SOCKET.state ──a server takes it──▶ SOCKET.used ──it has it──▶
 * (gone) ▲              └──refused, --fresh──▶ SOCKET.refused └──────────refused─────────┘
 *
 * A state is used once: it is SOCKET.used before anybody reads it, and what is called so is never
 * read.  So a server that ends in between cannot make a device twice out of one state; nor is that
 * state lost: it is there to be looked at, and named in a message.
 *
 * A file is a line with a version, a line with the device's options as they were said (without
 * tokens), and the stream (migration/stream.h), which has checksums.  One thread.
 */
#ifndef UVFIO_SERVE_STATE_H
#define UVFIO_SERVE_STATE_H

#include <stdbool.h>
#include <uvfio/error.h>

struct serve_states;

/* The directory @path must be there, be ours, and nobody else may write to it.  0 or -errno with a
 * message. */
int serve_states_open(const char *path, struct serve_states **out, struct uvfio_error *err);
void serve_states_close(struct serve_states *states); /* NULL is allowed */

/*
 * The state of the device that is served at @socket and was said as @spec, to be used now: a
 * descriptor at the beginning of the stream, the caller's; -ENOENT: there is none; -errno with a
 * message: it cannot be used, and stays.
 */
int serve_state_take(struct serve_states *states, const char *socket, const char *spec,
		     struct uvfio_error *err);
/* What became of it. */
enum serve_state_end {
	SERVE_STATE_USED,   /* it is in the device: it goes */
	SERVE_STATE_BACK,   /* nothing has come of it: it stays for another try */
	SERVE_STATE_REFUSED /* ditto, but the device begins anew without it */
};
void serve_state_taken(struct serve_states *states, const char *socket, enum serve_state_end how);

/* A file to save to, at the place where the stream begins, the caller's; -errno with a message. */
int serve_state_begin(struct serve_states *states, const char *socket, const char *spec,
		      struct uvfio_error *err);
/* All is in @fd, and on the disk: from now on it is the device's state; or (!@ok) it is not needed.
 * 0, or -errno with a message. */
int serve_state_end(struct serve_states *states, const char *socket, bool ok,
		    struct uvfio_error *err);

#endif
