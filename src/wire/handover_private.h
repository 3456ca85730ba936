/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What handover.c and takeover.c, which may be of two versions, agree on.  All numbers are
 * little-endian (migration/stream.h).
 *
 * First: u32 version, minor, max_xfer, rx_fds, max_fds, layout of DMA messages, pid; u64 uid,
 * since, messages, bytes in, bytes out, errors; u32 number of the eventfd that unmasks; u8 whether
 * there is a second socket, a file behind the BARs, an eventfd of doorbells (u8 each).
 *
 * Pages that are polled (vfio/poll.c): u32 how many ranges; u32 BAR, u64 first, u64 end, and what
 * was last seen in each u32 of it.
 *
 * Mappings: u32 1; u64 IOVA, size, offset; u32 protection, descriptor (~0: none); then u32 0.
 *
 * Eventfds: u32 1, index, vector, descriptor; then u32 0.
 *
 * Commands that wait: u32 1; the message; u8 whether it had too many descriptors; u32 how many it
 * has, and these; then u32 0.
 *
 * What came in: u32 and bytes; u32 at which of them descriptors came; u8 and these as above.
 *
 * Descriptors are numbers in the order in which they are handed over: the socket is the first one,
 * then come the second socket, the file behind the BARs and the eventfd of doorbells, as far as
 * they are there.
 */
#ifndef UVFIO_WIRE_HANDOVER_PRIVATE_H
#define UVFIO_WIRE_HANDOVER_PRIVATE_H

#include "migration/stream.h"
#include "wire/handover.h"

#define HANDOVER_VERSION   1u
#define HANDOVER_BYTES_MAX (256u << 20)

#endif
