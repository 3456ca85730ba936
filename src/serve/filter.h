/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The system calls of a confined server.
 *
 * An allow-list: what device models, doors and control call, and what the C library, libevent,
 * liburcu, libnbd and the sanitizers call under them.  Every other call fails with EPERM, clone3()
 * with ENOSYS, because libraries know how to go on after that.  What nobody here does by mistake
 * (starting a program, tracing another process, mounting, loading modules) kills the process.
 *
 * io_uring.  None can be made, nothing can be registered with one, and only those made before are
 * entered (block/rings.h), which are restricted themselves.  They are told by their descriptors: an
 * aligned block of numbers, which can be neither closed nor replaced.
 */
#ifndef UVFIO_SERVE_FILTER_H
#define UVFIO_SERVE_FILTER_H

#include <uvfio/device.h>

/* Install it, in every thread.  [@first_ring, @first_ring + @nr_rings) are the rings'
 * descriptors: @nr_rings a power of two, @first_ring a multiple of it; 0, 0: none.  no_new_privs is
 * set.  0, or -errno with a message. */
int serve_filter(unsigned first_ring, unsigned nr_rings, struct uvfio_error *err);

#endif
