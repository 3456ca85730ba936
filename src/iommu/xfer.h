/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transfers by messages, as the files of this room share them; the contract with who sends them is
 * peer.h.
 *
 * Theory of operation.  A transfer (struct iommu_xfer) is cut into parts, one a message.  A part
 * holds a reference on its mapping until it has ended or was abandoned.  When the last part has
 * ended, the transfer is posted to the context of its device, where what was read is copied to the
 * device's buffer and the device is told.  So nobody but the device's context touches that buffer,
 * except for copying from it when a message that writes is started.
 *
 * Abandoning goes through the peers' lists of parts: those of a mapping (unmap), of a device
 * (reset, bus mastering off), or all (the peer died).  A part that is submitted while its mapping
 * is being removed sees that the mapping is dead when it enters a list, and ends there.
 *
 * Locks: the mutex of a peer guards its lists and the parts in them; within it the mutex of a
 * device (struct iommu_user) guards the state of its transfers.
 */
#ifndef UVFIO_IOMMU_XFER_H
#define UVFIO_IOMMU_XFER_H

#include "base/ctx.h"
#include "iommu/peer.h"
#include "iommu/space_private.h"

#define XFER_PARTS_MAX (1u << 20) /* of one transfer */

struct iommu_xfer;

struct xfer_part {
	struct iommu_peer_msg msg;
	struct iommu_xfer *xfer; /* NULL: abandoned */
	struct iommu_peer *peer;
	struct iommu_mapping *m;
	unsigned phase;
	uint64_t iova;
	uint8_t *buf; /* the device's */
	TAILQ_ENTRY(xfer_part) link;
};

/* A peer that a transfer has to do with. */
struct xfer_leg {
	struct xfer_leg *next;
	struct iommu_peer *peer;
	uint32_t parts; /* not ended; the user's mutex */
};

struct iommu_xfer {
	struct uvfio_work work;
	struct iommu_user *user;
	TAILQ_ENTRY(iommu_xfer) link;
	struct iommu_fault fault; /* the transfer; where it failed first */
	int status;
	uint32_t pending, nr_parts;
	struct xfer_parts parts; /* not started; then those that were read */
	struct xfer_leg *legs;
	void (*done)(void *arg, int status, const struct iommu_fault *fault);
	void *arg;
};

/* Add [@iova, +@len) of @m, which is at @address of @peer, to *@xfer (made when NULL).  The caller
 * holds a reference on @m in @phase.  0 or -ENOMEM. */
int xfer_add(struct iommu_xfer **xfer, struct iommu_mapping *m, unsigned phase,
	     struct iommu_peer *peer, uint64_t address, uint64_t iova, uint8_t *buf, uint64_t len,
	     bool write);
/* Start what was gathered: the transfer of [@iova, +@len). */
void xfer_start(struct iommu_xfer *xfer, struct iommu_user *user, uint64_t iova, uint64_t len,
		bool write, void (*done)(void *arg, int status, const struct iommu_fault *fault),
		void *arg);
/* Forget what was gathered; NULL is allowed. */
void xfer_discard(struct iommu_xfer *xfer);

/* End the transfers of @m, which is dead or being drained, with -EFAULT.  True when it has to do
 * with a peer at all.  The caller sees to it that @m stays. */
bool xfer_abandon_mapping(struct iommu_mapping *m);

#endif
