/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that is reached by messages to whoever has it (IOMMU_MEM_PEER): a vfio-user client that
 * mapped an address without giving a file, or a device whose BAR is mapped (vfio/device_memory.h).
 *
 * Theory of operation.  A transfer that touches such memory is cut into messages (struct
 * iommu_peer_msg) of at most max_len bytes.  At most max_inflight of them, and
 * max_bytes, are with the peer at a time; the others wait in the order in which
 * they came.  A message has a buffer of its own: the device's buffer is never given to the peer, so
 * that a transfer can be abandoned (unmap, reset, the peer died) while its messages are still out,
 * and a late answer touches nothing.  An abandoned message that was started keeps its place until
 * the peer is done with it, so that what a peer that does not answer can make us hold is bounded.
 *
 *      WAITING ──start()──▶ STARTED ──iommu_peer_done()──▶ gone
 *         └──abandoned──▶ gone    └──abandoned: cancel()──▶ CANCELLED ──iommu_peer_done()──▶ gone
 *
 * Who implements a peer embeds struct iommu_peer in an object of its own (a connection) and hands
 * it in with each mapping (struct iommu_mem, ->peer; ->offset is the address that the messages
 * carry).  Mappings and started messages hold references.
 *
 * Threads: any.  start() and cancel() are called with a mutex of the peer held, so they are
 * serialised: they must not wait and must not call anything here but iommu_peer_ref().  For the
 * others, the caller must hold no lock that start() or cancel() take.
 */
#ifndef UVFIO_IOMMU_PEER_H
#define UVFIO_IOMMU_PEER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define IOMMU_PEER_INFLIGHT_BYTES (8u << 20) /* or one message, if that is more */

struct iommu_peer;

/* One message: read or write [@address, @address + @len) of the peer.  The core's but for @user. */
struct iommu_peer_msg {
	uint64_t address;
	uint32_t len;  /* bytes, 1 … max_len */
	bool write;    /* @data goes to the peer; else its answer goes to @data */
	uint8_t *data; /* @len bytes; until iommu_peer_done(), also when cancelled */
	void *user[4]; /* the implementer's, 0 at first */
};

struct iommu_peer_ops {
	/* Send it, now or when the peer takes it.  0; or -errno when that will never be, and then
	 * there is no iommu_peer_done(). */
	int (*start)(struct iommu_peer *peer, struct iommu_peer_msg *msg);
	/* Nobody wants the result of a started message any more.  If its first byte was not sent
	 * yet, it must not be sent after this (the client may have been told that the memory is
	 * unmapped); if it was, it is sent to its end.  iommu_peer_done() is still owed, from
	 * another call.  A peer that is a device waits here for a callback that is going on, so
	 * that nothing lands after this. */
	void (*cancel)(struct iommu_peer *peer, struct iommu_peer_msg *msg);
	/* The last reference has gone.  No lock is held. */
	void (*release)(struct iommu_peer *peer);
	/* Optional: transfer as much as can be had at once and without waiting for anybody, in the
	 * initiator's thread, from the beginning of [@address, @address + @len): how many bytes.
	 * The rest goes by messages, which is also where it is found out what is wrong with it.
	 * The caller holds a reference on the mapping, and no lock. */
	uint64_t (*copy)(struct iommu_peer *peer, uint64_t address, uint8_t *buf, uint64_t len,
			 bool write);
};

struct xfer_part;
TAILQ_HEAD(xfer_parts, xfer_part);

struct iommu_peer {
	const struct iommu_peer_ops *ops;
	uint32_t max_len;      /* bytes a message */
	uint32_t max_inflight; /* messages */
	uint64_t max_bytes;    /* of those in flight; IOMMU_PEER_INFLIGHT_BYTES unless changed
				* before the first use */
	/* The device whose memory it is, for listings; NULL: a client's.  Set before the first use,
	 * and stays as long as the peer. */
	const char *device;
	/* The core's. */
	uint32_t refs; /* atomic */
	pthread_mutex_t lock;
	pthread_cond_t ended; /* a started message has, and somebody waits for it */
	bool dead;
	/* How long an abandoned message that was started may still end well; forgotten when one
	 * did not, until another does. */
	unsigned settle_ms;
	bool stalled;
	unsigned waiters;
	uint32_t inflight; /* started, cancelled ones included */
	uint64_t inflight_bytes;
	struct xfer_parts waiting, started;
};

/* One reference is the caller's.  Both limits at least 1. */
void iommu_peer_init(struct iommu_peer *peer, const struct iommu_peer_ops *ops, uint32_t max_len,
		     uint32_t max_inflight);
void iommu_peer_ref(struct iommu_peer *peer);
/* The same for who has none: false when the last one has gone. */
bool iommu_peer_tryref(struct iommu_peer *peer);
void iommu_peer_unref(struct iommu_peer *peer);
/* A started message has ended: 0, with all of ->data of a read filled in, or -errno.  -ENODEV: the
 * device that has it does not answer at the moment (IOMMU_FAULT_REVOKED).  Once for each; @msg is
 * gone afterwards.  May start others. */
void iommu_peer_done(struct iommu_peer *peer, struct iommu_peer_msg *msg, int status);
/* The connection has gone, or nobody listens any more: nothing more is started, and all transfers
 * in progress end with -EIO at once.  iommu_peer_done() is still owed for what was started. */
void iommu_peer_dead(struct iommu_peer *peer);

#endif
