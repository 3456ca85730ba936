/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One end of a channel: packets in and out.  One thread at a time.
 */
#ifndef UVFIO_JOIN_CHANNEL_H
#define UVFIO_JOIN_CHANNEL_H

#include <stddef.h>
#include "join/protocol.h"

struct join_packet {
	struct join_head head;
	struct uvfio_trash *trash; /* where those are closed; NULL: at once */
	int fds[JOIN_FDS];         /* head.fds of them: ours to close; -1: taken */
	uint8_t data[JOIN_DATA];
};

/* Send @head with @len bytes of @data and @nr fds (which stay the caller's).  0, or -errno: the
 * channel is of no use any more.  Waits for the other end to read. */
int join_send(int sock, const struct join_head *head, const void *data, size_t len, const int *fds,
	      unsigned nr);
/* Wait for a packet.  0; -EPIPE at the end; -EPROTO when it is malformed.  @packet has no fds then.
 */
int join_receive(int sock, struct join_packet *packet);
/* Close those that nobody took. */
void join_packet_close(struct join_packet *packet);
/* Fd @i, taken out of the packet; -1: there is none. */
int join_packet_take(struct join_packet *packet, unsigned i);
/* Is @fd a connected local packet socket? */
bool join_is_channel(int fd);

#endif
