/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections that another process goes on with, on the same socket: a new server takes the place
 * of this one, and the client notices a pause.
 *
 *   here:   READY ──freeze──▶ frozen ──hand over──▶ (the other one's, or) ──thaw──▶ READY
 *   there:  take over ──▶ as it was, but nothing is read ──go on──▶ READY
 *
 * Between freezing and handing over the caller stops the device (vfio/move.h): meanwhile the
 * client's answers are still taken, which the device may wait for, and its commands are kept, in
 * order.  From handing over on nothing is taken out of the socket here.
 *
 * What goes along: what VERSION agreed on, DMA mappings with their files, eventfds, the file behind
 * the BARs with what is known of its pages (clients go on storing there), commands that came and
 * were not begun, bytes of a message that has come in part.  Not (-EBUSY, with a message): a client
 * that takes no answers at the moment, moves the device itself or has its DMA logged (what was
 * logged would be lost), or has memory of another device's mapped.
 */
#ifndef UVFIO_WIRE_HANDOVER_H
#define UVFIO_WIRE_HANDOVER_H

#include <stddef.h>
#include <stdint.h>
#include "wire/wire.h"

struct wire_frozen;
struct wire_conn;

/* Nobody is accepted at @listener from now on, and the connection that has its device, if there is
 * one, handles no commands.  Waits for what it has begun.  0, -ENOMEM, -EBUSY with a message, and
 * then all is as before. */
int wire_freeze(struct wire_listener *listener, struct wire_frozen **out, struct uvfio_error *err);
/* All goes on.  Frees it. */
void wire_thaw(struct wire_frozen *frozen);

/* What another process has to have.  Descriptors are ours, on the same files. */
struct wire_handed {
	uint8_t *bytes;
	size_t len; /* 0: there is no client */
	int *fds;
	unsigned nr_fds;
};
/* The device is stopped.  0; -ENOMEM, -EBUSY, -ENOTCONN with a message: then thaw it. */
int wire_hand_over(struct wire_frozen *frozen, struct wire_handed *out, struct uvfio_error *err);
void wire_handed_fini(struct wire_handed *handed);

#define WIRE_HANDED_FDS 16384u /* at most */

/*
 * A connection that was handed over becomes @listener's, which accepts nobody yet and whose device
 * has been loaded (vfio/keep.h).  @fds become the connection's, those that are used are -1 then. 0;
 * -EINVAL: it is not what wire_hand_over() makes; -errno of what could not be had again; with a
 * message.  After an error the device is not to be used, nor to be taken out of the machine: its
 * client, which the other process goes on with, would be asked to let go of it.  Until
 * wire_go_on() nothing that is done with the connection reaches the client.
 */
int wire_take_over(struct wire_listener *listener, const void *bytes, size_t len, int *fds,
		   unsigned nr_fds, struct wire_conn **out, struct uvfio_error *err);
/* From here on the client is served, and the device goes on. */
void wire_go_on(struct wire_conn *conn);

#endif
